"""The command `duplicates` on any folder of images."""

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
    """Write picture 1 twice and once rotated, picture 2 once, and an invalid image; return the relative path."""
    monkeypatch.chdir(tmp_path)
    for name in ("photos/deep", "photos/.hidden", "others"):
        Path(name).mkdir(parents=True)
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


def run_duplicates(*words: str, code: int = 3) -> str:
    """Run the command and return its output; the default exit code means that some images are unreadable."""
    result = CliRunner().invoke(app, ["duplicates", *words], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def rows(path: str, *columns: str) -> list[list[object]]:
    values: list[list[object]] = pd.read_csv(path)[list(columns)].values.tolist()
    return values


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_copies_at_any_depth_are_found_and_files_are_not_changed(folder: Path) -> None:
    before = state(folder)
    output = run_duplicates("photos")
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
        ["photos/broken.jpg", "photos/broken.jpg: not an image in a known format"]
    ]
    html = Path("duplicates/report.html").read_text(encoding="utf-8")
    assert "photos/deep/b.PNG" in html
    assert "Turned or mirrored" in html
    assert not Path("duplicates/leaks.csv").exists()
    run_duplicates("photos", "--out", "again")
    for path in Path("duplicates").iterdir():
        assert path.read_bytes() == (Path("again") / path.name).read_bytes()


def test_options_change_which_images_are_copies(folder: Path) -> None:
    ImageOps.mirror(picture(2)).save("photos/mirrored.png")
    run_duplicates("photos", "--no-turned", "--out", "strict")
    assert [row[0] for row in rows("strict/manifest.csv", "photo", "keep") if not row[1]] == ["photos/deep/b.PNG"]
    run_duplicates("photos", "--mirrored", "--out", "loose")
    reasons = dict(rows("loose/manifest.csv", "photo", "reason"))
    assert reasons["photos/mirrored.png"] == "mirrored copy"
    run_duplicates("photos", "--max-error", "0", "--max-distance", "0", "--out", "none")
    assert all(row[0] for row in rows("none/manifest.csv", "keep"))


def test_images_are_compared_with_a_second_folder(folder: Path) -> None:
    before = state(folder) | state(Path("others"))
    assert "1 also in others" in run_duplicates("photos", "--against", "others")
    assert state(folder) | state(Path("others")) == before
    assert rows("duplicates/leaks.csv", "photo", "known") == [["photos/c.png", "others/x.gif"]]
    representatives = dict(rows("duplicates/manifest.csv", "photo", "representative"))
    # the image in the second folder is the representative, although it is smaller
    assert representatives["photos/c.png"] == "others/x.gif"
    assert representatives["photos/deep/b.PNG"] == "photos/a.jpg"
    assert not any(photo.startswith("others") for photo in representatives)


def test_a_search_of_one_folder_deletes_an_earlier_leaks_csv(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_duplicates("photos", "--against", "others")
    before = state(Path("duplicates"))

    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("whaleid.duplicates.folder.write_csv", disk_full)
        with pytest.raises(OSError, match="No space left"):
            run_duplicates("photos")
    assert state(Path("duplicates")) == before
    run_duplicates("photos")
    assert sorted(path.name for path in Path("duplicates").iterdir()) == [
        "manifest.csv",
        "report.html",
        "unreadable.csv",
    ]


def test_links_to_a_file_are_the_same_file(folder: Path) -> None:
    os.link("photos/c.png", "photos/linked.png")
    Path("photos/pointing.png").symlink_to(Path("photos/c.png").resolve())
    run_duplicates("photos")
    reasons = dict(rows("duplicates/manifest.csv", "photo", "reason"))
    assert (reasons["photos/linked.png"], reasons["photos/pointing.png"]) == ("same file", "same file")


def test_photos_are_sorted_by_their_full_paths(folder: Path) -> None:
    for name in ("photos/deep/z.jpg", "photos/deep-sea.jpg"):  # a hyphen sorts before a slash
        Path(name).write_bytes(b"no photo")
    run_duplicates("photos")
    assert [row[0] for row in rows("duplicates/unreadable.csv", "photo")] == [
        *("photos/broken.jpg", "photos/deep-sea.jpg", "photos/deep/z.jpg")
    ]


def test_a_file_name_that_csv_cannot_contain_is_listed_as_unreadable(folder: Path) -> None:
    (Path("photos") / "caf\udce9.png").write_bytes(Path("photos/c.png").read_bytes())
    assert "4 images, 1 groups, 2 copies, 2 unreadable" in run_duplicates("photos")
    assert rows("duplicates/unreadable.csv", "photo")[-1] == ["'photos/caf\\udce9.png'"]


def test_a_single_photo_has_no_duplicate(folder: Path) -> None:
    Path("one").mkdir()
    Image.new("L", (1, 1)).save("one/a.png")
    assert "1 images, 0 copies, 1 too plain" in run_duplicates("one", code=0)
    assert rows("duplicates/manifest.csv", "photo", "reason") == [["one/a.png", "no duplicate"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere is not a folder"),
        (["photos/a.jpg"], "photos/a.jpg is not a folder"),
        (["empty"], "empty contains no images."),
        (["photos", "--against", "photos/deep"], "photos and photos/deep overlap"),
        (["photos", "--against", "photos"], "photos and photos overlap"),
        (
            ["bad"],
            "No image in bad can be read (1 tried). Check whether they open in other programs. "
            "First error: bad/a.jpg: an empty file",
        ),
    ],
)
def test_after_an_error_nothing_is_written(folder: Path, words: list[str], message: str) -> None:
    Path("empty").mkdir()
    Path("bad").mkdir()
    Path("bad/a.jpg").write_bytes(b"")
    with pytest.raises(WhaleidError) as caught:
        run_duplicates(*words)
    assert message in str(caught.value)
    assert not Path("duplicates").exists()
