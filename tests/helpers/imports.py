"""Run the command `import` and write small input files; all paths are relative to the working directory."""

import csv
import shlex
import zipfile
from pathlib import Path

import pytest
from helpers.pictures import picture
from helpers.project import ROOT
from typer.testing import CliRunner

from whaleid.cli.app import app
from whaleid.config import Data, load
from whaleid.core.errors import WhaleidError
from whaleid.stages import catalog


def save(path: str, seed: int) -> Path:
    """Save a picture of 96 x 64 pixels as `path`; every seed gives different bytes."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    picture(seed).save(path)
    return Path(path)


def write(path: str, *lines: str) -> None:
    """Write lines of text to a file, and create its folder."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("\n".join([*lines, ""]), encoding="utf-8")


def pack(archive: str, *members: tuple[str, str]) -> None:
    """Write a zip file; `members` are pairs of a source file and its name in the archive."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for source, name in members:
            file.write(source, name)


def call(arguments: str, to: str = "whales") -> str:
    """Run `whaleid import ARGUMENTS --to TO`, and return its output."""
    result = CliRunner().invoke(app, ["import", *shlex.split(arguments), "--to", to], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def refusal(arguments: str, to: str = "whales") -> str:
    """Run `whaleid import ARGUMENTS --to TO`, and return its error message."""
    with pytest.raises(WhaleidError) as caught:
        call(arguments, to)
    return str(caught.value)


def rows(path: str) -> list[list[str]]:
    """Return the cells of a csv file."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def names(folder: str) -> list[str]:
    """Return the sorted names of the entries of a folder."""
    return sorted(path.name for path in Path(folder).iterdir())


def state(folder: str) -> dict[str, tuple[bytes, int]]:
    """Return the content and the modification time of each file below `folder`."""
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def run_catalog(root: str) -> None:
    """Run the stage `catalog`, which checks all rows and photos of the catalogue folder `root`."""
    catalog.run(load(ROOT / "params.yaml").model_copy(update={"data": Data(root=root)}))
