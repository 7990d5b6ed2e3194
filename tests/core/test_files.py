"""Outputs are replaced atomically, and equal values are written as equal bytes."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from whaleid.core import files


def test_a_write_that_is_interrupted_keeps_the_previous_file(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("whole")
    with pytest.raises(KeyboardInterrupt), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_keeps_the_previous_folder(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "a").write_text("whole")
    with pytest.raises(OSError, match="No space"), files.replacing_folder(folder) as temporary:
        (temporary / "a").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert [(p.name, p.read_text()) for p in folder.iterdir()] == [("a", "whole")]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "out"
    for name in ("a", "b"):
        with files.replacing_folder(folder) as temporary:
            (temporary / name).write_text(name)
    assert [p.name for p in folder.iterdir()] == ["b"]


def test_temporary_files_of_a_killed_process_are_replaced_by_the_next_run(tmp_path: Path) -> None:
    file, folder = tmp_path / "toy.npz", tmp_path / "toy"
    for name in (".toy.partial", ".toy.before"):
        (tmp_path / name / "half").mkdir(parents=True)
    (tmp_path / ".toy.partial.npz").write_text("half a file, longer than the whole")
    with files.replacing(file) as temporary_file, files.replacing_folder(folder) as temporary_folder:
        temporary_file.write_text("whole")
        (temporary_folder / "whole").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy", "toy.npz"]
    assert ([path.name for path in folder.iterdir()], file.read_text()) == (["whole"], "whole")
    temporary_file.touch()
    files.remove(file)
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_the_target_of_a_leftover_link_is_not_overwritten(tmp_path: Path, link: Callable[[Path, Path], None]) -> None:
    original = tmp_path / "original.jpg"
    original.write_bytes(b"mine")
    link(original, tmp_path / ".x.partial.jpg")
    with files.replacing(tmp_path / "x.jpg") as temporary:
        temporary.write_bytes(b"other")
    assert original.read_bytes() == b"mine"
    assert (tmp_path / "x.jpg").read_bytes() == b"other"


def test_csv_bytes(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    files.write_csv(pd.DataFrame({"Image": ["é.jpg"], "Id": ["007"], "error": [1 / 3], "n": [2]}), path)
    assert path.read_bytes() == "Image,Id,error,n\né.jpg,007,0.333333,2\n".encode()
    assert files.read_csv(path).iloc[0].tolist() == ["é.jpg", "007", 0.333333, 2]


@pytest.mark.parametrize("label", ["nan", "NA", "", "007", "1e5", "True"])
def test_labels_stay_text(tmp_path: Path, label: str) -> None:
    path = tmp_path / "out.csv"
    files.write_csv(pd.DataFrame({"Image": ["a.jpg"], "Id": [label]}), path)
    assert files.read_csv(path)["Id"].tolist() == [label]


def test_json_bytes(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    files.write_json({"map5": 2 / 3, "n": 3}, path)
    assert path.read_text() == '{\n  "map5": 0.666667,\n  "n": 3\n}\n'
