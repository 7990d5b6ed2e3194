"""Find duplicates in memory, and run the stage `dedup` on files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.pictures import picture
from PIL import Image, ImageOps

from whaleid.config import Data, Dedup, load
from whaleid.core import paths
from whaleid.core.files import read_csv
from whaleid.core.record import Record
from whaleid.duplicates.groups import components
from whaleid.duplicates.search import Duplicates, find_duplicates
from whaleid.images.fingerprint import thumbnail
from whaleid.stages import catalog, dedup

RULE = Dedup(max_distance=8, max_error=0.1, turned=True, mirrored=False)


def search(*images: Image.Image, **rule: float) -> Duplicates:
    """Find the duplicates in labelled photos named 0, 1, …"""
    photos = pd.DataFrame({"Image": [str(number) for number in range(len(images))], "Id": "w", "part": "train"})
    photos = photos.assign(width=[image.width for image in images], height=[image.height for image in images])
    photos = photos.assign(mode="L", sha256=photos["Image"])
    return find_duplicates(photos, np.stack([thumbnail(image) for image in images]), RULE.model_copy(update=rule))


def test_equal_hashes_are_rejected_if_pixels_differ() -> None:
    # the hash ignores the frequency of a checkerboard
    level = np.asarray(picture(3, (32, 32)), dtype=int) // 4 + 96
    checkerboard = (np.indices(level.shape).sum(axis=0) % 2) * 2 - 1
    smooth, checked = (Image.fromarray(pixels.astype(np.uint8)) for pixels in (level, level + 60 * checkerboard))
    duplicates = search(picture(3, (64, 64)), smooth, checked)
    assert duplicates.manifest["group"].tolist() == [0, 0, -1]
    assert duplicates.confirmed[["left", "right"]].to_numpy().tolist() == [[0, 1]]
    assert duplicates.rejected[["left", "right", "distance"]].to_numpy().tolist() == [[0, 2, 2], [1, 2, 0]]
    assert search(picture(3, (64, 64)), smooth, checked, max_error=1).manifest["group"].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("turned", "mirrored", "reasons"),
    [
        (False, False, ["no duplicate", "no duplicate", "no duplicate", "no duplicate"]),
        (True, False, ["best of its group", "turned copy", "best of its group", "turned copy"]),
        (False, True, ["best of its group", "best of its group", "mirrored copy", "mirrored copy"]),
        (True, True, ["best of its group", "turned copy", "mirrored copy", "flipped copy"]),
    ],
)
def test_the_rule_decides_whether_turned_and_mirrored_photos_are_copies(
    turned: bool, mirrored: bool, reasons: list[str]
) -> None:
    images = picture(3), picture(3).rotate(180), ImageOps.mirror(picture(3)), ImageOps.flip(picture(3))
    assert search(*images, turned=turned, mirrored=mirrored).manifest["reason"].tolist() == reasons


def test_a_chain_of_similar_photos_is_split_into_groups() -> None:
    # each crop starts two pixels farther to the right
    crops = [picture(1, (192, 128)).crop((left, 0, left + 150, 128)) for left in range(0, 40, 2)]
    duplicates = search(*crops)
    assert components(20, duplicates.confirmed[["left", "right"]].to_numpy()).tolist() == [0] * 20
    assert duplicates.manifest["group"].nunique() > 1
    # the limit between a member and its representative is twice that of a pair
    assert 0.1 < duplicates.copies["error"].max() <= 0.2


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a catalogue: a, b (larger, brighter) and the query q show picture 1; c, d (other label) and r picture 2."""
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


def run(root: Path, **rule: float) -> Record:
    settings = load(Path(__file__).parents[2] / "params.yaml")
    dedup_rule = settings.dedup.model_copy(update=rule)
    settings = settings.model_copy(update={"data": Data(root=str(root)), "dedup": dedup_rule})
    catalog.run(settings)
    return dedup.run(settings)


def test_the_stage_writes_groups_conflicts_manifest_and_leaks(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = run(root)
    assert "6 photos in 2 duplicate groups; 2 labelled photos excluded" in capsys.readouterr().out
    assert read_csv(paths.GROUPS).to_numpy().tolist() == [
        [0, "a.png", "train", "w1"],
        [0, "b.png", "train", "w1"],
        [0, "q.jpg", "test", ""],
        [1, "c.png", "train", "w1"],
        [1, "d.png", "train", "w2"],
        [1, "r.png", "test", ""],
    ]
    assert read_csv(paths.CONFLICTS).to_numpy().tolist() == [
        [1, "c.png", "w1", "w1 w2"],
        [1, "d.png", "w2", "w1 w2"],
    ]
    assert read_csv(paths.MANIFEST)[["photo", "representative", "keep", "reason"]].to_numpy().tolist() == [
        ["a.png", "b.png", False, "copy"],
        ["b.png", "b.png", True, "best of its group"],
        ["c.png", "c.png", False, "labels of its group differ"],
        ["d.png", "c.png", False, "labels of its group differ"],
        ["e.png", "e.png", True, "no duplicate"],
        ["q.jpg", "b.png", False, "copy"],
        ["r.png", "c.png", False, "same file"],
        ["s.png", "s.png", True, "no duplicate"],
    ]
    assert read_csv(paths.UNIQUE).to_numpy().tolist() == [["b.png", "w1"], ["e.png", "w3"]]
    leaks = read_csv(paths.LEAKS)
    assert leaks[["query", "photo", "Id"]].to_numpy().tolist() == [
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
    html = (paths.DUPLICATES / "report.html").read_text(encoding="utf-8")
    for part in ("The farthest duplicates", "Labels that differ", "w1 c.png", "query q.jpg", "data:image/jpeg"):
        assert part in html
    assert "The closest other pairs" not in html  # no pair was rejected

    first = [path.read_bytes() for path in record.outputs]
    assert [path.read_bytes() for path in run(root).outputs] == first


def test_photos_with_little_detail_match_the_same_file_only(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, level in enumerate((0, 80, 80, 90)):
        Image.new("L", (120 + number, 60), level).save(root / "test" / f"haze{number}.png")
    (root / "test" / "again.png").write_bytes((root / "test" / "haze3.png").read_bytes())
    # with max_error 0, other pairs are rejected
    assert run(root, max_error=0).metrics["plain"] == 5
    assert "5 photos have too little detail to compare" in capsys.readouterr().out
    manifest = read_csv(paths.MANIFEST).set_index("photo")
    assert manifest.loc["haze3.png", "reason"] == "same file"
    assert manifest.loc["haze3.png", "representative"] == "again.png"
    assert (manifest.loc[["haze0.png", "haze1.png", "haze2.png"], "group"] == -1).all()
    assert "The closest other pairs" in (paths.DUPLICATES / "report.html").read_text(encoding="utf-8")
