"""When two photos are the same picture, and what follows for training and for the queries."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.pictures import picture
from PIL import Image, ImageOps

from whaleid.config import Data, load
from whaleid.core import paths
from whaleid.core.files import read_csv
from whaleid.core.record import Record
from whaleid.duplicates import groups, manifest
from whaleid.duplicates.matching import Matches
from whaleid.duplicates.pixels import errors
from whaleid.images.fingerprint import thumbnail
from whaleid.stages import catalog, dedup


def photos(*rows: tuple[str, str, str, int, int, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["Image", "Id", "part", "width", "height", "mode", "sha256"])


PHOTOS = photos(
    ("a", "w1", "train", 10, 10, "L", "1"),
    ("b", "w1", "train", 10, 10, "RGB", "2"),
    ("c", "w1", "train", 10, 9, "RGB", "3"),
    ("d", "w1", "train", 10, 10, "RGB", "2"),
    ("e", "w2", "train", 9, 9, "RGB", "5"),
    ("f", "new_whale", "train", 9, 9, "L", "6"),
    ("g", "", "test", 99, 99, "RGB", "7"),
    ("h", "w2", "train", 9, 9, "RGB", "8"),
    ("i", "", "test", 9, 9, "L", "9"),
    ("j", "", "test", 9, 9, "RGB", "10"),
    ("k", "new_whale", "train", 5, 5, "L", "11"),
    ("l", "", "test", 9, 9, "L", "12"),
)
GROUP = np.array([0, 0, 0, 0, 1, 1, 1, -1, 2, 2, 3, 3])


def compared(*rows: tuple[int, int, int, int, float]) -> Matches:
    pairs, orientation, distance, error = [row[:2] for row in rows], *zip(*(row[2:] for row in rows), strict=True)
    return Matches(np.array(pairs), np.array(orientation, np.uint8), np.array(distance, np.uint8), np.array(error))


COPIES = compared(
    (0, 1, 0, 2, 0.01),
    (2, 1, 1, 4, 0.02),
    (3, 1, 0, 0, 0.0),
    (5, 4, 0, 0, 0.0),
    (6, 4, 3, 6, 0.03),
    (8, 9, 2, 1, 0.04),
    (11, 10, 0, 0, 0.05),
)
"""Of each photo and the one that stands for it: orientation, bits, error."""


def test_the_best_photo_is_labelled_large_and_in_colour() -> None:
    order = np.argsort(groups.rank(PHOTOS))
    assert PHOTOS["Image"].iloc[order].tolist() == ["b", "d", "a", "c", "e", "h", "f", "k", "g", "j", "i", "l"]


def test_the_manifest_says_of_every_photo_what_becomes_of_it() -> None:
    found = manifest.manifest(PHOTOS, GROUP, COPIES)
    assert found[["photo", "group", "representative", "keep", "reason"]].values.tolist() == [
        ["a", 0, "b", False, "copy"],
        ["b", 0, "b", True, "best of its group"],
        ["c", 0, "b", False, "turned copy"],
        ["d", 0, "b", False, "same file"],
        ["e", 1, "e", False, "labels of its group differ"],
        ["f", 1, "e", False, "labels of its group differ"],
        ["g", 1, "e", False, "flipped copy"],
        ["h", -1, "h", True, "no duplicate"],
        ["i", 2, "j", False, "mirrored copy"],
        ["j", 2, "j", True, "best of its group"],
        ["k", 3, "k", True, "best of its group"],
        ["l", 3, "k", False, "copy"],
    ]
    assert found["distance"].tolist() == [2, 0, 4, 0, 0, 0, 6, 0, 1, 0, 0, 0]
    assert found["error"].tolist() == [0.01, 0, 0.02, 0, 0, 0, 0.03, 0, 0.04, 0, 0, 0.05]


def test_what_follows_from_the_manifest() -> None:
    found = manifest.manifest(PHOTOS, GROUP, COPIES)
    grouped = manifest.members(found)
    assert grouped.columns.tolist() == ["group", "Image", "part", "Id"]
    assert grouped["Image"].tolist() == list("abcdefgijkl")
    # new_whale is a label like any other
    assert manifest.conflicts(found).values.tolist() == [
        [1, "e", "w2", "new_whale w2"],
        [1, "f", "new_whale", "new_whale w2"],
    ]
    assert manifest.unique(found).values.tolist() == [["b", "w1"], ["h", "w2"], ["k", "new_whale"]]


def test_leaks_include_conflicts_and_come_closest_first() -> None:
    pairs = groups.leak_pairs(PHOTOS, GROUP)
    assert [(PHOTOS["Image"][q], PHOTOS["Image"][p]) for q, p in pairs.tolist()] == [("g", "e"), ("g", "f"), ("l", "k")]
    found = compared((6, 4, 0, 5, 0.04), (6, 5, 0, 1, 0.06), (11, 10, 0, 0, 0.0))
    leaks = manifest.leaks(PHOTOS, found, COPIES)
    assert leaks.columns.tolist() == ["query", "photo", "Id", "distance", "error", "confidence"]
    assert leaks[["query", "photo", "Id", "distance"]].values.tolist() == [
        ["g", "f", "new_whale", 1],
        ["g", "e", "w2", 5],
        ["l", "k", "new_whale", 0],
    ]


def test_confidence_is_what_labelled_duplicates_have_shown() -> None:
    # labelled copies: at 0.0 one agrees and one does not, at 0.01 and 0.02 one each agrees: no step falls, so 3 of 4,
    # and by Laplace's rule 4 of 6
    near, far = (6, 4, 0, 0, 0.0), (11, 10, 0, 0, 0.05)
    of = manifest.leaks(PHOTOS, compared(near, (6, 5, 0, 0, 0.0), far), COPIES).set_index("photo")["confidence"]
    assert of["k"] == pytest.approx(4 / 6)
    # the duplicates of g say two things
    assert of["e"] == pytest.approx(4 / 6 / 2)
    # at 0.01 and 0.02 two agree, at 0.03 one does not
    falling = compared((0, 1, 0, 0, 0.01), (2, 1, 0, 0, 0.02), (5, 4, 0, 0, 0.03))
    found = [
        manifest.leaks(PHOTOS, compared((11, 10, 0, 0, error)), falling)["confidence"][0] for error in (0.02, 0.03)
    ]
    assert found == pytest.approx([3 / 4, 1 / 3])
    assert manifest.leaks(PHOTOS, compared(far), COPIES[:0])["confidence"].tolist() == [0.5]


def test_no_duplicates_give_empty_tables() -> None:
    alone, group, none = PHOTOS.iloc[[0, 6]].reset_index(drop=True), np.array([-1, -1]), COPIES[:0]
    found = manifest.manifest(alone, group, none)
    assert found["reason"].tolist() == ["no duplicate", "no duplicate"]
    pairs = groups.leak_pairs(alone, group)
    assert pairs.shape == (0, 2)
    assert manifest.leaks(alone, none, none).empty
    assert manifest.members(found).empty
    assert manifest.conflicts(found).empty
    assert manifest.unique(found).values.tolist() == [["a", "w1"]]


def run(root: Path, **rule: float) -> Record:
    settings = load(Path(__file__).parents[2] / "params.yaml")
    settings = settings.model_copy(
        update={"data": Data(root=str(root)), "dedup": settings.dedup.model_copy(update=rule)}
    )
    catalog.run(settings)
    return dedup.run(settings)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photo 1 as a, larger and brighter as b, again as q in test; 2 as c and d under two labels and as r; 3 as e."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "whales"
    (root / "train").mkdir(parents=True)
    (root / "test").mkdir()
    picture(1).save(root / "train" / "a.png")
    ImageOps.autocontrast(picture(1, (192, 128)), cutoff=2).save(root / "train" / "b.png")
    picture(1).save(root / "test" / "q.jpg", quality=60)
    picture(2).save(root / "train" / "c.png")
    picture(2).save(root / "train" / "d.png")
    picture(2).save(root / "test" / "r.png")
    picture(3).save(root / "train" / "e.png")
    picture(4).save(root / "test" / "s.png")
    (root / "train.csv").write_text("Image,Id\na.png,w1\nb.png,w1\nc.png,w1\nd.png,w2\ne.png,w3\n")
    return root


def test_stage_finds_duplicates_of_files(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = run(root)
    assert read_csv(paths.GROUPS).values.tolist() == [
        [0, "a.png", "train", "w1"],
        [0, "b.png", "train", "w1"],
        [0, "q.jpg", "test", ""],
        [1, "c.png", "train", "w1"],
        [1, "d.png", "train", "w2"],
        [1, "r.png", "test", ""],
    ]
    assert read_csv(paths.CONFLICTS).values.tolist() == [[1, "c.png", "w1", "w1 w2"], [1, "d.png", "w2", "w1 w2"]]
    found = read_csv(paths.MANIFEST).set_index("photo")
    assert found.index.tolist() == ["a.png", "b.png", "c.png", "d.png", "e.png", "q.jpg", "r.png", "s.png"]
    assert found["reason"].tolist() == [
        "copy",
        "best of its group",
        "labels of its group differ",
        "labels of its group differ",
        "no duplicate",
        "copy",
        "same file",
        "no duplicate",
    ]
    assert found.index[found["keep"]].tolist() == ["b.png", "e.png", "s.png"]
    assert read_csv(paths.UNIQUE).values.tolist() == [["b.png", "w1"], ["e.png", "w3"]]
    leaks = read_csv(paths.LEAKS)
    assert leaks[["query", "photo", "Id"]].values.tolist() == [
        ["q.jpg", "a.png", "w1"],
        ["q.jpg", "b.png", "w1"],
        ["r.png", "c.png", "w1"],
        ["r.png", "d.png", "w2"],
    ]
    assert leaks["error"].between(0, 0.1).all()
    assert record.metrics == {
        "photos": 8,
        "groups": 2,
        "duplicates": 4,
        "conflicts": 2,
        "unique": 2,
        "leaks": 2,
        "plain": 0,
    }
    assert record.params == {"max_distance": 8, "max_error": 0.1, "turned": True, "mirrored": False}
    assert "6 photos in 2 groups of duplicates; 2 labelled photos thrown out" in capsys.readouterr().out


def test_stage_gives_the_same_bytes_again(root: Path) -> None:
    outputs = run(root).outputs
    once = [path.read_bytes() for path in outputs]
    assert [path.read_bytes() for path in run(root).outputs] == once


def test_pixels_must_confirm_an_equal_hash(root: Path) -> None:
    # alternating pixels are a frequency that the hash leaves out
    level = np.asarray(picture(3, (32, 32)), dtype=int) // 4 + 96
    sign = (np.indices(level.shape).sum(axis=0) % 2) * 2 - 1
    Image.fromarray(level.astype(np.uint8)).save(root / "test" / "plain.png")
    Image.fromarray((level + 60 * sign).astype(np.uint8)).save(root / "test" / "checked.png")

    run(root)
    found = read_csv(paths.CATALOG).set_index("Image")["phash"]
    assert found["plain.png"] == found["checked.png"]
    assert "plain.png" in read_csv(paths.GROUPS)["Image"].tolist()
    assert "checked.png" not in read_csv(paths.GROUPS)["Image"].tolist()

    run(root, max_error=1)
    assert "checked.png" in read_csv(paths.GROUPS)["Image"].tolist()


def test_frames_that_show_nothing_are_no_group(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, level in enumerate((0, 80, 80, 90)):
        Image.new("L", (120 + number, 60), level).save(root / "test" / f"haze{number}.png")
    (root / "test" / "again.png").write_bytes((root / "test" / "haze3.png").read_bytes())
    assert run(root).metrics["plain"] == 5
    assert "5 photos show too little for their hash to tell anything" in capsys.readouterr().out
    found = read_csv(paths.MANIFEST).set_index("photo")
    # the same file is the same picture, whatever it shows
    assert found.loc["haze3.png", "reason"] == "same file"
    assert found.loc["haze3.png", "representative"] == "again.png"
    assert (found.loc[["haze0.png", "haze1.png", "haze2.png"], "group"] == -1).all()


@pytest.mark.parametrize(("width", "found"), [(96, True), (104, True), (120, False)])
def test_a_squeezed_copy_must_agree_twice_as_well(width: int, found: bool) -> None:
    thumbnails = np.stack([thumbnail(picture(1)), thumbnail(picture(1).crop((6, 0, 96, 64)))])
    error = float(errors(thumbnails[:1], thumbnails[1:])[0])
    assert error > 0.001
    table = photos(("a", "w", "train", 96, 64, "L", "1"), ("b", "w", "train", width, 64, "L", "2"))
    rule = load(Path("params.yaml")).dedup.model_copy(update={"max_error": error * 1.5})
    assert groups.find(table, thumbnails, rule).group.tolist() == ([0, 0] if found else [-1, -1])


def test_a_chain_is_no_group() -> None:
    # each a little farther to the right than the one before
    views = [picture(1, (192, 128)).crop((left, 0, left + 150, 128)) for left in range(0, 40, 2)]
    thumbnails = np.stack([thumbnail(view) for view in views])
    table = photos(*((f"{n}", "w", "train", 150, 128, "L", f"{n}") for n in range(20)))
    rule = load(Path("params.yaml")).dedup
    found = groups.find(table, thumbnails, rule)
    assert groups.components(20, found.duplicates.pairs).tolist() == [0] * 20
    assert len(set(found.group.tolist())) > 1
    assert found.copies.error.max() <= groups.SPREAD * rule.max_error


def test_photos_turned_and_mirrored_are_duplicates_where_that_is_asked_for(root: Path) -> None:
    picture(3).rotate(180).save(root / "test" / "turned.png")
    ImageOps.mirror(picture(3)).save(root / "test" / "mirrored.png")
    for turned, mirrored in ((False, False), (True, False), (False, True), (True, True)):
        run(root, turned=turned, mirrored=mirrored)
        found = read_csv(paths.MANIFEST).set_index("photo")["reason"]
        assert (found["turned.png"] == "turned copy") == turned
        assert (found["mirrored.png"] == "mirrored copy") == mirrored


def test_report_shows_both_sides_of_the_border(root: Path) -> None:
    run(root)
    html = (paths.DUPLICATES / "report.html").read_text(encoding="utf-8")
    for said in (
        "The farthest duplicates",
        "Labels that differ",
        "w1 c.png",
        "w2 d.png",
        "query q.jpg",
        "data:image/jpeg",
    ):
        assert said in html
    assert "The closest other pairs" not in html  # there are none
    run(root, max_error=0)
    html = (paths.DUPLICATES / "report.html").read_text(encoding="utf-8")
    assert "The closest other pairs" in html
