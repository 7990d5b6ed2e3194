"""The command `identify`: its output, its files, and the libraries that it imports."""

import builtins
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pandas as pd
import pytest
from helpers.closure import closure, imports
from helpers.project import ROOT

from whaleid import config
from whaleid.cli import photos
from whaleid.core import paths
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.identification.ranking import LABELS, PROBABILITIES
from whaleid.serving import about, identify, registry

MODEL = Path("models/final.bundle")
REVIEWED = f"{','.join(identify.COLUMNS)}\na.jpg,ann{',' * 13}\n"
UNNEEDED = {"jinja2", "joblib", "matplotlib", "mlflow", "pytorch_metric_learning", "sklearn", "timm"}
"""Libraries that `identify` must not import, because they are slow to load and not needed."""


def test_missing_inputs_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputProblems, match=r"Photos or folders that do not exist \(2\):\n  a\n  b"):
        identify.run([Path("a"), Path("b")], MODEL, None, None, None, None, None)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"Photo,Whale\na.jpg,\n", "t.csv exists and is not a table that identify has written: choose another file."),
        (b"photo,whale\na.jpg,\n", "t.csv exists and is not a table that identify has written"),
        (b"my notes on whales\n", "t.csv exists and is not a table that identify has written"),
        ("photo,whale\na.jpg,José\n".encode("latin-1"), "t.csv exists and is not a table that identify has written"),
        (b"\x00\xff\x13", "t.csv exists and is not a table that identify has written"),
        (REVIEWED.encode(), "t.csv has 1 reviewed photos, which would be overwritten. Run `whaleid add"),
        (REVIEWED.encode("utf-16"), "t.csv has 1 reviewed photos"),
        (REVIEWED.replace(",", ";").encode("utf-8-sig"), "t.csv has 1 reviewed photos"),
        (REVIEWED.replace(",", "\t").replace("\n", "\r\n").encode(), "t.csv has 1 reviewed photos"),
        (b"sep=;\n" + REVIEWED.replace(",", ";").encode(), "t.csv has 1 reviewed photos"),
    ],
)
def test_a_file_is_overwritten_only_if_nothing_is_lost(tmp_path: Path, content: bytes, error: str) -> None:
    table = tmp_path / "t.csv"
    table.write_bytes(content)
    with pytest.raises(WhaleidError) as caught:
        identify.run([tmp_path], MODEL, None, None, table, None, None)
    assert error in str(caught.value)
    assert table.read_bytes() == content


@pytest.mark.parametrize("content", [b"\xff\xd8\xff", b'{"images": []}', b"photo,whale\na.jpg,ann\n", b"<html>notes"])
def test_other_files_are_not_overwritten(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for json_file, html in ((path, None), (None, path)):
        with pytest.raises(WhaleidError, match=r"a.jpg exists and is not a file that identify has written: choose an"):
            identify.run([tmp_path], MODEL, None, None, None, json_file, html)
    assert path.read_bytes() == content


@pytest.mark.slow
def test_files_have_the_printed_answers(
    in_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "<b>photos"
    folder.mkdir()
    for path in sorted(Path("data/sample/test").iterdir())[:3]:
        shutil.copy(path, folder)
    shutil.copy(sorted(Path("data/sample/train").iterdir())[0], folder / "copy.jpg")
    (folder / "broken.jpg").write_bytes(b"none")
    table, text, page = (tmp_path / name for name in ("a.csv", "a.json", "a.html"))
    table.write_text(f"{','.join(identify.COLUMNS)}\n{'a.jpg':,<{len(identify.COLUMNS) + 4}}\n")  # not reviewed
    assert identify.run([folder, folder / "copy.jpg"], MODEL, None, None, table, text, page) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith(str(folder))]) == 5  # each photo once
    assert any("not read: " in line and "not an image in a known format" in line for line in lines)
    assert any(line.strip().startswith("same picture as ") for line in lines)
    rows = pd.read_csv(table, keep_default_na=False, dtype=str)
    assert list(rows) == ["photo", "whale", *LABELS, *PROBABILITIES, "same_as", "same_as_whale", "problem"]
    assert rows["photo"].tolist() == [str(path) for path in sorted(folder.iterdir())]
    answers = json.loads(text.read_text())
    assert [answer["photo"] for answer in answers] == rows["photo"].tolist()
    for answer, (_, row) in zip(answers, rows.iterrows(), strict=True):
        assert [name["whale"] for name in answer["names"]] == [row[label] for label in LABELS if row[label]]
        assert [name["probability"] for name in answer["names"]] == [float(row[p]) for p in PROBABILITIES if row[p]]
    html = page.read_text()
    assert "<b>photos" not in html.split("<body>")[1].replace("&lt;b&gt;", "")
    assert "same picture as" in html
    assert html.count('class="strip"') == 5
    assert html.count("no photo") == 1  # broken.jpg

    # a photo that is removed after it was identified has no picture on the page
    print_lines = builtins.print

    def remove_and_print(*texts: object, **options: object) -> None:
        (folder / "copy.jpg").unlink(missing_ok=True)
        print_lines(*texts, **options)  # type: ignore[call-overload]

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "print", remove_and_print)
        identify.run([folder], MODEL, None, None, None, None, page)
    assert page.read_text().count("no photo") == 2

    reviewed = table.read_text().replace(",,", ",new,", 1)
    table.write_text(reviewed)
    with pytest.raises(WhaleidError, match=r"a\.csv has 1 reviewed photos, .*\. Run `whaleid add"):
        identify.run([folder], MODEL, None, None, table, None, None)
    assert table.read_text() == reviewed


@pytest.mark.slow
def test_the_threshold_of_the_project_applies_to_its_own_model_only(
    in_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = config.load(paths.PARAMS).model_copy(update={"threshold": 0.0})
    monkeypatch.setattr(photos, "load_params", lambda: settings)
    elsewhere = shutil.copytree(MODEL, tmp_path / "elsewhere.bundle", copy_function=os.link)

    def rank_of_new_whale(**options: object) -> int:
        photos.identify([sorted(Path("data/sample/test").iterdir())[0]], **options)  # type: ignore[arg-type]
        words = capsys.readouterr().out.split()
        return words[1::2].index("new_whale") + 1 if "new_whale" in words else 0

    assert rank_of_new_whale() == 0  # five whales are above the threshold 0
    assert rank_of_new_whale(threshold=1.0) == 1
    bundled = about.read(MODEL).threshold
    assert rank_of_new_whale(model=str(elsewhere)) == rank_of_new_whale(threshold=bundled) > 0


CODE = """
import sys
from types import ModuleType
import whaleid.serving.model

loaded = [module for name, module in sys.modules.items() if name.startswith("whaleid")]
used = {value.__name__ for module in loaded for value in vars(module).values() if isinstance(value, ModuleType)}
print(*used)
import whaleid.cli, whaleid.serving.identify
print(*{name.split(".")[0] for name in sys.modules})
"""
"""Prints the modules that whaleid's modules reference after the import of the served model, and the libraries that are
loaded for `identify`."""


@pytest.mark.slow
def test_only_the_required_libraries_are_imported() -> None:
    command = [sys.executable, "-c", CODE]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=100)
    used, loaded = (set(line.split()) for line in result.stdout.splitlines())
    assert "torch" in loaded
    assert not loaded & UNNEEDED

    # the requirements of the served model are exactly the libraries that its code imports
    static = {name for module in closure("whaleid.serving.model") for name in imports(module)}
    libraries = {name.split(".")[0] for name in static | used}
    # timm only for its own models, distributed only with WHALEID_DASK, pillow_heif only for HEIC images
    libraries -= {"whaleid", "timm", "distributed", "pillow_heif"}
    known = packages_distributions()
    # if several distributions match, the shortest name: ruamel.yaml.clib is part of ruamel.yaml
    required = {min(known[name], key=len).lower() for name in libraries if name in known}
    assert required == {name.lower() for name in registry.REQUIREMENTS}
