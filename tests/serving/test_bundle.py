"""A bundle names whales as the pipeline does, without it; and refuses what is not whole."""

import json
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from whaleid import config
from whaleid.core import files, paths
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.identification.ranking import LABELS, PROBABILITIES
from whaleid.serving import about as description
from whaleid.serving import additions, embedder, identify, making
from whaleid.serving import bundle as contents
from whaleid.serving.embedder import Embedded, Query
from whaleid.serving.recogniser import Recogniser

pytestmark = pytest.mark.slow
PLACE = Path("models/final.bundle")


@pytest.fixture
def here(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    return trained


@pytest.fixture
def ready(here: Path) -> Recogniser:
    return Recogniser(contents.read(PLACE))


def cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the mean over views of the cosine of two photos, (V, D)."""
    return float((one * other).sum(axis=1).mean())


def embed(recogniser: Recogniser, *photos: Query) -> list[Embedded]:
    return recogniser.embedder.embed([each for each in recogniser.embedder.read(photos) if not isinstance(each, str)])


def asked(part: str, count: int | None = None) -> list[Query]:
    return [Query(path.name, path.read_bytes()) for path in sorted(Path("data/sample", part).iterdir())[:count]]


def test_without_crops_its_answers_are_those_of_the_submission(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # here a query may have been packed by another box: with the photos packed as they come, nothing else differs
    shutil.copytree(here, tmp_path / "uncropped")
    monkeypatch.chdir(tmp_path / "uncropped")
    settings = config.load(paths.PARAMS)
    settings = settings.model_copy(update={"pack": settings.pack.model_copy(update={"crop": False})})
    from helpers.project import stage

    stage("pack", settings)
    for name in settings.predictions["final"].networks:
        stage("embed", settings, name)
    only = {name: settings.predictions[name] for name in ("ensemble", "final")}
    stage("rank", settings.model_copy(update={"predictions": only}))
    stage("predict", settings.model_copy(update={"predictions": only}))
    stage("bundle", settings, "final")
    answers = Recogniser(contents.read(PLACE)).identify(asked("test"))
    submitted = files.read_csv(paths.submission("final"))
    assert {answer.photo: [name.whale for name in answer.names] for answer in answers} == {
        image: labels.split() for image, labels in zip(submitted["Image"], submitted["Id"], strict=True)
    }
    leaks = files.read_csv(paths.LEAKS)
    found = {(answer.photo, each.photo, each.whale) for answer in answers for each in answer.same}
    assert found == set(leaks[["query", "photo", "Id"]].itertuples(index=False, name=None))
    assert found


def test_an_answer_has_five_names_and_what_they_leave_is_new_whales(ready: Recogniser) -> None:
    for answer in ready.identify(asked("test")):
        whales = [name.whale for name in answer.names]
        assert len(set(whales)) == 5
        assert "new_whale" in whales[:5]
        place = whales.index("new_whale")
        known = [name.probability for name in answer.names if name.whale != "new_whale"]
        assert known == sorted(known, reverse=True)
        assert all(value > ready.bundle.about.threshold for value in known[:place])
        assert sum(name.probability for name in answer.names) <= 1 + 1e-6
        x0, y0, x1, y1 = answer.fluke or (1, 1, 0, 0)
        assert 0 <= x0 < x1 <= 1
        assert 0 <= y0 < y1 <= 1


def test_the_nearest_photo_is_that_of_a_slow_search(ready: Recogniser) -> None:
    photos = asked("test", 4)
    seen = embed(ready, *photos)
    compared = ready.bundle.compared
    for query, answer in enumerate(ready.answer(seen)):
        for name in answer.names:
            if name.whale == "new_whale":
                assert name.nearest == ""
                continue
            likeness = dict.fromkeys(compared.loc[compared["Id"] == name.whale, "Image"], 0.0)
            for image in likeness:
                for network, each in ready.bundle.features.items():
                    for one, other in zip(seen[query].embeddings[network], each.select([image])[:, 0], strict=True):
                        likeness[image] += float(np.dot(one, other))
            assert likeness[name.nearest] == pytest.approx(max(likeness.values()), abs=1e-6)


def test_a_labelled_photo_is_the_same_picture_as_itself(ready: Recogniser) -> None:
    photo = asked("train", 1)[0]
    (answer,) = ready.identify([photo])
    assert (answer.same[0].photo, answer.same[0].distance, answer.same[0].error) == (photo.name, 0, 0.0)
    label = ready.bundle.photos.set_index("Image").at[photo.name, "Id"]
    assert answer.same[0].whale == label


def test_photos_alone_and_together_get_the_same_answers(ready: Recogniser) -> None:
    photos = [*asked("test", 5), Query("bad", b"no photo"), Query("empty", b"")]
    together = ready.identify(photos)
    assert [answer.photo for answer in together] == [photo.name for photo in photos]
    assert [answer.problem for answer in together[5:]] == [
        "bad: no image in a format that is known",
        "empty: an empty file",
    ]
    for photo, answer in zip(photos, together, strict=True):
        (alone,) = ready.identify([photo])
        assert [name.whale for name in alone.names] == [name.whale for name in answer.names]
        assert [name.probability for name in alone.names] == pytest.approx(
            [name.probability for name in answer.names], abs=1e-5
        )
    twins = [photos[0]._replace(name="same"), photos[5]._replace(name="same"), photos[1]._replace(name="same")]
    assert [answer.problem for answer in ready.identify(twins)] == ["", "same: no image in a format that is known", ""]
    assert ready.identify([]) == []
    assert ready.identify(photos[5:])[0].problem


def test_several_threads_get_the_answers_of_one(ready: Recogniser) -> None:
    photos = asked("test")
    alone = [embed(ready, photo)[0].embeddings for photo in photos]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda photo: embed(ready, photo)[0].embeddings, photos * 3))
    for one, several in zip(alone * 3, together, strict=True):
        for network, embeddings in one.items():
            np.testing.assert_allclose(several[network], embeddings, atol=1e-5)


def test_a_threshold_of_its_own(ready: Recogniser) -> None:
    photos = asked("test", 3)
    assert [answer.names[0].whale for answer in ready.identify(photos, threshold=1.0)] == ["new_whale"] * 3
    last = [answer.names[-1].whale for answer in ready.identify(photos, threshold=0.0)]
    assert "new_whale" not in last  # five whales come before it


def test_the_same_inputs_give_the_same_bundle(here: Path, tmp_path: Path) -> None:
    making.write(config.load(paths.PARAMS), "final", tmp_path / "again")
    for path in sorted(PLACE.iterdir()):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
    assert description.read(PLACE).digest == description.read(tmp_path / "again").digest


def test_a_network_that_is_a_pickle_is_refused(ready: Recogniser, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    evil = pickle.dumps(Evil())
    for changes in ({"boxes": evil}, {"networks": dict.fromkeys(ready.bundle.networks, evil)}):
        with pytest.raises(WhaleidError, match="is no safetensors file, or not a whole one"):
            Recogniser(replace(ready.bundle, **changes))  # type: ignore[arg-type]
    assert not (tmp_path / "ran").exists()


def test_files_of_other_networks_are_refused(ready: Recogniser) -> None:
    networks = [*ready.bundle.features]
    thin = {name: replace(each, embeddings=each.embeddings[:1]) for name, each in ready.bundle.features.items()}
    with pytest.raises(WhaleidError, match=r"does not fit the bundle \(1 views of 32 numbers, not 2 of 32"):
        Recogniser(replace(ready.bundle, features=thin))
    decision = replace(ready.bundle.about.decision, weights={f"{networks[0]}_other": 1.0})
    about = ready.bundle.about.model_copy(update={"decision": decision})
    with pytest.raises(WhaleidError, match="there is no score 'margin_other'"):
        Recogniser(replace(ready.bundle, about=about))


def new_catalogue(folder: Path, *rows: tuple[str, str]) -> None:
    (folder / "train").mkdir(parents=True)
    for image, _ in rows:
        shutil.copy(Path("data/sample/test", image), folder / "train")
    pd.DataFrame(rows, columns=["Image", "Id"]).to_csv(folder / "train.csv", index=False)


def test_photos_added_since_are_known_at_once(
    here: Path, ready: Recogniser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = [answer.photo for answer in ready.identify(asked("test")) if not answer.same][:2]
    new_catalogue(tmp_path / "whales", (unknown[0], "w_added"), (unknown[1], "new_whale"))
    wiser, added = additions.known(ready, tmp_path / "whales")
    assert added == {name: tmp_path / "whales/train" / name for name in unknown}
    first, second = wiser.identify([Query(name, Path("data/sample/test", name).read_bytes()) for name in unknown])
    best = max((name for name in first.names if name.whale != "new_whale"), key=lambda name: name.probability)
    assert (best.whale, best.nearest) == ("w_added", unknown[0])
    assert first.same[0].whale == "w_added"
    assert second.same[0].whale == "new_whale"
    # the one that does not know them still answers as before
    assert not ready.identify([Query("p", Path("data/sample/test", unknown[0]).read_bytes())])[0].same
    # a second time nothing is computed
    monkeypatch.setattr(embedder, "embed_batch", None)
    again, _ = additions.known(ready, tmp_path / "whales")
    for network, features in wiser.bundle.features.items():
        assert np.array_equal(features.embeddings, again.bundle.features[network].embeddings)
    assert again.bundle.photos.equals(wiser.bundle.photos)


def test_a_label_that_was_corrected_since_holds(here: Path, ready: Recogniser, tmp_path: Path) -> None:
    table = pd.read_csv("data/sample/train.csv", dtype=str)
    row = table.index[table["Id"] != "new_whale"][0]
    image, before = table.at[row, "Image"], table.at[row, "Id"]
    shutil.copytree("data/sample", tmp_path / "whales")
    table.at[row, "Id"] = "w_corrected"
    table.to_csv(tmp_path / "whales/train.csv", index=False)
    wiser, added = additions.known(ready, tmp_path / "whales")
    assert list(added) == [image]
    (answer,) = wiser.identify([Query(image, Path("data/sample/train", image).read_bytes())])
    assert (answer.same[0].photo, answer.same[0].whale) == (image, "w_corrected")
    assert before not in [each.whale for each in answer.same if each.photo == image]
    assert len(wiser.bundle.photos) == len(ready.bundle.photos)

    shutil.copy(tmp_path / "whales/train" / table.at[row + 1, "Image"], tmp_path / "whales/train" / image)
    with pytest.raises(InputProblems, match=r"by whose names the model knows other pictures, with other labels \(1\)"):
        additions.known(ready, tmp_path / "whales")


def test_a_catalogue_of_other_whales_is_told_of(
    ready: Recogniser, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = sorted(Path("data/sample/test").iterdir())[0].name
    new_catalogue(tmp_path / "whales", (name, "w_other"))
    additions.known(ready, tmp_path / "whales")
    assert "The model was trained on no photo of" in capsys.readouterr().err


def test_a_reviewed_table_is_not_written_over(here: Path, tmp_path: Path) -> None:
    photo = sorted(Path("data/sample/test").iterdir())[0]
    table = tmp_path / "reviewed.csv"
    table.write_text("photo,whale\na.jpg,\n")
    identify.run([photo], PLACE, None, None, table, None, None)
    text = table.read_text().replace(",,", ",new,", 1)
    table.write_text(text)
    with pytest.raises(WhaleidError, match=r"reviewed\.csv has 1 reviewed photos: `whaleid add"):
        identify.run([photo], PLACE, None, None, table, None, None)
    assert table.read_text() == text


def test_a_catalogue_without_news_changes_nothing(ready: Recogniser) -> None:
    same, added = additions.known(ready, Path("data/sample"))
    assert same is ready
    assert added == {}


def test_added_photos_that_are_gone_are_named(ready: Recogniser, tmp_path: Path) -> None:
    new_catalogue(tmp_path / "whales")
    (tmp_path / "whales/train.csv").write_text("Image,Id\ngone.jpg,w_x\n")
    with pytest.raises(
        InputProblems, match=r"train\.csv: rows without a photo in train/ \(1\):\n  line 2: 'gone\.jpg'"
    ):
        additions.known(ready, tmp_path / "whales")


def test_the_command_writes_what_it_prints(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "<b>photos"
    folder.mkdir()
    for path in sorted(Path("data/sample/test").iterdir())[:3]:
        shutil.copy(path, folder)
    shutil.copy(sorted(Path("data/sample/train").iterdir())[0], folder / "copy.jpg")
    (folder / "broken.jpg").write_bytes(b"none")
    table, text, page = (tmp_path / name for name in ("a.csv", "a.json", "a.html"))
    assert identify.run([folder, folder / "copy.jpg"], PLACE, None, None, table, text, page) == 1
    said = capsys.readouterr().out.splitlines()
    assert len([line for line in said if line.startswith(str(folder))]) == 5  # each photo once
    assert any("not read: " in line and "no image in a format that is known" in line for line in said)
    assert any(line.strip().startswith("same picture as ") for line in said)
    rows = pd.read_csv(table, keep_default_na=False, dtype=str)
    assert list(rows) == ["photo", "whale", *LABELS, *PROBABILITIES, "same_as", "same_as_whale", "problem"]
    assert rows["photo"].tolist() == [str(path) for path in sorted(folder.iterdir())]
    answers = json.loads(text.read_text())
    assert [answer["photo"] for answer in answers] == rows["photo"].tolist()
    for answer, (_, row) in zip(answers, rows.iterrows(), strict=True):
        assert [name["whale"] for name in answer["names"]] == [row[label] for label in LABELS if row[label]]
        assert [name["probability"] for name in answer["names"]] == [float(row[p]) for p in PROBABILITIES if row[p]]
    html = page.read_text()
    assert "<b>photos" not in html.split("<body>")[1].replace("&lt;b&gt;", "")
    assert "same picture as" in html
    assert html.count('class="strip"') == 5


def test_places_that_are_not_there_are_named(here: Path) -> None:
    with pytest.raises(InputProblems, match=r"There are no such photos or folders \(2\):\n  a\n  b"):
        identify.run([Path("a"), Path("b")], PLACE, None, None, None, None, None)


def test_a_photo_upside_down_is_turned_where_the_bundle_says_so(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = contents.read(PLACE)
    about = read.about.model_copy(update={"pack": read.about.pack.model_copy(update={"crop": False, "turn": True})})
    turning = Recogniser(replace(read, about=about))
    straight = Recogniser(
        replace(read, about=about.model_copy(update={"pack": about.pack.model_copy(update={"turn": False})}))
    )
    photo = asked("test", 1)[0]
    with Image.open(Path("data/sample/test", photo.name)) as image:
        image.transpose(Image.Transpose.ROTATE_180).save(tmp_path / "turned.png")
        image.save(tmp_path / "upright.png")
    turned, upright = (Query(name, (tmp_path / name).read_bytes()) for name in ("turned.png", "upright.png"))
    monkeypatch.setattr(embedder, "CERTAIN", -1.0)  # takes all for upside down
    ((one,), (other,), (down,)) = embed(turning, turned), embed(straight, upright), embed(straight, turned)
    for network, expected in other.embeddings.items():
        straightened, left = (cosine(expected, each.embeddings[network]) for each in (one, down))
        assert straightened > max(0.97, left)  # but for where a pixel is rounded to
