"""A bundle identifies whales as the pipeline does, and inconsistent bundles are refused."""

import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.project import run_stage
from helpers.queries import embed, queries
from numpy.typing import NDArray
from PIL import Image

from whaleid import config
from whaleid.core import files, paths
from whaleid.core.errors import WhaleidError
from whaleid.serving import about, bundle, embedder, export
from whaleid.serving.embedder import Query
from whaleid.serving.recogniser import Recogniser

pytestmark = pytest.mark.slow


def link(source: str, target: str) -> None:
    """Create a hard link instead of a copy: stages replace files and never modify them."""
    os.link(source, target)


def test_without_crops_the_answers_equal_the_submission(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the trained project may have cropped a query with another box; without crops, both pack photos in the same way
    project = shutil.copytree(trained, tmp_path / "uncropped", copy_function=link)
    monkeypatch.chdir(project)
    settings = config.load(paths.PARAMS)
    only = {name: settings.predictions[name] for name in ("ensemble", "final")}
    pack = settings.pack.model_copy(update={"crop": False})
    settings = settings.model_copy(update={"pack": pack, "predictions": only})
    run_stage("pack", settings)
    for name in only["final"].networks:
        run_stage("embed", settings, name)
    for name in ("rank", "predict"):
        run_stage(name, settings)
    run_stage("bundle", settings, "final")
    answers = Recogniser(bundle.read(project / "models/final.bundle")).identify(queries("test"))
    submitted = files.read_csv(paths.submission("final"))
    assert {answer.photo: [candidate.whale for candidate in answer.names] for answer in answers} == {
        image: labels.split() for image, labels in zip(submitted["Image"], submitted["Id"], strict=True)
    }
    leaks = files.read_csv(paths.LEAKS)
    duplicates = {(answer.photo, duplicate.photo, duplicate.whale) for answer in answers for duplicate in answer.same}
    assert duplicates == set(leaks[["query", "photo", "Id"]].itertuples(index=False, name=None))
    assert duplicates


def test_an_answer_has_five_labels_ranked_at_the_threshold(recogniser: Recogniser) -> None:
    for answer in recogniser.identify(queries("test")):
        whales = [candidate.whale for candidate in answer.names]
        assert len(set(whales)) == 5
        assert "new_whale" in whales
        rank = whales.index("new_whale")
        known = [candidate.probability for candidate in answer.names if candidate.whale != "new_whale"]
        assert known == sorted(known, reverse=True)
        assert all(value > recogniser.bundle.about.threshold for value in known[:rank])
        assert sum(candidate.probability for candidate in answer.names) <= 1 + 1e-6
        x0, y0, x1, y1 = answer.fluke or (1, 1, 0, 0)
        assert 0 <= x0 < x1 <= 1
        assert 0 <= y0 < y1 <= 1


def test_the_nearest_photo_equals_a_slow_search(recogniser: Recogniser) -> None:
    photos = embed(recogniser, *queries("test", 4))
    compared = recogniser.bundle.compared
    for photo, answer in zip(photos, recogniser.identify_embedded(photos), strict=True):
        for candidate in answer.names:
            if candidate.whale == "new_whale":
                assert candidate.nearest == ""
                continue
            similarity = dict.fromkeys(compared.loc[compared["Id"] == candidate.whale, "Image"], 0.0)
            for image in similarity:
                for network, features in recogniser.bundle.features.items():
                    for a, b in zip(photo.embeddings[network], features.select([image])[:, 0], strict=True):
                        similarity[image] += float(np.dot(a, b))
            assert similarity[candidate.nearest] == pytest.approx(max(similarity.values()), abs=1e-6)


def test_a_labelled_photo_is_a_duplicate_of_itself(recogniser: Recogniser) -> None:
    (photo,) = queries("train", 1)
    (answer,) = recogniser.identify([photo])
    assert (answer.same[0].photo, answer.same[0].distance, answer.same[0].error) == (photo.name, 0, 0.0)
    assert answer.same[0].whale == recogniser.bundle.photos.set_index("Image").at[photo.name, "Id"]


def test_a_batch_gets_the_same_answers_as_single_photos(recogniser: Recogniser) -> None:
    photos = [*queries("test", 5), Query("bad", b"no photo"), Query("empty", b"")]
    batch = recogniser.identify(photos)
    assert [answer.photo for answer in batch] == [photo.name for photo in photos]
    assert [answer.problem for answer in batch[5:]] == [
        "bad: not an image in a known format",
        "empty: an empty file",
    ]
    for photo, answer in zip(photos, batch, strict=True):
        (single,) = recogniser.identify([photo])
        assert [candidate.whale for candidate in single.names] == [candidate.whale for candidate in answer.names]
        assert [candidate.probability for candidate in single.names] == pytest.approx(
            [candidate.probability for candidate in answer.names], abs=1e-5
        )
    same_names = [photos[number]._replace(name="same") for number in (0, 5, 1)]
    assert [answer.problem for answer in recogniser.identify(same_names)] == [
        "",
        "same: not an image in a known format",
        "",
    ]
    assert recogniser.identify([]) == []
    assert recogniser.identify(photos[5:])[0].problem
    (missing,) = recogniser.identify([Query("nowhere.jpg")])  # a path
    assert missing.problem == "nowhere.jpg cannot be read (No such file or directory)"


def test_embeddings_are_the_same_in_several_threads(recogniser: Recogniser) -> None:
    photos = queries("test", 6)
    sequential = [embed(recogniser, photo)[0].embeddings for photo in photos]
    with ThreadPoolExecutor(6) as pool:
        parallel = list(pool.map(lambda photo: embed(recogniser, photo)[0].embeddings, photos * 3))
    for expected, result in zip(sequential * 3, parallel, strict=True):
        for network, embeddings in expected.items():
            np.testing.assert_allclose(result[network], embeddings, atol=1e-5)


def test_a_given_threshold_replaces_the_threshold_of_the_bundle(recogniser: Recogniser) -> None:
    photos = queries("test", 3)
    assert [answer.names[0].whale for answer in recogniser.identify(photos, threshold=1.0)] == ["new_whale"] * 3
    last = [answer.names[-1].whale for answer in recogniser.identify(photos, threshold=0.0)]
    assert "new_whale" not in last  # five whales rank before it


def cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return the cosine similarity of two photos (F, D), averaged over flips."""
    return float((a * b).sum(axis=1).mean())


def test_a_photo_upside_down_is_rotated_if_the_bundle_says_so(
    recogniser: Recogniser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_rotation(turn: bool) -> Recogniser:
        pack = recogniser.bundle.about.pack.model_copy(update={"crop": False, "turn": turn})
        return Recogniser(replace(recogniser.bundle, about=recogniser.bundle.about.model_copy(update={"pack": pack})))

    (photo,) = queries("test", 1)
    with Image.open(Path("data/sample/test", photo.name)) as image:
        image.transpose(Image.Transpose.ROTATE_180).save(tmp_path / "rotated.png")
        image.save(tmp_path / "upright.png")
    rotated, upright = (Query(name, (tmp_path / name).read_bytes()) for name in ("rotated.png", "upright.png"))
    monkeypatch.setattr(embedder, "UPSIDE_DOWN_THRESHOLD", -1.0)  # all photos are detected as upside down
    expected, uncorrected = embed(with_rotation(turn=False), upright, rotated)
    (corrected,) = embed(with_rotation(turn=True), rotated)
    for network, embeddings in expected.embeddings.items():
        similarity = cosine(embeddings, corrected.embeddings[network])
        assert similarity > max(0.97, cosine(embeddings, uncorrected.embeddings[network]))  # not 1: pixels are rounded


def test_the_same_inputs_give_the_same_bundle(in_project: Path, tmp_path: Path) -> None:
    export.write(config.load(paths.PARAMS), "final", tmp_path / "again")
    for path in sorted(Path("models/final.bundle").iterdir()):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
    assert about.read(tmp_path / "again").digest == about.read(Path("models/final.bundle")).digest


def test_a_pickled_network_is_refused(recogniser: Recogniser, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    evil = pickle.dumps(Evil())
    original = recogniser.bundle
    networks = dict.fromkeys(original.networks, evil)
    for changed in (replace(original, boxes=evil), replace(original, networks=networks)):
        with pytest.raises(WhaleidError, match="is not a safetensors file, or is incomplete"):
            Recogniser(changed)
    assert not (tmp_path / "ran").exists()


def test_files_of_other_networks_are_refused(recogniser: Recogniser) -> None:
    bundle = recogniser.bundle
    one_flip = {name: replace(x, embeddings=x.embeddings[:1]) for name, x in bundle.features.items()}
    with pytest.raises(WhaleidError, match=r"margin\.embeddings does not match .*1 flips of 32 .*, not 2 of 32"):
        Recogniser(replace(bundle, features=one_flip))
    decision = replace(bundle.about.decision, weights={"margin_other": 1.0})
    with pytest.raises(WhaleidError, match=r"bundle\.json does not match .* \(unknown score 'margin_other'\)"):
        Recogniser(replace(bundle, about=bundle.about.model_copy(update={"decision": decision})))
