"""The rules that keep the rooms apart and the pipeline honest, read from the source."""

import ast
import re

import pytest
from closure import ROOT, closure, imports, modules, source
from ruamel.yaml import YAML

PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
IGNORED = set((ROOT / ".dvcignore").read_text(encoding="utf-8").splitlines())
ROOMS = ["core", "sample", "catalog", "images", "duplicates", "model", "training", "detection"]
# importing: `add` records what a model answers
ROOMS += ["identification", "report", "serving", "importing", "stages"]


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def stage(name: str) -> dict[str, object]:
    found: dict[str, object] = PIPELINE[name].get("do", PIPELINE[name])
    return found


def test_mlflow_is_imported_by_tracking_and_the_registry_alone() -> None:
    users = {module for module in modules() if any(name.split(".")[0] == "mlflow" for name in imports(module))}
    assert users == {"whaleid.tracking", "whaleid.registry"}


def test_timm_is_loaded_where_models_come_from_and_only_when_one_is_its() -> None:
    users = {module for module in modules() if any(name.split(".")[0] == "timm" for name in imports(module))}
    assert users == {"whaleid.model.architectures"}
    body = ast.parse((ROOT / source("whaleid.model.architectures")).read_text(encoding="utf-8")).body
    assert not any("timm" in ast.unparse(line) for line in body if isinstance(line, ast.Import | ast.ImportFrom))


def test_only_the_command_line_imports_tracking_and_nobody_imports_it() -> None:
    for name in ("whaleid.registry", "whaleid.tracking"):
        users = {module for module in modules() if name in imports(module)}
        assert {room(user) for user in users} - {"registry"} == {"cli"}
    users = {module for module in modules() if any(room(name) == "cli" for name in imports(module))}
    assert {room(user) for user in users} == {"cli", "__main__"}


def test_rooms_and_stages_that_need_no_torch_load_none() -> None:
    rooms = ("core", "sample", "catalog", "duplicates", "identification", "report")
    stages = [f"whaleid.stages.{name}" for name in ("calibrate", "rank", "predict", "report")]
    for module in modules():
        if room(module) in rooms or module in stages:
            reached = {name.split(".")[0] for inner in closure(module) for name in imports(inner)}
            assert not reached & {"torch", "torchvision"}, module


def test_data_flows_down_the_rooms() -> None:
    for module in modules():
        if room(module) in ROOMS:
            later = ROOMS[ROOMS.index(room(module)) + 1 :]
            assert not [name for name in imports(module) if name.startswith("whaleid.") and room(name) in later], module


def test_no_circles() -> None:
    for module in modules():
        pending, reached = list(imports(module)), set()
        while pending:
            name = pending.pop()
            if name.startswith("whaleid") and name not in reached:
                reached.add(name)
                pending += imports(name)
        assert module not in reached, module


def test_rooms_without_files_touch_none() -> None:
    banned = ("open", "np.load", "np.save", "np.savez", "pd.read_csv", "read_csv", "write_csv", "write_json")
    for module in modules():
        if room(module) not in ("model", "training", "identification"):
            continue
        tree = ast.parse((ROOT / source(module)).read_text(encoding="utf-8"))
        called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        files = [name for name in called if name.endswith((".read_text", ".read_bytes", ".write_bytes"))]
        assert not [*files, *(name for name in called if name in banned)], module
        assert not imports(module) & {"whaleid.core.files", "whaleid.core.paths"}, module


@pytest.mark.parametrize("name", PIPELINE)
def test_a_stage_depends_on_the_folders_of_code_that_it_runs(name: str) -> None:
    declared = [dep for dep in stage(name)["deps"] if str(dep).startswith("whaleid/")]  # type: ignore[attr-defined]
    assert declared == sorted(declared)
    # __init__.py files hold a docstring alone; what .dvcignore names changes no result
    runs = {source(module) for module in closure(f"whaleid.stages.{name}")}
    runs = {path for path in runs if not path.endswith("__init__.py")} - IGNORED
    covers = {dep: [path for path in runs if path == dep or path.startswith(f"{dep}/")] for dep in declared}
    assert [dep for dep, paths in covers.items() if not paths] == []  # nothing that it does not run
    assert sorted(runs) == sorted({path for paths in covers.values() for path in paths})


def test_what_changes_no_result_is_no_dependency() -> None:
    code = {entry for entry in IGNORED if entry.startswith("whaleid/")}
    assert code == {"whaleid/core/log.py", "whaleid/core/record.py", "whaleid/training/launching.py"}
    deps = {str(dep) for name in PIPELINE for dep in stage(name)["deps"]}  # type: ignore[attr-defined]
    loose = {dep for dep in deps if re.fullmatch(r"whaleid/\w+\.py", dep)}
    assert loose == {"whaleid/config.py"}  # not tracking, the command line, or what else knows no room
    assert not deps & {"whaleid", "whaleid/stages"}
    for path in code:  # they compute nothing: none imports a room but core
        module = path.removesuffix(".py").replace("/", ".")
        assert {room(name) for name in imports(module) if name.startswith("whaleid.")} <= {"core"}


def test_the_pipeline_is_read_in_two_minutes() -> None:
    lines = (ROOT / "dvc.yaml").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 230
    assert len(PIPELINE) <= 15
    assert all(stage(name)["desc"] for name in PIPELINE)


def test_packages_hold_nothing_but_a_docstring() -> None:
    for module in modules():
        if source(module).endswith("__init__.py") and module != "whaleid.cli":  # its `main` is the program's entry
            tree = ast.parse((ROOT / source(module)).read_text(encoding="utf-8"))
            assert len(tree.body) == 1, module
            assert ast.get_docstring(tree), module


@pytest.mark.parametrize("name", PIPELINE)
def test_a_stage_is_run_by_its_own_working_copy(name: str) -> None:
    assert str(stage(name)["cmd"]).startswith(f"python -m whaleid {name}")
