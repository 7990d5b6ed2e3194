"""Scores of whales, against worked examples and slow references."""

import numpy as np
import pandas as pd
import pytest

from whaleid.core.features import Features
from whaleid.identification import scores
from whaleid.identification.scores import (
    Scorer,
    centroids,
    class_scores,
    cosines,
    duplicate_scores,
    extend_class_scores,
    flatten,
    nearest_photos,
    nearest_scores,
    score_name,
)


def unit(*shape, seed=0):
    """Return float32 rows of unit length."""
    drawn = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)


LABELS = np.array(["w_1", "w_1", "w_1", "w_2", "w_3", "w_3", "w_3"])
STARTS = np.array([0, 3, 4])
WHALES = ["w_1", "w_2", "w_3"]


def test_class_score_is_the_closest_centre_of_each_flip():
    queries, centres = unit(2, 5, 4), unit(2, 3, 2, 4, seed=1)
    expected = [
        [np.mean([max(q[flip] @ centre for centre in centres[flip, c]) for flip in range(2)]) for c in range(3)]
        for q in queries.transpose(1, 0, 2)
    ]
    result = class_scores(queries, centres)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_nearest_score_is_that_of_the_photo_most_alike_over_all_flips():
    queries, photos = unit(2, 5, 4), unit(2, 7, 4, seed=1)
    expected = [
        [
            max(np.mean([q[flip] @ photos[flip, p] for flip in range(2)]) for p in np.flatnonzero(whale == LABELS))
            for whale in WHALES
        ]
        for q in queries.transpose(1, 0, 2)
    ]
    np.testing.assert_allclose(nearest_scores(queries, flatten(photos), STARTS), expected, atol=1e-6)


@pytest.mark.parametrize("photos", [1, 2, 4, 5, 6])
def test_photos_are_compared_in_blocks_of_whole_whales(photos, monkeypatch):
    queries, gallery = unit(2, 5, 4), flatten(unit(2, 7, 4, seed=1))
    expected = nearest_scores(queries, gallery, STARTS)
    monkeypatch.setattr(scores, "MAX_PHOTOS", photos)
    np.testing.assert_allclose(nearest_scores(queries, gallery, STARTS), expected, atol=1e-6)


def test_centroid_score_is_the_cosine_to_the_mean_photo():
    queries, photos = unit(2, 5, 4), unit(2, 7, 4, seed=1)
    expected = np.zeros((5, 3))
    for w, whale in enumerate(WHALES):
        for flip in range(2):
            mean = photos[flip, whale == LABELS].mean(axis=0)
            expected[:, w] += queries[flip] @ mean / np.linalg.norm(mean) / 2
    np.testing.assert_allclose(cosines(queries, centroids(photos, STARTS)), expected, atol=1e-6)


def test_duplicates_score_their_labels():
    labels = np.array(["w_1", "w_2", "new_whale"])
    result = duplicate_scores([["w_2", "w_2"], [], ["new_whale", "w_1"], ["w_gone"]], labels)
    assert result.tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 1], [0, 0, 0]]


def test_whales_that_are_no_class_are_scored_as_if_they_were():
    nearest = np.array([[0.5, 0.9, 0.3, 0.7]], dtype=np.float32)
    learnt = np.array([[0.1, 0.5]], dtype=np.float32)  # mean 0.3, deviation 0.2; of the nearest photos: 0.6 and 0.3
    result = extend_class_scores(learnt, nearest, np.array([False, True, True, False]))
    np.testing.assert_allclose(result, [[0.3 - 0.1 * 2 / 3, 0.1, 0.5, 0.3 + 0.1 * 2 / 3]], rtol=1e-5)
    nobody = extend_class_scores(np.empty((1, 0), dtype=np.float32), nearest, np.zeros(4, dtype=bool))
    assert nobody.tolist() == nearest.tolist()


def described(photos, centres, classes):
    """Return the features of photos (F, N, D) called 0.jpg, 1.jpg, ..."""
    rows = {f"{number}.jpg": number for number in range(photos.shape[1])}
    return Features(rows, photos, centres, np.array(classes))


def photos_of(labels, seed=0):
    """Return a table of photos in no order."""
    table = pd.DataFrame({"Image": [f"{number}.jpg" for number in range(len(labels))], "Id": labels})
    return table.sample(frac=1, random_state=seed)


def test_a_scorer_has_each_score_for_whales_and_new_whale(monkeypatch):
    queries, centres, photos = unit(2, 5, 4), unit(2, 4, 1, 4, seed=1), unit(2, 7, 4, seed=2)
    duplicates = [["w_2"], [], ["new_whale"], [], []]
    names = ["duplicates", "class", "nearest", "centroid"]
    scorer = Scorer({"margin": described(photos, centres, ["new_whale", "w_3", "w_gone", "w_1"])}, photos_of(LABELS))
    assert scorer.whales.tolist() == WHALES
    (table,) = scorer.score(names, {"margin": queries}, duplicates)
    assert table.shape == (4, 5, 4)
    assert table[0].tolist() == [[0, 1, 0, 0], [0] * 4, [0, 0, 0, 1], [0] * 4, [0] * 4]
    by_class, nearest = class_scores(queries, centres), nearest_scores(queries, flatten(photos), STARTS)
    np.testing.assert_allclose(table[1][:, [0, 2, 3]], by_class[:, [3, 1, 0]], atol=1e-6)
    expected = extend_class_scores(by_class[:, [3, 1]], nearest, np.array([True, False, True]))[:, 1]
    np.testing.assert_allclose(table[1][:, 1], expected, atol=1e-6)
    np.testing.assert_allclose(table[2][:, :3], nearest, atol=1e-6)
    np.testing.assert_allclose(table[3][:, :3], cosines(queries, centroids(photos, STARTS)), atol=1e-6)
    assert not table[2:, :, 3].any()
    for limit, value in (("MAX_QUERIES", 2), ("MAX_SCORES", 4 * 3 * 2)):  # four scores of three whales and two queries
        with monkeypatch.context() as patch:
            patch.setattr(scores, limit, value)
            blocks = list(scorer.score(names, {"margin": queries}, duplicates))
        assert [block.shape[1] for block in blocks] == [2, 2, 1]
        np.testing.assert_allclose(np.concatenate(blocks, axis=1), table, atol=1e-6)
    many = list(scorer.score(["nearest"], {"margin": unit(2, 300, 4)}, [[]] * 300))
    assert [block.shape[1] for block in many] == [256, 44]


def test_scores_of_several_networks_have_names_of_their_own():
    assert score_name("margin", "class", 1) == "class"
    assert score_name("margin", "class", 2) == "margin_class"
    assert score_name("margin", "duplicates", 2) == "duplicates"
    features = {name: described(unit(1, 7, 4, seed=seed), unit(1, 1, 1, 4), ["w_1"]) for seed, name in enumerate("ab")}
    queries = {name: unit(1, 3, 4, seed=seed) for seed, name in enumerate("cd", 5)}
    queries = dict(zip("ab", queries.values(), strict=True))
    (table,) = Scorer(features, photos_of(LABELS)).score(["b_nearest", "a_nearest"], queries, [[]] * 3)
    for scores_of_one, name in zip(table, "ba", strict=True):
        expected = nearest_scores(queries[name], flatten(features[name].embeddings), STARTS)
        np.testing.assert_allclose(scores_of_one[:, :3], expected, atol=1e-6)


def test_the_nearest_photo_of_a_whale_is_that_of_the_mean_over_networks():
    features = {name: described(unit(2, 7, 4, seed=seed), unit(2, 1, 1, 4), ["w_1"]) for seed, name in enumerate("ab")}
    queries = {"a": unit(2, 3, 4, seed=8), "b": unit(2, 3, 4, seed=9)}
    photos = {"w_1": ["2.jpg", "0.jpg", "1.jpg"], "w_2": ["3.jpg"]}
    mean = np.mean([cosines(queries[name], each.embeddings) for name, each in features.items()], axis=0)
    expected = max(photos["w_1"], key=lambda image: mean[0, int(image[0])])
    assert nearest_photos(features, queries, ["w_1", "w_2", "new_whale"], photos) == [expected, "3.jpg", ""]
