"""`whaleid add`: photos are recorded with reviewer and time and recognized at once; contradictions are refused."""

import shutil
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from helpers.imports import state
from PIL import Image

from whaleid.catalog import layout
from whaleid.core import paths
from whaleid.core.errors import WhaleidError
from whaleid.importing import add, importer, target
from whaleid.serving import about as description
from whaleid.serving import additions
from whaleid.serving import bundle as contents
from whaleid.serving.embedder import Query
from whaleid.serving.recogniser import Recogniser

pytestmark = pytest.mark.slow
MODEL = Path("models/final.bundle")


@pytest.fixture(scope="module")
def imported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a catalogue folder with the photos of the model's gallery. Tests do not change it."""
    folder = tmp_path_factory.mktemp("catalogue") / "whales"
    importer.run(str(trained / "data/sample"), folder, importer.Options())
    return folder


@pytest.fixture(scope="module")
def new_photos(trained: Path) -> list[str]:
    """Return three queries that are not duplicates of labelled photos, then one labelled photo."""
    recogniser = Recogniser(contents.read(trained / MODEL))
    photos = sorted((trained / "data/sample/test").iterdir())
    answers = recogniser.identify([Query(f"data/sample/test/{path.name}", path.read_bytes()) for path in photos])
    labelled = pd.read_csv(trained / "data/sample/train.csv")
    known = labelled.loc[labelled["Id"] != "new_whale", "Image"].iloc[0]
    return [*[answer.photo for answer in answers if not answer.same][:3], f"data/sample/train/{known}"]


@pytest.fixture(autouse=True)
def project(working_folder: None, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)


@pytest.fixture
def whales(imported: Path, tmp_path: Path) -> Path:
    """Return a catalogue folder that the test may change."""
    return Path(shutil.copytree(imported, tmp_path / "whales"))


def review(path: Path, *rows: tuple[str, str]) -> Path:
    pd.DataFrame(rows, columns=["photo", "whale"]).to_csv(path, index=False)
    return path


def labels(whales: Path) -> dict[str, str]:
    table = pd.read_csv(whales / "train.csv", dtype=str, keep_default_na=False)
    return dict(zip(table["Image"], table["Id"], strict=True))


def test_reviewed_photos_are_added_and_recognized_at_once(
    whales: Path, new_photos: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = labels(whales)
    known_label = next(label for label in before.values() if label != "new_whale")
    rows = [(new_photos[0], known_label), (new_photos[1], "new"), (new_photos[2], "new:Snowy"), ("nowhere.jpg", "")]
    table = review(tmp_path / "r.csv", *rows)
    add.run(table, Path(), "A. Reviewer", whales, MODEL)
    after = labels(whales)
    assert {name: after[name] for name in before} == before
    added = {name: label for name, label in after.items() if name not in before}
    # queries of the catalogue have these names, so digits of the SHA-256 are appended
    assert sorted(Path(name).stem.partition("-")[0] for name in added) == sorted(
        Path(path).stem for path in new_photos[:3]
    )
    new = next(label for label in added.values() if label not in (known_label, "Snowy"))
    assert new.startswith("w_")
    assert len(new) == 9
    layout.read(whales)
    output = capsys.readouterr().out
    assert f"{new}, a new whale" in output
    assert "3 photos added to" in output

    record = pd.read_csv(whales / "additions.csv", dtype=str, keep_default_na=False)
    assert dict(zip(record["Image"], record["Id"], strict=True)) == added
    assert record["source"].tolist() == new_photos[:3]
    assert set(record["by"]) == {"A. Reviewer"}
    assert record["at"].str.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ").all()
    assert record["model"].tolist() == [f"final {description.read(MODEL).digest[:16]}"] * 3
    recogniser = Recogniser(contents.read(MODEL))
    photos = [Query(path, Path(path).read_bytes()) for path in new_photos[:3]]
    answers = recogniser.identify(photos)
    assert record["label1"].tolist() == [answer.names[0].whale for answer in answers]
    assert record["probability1"].astype(float).tolist() == pytest.approx(
        [answer.names[0].probability for answer in answers], abs=1e-4
    )
    again = additions.extend(recogniser, whales)[0].identify(photos)
    assert [answer.same[0].whale for answer in again] == [known_label, new, "Snowy"]
    assert "Snowy" in {name.whale for name in again[2].names}

    files = {path: content for path, (content, _) in state(str(whales)).items()}
    add.run(table, Path(), "another", whales, MODEL)
    assert {path: content for path, (content, _) in state(str(whales)).items()} == files


def test_an_interrupted_add_can_be_repeated(
    whales: Path, new_photos: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(new_photos[0], tmp_path / "mine.jpg")
    table = review(tmp_path / "r.csv", ("mine.jpg", "new"))

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(target, "write", interrupt)
        with pytest.raises(KeyboardInterrupt):
            add.run(table, tmp_path, "one", whales, MODEL)
    assert not (whales / "additions.csv").exists()
    add.run(table, tmp_path, "one", whales, MODEL)  # paths start from tmp_path
    assert len(pd.read_csv(whales / "additions.csv")) == 1
    assert "mine.jpg" in labels(whales)


def test_one_error_lists_all_unusable_labels(imported: Path, new_photos: list[str], tmp_path: Path) -> None:
    known = next(label for label in labels(imported).values() if label != "new_whale")
    before = state(str(imported))
    table = review(
        tmp_path / "r.csv",
        *((new_photos[0], text) for text in ("Snowy W", "new_whal", f"new:{known}", "new:a b", "N/A")),
    )
    with pytest.raises(WhaleidError) as caught:
        add.run(table, Path(), "one", imported, MODEL)
    line = f"  {table}, line {{}}: {new_photos[0]!r}: "
    for text in (
        f"Labels that are not in the catalogue (3):\n{line.format(2)}'Snowy W'\n{line.format(3)}'new_whal' (did you ",
        f"New whales with a label that is already in the catalogue (1):\n{line.format(4)}{known!r}\nIf it is that ",
        f"{line.format(6)}'N/A' (did you mean 'new_whale'?)\n",
        f"or contain spaces or control characters (1):\n{line.format(5)}'a b'\nGive each photo one label",
    ):
        assert text in str(caught.value)
    assert state(str(imported)) == before


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        (
            [("nowhere.jpg", "new")],
            r"Photos that do not exist \(1\):\n.*'nowhere.jpg'\nCorrect the paths, or give the folder",
        ),
        ([("params.yaml", "new")], r"Files that are not photos \(1\)"),
        ([(3, "new_whale")], r"The same photo with different labels \(\d\):\n.*line 2:"),
        ([(0, "new:A"), (0, "new:B")], "The same photo with different labels"),
        ([(0, " ")], "the column whale is empty in all rows. Write a label of the catalogue, new or new:LABEL"),
    ],
)
def test_the_error_lists_photos_that_cannot_be_added(
    imported: Path, new_photos: list[str], tmp_path: Path, rows: list[tuple[int | str, str]], error: str
) -> None:
    table = [(new_photos[photo] if isinstance(photo, int) else photo, whale) for photo, whale in rows]
    before = state(str(imported))
    with pytest.raises(WhaleidError, match=error):
        add.run(review(tmp_path / "r.csv", *table), Path(), "one", imported, MODEL)
    assert state(str(imported)) == before


def test_a_photo_in_another_format_is_refused(imported: Path, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "a.webp")
    error = r"Photos in a format that a catalogue does not accept \(1\):\n.*'a.webp'\nSave them as JPEG or PNG"
    with pytest.raises(WhaleidError, match=error):
        add.run(review(tmp_path / "r.csv", ("a.webp", "new")), tmp_path, "one", imported, MODEL)


def test_an_invalid_reviewer_and_the_drawn_catalogue_are_refused(
    imported: Path, new_photos: list[str], tmp_path: Path
) -> None:
    table = review(tmp_path / "r.csv", (new_photos[0], "new"))
    for by, error in (
        (" ", "--by ' ' is not a name. Give the reviewer's name"),
        ("=1", "must not begin with = [+] - @"),
    ):
        with pytest.raises(WhaleidError, match=error):
            add.run(table, Path(), by, imported, MODEL)
    with pytest.raises(WhaleidError, match="whaleid import data/sample --to data/whales"):
        add.run(table, Path(), "one", paths.SAMPLE, MODEL)


def test_one_of_two_concurrent_contradictory_additions_is_refused(
    whales: Path, new_photos: list[str], tmp_path: Path
) -> None:
    tables = [review(tmp_path / f"{name}.csv", (new_photos[0], f"new:{name}")) for name in ("A", "B")]
    with ThreadPoolExecutor() as executor:
        futures = [executor.submit(add.run, table, Path(), table.stem, whales, MODEL) for table in tables]
        errors = [future.exception() for future in futures]
    [error] = [error for error in errors if error]
    assert "The same photo with different labels (1):" in str(error)
    assert len(pd.read_csv(whales / "additions.csv")) == 1


def test_photos_and_labels_in_another_form_are_found(whales: Path, new_photos: list[str], tmp_path: Path) -> None:
    name = "fluké.jpg"
    (tmp_path / "trip").mkdir()
    shutil.copy(new_photos[0], tmp_path / "trip" / unicodedata.normalize("NFD", name))
    shutil.copy(new_photos[1], tmp_path / "trip/b.jpg")
    nfd = unicodedata.normalize("NFD", "José")
    add.run(review(tmp_path / "r.csv", (f"trip\\{name}", f"new:{nfd}")), tmp_path, "A. Reviewer", whales, MODEL)
    add.run(review(tmp_path / "s.csv", ("trip/b.jpg", nfd)), tmp_path, "A. Reviewer", whales, MODEL)
    assert {label for label in labels(whales).values() if label.startswith("Jos")} == {"José"}
    assert labels(whales)[name] == "José"
