"""A second look at photos reads only what changed."""

import os
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest
from pictures import picture

from whaleid.images import cache, prints, scanning
from whaleid.images.fingerprint import Fingerprint, fingerprint


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"{seed}.png" for seed in range(6)]
    for seed, path in enumerate(files):
        picture(seed).save(path)
        aged(path)
    return files


def aged(path: Path, seconds: float = 60) -> None:
    at = time.time() - seconds
    os.utime(path, (at, at))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the photos that are read, from now on."""
    names: list[str] = []

    def noted(path: Path) -> Fingerprint | str:
        names.append(path.name)
        return fingerprint(path)

    monkeypatch.setattr(scanning, "fingerprint", noted)
    return names


def test_only_what_changed_is_read_again(photos: list[Path], read: list[str]) -> None:
    first = scanning.scan(photos)
    assert first == [fingerprint(path) for path in photos]
    assert read == [path.name for path in photos]
    read.clear()
    assert scanning.scan(photos) == first
    assert read == []

    picture(9).save(photos[2])  # as long ago as before, but of another size
    aged(photos[2])
    os.utime(photos[4], (time.time() - 30, time.time() - 30))  # the same, but changed at another time
    second = scanning.scan(photos[::-1])[::-1]
    assert sorted(read) == ["2.png", "4.png"]
    assert second == [fingerprint(path) for path in photos]
    assert second[2] != first[2]


def test_a_file_that_changed_a_moment_ago_is_read_again(photos: list[Path], read: list[str]) -> None:
    aged(photos[0], seconds=0)
    scanning.scan(photos)
    read.clear()
    scanning.scan(photos)
    assert read == ["0.png"]


def test_what_cannot_be_read_is_told_each_time(photos: list[Path], read: list[str]) -> None:
    photos[1].write_bytes(b"no photo")
    aged(photos[1])
    photos[3].unlink()
    for _ in range(2):
        found = scanning.scan(photos)
        assert [each for each in found if isinstance(each, str)] == [
            f"{photos[1]}: no image in a format that is known",
            f"{photos[3]}: cannot be read (No such file or directory)",
        ]
    assert read.count("1.png") == 2
    assert read.count("0.png") == 1


def test_a_scan_that_was_killed_goes_on_where_it_was(
    photos: list[Path], read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "KEPT", 2)
    noted = scanning.fingerprint

    def killed(path: Path) -> Fingerprint | str:
        if path.name == "5.png":
            raise KeyboardInterrupt
        return noted(path)

    monkeypatch.setattr(scanning, "fingerprint", killed)
    with pytest.raises(KeyboardInterrupt):
        scanning.scan(photos)
    monkeypatch.setattr(scanning, "fingerprint", noted)
    read.clear()
    scanning.scan(photos)
    assert read == ["4.png", "5.png"]


@pytest.mark.parametrize("what", ["a file in its place", "no database"])
def test_a_cache_that_cannot_be_used_is_told_and_gone_without(
    what: str, photos: list[Path], read: list[str], cache_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if what == "no database":
        cache.location().parent.mkdir()
        cache.location().write_text("this is no database, " * 100)
    else:
        (cache_folder / "whaleid").write_text("")
    for _ in range(2):
        assert all(isinstance(each, Fingerprint) for each in scanning.scan(photos))
    assert len(read) == 12
    assert "photos are read anew" in capsys.readouterr().err


def test_a_full_disk_stops_no_scan(
    photos: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with cache.opened() as kept:
        kept._connection.execute("pragma query_only = on")
        kept.keep([(cache.seen(photos[0]), scanning.scan(photos[:1])[0])])
    assert "what photos are could not be kept (attempt to write a readonly database)" in capsys.readouterr().err


def test_another_pillow_has_another_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache.location()
    monkeypatch.setattr("PIL.__version__", "99.0")
    assert cache.location() != before


def test_what_is_kept_can_be_read_by_others(photos: list[Path]) -> None:
    scanning.scan(photos)
    with sqlite3.connect(cache.location()) as connection:
        assert connection.execute("select count(*) from photo").fetchone() == (6,)


def test_facts_and_thumbnails_of_a_scan(photos: list[Path]) -> None:
    found = [each for each in scanning.scan(photos) if isinstance(each, Fingerprint)]
    table = prints.table(found)
    assert table.columns.tolist() == ["width", "height", "mode", "bytes", "sha256"]
    assert table["width"].tolist() == [96] * 6
    assert table["bytes"].tolist() == [path.stat().st_size for path in photos]
    assert prints.thumbnails(found).shape == (6, 32, 32)
    assert prints.thumbnails(found).dtype == np.uint16
    assert prints.thumbnails([]).shape == (0, 32, 32)


def test_many_photos_are_read_in_processes_in_their_order(tmp_path: Path) -> None:
    files = []
    for number in range(520):
        files.append(tmp_path / f"{number:03d}.png")
        picture(number % 7, (12 + number % 5, 8)).save(files[-1])
    assert scanning.scan(files) == [fingerprint(path) for path in files]
