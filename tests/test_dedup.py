"""When two photos are the same picture, and what follows for training and for the queries."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from whaleid import paths
from whaleid.dedup import manifest, matching
from whaleid.dedup.hashing import SIDE, perceptual_hash, thumbnail, to_bits
from whaleid.files import read_csv
from whaleid.parallel import parallel_map
from whaleid.params import Data, Dedup, load
from whaleid.record import Record
from whaleid.stages import catalog, dedup


def picture(seed: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """A smooth picture without symmetry, another for each seed."""
    spots = np.random.default_rng(seed).integers(0, 256, (8, 12), dtype=np.uint8)
    return Image.fromarray(spots).resize(size, Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    ("seed", "digits"), [(1, "81fea668926acdb2"), (2, "cd21591b21979de6"), (3, "f88186b0ff354347")]
)
def test_perceptual_hash_is_imagehashs(seed: int, digits: str) -> None:
    assert perceptual_hash(picture(seed)) == digits
    assert perceptual_hash(picture(seed).convert("RGB").resize((48, 32))) == digits


def test_hashes_become_numbers() -> None:
    bits = to_bits(["0000000000000000", "000000000000000f", "ffffffffffffffff"])
    assert bits.dtype == np.uint64
    assert bits.tolist() == [0, 15, 2**64 - 1]


def test_thumbnails_are_standardised() -> None:
    pixels = thumbnail(picture(1))
    assert (pixels.shape, pixels.dtype) == ((SIDE, SIDE), np.float32)
    assert abs(pixels.mean()) < 1e-6
    assert abs(pixels.std() - 1) < 1e-6
    darker = picture(1).point(lambda level: level // 2 + 20)
    assert np.square(thumbnail(darker) - pixels).mean() < 1e-3
    assert (thumbnail(Image.new("RGB", (50, 40), "teal")) == 0).all()


@pytest.mark.parametrize("max_distance", [0, 6, 20])
def test_pairs_are_those_of_a_slow_loop(max_distance: int) -> None:
    numbers = [int(n) for n in np.random.default_rng(0).integers(0, 2**63, 300)]
    numbers += [n ^ (1 << k) for k, n in enumerate(numbers[:40])] + numbers[5:10]
    slow = [
        (i, j)
        for i in range(len(numbers))
        for j in range(i + 1, len(numbers))
        if (numbers[i] ^ numbers[j]).bit_count() <= max_distance
    ]
    hashes = np.array(numbers, dtype=np.uint64)
    pairs = matching.pairs_within(hashes, max_distance)  # more hashes than one block holds
    assert slow
    assert list(map(tuple, pairs.tolist())) == slow
    assert matching.distances(hashes, pairs).tolist() == [(numbers[i] ^ numbers[j]).bit_count() for i, j in slow]


def test_errors_are_those_of_a_slow_loop() -> None:
    thumbnails = np.random.default_rng(0).normal(size=(40, 3, 2)).astype(np.float32)
    pairs = np.array([(i, j) for i in range(40) for j in range(i + 1, 40)])
    slow = [np.mean((thumbnails[i].astype(float) - thumbnails[j].astype(float)) ** 2) for i, j in pairs]
    np.testing.assert_allclose(matching.errors(thumbnails, pairs), slow, rtol=1e-12)


def test_groups_are_closed_and_numbered_by_their_first_member() -> None:
    pairs = np.array([(5, 6), (1, 4), (0, 6), (4, 7)])  # 0-6-5 and 1-4-7
    assert matching.groups(9, pairs).tolist() == [0, 1, -1, -1, 1, 0, 0, 1, -1]
    assert matching.groups(3, np.empty((0, 2), dtype=np.intp)).tolist() == [-1, -1, -1]


def photos(*rows: tuple[str, str, str, int, int, int, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["Image", "Id", "part", "width", "height", "bytes", "group"])


PHOTOS = photos(
    ("a", "w1", "train", 10, 10, 50, 0),
    ("b", "w1", "train", 10, 10, 60, 0),
    ("c", "w1", "train", 10, 9, 99, 0),
    ("d", "w1", "train", 10, 10, 60, 0),
    ("e", "w2", "train", 9, 9, 9, 1),
    ("f", "new_whale", "train", 9, 9, 9, 1),
    ("g", "", "test", 9, 9, 9, 1),
    ("h", "w2", "train", 9, 9, 9, -1),
    ("i", "new_whale", "train", 9, 9, 9, -1),
    ("j", "", "test", 9, 9, 9, -1),
    ("k", "new_whale", "train", 9, 9, 9, 2),
    ("l", "", "test", 9, 9, 9, 2),
    ("m", "", "test", 9, 9, 9, 2),
    ("n", "", "test", 9, 9, 9, 3),
    ("o", "", "test", 9, 9, 9, 3),
)


def test_groups_list_every_member() -> None:
    assert manifest.grouped(PHOTOS).columns.tolist() == ["group", "Image", "part", "Id"]
    assert manifest.grouped(PHOTOS)["Image"].tolist() == list("abcdefgklmno")


def test_conflicts_are_whole_groups_with_several_labels() -> None:
    assert manifest.conflicts(PHOTOS).values.tolist() == [[1, "e", "w2"], [1, "f", "new_whale"]]


def test_unique_keeps_most_pixels_then_bytes_then_the_first_name() -> None:
    assert manifest.unique(PHOTOS).values.tolist() == [
        ["b", "w1"],
        ["h", "w2"],
        ["i", "new_whale"],
        ["k", "new_whale"],
    ]


def test_leaks_include_conflicts_and_come_closest_first() -> None:
    pairs = manifest.leaking(PHOTOS)
    named = sorted((PHOTOS["Image"][q], PHOTOS["Image"][p]) for q, p in pairs.tolist())
    assert named == [("g", "e"), ("g", "f"), ("l", "k"), ("m", "k")]

    near = np.array([PHOTOS["Image"][p] != "f" for _, p in pairs]).astype(np.uint8)
    leaks = manifest.leaks(PHOTOS, pairs, near, np.full(len(pairs), 0.5))
    assert leaks.columns.tolist() == ["query", "photo", "Id", "distance", "error"]
    assert leaks.values.tolist() == [
        ["g", "f", "new_whale", 0, 0.5],
        ["g", "e", "w2", 1, 0.5],
        ["l", "k", "new_whale", 1, 0.5],
        ["m", "k", "new_whale", 1, 0.5],
    ]


def test_no_duplicates_give_empty_tables() -> None:
    alone = photos(("a", "w1", "train", 9, 9, 9, -1), ("b", "", "test", 9, 9, 9, -1))
    pairs = manifest.leaking(alone)
    assert pairs.shape == (0, 2)
    assert manifest.grouped(alone).empty
    assert manifest.conflicts(alone).empty
    assert manifest.leaks(alone, pairs, np.empty(0, np.uint8), np.empty(0)).empty
    assert manifest.unique(alone).values.tolist() == [["a", "w1"]]


def run(root: Path, max_distance: int = 6, max_error: float = 0.1) -> Record:
    settings = load(Path(__file__).parents[1] / "params.yaml").model_copy(
        update={
            "data": Data(root=str(root)),
            "dedup": Dedup(max_distance=max_distance, max_error=max_error),
        }
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
    assert read_csv(paths.CONFLICTS).values.tolist() == [[1, "c.png", "w1"], [1, "d.png", "w2"]]
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
    }
    assert record.params == {"max_distance": 6, "max_error": 0.1}
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

    run(root, max_error=4)
    assert "checked.png" in read_csv(paths.GROUPS)["Image"].tolist()


def test_parallel_map_keeps_order_in_processes() -> None:
    assert list(parallel_map(abs, range(-700, 0), "numbers")) == list(range(700, 0, -1))
