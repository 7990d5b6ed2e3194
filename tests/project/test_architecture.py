"""The rules that keep the rooms apart and the pipeline honest, read from the source."""

import ast
import re
from typing import Any

from helpers.closure import ROOT, closure, imports, modules, source
from ruamel.yaml import YAML

STAGES: dict[str, Any] = {
    name: stage.get("do", stage)
    for name, stage in YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"].items()
}
IGNORED = set((ROOT / ".dvcignore").read_text(encoding="utf-8").splitlines())
# importing comes late: `add` records what a model answers
ROOMS = ["core", "sample", "catalog", "images", "duplicates", "model", "training", "detection"]
ROOMS += ["identification", "report", "serving", "importing", "stages", "tracking", "cli", "__main__"]
"""Each may import those before it. config.py stands outside: it holds types alone."""


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def users(library: str) -> set[str]:
    """Return the modules that import `library`, or a module of it."""
    return {
        module
        for module in modules()
        if any(f"{name}.".startswith(f"{library}.") for name in imports(module)) and module != library
    }


def tree(module: str) -> ast.Module:
    return ast.parse((ROOT / source(module)).read_text(encoding="utf-8"))


def test_imports_go_one_way() -> None:
    for module in modules():
        if room(module) in ROOMS:
            later = ROOMS[ROOMS.index(room(module)) + 1 :]
            assert not [name for name in imports(module) if name.startswith("whaleid.") and room(name) in later], module
        pending, reached = list(imports(module)), set()
        while pending:
            name = pending.pop()
            if name.startswith("whaleid") and name not in reached:
                reached.add(name)
                pending += imports(name)
        assert module not in reached, f"{module} imports itself in a circle"


def test_the_rooms_are_those_of_the_design() -> None:
    folders = {module.split(".")[1] for module in modules() if source(module).count("/") > 1}
    assert folders == set(ROOMS) - {"tracking", "__main__"}
    loose = {module for module in modules() if source(module).count("/") == 1}
    assert loose == {"whaleid", "whaleid.__main__", "whaleid.config", "whaleid.tracking"}
    assert {module.split(".")[2] for module in modules() if module.startswith("whaleid.stages.")} == set(STAGES)
    for module in modules():
        if source(module).endswith("__init__.py") and module != "whaleid.cli":  # its `main` is the program's entry
            assert len(tree(module).body) == 1, module
            assert ast.get_docstring(tree(module)), module


def test_who_imports_what() -> None:
    assert {room(user) for user in users("mlflow")} == {"tracking", "serving"}
    assert {room(user) for user in users("whaleid.tracking")} == {"cli"}
    assert {room(user) for user in users("whaleid.cli")} == {"cli", "__main__"}
    assert users("whaleid.stages") == set()  # a stage runs by its name alone: what two need is in a room
    assert users("timm") == {"whaleid.model.timm_models", "whaleid.model.distributed"}
    for module in users("timm"):  # loaded only for a model of timm's
        top = [line for line in tree(module).body if isinstance(line, ast.Import | ast.ImportFrom)]
        assert not any(re.search(r"\btimm\b", ast.unparse(line)) for line in top)
    without_torch = ("core", "sample", "catalog", "duplicates", "identification", "report")
    stages = [f"whaleid.stages.{name}" for name in ("calibrate", "rank", "predict", "report")]
    for module in modules():
        if room(module) in without_torch or module in stages:
            reached = {name.split(".")[0] for inner in closure(module) for name in imports(inner)}
            assert not reached & {"torch", "torchvision"}, module


def test_rooms_that_compute_read_no_files() -> None:
    banned = ("open", "np.load", "np.save", "np.savez", "pd.read_csv", "read_csv", "write_csv", "write_json")
    for module in modules():
        if room(module) not in ("model", "training", "identification"):
            continue
        called = {ast.unparse(node.func) for node in ast.walk(tree(module)) if isinstance(node, ast.Call)}
        files = [name for name in called if name.endswith((".read_text", ".read_bytes", ".write_bytes"))]
        assert not [*files, *(name for name in called if name in banned)], module
        assert not imports(module) & {"whaleid.core.files", "whaleid.core.paths"}, module


def test_a_stage_depends_on_the_code_that_it_runs() -> None:
    for name, stage in STAGES.items():
        declared = [dep for dep in stage["deps"] if dep.startswith("whaleid/")]
        assert declared == sorted(declared), name
        # __init__.py files hold a docstring alone; what .dvcignore names changes no result
        runs = {source(module) for module in closure(f"whaleid.stages.{name}")}
        runs = {path for path in runs if not path.endswith("__init__.py")} - IGNORED
        covers = {dep: [path for path in runs if path == dep or path.startswith(f"{dep}/")] for dep in declared}
        assert [dep for dep, paths in covers.items() if not paths] == [], name  # nothing that it does not run
        assert sorted(runs) == sorted({path for paths in covers.values() for path in paths}), name
        assert not {"whaleid", "whaleid/stages", "whaleid/cli", "whaleid/tracking.py"} & set(declared), name
    for path in sorted(entry for entry in IGNORED if entry.startswith("whaleid/")):
        module = path.removesuffix(".py").replace("/", ".")
        outer = {room(name) for name in imports(module) if name.startswith("whaleid.")}
        assert outer <= {"core", "config"}, f"{path} is ignored by DVC, so it may compute nothing"


def test_the_pipeline_is_read_in_two_minutes() -> None:
    lines = (ROOT / "dvc.yaml").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 230
    assert len(STAGES) <= 15
    for name, stage in STAGES.items():
        assert stage["desc"], name
        assert re.match(rf"python -m whaleid {name}\b", stage["cmd"]), name  # the code of its own working copy
