"""Reviewed photos come into a catalogue with who and when, are known at once, and nothing is taken that contradicts."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from whaleid.catalog import layout
from whaleid.core import paths
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.importing import add, importer, target
from whaleid.importing.csv import Columns
from whaleid.serving import about as description
from whaleid.serving import additions
from whaleid.serving import bundle as contents
from whaleid.serving.embedder import Query
from whaleid.serving.recogniser import Recogniser

pytestmark = pytest.mark.slow
MODEL = Path("models/final.bundle")


@pytest.fixture
def whales(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a catalogue folder of one's own, with the photos that the model knows."""
    monkeypatch.chdir(trained)
    importer.run("data/sample", tmp_path / "whales", Columns(), None, link=False)
    return tmp_path / "whales"


@pytest.fixture
def fresh(whales: Path) -> list[str]:
    """Return queries that duplicate no labelled photo, and one, the last, that is a labelled photo."""
    recogniser = Recogniser(contents.read(MODEL))
    photos = sorted(Path("data/sample/test").iterdir())
    answers = recogniser.identify([Query(str(path), path.read_bytes()) for path in photos])
    labelled = pd.read_csv("data/sample/train.csv")
    known = labelled.loc[labelled["Id"] != "new_whale", "Image"].iloc[0]
    return [*[answer.photo for answer in answers if not answer.same][:3], f"data/sample/train/{known}"]


def review(path: Path, *rows: tuple[str, str]) -> Path:
    pd.DataFrame(rows, columns=["photo", "whale"]).to_csv(path, index=False)
    return path


def labels(whales: Path) -> dict[str, str]:
    table = pd.read_csv(whales / "train.csv", dtype=str, keep_default_na=False)
    return dict(zip(table["Image"], table["Id"], strict=True))


def test_what_is_reviewed_is_in_the_catalogue_and_known_at_once(
    whales: Path, fresh: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = labels(whales)
    some = next(label for label in before.values() if label != "new_whale")
    table = review(tmp_path / "r.csv", (fresh[0], some), (fresh[1], "new"), (fresh[2], "new:Snowy"), ("never/seen", ""))
    add.run(table, Path(), "A. Reviewer", whales, MODEL)
    after = labels(whales)
    assert {name: after[name] for name in before} == before
    added = {name: label for name, label in after.items() if name not in before}
    # their names are taken by the queries that they are, so a part of their SHA-256 comes in
    assert sorted(Path(name).stem.partition("-")[0] for name in added) == sorted(Path(path).stem for path in fresh[:3])
    new = next(label for label in added.values() if label not in (some, "Snowy"))
    assert new.startswith("w_")
    assert len(new) == 9
    layout.read(whales)
    said = capsys.readouterr().out
    assert f"{new}, a new whale" in said
    assert "3 photos added to" in said

    record = pd.read_csv(whales / "additions.csv", dtype=str, keep_default_na=False)
    assert dict(zip(record["Image"], record["Id"], strict=True)) == added
    assert record["source"].tolist() == fresh[:3]
    assert set(record["by"]) == {"A. Reviewer"}
    assert record["at"].str.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ").all()
    assert record["model"].tolist() == [f"final {description.read(MODEL).digest[:16]}"] * 3
    recogniser = Recogniser(contents.read(MODEL))
    answers = recogniser.identify([Query(path, Path(path).read_bytes()) for path in fresh[:3]])
    assert record["label1"].tolist() == [answer.names[0].whale for answer in answers]
    assert record["probability1"].astype(float).tolist() == pytest.approx(
        [answer.names[0].probability for answer in answers], abs=1e-4
    )

    wiser, _ = additions.known(recogniser, whales)
    again = wiser.identify([Query(path, Path(path).read_bytes()) for path in fresh[:3]])
    assert [answer.same[0].whale for answer in again] == [some, new, "Snowy"]
    assert {name.whale for name in again[2].names} >= {"Snowy"}


def test_a_second_time_nothing_is_added(whales: Path, fresh: list[str], tmp_path: Path) -> None:
    table = review(tmp_path / "r.csv", (fresh[0], "new"), (fresh[1], "new:Snowy"))
    add.run(table, Path(), "one", whales, MODEL)
    first = {path.name: path.read_bytes() for path in whales.iterdir() if path.is_file()}
    add.run(table, Path(), "another", whales, MODEL)
    assert {path.name: path.read_bytes() for path in whales.iterdir() if path.is_file()} == first


def test_what_a_kill_left_is_completed(
    whales: Path, fresh: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = review(tmp_path / "r.csv", (fresh[0], "new"))

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(target, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            add.run(table, Path(), "one", whales, MODEL)
    assert not (whales / "additions.csv").exists()
    add.run(table, Path(), "one", whales, MODEL)
    assert len(pd.read_csv(whales / "additions.csv")) == 1


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (lambda fresh: [(fresh[0], "Snowy")], r"Whales that the catalogue has not \(1\):\n.*: 'Snowy'\nCorrect"),
        (lambda fresh: [(fresh[0], "new_whal")], r"did you mean 'new_whale'\?"),
        (lambda fresh: [(fresh[0], "new:a b")], r"hold white space or control characters \(1\):\n  'a b'"),
        (lambda fresh: [(fresh[0], "new:KNOWN")], r"New whales that the catalogue has already \(1\):"),
        (
            lambda fresh: [("nowhere.jpg", "new")],
            r"Photos that cannot be used \(1\):\n.*'nowhere.jpg': .*cannot be read",
        ),
        (lambda fresh: [(fresh[3], "new_whale")], r"The same picture under several labels \(\d\):\n.*line 2:"),
        (lambda fresh: [(fresh[0], "new:A"), (fresh[0], "new:B")], "The same picture under several labels"),
        (lambda fresh: [(fresh[0], " ")], "no row has a whale: write a label, new_whale, or new"),
    ],
)
def test_what_cannot_be_taken_is_named_and_nothing_is_written(
    whales: Path,
    fresh: list[str],
    tmp_path: Path,
    rows: Callable[[list[str]], list[tuple[str, str]]],
    said: str,
) -> None:
    known = next(label for label in labels(whales).values() if label != "new_whale")
    named = [(photo, whale.replace("KNOWN", known)) for photo, whale in rows(fresh)]
    before = {path: path.stat().st_mtime_ns for path in whales.rglob("*")}
    with pytest.raises(WhaleidError, match=said):
        add.run(review(tmp_path / "r.csv", *named), Path(), "one", whales, MODEL)
    assert {path: path.stat().st_mtime_ns for path in whales.rglob("*")}.keys() == before.keys()
    assert (whales / "train.csv").stat().st_mtime_ns == before[whales / "train.csv"]


def test_of_two_who_contradict_each_other_at_once_one_is_told(whales: Path, fresh: list[str], tmp_path: Path) -> None:
    tables = [review(tmp_path / f"{name}.csv", (fresh[0], f"new:{name}")) for name in ("A", "B")]
    with ThreadPoolExecutor() as both:
        asked = [both.submit(add.run, table, Path(), table.stem, whales, MODEL) for table in tables]
        failed = [each.exception() for each in asked]
    [error] = [each for each in failed if each]
    assert "The same picture under several labels (1):" in str(error)
    assert len(pd.read_csv(whales / "additions.csv")) == 1


def test_the_drawn_catalogue_is_none_of_ones_own(whales: Path, fresh: list[str], tmp_path: Path) -> None:
    with pytest.raises(WhaleidError, match="whaleid import data/sample --to data/whales"):
        add.run(review(tmp_path / "r.csv", (fresh[0], "new")), Path(), "one", paths.SAMPLE, MODEL)


def test_nobody_is_nobody(whales: Path, fresh: list[str], tmp_path: Path) -> None:
    with pytest.raises(WhaleidError, match="--by is empty"):
        add.run(review(tmp_path / "r.csv", (fresh[0], "new")), Path(), " ", whales, MODEL)


def test_paths_start_where_they_are_said_to(whales: Path, fresh: list[str], tmp_path: Path) -> None:
    shutil.copy(fresh[0], tmp_path / "mine.jpg")
    add.run(review(tmp_path / "r.csv", ("mine.jpg", "new")), tmp_path, "one", whales, MODEL)
    assert "mine.jpg" in labels(whales)
    with pytest.raises(InputProblems, match="--photos names their folder"):
        add.run(review(tmp_path / "r.csv", ("mine.jpg", "new")), Path(), "one", whales, MODEL)
