"""The command that finds the same pictures in any folder, as a user calls it."""

import os
from pathlib import Path

import pandas as pd
import pytest
from helpers.pictures import picture
from PIL import Image, ImageOps
from typer.testing import CliRunner

from whaleid.cli.app import app
from whaleid.core.errors import WhaleidError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photo 1 twice and turned, 2 once, and a file that is none; all names relative."""
    monkeypatch.chdir(tmp_path)
    for place in ("photos/deep", "photos/.hidden", "others"):
        Path(place).mkdir(parents=True)
    picture(1, (192, 128)).save("photos/a.jpg")
    picture(1).convert("RGB").save("photos/deep/b.PNG")
    picture(1).rotate(180).save("photos/turned.tif")
    picture(2).save("photos/c.png")
    picture(1).save("photos/.hidden/d.png")
    Path("photos/broken.jpg").write_bytes(b"no photo")
    Path("photos/notes.txt").write_text("no image either")
    picture(2, (60, 40)).save("others/x.gif")
    picture(3).save("others/y.bmp")
    return Path("photos")


def call(*words: str, code: int = 3) -> str:
    """Run the command; by default, some photos cannot be read."""
    done = CliRunner().invoke(app, ["duplicates", *words], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def rows(path: str, *columns: str) -> list[list[object]]:
    values: list[list[object]] = pd.read_csv(path)[list(columns)].values.tolist()
    return values


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_copies_are_found_at_any_depth_and_no_file_is_touched(folder: Path) -> None:
    before = state(folder)
    output = call("photos")
    assert state(folder) == before
    assert "4 images, 1 groups, 2 copies, 1 unreadable" in output
    assert "duplicates/unreadable.csv lists the images that could not be read, and why\n" in output
    assert rows("duplicates/manifest.csv", "photo", "group", "representative", "keep", "reason") == [
        ["photos/a.jpg", 0, "photos/a.jpg", True, "best of its group"],
        ["photos/c.png", -1, "photos/c.png", True, "no duplicate"],
        ["photos/deep/b.PNG", 0, "photos/a.jpg", False, "copy"],
        ["photos/turned.tif", 0, "photos/a.jpg", False, "turned copy"],
    ]
    assert rows("duplicates/unreadable.csv", "photo", "reason") == [
        ["photos/broken.jpg", "photos/broken.jpg: no image in a format that is known"]
    ]
    html = Path("duplicates/report.html").read_text(encoding="utf-8")
    assert "photos/deep/b.PNG" in html
    assert "Turned or mirrored" in html
    assert not Path("duplicates/leaks.csv").exists()
    call("photos", "--out", "again")
    for path in Path("duplicates").iterdir():
        assert path.read_bytes() == (Path("again") / path.name).read_bytes()


def test_options_change_what_is_a_copy(folder: Path) -> None:
    ImageOps.mirror(picture(2)).save("photos/mirrored.png")
    call("photos", "--no-turned", "--out", "strict")
    assert [row[0] for row in rows("strict/manifest.csv", "photo", "keep") if not row[1]] == ["photos/deep/b.PNG"]
    call("photos", "--mirrored", "--out", "loose")
    reasons = dict(rows("loose/manifest.csv", "photo", "reason"))
    assert reasons["photos/mirrored.png"] == "mirrored copy"
    call("photos", "--max-error", "0", "--max-distance", "0", "--out", "none")
    assert all(row[0] for row in rows("none/manifest.csv", "keep"))


def test_a_folder_is_compared_with_another(folder: Path) -> None:
    before = state(folder) | state(Path("others"))
    assert "1 also in others" in call("photos", "--against", "others")
    assert state(folder) | state(Path("others")) == before
    assert rows("duplicates/leaks.csv", "photo", "known") == [["photos/c.png", "others/x.gif"]]
    representatives = dict(rows("duplicates/manifest.csv", "photo", "representative"))
    # what is there already stands for what is new, though it is smaller
    assert representatives["photos/c.png"] == "others/x.gif"
    assert representatives["photos/deep/b.PNG"] == "photos/a.jpg"
    assert not any(photo.startswith("others") for photo in representatives)


def test_a_search_of_one_folder_leaves_no_comparison_of_an_earlier_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("photos", "--against", "others")
    before = state(Path("duplicates"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("whaleid.duplicates.folder.write_csv", full)
        with pytest.raises(OSError, match="No space left"):
            call("photos")
    assert state(Path("duplicates")) == before
    call("photos")
    assert sorted(path.name for path in Path("duplicates").iterdir()) == [
        "manifest.csv",
        "report.html",
        "unreadable.csv",
    ]


def test_two_names_of_one_file_are_the_same_file(folder: Path) -> None:
    os.link("photos/c.png", "photos/linked.png")
    Path("photos/pointing.png").symlink_to(Path("photos/c.png").resolve())
    call("photos")
    reasons = dict(rows("duplicates/manifest.csv", "photo", "reason"))
    assert (reasons["photos/linked.png"], reasons["photos/pointing.png"]) == ("same file", "same file")


def test_photos_are_sorted_by_their_whole_names(folder: Path) -> None:
    for name in ("photos/deep/z.jpg", "photos/deep-sea.jpg"):  # a hyphen sorts before a slash
        Path(name).write_bytes(b"no photo")
    call("photos")
    assert [row[0] for row in rows("duplicates/unreadable.csv", "photo")] == [
        *("photos/broken.jpg", "photos/deep-sea.jpg", "photos/deep/z.jpg")
    ]


def test_a_name_that_no_csv_holds_is_listed(folder: Path) -> None:
    (Path("photos") / "caf\udce9.png").write_bytes(Path("photos/c.png").read_bytes())
    assert "4 images, 1 groups, 2 copies, 2 unreadable" in call("photos")
    assert rows("duplicates/unreadable.csv", "photo")[-1] == ["'photos/caf\\udce9.png'"]


def test_a_single_photo_is_no_duplicate(folder: Path) -> None:
    Path("one").mkdir()
    Image.new("L", (1, 1)).save("one/a.png")
    assert "1 images, 0 copies, 1 too plain" in call("one", code=0)
    assert rows("duplicates/manifest.csv", "photo", "reason") == [["one/a.png", "no duplicate"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere is not a folder"),
        (["photos/a.jpg"], "photos/a.jpg is not a folder"),
        (["empty"], "empty contains no images. The names of images end in .jpg"),
        (["photos", "--against", "photos/deep"], "photos and photos/deep overlap"),
        (["photos", "--against", "photos"], "photos and photos overlap"),
        (["bad"], "No image in bad can be read (1 tried). First error: bad/a.jpg: an empty file"),
    ],
)
def test_refusals_write_nothing(folder: Path, words: list[str], message: str) -> None:
    Path("empty").mkdir()
    Path("bad").mkdir()
    Path("bad/a.jpg").write_bytes(b"")
    with pytest.raises(WhaleidError) as caught:
        call(*words)
    assert message in str(caught.value)
    assert not Path("duplicates").exists()
