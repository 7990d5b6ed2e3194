"""Photos that are found without looking at all of them, beside a search that looks at all."""

import faiss
import numpy as np
import numpy.typing as npt
import pytest

from whaleid.identification import neighbours
from whaleid.identification.neighbours import Neighbours
from whaleid.identification.similarity import Gallery, centroid_scores, gallery, in_class_terms, joined, nearest_scores

Rows = npt.NDArray[np.float32]


def drawn(whales: int, photos: int) -> tuple[Gallery, Rows]:
    """Return a gallery of so many photos of each whale, and one more of each as queries (2, Q, 16)."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(2, whales, 1, 16))
    rows = (centres + 0.5 * random.normal(size=(2, whales, photos + 1, 16))).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=3, keepdims=True)
    names = np.char.zfill(np.arange(whales).repeat(photos).astype(str), 5)
    return gallery(rows[:, :, 1:].reshape(2, -1, 16), names), rows[:, :, 0]


def looked_into(near: Neighbours) -> int:
    return int(faiss.extract_index_ivf(near._index.base_index).nprobe)


@pytest.fixture(scope="module")
def many() -> tuple[Gallery, Rows, Neighbours]:
    among, queries = drawn(3000, 4)
    return among, queries, Neighbours(among)


def test_nearly_all_of_the_most_alike_are_found(many: tuple[Gallery, Rows, Neighbours]) -> None:
    among, queries, near = many
    assert looked_into(near) < 219  # of so many lists
    exact, found = nearest_scores(queries, among), near.scores(queries)
    assert found.shape == exact.shape == (3000, 3000)
    assert (found.argmax(axis=1) == exact.argmax(axis=1)).mean() > 0.99
    # of what is found, no whale is given more than its own cosine; of the others, than the least that is found
    cosines, rows = near._index.search(joined(queries), 256)
    whales = rows // 4  # photos of each
    assert (np.take_along_axis(found, whales, axis=1) >= cosines).all()
    assert (found <= np.maximum(exact, cosines[:, -1:]) + 1e-5).all()
    rest = found < cosines[:, -1:]
    assert rest.sum(axis=1).min() > 2500
    np.testing.assert_array_equal(found[rest], centroid_scores(queries, among)[rest])
    assert np.isclose(np.sort(found)[:, -3:], np.sort(exact)[:, -3:], atol=1e-5).mean() > 0.98


def test_whales_that_no_network_has_learnt_are_scored_as_with_all_photos(
    many: tuple[Gallery, Rows, Neighbours],
) -> None:
    among, queries, near = many
    learnt = np.arange(3000) % 10 > 0
    exact = nearest_scores(queries, among)
    of_classes = 0.6 * exact[:, learnt] - 0.1
    expected = in_class_terms(exact, of_classes, learnt)
    found = in_class_terms(near.scores(queries), of_classes, learnt)
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.99
    assert found.max(axis=1) == pytest.approx(expected.max(axis=1), abs=0.05)


def test_recall_is_that_of_a_search_by_hand(many: tuple[Gallery, Rows, Neighbours]) -> None:
    among, queries, near = many
    asked = queries[:, :250]
    rows = near._index.search(joined(asked), neighbours.FOUND)[1]
    cosines = joined(asked) @ among.photos.T
    shares = []
    for found, row in zip(rows, cosines, strict=True):
        shares.append(len({*found.tolist()} & {*np.argsort(-row)[:10].tolist()}) / 10)
    assert near.recall(asked) == pytest.approx(np.mean(shares), abs=1e-3)
    assert 0.97 < near.recall(queries) <= 1


def test_built_twice_it_finds_the_same(many: tuple[Gallery, Rows, Neighbours]) -> None:
    among, queries, near = many
    assert np.array_equal(Neighbours(among).scores(queries[:, :100]), near.scores(queries[:, :100]))


def test_more_lists_are_looked_into_where_more_is_asked(
    many: tuple[Gallery, Rows, Neighbours], monkeypatch: pytest.MonkeyPatch
) -> None:
    among, queries, near = many
    monkeypatch.setattr(neighbours, "RECALL", 0.5)
    fewer = Neighbours(among)
    assert looked_into(fewer) < looked_into(near)
    assert fewer.recall(queries) < near.recall(queries)


def test_a_small_gallery_is_looked_at_whole() -> None:
    among, queries = drawn(500, 2)
    near = Neighbours(among)
    assert np.array_equal(near.scores(queries), nearest_scores(queries, among))
    assert near.recall(queries) == 1
