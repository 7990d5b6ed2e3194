"""Find the imports of modules by parsing their source, without executing them."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def imports(module: str) -> set[str]:
    """Return the dotted names that `module` imports anywhere in its code, except under TYPE_CHECKING."""
    path = _file(module)
    assert path is not None, module
    names: set[str] = set()
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                names.add(inner if _file(inner) else node.module)
        pending.extend(ast.iter_child_nodes(node))
    return names


def closure(module: str) -> set[str]:
    """Return the whaleid modules that importing `module` loads: itself, its imports and their packages, recursively."""
    loaded: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name in loaded or not (name == "whaleid" or name.startswith("whaleid.")):
            continue
        loaded.add(name)
        pending += imports(name)
        if "." in name:
            pending.append(name.rpartition(".")[0])
    return loaded


def modules() -> list[str]:
    """Return the dotted names of all modules of the package."""
    files = sorted((ROOT / "whaleid").rglob("*.py"))
    return [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files]


def source(module: str) -> str:
    """Return the path of the source of `module`, relative to the project root."""
    path = _file(module)
    assert path is not None, module
    return path.relative_to(ROOT).as_posix()


def _file(module: str) -> Path | None:
    path = ROOT / module.replace(".", "/")
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None
