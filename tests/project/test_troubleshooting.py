"""docs/troubleshooting.md quotes errors that there are: each is the beginning or a part of one in the source."""

import ast
import errno
import os
import re
import signal
from functools import cache
from pathlib import Path

import dvc
import pytest
from helpers.pages import read
from helpers.project import ROOT, run

PAGE = ROOT / "docs/troubleshooting.md"
QUOTED = [line.strip("# `") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("### `")]
SYSTEM = {
    os.strerror(errno.ENOSPC),
    signal.strsignal(signal.SIGKILL),
    "No module named whaleid",  # of Python itself
    "OutOfMemoryError",  # of torch, see below
    "'…/dvc.yaml' does not exist",  # of DVC, which puts it together, see below
}


def templates(files: list[Path]) -> list[str]:
    """Return every text in the code, `…` standing for what is filled in."""
    found = []
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


@cache
def known() -> str:
    """Return every text of whaleid and of what of DVC is quoted, and the gate's and make's own."""
    tools = [Path(path) / name for path in dvc.__path__ for name in ("lock.py", "rwlock.py", "repo")]
    code = sorted(ROOT.glob("whaleid/**/*.py"))
    code += [file for tool in tools for file in (sorted(tool.glob("*.py")) if tool.is_dir() else [tool])]
    others = [(ROOT / name).read_text(encoding="utf-8") for name in (".ci/run", "Makefile")]
    return "\0".join([*templates(code), *others]).replace("`", "")


def test_each_error_is_one_that_the_program_gives() -> None:
    assert [quoted for quoted in QUOTED if quoted not in SYSTEM and quoted not in known()] == []


def test_the_page_quotes_nothing_twice_and_more_than_a_few() -> None:
    assert len(QUOTED) == len(set(QUOTED)) > 40


def test_torch_has_the_error_that_is_quoted() -> None:
    import torch

    assert issubclass(torch.OutOfMemoryError, RuntimeError)


def test_dvc_says_what_is_quoted_in_a_folder_below_the_projects(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    run(tmp_path, "dvc", "init", "--no-scm", "--quiet")
    with pytest.raises(AssertionError, match=f"'{inner}/dvc.yaml' does not exist"):
        run(inner, "dvc", "repro")


def test_each_entry_says_something() -> None:
    entries = re.split(r"^### .*$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert len(entries) >= len(QUOTED)
    assert min(len(entry.partition("\n## ")[0].strip()) for entry in entries) > 30


def test_an_error_that_is_gone_would_be_seen() -> None:
    assert "… does not exist: run this in the folder of the project." not in known()
    assert read(PAGE).headings
