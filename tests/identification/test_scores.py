"""Scores of whales: worked examples, and comparison with slow references."""

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
    """Return random float32 rows of unit length."""
    rows = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


LABELS = np.array(["w_1", "w_1", "w_1", "w_2", "w_3", "w_3", "w_3"])
STARTS = np.array([0, 3, 4])
WHALES = ["w_1", "w_2", "w_3"]


def test_class_score_is_the_cosine_to_the_closest_centre_averaged_over_flips():
    queries, centres = unit(2, 5, 4), unit(2, 3, 2, 4, seed=1)
    expected = [
        [np.mean([max(q[flip] @ centre for centre in centres[flip, c]) for flip in range(2)]) for c in range(3)]
        for q in queries.transpose(1, 0, 2)
    ]
    result = class_scores(queries, centres)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_nearest_score_is_the_cosine_to_the_most_similar_photo_averaged_over_flips():
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
def test_nearest_scores_do_not_depend_on_the_block_size(photos, monkeypatch):
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


def test_duplicate_scores_are_1_for_the_labels_of_duplicates():
    labels = np.array(["w_1", "w_2", "new_whale"])
    result = duplicate_scores([["w_2", "w_2"], [], ["new_whale", "w_1"], ["w_gone"]], labels)
    assert result.tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 1], [0, 0, 0]]


def test_class_scores_of_whales_that_are_not_a_class_are_estimated():
    nearest = np.array([[0.5, 0.9, 0.3, 0.7]], dtype=np.float32)
    # mean 0.3, standard deviation 0.2; `nearest` of the same whales has mean 0.6, standard deviation 0.3
    scores_of_classes = np.array([[0.1, 0.5]], dtype=np.float32)
    result = extend_class_scores(scores_of_classes, nearest, np.array([False, True, True, False]))
    np.testing.assert_allclose(result, [[0.3 - 0.1 * 2 / 3, 0.1, 0.5, 0.3 + 0.1 * 2 / 3]], rtol=1e-5)
    without_classes = extend_class_scores(np.empty((1, 0), dtype=np.float32), nearest, np.zeros(4, dtype=bool))
    assert without_classes.tolist() == nearest.tolist()


def make_features(photos, centres, classes):
    """Return the features of photos (F, N, D) named 0.jpg, 1.jpg, …"""
    rows = {f"{number}.jpg": number for number in range(photos.shape[1])}
    return Features(rows, photos, centres, np.array(classes))


def photo_table(labels, seed=0):
    """Return a table of photos with these labels, in random order."""
    table = pd.DataFrame({"Image": [f"{number}.jpg" for number in range(len(labels))], "Id": labels})
    return table.sample(frac=1, random_state=seed)


def test_a_scorer_computes_every_score_of_whales_and_new_whale(monkeypatch):
    queries, centres, photos = unit(2, 5, 4), unit(2, 4, 1, 4, seed=1), unit(2, 7, 4, seed=2)
    duplicates = [["w_2"], [], ["new_whale"], [], []]
    names = ["duplicates", "class", "nearest", "centroid"]
    scorer = Scorer(
        {"margin": make_features(photos, centres, ["new_whale", "w_3", "w_gone", "w_1"])}, photo_table(LABELS)
    )
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
    for limit, value in (("MAX_QUERIES", 2), ("MAX_SCORES", 4 * 3 * 2)):  # four scores, three whales, two queries
        with monkeypatch.context() as patch:
            patch.setattr(scores, limit, value)
            blocks = list(scorer.score(names, {"margin": queries}, duplicates))
        assert [block.shape[1] for block in blocks] == [2, 2, 1]
        np.testing.assert_allclose(np.concatenate(blocks, axis=1), table, atol=1e-6)
    blocks = list(scorer.score(["nearest"], {"margin": unit(2, 300, 4)}, [[]] * 300))
    assert [block.shape[1] for block in blocks] == [256, 44]


def test_scores_of_an_ensemble_are_named_after_their_network():
    assert score_name("margin", "class", 1) == "class"
    assert score_name("margin", "class", 2) == "margin_class"
    assert score_name("margin", "duplicates", 2) == "duplicates"
    features = {
        name: make_features(unit(1, 7, 4, seed=seed), unit(1, 1, 1, 4), ["w_1"]) for seed, name in enumerate("ab")
    }
    queries = {name: unit(1, 3, 4, seed=seed) for seed, name in enumerate("cd", 5)}
    queries = dict(zip("ab", queries.values(), strict=True))
    (table,) = Scorer(features, photo_table(LABELS)).score(["b_nearest", "a_nearest"], queries, [[]] * 3)
    for scores_of_one, name in zip(table, "ba", strict=True):
        expected = nearest_scores(queries[name], flatten(features[name].embeddings), STARTS)
        np.testing.assert_allclose(scores_of_one[:, :3], expected, atol=1e-6)


def test_the_nearest_photo_has_the_highest_mean_cosine_over_networks():
    features = {
        name: make_features(unit(2, 7, 4, seed=seed), unit(2, 1, 1, 4), ["w_1"]) for seed, name in enumerate("ab")
    }
    queries = {"a": unit(2, 3, 4, seed=8), "b": unit(2, 3, 4, seed=9)}
    photos = {"w_1": ["2.jpg", "0.jpg", "1.jpg"], "w_2": ["3.jpg"]}
    mean = np.mean([cosines(queries[name], network.embeddings) for name, network in features.items()], axis=0)
    expected = max(photos["w_1"], key=lambda image: mean[0, int(image[0])])
    assert nearest_photos(features, queries, ["w_1", "w_2", "new_whale"], photos) == [expected, "3.jpg", ""]
