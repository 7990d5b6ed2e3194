"""A bundle is extended with photos that were added to the catalogue after it was built."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.queries import queries

from whaleid.core.errors import InputProblems
from whaleid.serving import additions, embedder
from whaleid.serving.embedder import Query
from whaleid.serving.recogniser import Recogniser

pytestmark = pytest.mark.slow


def new_catalogue(folder: Path, *rows: tuple[str, str]) -> None:
    (folder / "train").mkdir(parents=True)
    for image, _ in rows:
        shutil.copy(Path("data/sample/test", image), folder / "train")
    pd.DataFrame(rows, columns=["Image", "Id"]).to_csv(folder / "train.csv", index=False)


def test_added_photos_are_identified_without_training(
    recogniser: Recogniser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = [answer.photo for answer in recogniser.identify(queries("test")) if not answer.same][:2]
    new_catalogue(tmp_path / "whales", (first, "w_added"), (second, "new_whale"))
    extended, added = additions.extend(recogniser, tmp_path / "whales")
    assert added == {name: tmp_path / "whales/train" / name for name in (first, second)}
    assert "The model was not trained on photos of" in capsys.readouterr().err
    contents = {name: Path("data/sample/test", name).read_bytes() for name in (first, second)}
    known, new_whale = extended.identify([Query(*item) for item in contents.items()])
    best = max((label for label in known.names if label.whale != "new_whale"), key=lambda label: label.probability)
    assert (best.whale, best.nearest) == ("w_added", first)
    assert known.same[0].whale == "w_added"
    assert new_whale.same[0].whale == "new_whale"
    # the original recogniser is unchanged
    assert not recogniser.identify([Query("p", contents[first])])[0].same
    # the second time, the embeddings are read from the cache
    monkeypatch.setattr(embedder, "embed_batch", None)
    again, _ = additions.extend(recogniser, tmp_path / "whales")
    for network, features in extended.bundle.features.items():
        assert np.array_equal(features.embeddings, again.bundle.features[network].embeddings)
    assert again.bundle.photos.equals(extended.bundle.photos)


def test_a_corrected_label_replaces_the_label_of_the_bundle(recogniser: Recogniser, tmp_path: Path) -> None:
    table = pd.read_csv("data/sample/train.csv", dtype=str)
    row = table.index[table["Id"] != "new_whale"][0]
    image, before = table.at[row, "Image"], table.at[row, "Id"]
    shutil.copytree("data/sample", tmp_path / "whales")
    table.at[row, "Id"] = "w_corrected"
    table.to_csv(tmp_path / "whales/train.csv", index=False)
    extended, added = additions.extend(recogniser, tmp_path / "whales")
    assert list(added) == [image]
    (answer,) = extended.identify([Query(image, Path("data/sample/train", image).read_bytes())])
    assert (answer.same[0].photo, answer.same[0].whale) == (image, "w_corrected")
    assert before not in [duplicate.whale for duplicate in answer.same if duplicate.photo == image]
    assert len(extended.bundle.photos) == len(recogniser.bundle.photos)

    shutil.copy(tmp_path / "whales/train" / table.at[row + 1, "Image"], tmp_path / "whales/train" / image)
    with pytest.raises(
        InputProblems, match=r"that have the name of another photo in the model, and another label \(1\)"
    ):
        additions.extend(recogniser, tmp_path / "whales")


def test_a_catalogue_without_added_photos_changes_nothing(recogniser: Recogniser) -> None:
    assert additions.extend(recogniser, Path("data/sample")) == (recogniser, {})


def test_missing_or_damaged_photos_are_named(recogniser: Recogniser, tmp_path: Path) -> None:
    new_catalogue(tmp_path / "whales")
    (tmp_path / "whales/train.csv").write_text("Image,Id\na.jpg,w_x\n")
    with pytest.raises(InputProblems, match=r"train\.csv: rows without a photo in train/ \(1\):\n  line 2: 'a\.jpg'"):
        additions.extend(recogniser, tmp_path / "whales")
    (tmp_path / "whales/train/a.jpg").write_bytes(b"no photo")
    with pytest.raises(
        InputProblems, match=r"train\.csv that cannot be used \(1\):\n.*a\.jpg: not an image in a known format"
    ):
        additions.extend(recogniser, tmp_path / "whales")

    # the photo is damaged after its fingerprint was computed
    photo = tmp_path / "whales/train/a.jpg"
    shutil.copy(sorted(Path("data/sample/test").iterdir())[1], photo)

    class DamagingEmbedder:
        def read(self, photos: list[Query]) -> object:
            photo.write_bytes(b"no photo")
            return recogniser.embedder.read(photos)

    damaging = Recogniser(recogniser.bundle, DamagingEmbedder())  # type: ignore[arg-type]
    with pytest.raises(
        InputProblems, match=r"modified while the command ran \(1\):\n.*a\.jpg: not an image in a known format"
    ):
        additions.extend(damaging, tmp_path / "whales")
