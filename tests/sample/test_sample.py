"""The synthetic catalogue: reproducible bytes, and the same difficulties as the Kaggle competition."""

import io
from collections import Counter
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image

from whaleid.config import Sample, load
from whaleid.core import parallel
from whaleid.core.files import read_csv
from whaleid.sample.compose import compose, draw_catalogue
from whaleid.sample.copies import KINDS
from whaleid.sample.fluke import draw_fluke
from whaleid.sample.photograph import Pose
from whaleid.stages import sample as stage

SMALL = Sample(frequent=6, occasional=4, single=6, new_whale=8, queries=30)
SMALLEST = Sample(frequent=1, occasional=1, single=1, new_whale=1, queries=1)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    draw_catalogue(folder, SMALL, seed=0)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def photo_bytes(folder: Path, part: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / part).iterdir())}


def test_same_seed_gives_the_same_bytes_on_any_number_of_cores(
    catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: 3)
    draw_catalogue(tmp_path, SMALL, seed=0)
    assert contents(tmp_path) == contents(catalogue)


def test_another_seed_gives_different_whales_and_photos() -> None:
    first, second = compose(SMALL, seed=0), compose(SMALL, seed=1)
    assert not {e.image for e in first} & {e.image for e in second}
    assert {e.label for e in first} & {e.label for e in second} == {"new_whale"}


def test_rows_and_photos_correspond(catalogue: Path) -> None:
    train, solution = read_csv(catalogue / "train.csv"), read_csv(catalogue / "solution.csv")
    submission, boxes = read_csv(catalogue / "sample_submission.csv"), read_csv(catalogue / "boxes.csv")
    assert list(train) == list(solution) == list(submission) == ["Image", "Id"]
    assert list(train["Image"]) == list(photo_bytes(catalogue, "train"))
    assert list(solution["Image"]) == list(submission["Image"]) == list(photo_bytes(catalogue, "test"))
    images = [*train["Image"], *solution["Image"]]
    assert len(set(images)) == len(images)
    # queries have no boxes, as in real catalogues
    assert list(boxes["Image"]) == sorted(train["Image"])
    assert train["Image"].str.fullmatch(r"[0-9a-f]{8}\.jpg").all()
    assert train["Id"].str.fullmatch(r"w_[0-9a-f]{7}|new_whale").all()


def test_photos_can_be_decoded_and_boxes_lie_inside_them(catalogue: Path) -> None:
    modes: Counter[str] = Counter()
    for content in [*photo_bytes(catalogue, "train").values(), *photo_bytes(catalogue, "test").values()]:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
        assert 128 * 0.4 - 1 <= image.width <= 224  # copies may be smaller
        assert 0.3 < image.height / image.width < 0.9
        modes[image.mode] += 1
    assert set(modes) == {"RGB", "L"}
    assert modes["RGB"] > modes["L"]
    boxes = read_csv(catalogue / "boxes.csv").set_index("Image")
    assert (boxes >= 0).all(axis=None)
    assert (boxes <= 1).all(axis=None)
    assert (boxes["x1"] - boxes["x0"] > 0.1).all()
    assert (boxes["y1"] - boxes["y0"] > 0.1).all()


def test_whales_have_the_requested_numbers_of_photos() -> None:
    originals = [entry for entry in compose(SMALL, seed=0) if entry.copy == "" and entry.part == "train"]
    counts = Counter(entry.label for entry in originals)
    assert counts.pop("new_whale") == 8
    assert len({entry.whale for entry in originals if entry.label == "new_whale"}) == 8
    by_count = sorted(counts.values(), reverse=True)
    assert all(10 <= count <= 14 for count in by_count[:6])
    assert all(2 <= count <= 5 for count in by_count[6:10])
    assert by_count[10:] == [1] * 6


def test_only_conflicts_differ_from_the_label_of_their_original() -> None:
    entries = compose(SMALL, seed=0)
    originals = {(e.whale, e.number): e for e in entries if e.copy == ""}
    kinds: Counter[tuple[str, str, str]] = Counter()
    for entry in entries:
        if entry.copy:
            same = entry.label == originals[entry.whale, entry.number].label
            kinds[entry.part, entry.copy, "same label" if same else "conflict"] += 1
    first = {"train": ("exact", "recompressed", "resized", "cropped"), "test": ("exact", "recompressed")}
    assert kinds == {
        **{(part, kind, "same label"): 1 for part, kinds_of_part in first.items() for kind in kinds_of_part},
        ("train", "exact", "conflict"): 1,
    }


def test_duplicates_csv_lists_all_copies(catalogue: Path) -> None:
    entries = compose(SMALL, seed=0)
    originals = {(e.whale, e.number): e.image for e in entries if e.copy == ""}
    copies = [[e.image, originals[e.whale, e.number], e.copy] for e in entries if e.copy]
    table = read_csv(catalogue / "duplicates.csv")
    assert table.columns.tolist() == ["Image", "original", "kind"]
    assert table.values.tolist() == sorted(copies)


def test_all_kinds_of_copies_are_drawn() -> None:
    entries = compose(load(Path("params.yaml")).sample, seed=0)
    kinds = Counter((entry.part, entry.copy) for entry in entries if entry.copy)
    assert {kind for _, kind in kinds} == set(KINDS)
    assert min(kinds.values()) >= 6


def test_exact_copies_have_the_same_bytes_and_others_similar_hashes(catalogue: Path) -> None:
    files = photo_bytes(catalogue, "train") | photo_bytes(catalogue, "test")
    hashes = {name: imagehash.phash(Image.open(io.BytesIO(content))) for name, content in files.items()}
    entries = compose(SMALL, seed=0)
    originals = {(e.whale, e.number): e.image for e in entries if e.copy == ""}
    for entry in entries:
        original = originals[entry.whale, entry.number]
        if entry.copy:
            assert (files[entry.image] == files[original]) == (entry.copy == "exact")
            assert hashes[entry.image] - hashes[original] <= 8
    distances = [hashes[a] - hashes[b] for a in originals.values() for b in originals.values() if a < b]
    assert np.mean(np.array(distances) > 8) > 0.999


def test_the_truth_of_a_query_is_a_label_of_the_catalogue_or_new_whale(catalogue: Path) -> None:
    train, solution = read_csv(catalogue / "train.csv"), read_csv(catalogue / "solution.csv")
    assert len(solution) == 30
    assert set(solution["Id"]) <= set(train["Id"])
    entries = compose(SMALL, seed=0)
    unknown_whales = {e.whale for e in entries} - {e.whale for e in entries if e.part == "train"}
    assert len(unknown_whales) == 6
    assert {e.label for e in entries if e.whale in unknown_whales} == {"new_whale"}
    truth = dict(zip(solution["Image"], solution["Id"], strict=True))
    files = photo_bytes(catalogue, "train")
    labels = {files[image]: label for image, label in zip(train["Image"], train["Id"], strict=True)}
    leaks = {name: labels[content] for name, content in photo_bytes(catalogue, "test").items() if content in labels}
    assert len(leaks) == 1
    assert all(truth[name] == label for name, label in leaks.items())


def test_the_stage_replaces_the_whole_previous_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = load(Path("params.yaml")).model_copy(update={"sample": SMALLEST})
    monkeypatch.chdir(tmp_path)
    stale = tmp_path / "data/sample/train/00000000.jpg"
    stale.parent.mkdir(parents=True)
    stale.touch()
    stage.run(params)
    assert not stale.exists()
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["sample"]
    assert len(photo_bytes(tmp_path / "data/sample", "test")) == 1


def test_the_sample_submission_predicts_new_whale_and_the_commonest_whales(catalogue: Path) -> None:
    submission = read_csv(catalogue / "sample_submission.csv")
    (prediction,) = set(submission["Id"])
    counts = Counter(read_csv(catalogue / "train.csv")["Id"])
    del counts["new_whale"]
    first, *whales = prediction.split(" ")
    assert first == "new_whale"
    assert whales == sorted(counts, key=lambda label: (-counts[label], label))[:4]


@pytest.mark.parametrize("queries", [1, 2, 3, 200])
def test_the_smallest_catalogues_have_the_requested_number_of_queries(queries: int) -> None:
    entries = compose(SMALLEST.model_copy(update={"queries": queries}), seed=3)
    assert sum(entry.part == "test" for entry in entries) == queries


def test_a_seed_determines_the_whale() -> None:
    first, again, other = (draw_fluke(np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(first.skin, again.skin)
    assert np.array_equal(first.cover, again.cover)
    overlap = (first.cover > 0.5) & (other.cover > 0.5)
    assert np.abs(first.skin - other.skin)[overlap].mean() > 0.1


def test_unproject_is_the_inverse_of_project() -> None:
    pose = Pose(
        pitch=0.7,
        reach=np.array([0.8, 1.0]),
        lift=np.array([0.4, -0.1]),
        vanish=np.array([0.2, -0.1]),
        roll=0.3,
    )
    x, y = np.array([1.0, -1.0, 0.0, 0.5]), np.array([0.2, 0.1, -0.8, 0.0])
    # computed by hand, without the roll: (1 * 0.8, 0.2 * 0.7 + 0.4) / (1 + 0.2 * 0.8 - 0.1 * 0.54)
    right, up = 0.8 / 1.106, 0.54 / 1.106
    projected = pose.project(x, y)
    assert projected[0][0] == pytest.approx(right * np.cos(0.3) - up * np.sin(0.3))
    assert projected[1][0] == pytest.approx(right * np.sin(0.3) + up * np.cos(0.3))
    assert np.allclose(pose.unproject(*projected), (x, y))
