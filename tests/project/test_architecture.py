"""Architecture rules, checked on the source code: imports between packages, and the dependencies of stages."""

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
# importing comes after serving: `add` records the answers of a model
PACKAGES = ["core", "sample", "catalog", "images", "duplicates", "model", "training", "detection"]
PACKAGES += ["identification", "report", "serving", "importing", "stages", "tracking", "cli", "__main__"]
"""Subpackages and modules in import order: each may import those before it. config.py, which only defines types, is not
restricted."""


def package(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def importers(library: str) -> set[str]:
    """Return the modules that import `library` or one of its submodules."""
    return {
        module
        for module in modules()
        if any(f"{name}.".startswith(f"{library}.") for name in imports(module)) and module != library
    }


def parse(module: str) -> ast.Module:
    return ast.parse((ROOT / source(module)).read_text(encoding="utf-8"))


def test_imports_follow_the_order() -> None:
    for module in modules():
        if package(module) in PACKAGES:
            later = PACKAGES[PACKAGES.index(package(module)) + 1 :]
            assert not [name for name in imports(module) if name.startswith("whaleid.") and package(name) in later], (
                module
            )
        pending, imported = list(imports(module)), set()
        while pending:
            name = pending.pop()
            if name.startswith("whaleid") and name not in imported:
                imported.add(name)
                pending += imports(name)
        assert module not in imported, f"{module} is part of an import cycle"


def test_the_list_of_packages_is_complete() -> None:
    folders = {module.split(".")[1] for module in modules() if source(module).count("/") > 1}
    assert folders == set(PACKAGES) - {"tracking", "__main__"}
    top_level = {module for module in modules() if source(module).count("/") == 1}
    assert top_level == {"whaleid", "whaleid.__main__", "whaleid.config", "whaleid.tracking"}
    assert {module.split(".")[2] for module in modules() if module.startswith("whaleid.stages.")} == set(STAGES)
    for module in modules():
        if source(module).endswith("__init__.py") and module != "whaleid.cli":  # its `main` is the entry point
            assert len(parse(module).body) == 1, module
            assert ast.get_docstring(parse(module)), module


def test_libraries_are_imported_only_where_allowed() -> None:
    assert {package(importer) for importer in importers("mlflow")} == {"tracking", "serving"}
    assert {package(importer) for importer in importers("whaleid.tracking")} == {"cli"}
    assert {package(importer) for importer in importers("whaleid.cli")} == {"cli", "__main__"}
    assert (
        importers("whaleid.stages") == set()
    )  # stages are loaded by name; code that two stages need is in a subpackage
    assert importers("timm") == {"whaleid.model.timm_models", "whaleid.model.distributed"}
    for module in importers("timm"):  # imported only for a timm model
        top = [line for line in parse(module).body if isinstance(line, ast.Import | ast.ImportFrom)]
        assert not any(re.search(r"\btimm\b", ast.unparse(line)) for line in top)
    without_torch = ("core", "sample", "catalog", "duplicates", "identification", "report")
    stages = [f"whaleid.stages.{name}" for name in ("calibrate", "rank", "predict", "report")]
    for module in modules():
        if package(module) in without_torch or module in stages:
            imported = {name.split(".")[0] for inner in closure(module) for name in imports(inner)}
            assert not imported & {"torch", "torchvision"}, module


def test_packages_that_compute_access_no_files() -> None:
    forbidden = ("open", "np.load", "np.save", "np.savez", "pd.read_csv", "read_csv", "write_csv", "write_json")
    for module in modules():
        if package(module) not in ("model", "training", "identification"):
            continue
        calls = {ast.unparse(node.func) for node in ast.walk(parse(module)) if isinstance(node, ast.Call)}
        files = [name for name in calls if name.endswith((".read_text", ".read_bytes", ".write_bytes"))]
        assert not [*files, *(name for name in calls if name in forbidden)], module
        assert not imports(module) & {"whaleid.core.files", "whaleid.core.paths"}, module


def test_a_stage_depends_on_the_code_that_it_runs() -> None:
    for name, stage in STAGES.items():
        declared = [dep for dep in stage["deps"] if dep.startswith("whaleid/")]
        assert declared == sorted(declared), name
        # __init__.py files contain only a docstring; files in .dvcignore do not affect results
        runs = {source(module) for module in closure(f"whaleid.stages.{name}")}
        runs = {path for path in runs if not path.endswith("__init__.py")} - IGNORED
        covered = {dep: [path for path in runs if path == dep or path.startswith(f"{dep}/")] for dep in declared}
        assert [dep for dep, paths in covered.items() if not paths] == [], name  # no unused dependency
        assert sorted(runs) == sorted({path for paths in covered.values() for path in paths}), name
        assert not {"whaleid", "whaleid/stages", "whaleid/cli", "whaleid/tracking.py"} & set(declared), name
    for path in sorted(entry for entry in IGNORED if entry.startswith("whaleid/")):
        module = path.removesuffix(".py").replace("/", ".")
        outer = {package(name) for name in imports(module) if name.startswith("whaleid.")}
        assert outer <= {"core", "config"}, f"{path} is ignored by DVC, so it must not affect results"


def test_dvc_yaml_is_short_and_consistent() -> None:
    lines = (ROOT / "dvc.yaml").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 230
    assert len(STAGES) <= 15
    for name, stage in STAGES.items():
        assert stage["desc"], name
        assert re.match(rf"python -m whaleid {name}\b", stage["cmd"]), (
            name
        )  # `python -m` runs the code of the working copy
