"""The rules that keep the rooms apart and the pipeline honest, read from the source."""

import ast

import pytest
from closure import ROOT, closure, imports, modules, source
from ruamel.yaml import YAML

PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
ROOMS = ["catalog", "dedup", "images", "model", "training", "identify", "report", "bundle", "stages"]


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def stage_module(name: str) -> str:
    return f"whaleid.stages.{name.split('-')[0]}"


def test_only_tracking_and_the_registry_import_mlflow() -> None:
    users = {module for module in modules() if any(name.split(".")[0] == "mlflow" for name in imports(module))}
    assert users == {"whaleid.tracking", "whaleid.registry"}


def test_only_where_models_come_from_is_timm_loaded_and_only_when_one_is_its() -> None:
    users = {module for module in modules() if any(name.split(".")[0] == "timm" for name in imports(module))}
    assert users == {"whaleid.model.zoo"}
    body = ast.parse((ROOT / source("whaleid.model.zoo")).read_text(encoding="utf-8")).body
    assert not any("timm" in ast.unparse(line) for line in body if isinstance(line, ast.Import | ast.ImportFrom))


def test_only_the_command_line_imports_these_and_nobody_imports_it() -> None:
    assert {module for module in modules() if "whaleid.registry" in imports(module)} == {"whaleid.cli"}
    users = {module for module in modules() if "whaleid.tracking" in imports(module)}
    assert users == {"whaleid.cli", "whaleid.registry"}
    assert {module for module in modules() if "whaleid.cli" in imports(module)} == {"whaleid.__main__"}


@pytest.mark.parametrize("module", modules())
def test_rooms_without_torch_have_none_in_their_closure(module: str) -> None:
    if room(module) not in ("catalog", "dedup", "identify") and module not in (
        "whaleid.stages.calibrate",
        "whaleid.stages.predict",
    ):
        return
    reached = {name.split(".")[0] for inner in closure(module) for name in imports(inner)}
    assert not reached & {"torch", "torchvision"}


@pytest.mark.parametrize("module", modules())
def test_data_flows_down_the_rooms(module: str) -> None:
    if room(module) not in ROOMS:
        return
    later = ROOMS[ROOMS.index(room(module)) + 1 :]
    assert not [name for name in imports(module) if name.startswith("whaleid.") and room(name) in later]


@pytest.mark.parametrize("module", modules())
def test_no_circles(module: str) -> None:
    reached = set().union(*(closure(name) for name in imports(module) if name.startswith("whaleid")), set())
    # a package holds its modules: it is reached from each of them, and imports none
    assert module not in reached or source(module).endswith("__init__.py")


@pytest.mark.parametrize("module", [m for m in modules() if room(m) in ("model", "training", "identify")])
def test_rooms_without_files_touch_none(module: str) -> None:
    tree = ast.parse((ROOT / source(module)).read_text(encoding="utf-8"))
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    banned = ("open", "np.load", "np.save", "np.savez", "pd.read_csv", "read_csv", "write_csv", "write_json")
    assert not [
        name for name in called if name in banned or name.endswith((".read_text", ".read_bytes", ".write_bytes"))
    ]
    assert "whaleid.core.files" not in imports(module)
    assert "whaleid.core.paths" not in imports(module)


@pytest.mark.parametrize("name", PIPELINE)
def test_a_stage_depends_on_the_code_it_runs(name: str) -> None:
    stage = PIPELINE[name].get("do", PIPELINE[name])
    declared = [dep for dep in stage["deps"] if dep.startswith("whaleid/")]
    # __init__.py files hold a docstring alone
    runs = {source(module) for module in closure(stage_module(name))}
    assert declared == sorted(path for path in runs if not path.endswith("__init__.py"))


def test_packages_hold_nothing_but_a_docstring() -> None:
    for module in modules():
        if source(module).endswith("__init__.py"):
            tree = ast.parse((ROOT / source(module)).read_text(encoding="utf-8"))
            assert len(tree.body) == 1, module
            assert ast.get_docstring(tree), module


@pytest.mark.parametrize("name", PIPELINE)
def test_a_stage_is_run_by_its_own_working_copy(name: str) -> None:
    stage = PIPELINE[name].get("do", PIPELINE[name])
    assert stage["cmd"].startswith(f"python -m whaleid {name.split('-')[0]}")
