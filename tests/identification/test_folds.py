"""Validation folds: clusters stay together, and roles are spread evenly."""

import numpy as np
import pandas as pd

from whaleid.identification.folds import assign_folds, clusters

GROUPS = pd.DataFrame(
    [
        (7, "a1.jpg", "train", "w_a"),
        (7, "b1.jpg", "train", "w_b"),  # same picture, different label
        (1, "b2.jpg", "train", "w_b"),
        (1, "n1.jpg", "train", "new_whale"),
        (2, "c1.jpg", "train", "w_c"),
        (2, "t1.jpg", "test", ""),
        (3, "d1.jpg", "train", "w_d"),
        (3, "t1.jpg", "test", ""),
    ],
    columns=["group", "Image", "part", "Id"],
)


def test_a_cluster_contains_all_whales_and_photos_that_share_groups():
    queries = pd.DataFrame(
        [
            ("c9.jpg", "w_c"),
            ("a9.jpg", "w_a"),
            ("n1.jpg", "new_whale"),  # in a group with w_b
            ("n2.jpg", "new_whale"),
            ("n3.jpg", "new_whale"),
            ("b9.jpg", "w_b"),
            ("d9.jpg", "w_d"),  # queries do not connect clusters: they have no labels
            ("c8.jpg", "w_c"),
        ],
        columns=["Image", "whale"],
    )
    assert clusters(queries, GROUPS).tolist() == [0, 1, 1, 2, 3, 1, 4, 0]
    assert clusters(queries, GROUPS).dtype == np.int64
    assert clusters(queries, GROUPS[:0]).tolist() == [0, 1, 2, 3, 4, 5, 6, 0]


def random_queries(queries=400):
    generator = np.random.default_rng(0)
    roles = generator.choice(["known", "unknown", "duplicate", "new_whale"], queries, p=[0.7, 0.1, 0.1, 0.1]).tolist()
    cluster = generator.integers(0, queries // 2, queries)
    return [f"{number:03}.jpg" for number in range(queries)], roles, cluster


def test_folds_keep_clusters_whole_and_spread_each_role():
    images, roles, cluster = random_queries()
    fold = assign_folds(images, roles, cluster)
    assert len({*zip(cluster.tolist(), fold.tolist(), strict=True)}) == len({*cluster.tolist()})
    for role in ("known", "unknown", "duplicate", "new_whale"):
        counts = np.bincount(fold[np.array(roles) == role], minlength=5)
        assert counts.max() - counts.min() <= 2, role


def test_folds_do_not_depend_on_the_order_of_queries_or_the_numbering_of_clusters():
    images, roles, cluster = random_queries()
    fold = assign_folds(images, roles, cluster)
    order = np.random.default_rng(1).permutation(len(images))
    again = assign_folds([images[n] for n in order], [roles[n] for n in order], 1000 - cluster[order])
    assert again.tolist() == fold[order].tolist()


def test_queries_without_weight_do_not_change_the_folds_of_others():
    images, roles, cluster = random_queries()
    fold = assign_folds(images, roles, cluster)
    more = [f"more{number}.jpg" for number in range(90)]
    mixed = assign_folds([*more, *images], ["new_whale_train"] * 90 + roles, np.append(np.arange(90) + 5000, cluster))
    assert mixed[90:].tolist() == fold.tolist()
    assert np.bincount(mixed[:90]).tolist() == [18] * 5


def test_large_clusters_are_assigned_first_to_the_fold_with_the_smallest_share_of_their_roles():
    images, cluster = ["a1", "a2", "a3", "b1", "b2", *"cdefgh"], np.array([0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7])
    fold = assign_folds(images, ["known"] * 10 + ["unknown"], cluster)
    # a and b are the largest; d, f, c, e and g follow in the order of their hash; the unknown whale h is last
    assert fold.tolist() == [0, 0, 0, 1, 1, 4, 2, 2, 3, 3, 4]


def test_folds_balance_shares_of_roles_rather_than_counts():
    # four whales with three known queries each; two whales with one known query and one duplicate each
    images, cluster = [f"{number:02}.jpg" for number in range(16)], np.repeat(np.arange(6), [3, 3, 3, 3, 2, 2])
    fold = assign_folds(images, ["known"] * 12 + ["known", "duplicate"] * 2, cluster)
    assert sorted(fold[:12].tolist()) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    # the first of the two goes to the empty fold, the second to a fold with more known queries, but without a duplicate
    assert sorted(fold[12:].tolist()) == [0, 0, 4, 4]
