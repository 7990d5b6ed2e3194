"""The split: a worked-out example, random catalogues, and comparisons of shares, seeds and folds."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from whaleid import config
from whaleid.catalog.split import split
from whaleid.core import files, paths
from whaleid.core.errors import WhaleidError
from whaleid.stages import split as stage

UNIQUE = [
    ("a1", "ann"),
    ("a2", "ann"),
    ("a3", "ann"),
    ("b1", "bob"),
    ("b2", "bob"),
    ("c1", "cat"),
    ("d1", "dan"),
    ("n1", "new_whale"),
    ("n2", "new_whale"),
]
GROUPS = [
    (0, "c1", "train", "cat"),
    (0, "c1-copy", "train", "cat"),
    (0, "query", "test", ""),
    (1, "n1", "train", "new_whale"),
    (1, "n1-copy", "train", "new_whale"),
    (2, "x1", "train", "ann"),
    (2, "x2", "train", "dan"),
]


def shares(fold=0, known=0.0, further=0.0, unknown=0.0, several=None, new_whale=0.0):
    """Return shares; by default, `several` equals `unknown`."""
    return config.Split(
        fold=fold,
        known=known,
        further=further,
        unknown=unknown,
        several=unknown if several is None else several,
        new_whale=new_whale,
        unknown_share=0.3,
    )


def unique_table(rows):
    return pd.DataFrame(rows, columns=["Image", "Id"], dtype=str)


def groups_table(rows):
    return pd.DataFrame(rows, columns=["group", "Image", "part", "Id"]).astype({"Image": str, "Id": str})


def draw(seed=0, unique=UNIQUE, groups=GROUPS, **held_out):
    return split(unique_table(unique), groups_table(groups), shares(**held_out), seed)


def images(table, role):
    return list(table.loc[table["role"] == role, "Image"])


def rows(table):
    return list(table.itertuples(index=False, name=None))


def test_with_shares_of_zero_validation_has_only_duplicates():
    assert rows(draw()) == [
        ("a1", "ann", "train", "catalogue"),
        ("a2", "ann", "train", "catalogue"),
        ("a3", "ann", "train", "catalogue"),
        ("b1", "bob", "train", "catalogue"),
        ("b2", "bob", "train", "catalogue"),
        ("c1", "cat", "train", "catalogue"),
        ("c1-copy", "cat", "validation", "duplicate"),
        ("d1", "dan", "train", "catalogue"),
        ("n1", "new_whale", "train", "catalogue"),
        ("n1-copy", "new_whale", "validation", "duplicate"),
        ("n2", "new_whale", "train", "catalogue"),
        ("x2", "dan", "validation", "duplicate"),  # x1 is left out, because c1 and n1 are in train, too
    ]


def test_copies_of_held_out_photos_are_left_out():
    table = draw(new_whale=1.0)
    assert images(table, "new_whale") == ["n1", "n2"]
    assert images(table, "duplicate") == ["c1-copy", "x2"]  # half of one conflict, rounded up
    assert "n1-copy" not in set(table["Image"])


@pytest.mark.parametrize("new_whale", [0.0, 0.4])
def test_conflicts_keep_their_proportion_among_duplicates(new_whale):
    unique = [(f"u{number}", "new_whale") for number in range(40)] + [("a1", "ann"), ("a2", "ann"), ("b1", "bob")]
    agreeing = [(f"u{number}", f"u{number}-copy") for number in range(30)]
    conflicting = [(f"x{number}", f"y{number}", f"z{number}") for number in range(10)]
    groups = [
        (group, image, "train", label)
        for group, images in enumerate([*agreeing, *conflicting])
        for image, label in zip(images, ["new_whale"] * 2 if len(images) == 2 else ["ann", "bob", "bob"], strict=True)
    ]
    queries = images(draw(unique=unique, groups=groups, new_whale=new_whale), "duplicate")
    copies = {image for image in queries if image.endswith("copy")}
    by_group = Counter(image[1:] for image in set(queries) - copies)
    assert len(by_group) == round(len(copies) / 3)  # 30 groups have one label, 10 are conflicts
    assert set(by_group.values()) == {2}  # one of three photos is left out


def test_a_known_query_is_one_photo_of_a_whale_with_several():
    table = draw(known=1.0)
    known = table[table["role"] == "known"]
    assert sorted(known["Id"]) == ["ann", "bob"]
    assert len(table[table["role"] == "catalogue"]) == len(UNIQUE) - 2


def test_every_photo_of_a_whale_can_be_held_out():
    held_out_photos = Counter(image for seed in range(30) for image in images(draw(seed, known=1.0), "known"))
    assert sorted(held_out_photos) == ["a1", "a2", "a3", "b1", "b2"]
    assert all(4 <= held_out_photos[image] <= 16 for image in ("a1", "a2", "a3"))


def test_at_least_one_photo_of_a_whale_stays_in_training():
    for seed in range(8):
        held_out_photos, known = set(images(draw(seed, known=1.0), "known")), draw(seed, known=1.0, further=1.0)
        assert held_out_photos < set(images(known, "known"))
        assert Counter(known.loc[known["role"] == "known", "Id"]) == {"ann": 2, "bob": 1}
        assert Counter(known.loc[known["role"] == "catalogue", "Id"]) == {
            "ann": 1,
            "bob": 1,
            "cat": 1,
            "dan": 1,
            "new_whale": 2,
        }


def test_every_photo_of_a_whale_can_be_the_one_that_stays_in_training():
    remaining = Counter()
    for seed in range(30):
        table = draw(seed, known=1.0, further=1.0)
        remaining.update(table.loc[(table["role"] == "catalogue") & (table["Id"] == "ann"), "Image"])
    assert sorted(remaining) == ["a1", "a2", "a3"]
    assert min(remaining.values()) >= 4


@pytest.mark.parametrize(
    ("photos", "whales", "further", "expected"),
    [
        (7, 8, 0.1, 8 + 4),  # a tenth of 8 * 5 photos, without the known ones and the one that stays
        (3, 15, 0.1, 15 + 2),  # 1.5, rounded half up
        (3, 4, 0.1, 4 + 1),  # at least one of four
        (3, 1, 0.1, 1),  # one photo does not suffice
        (2, 9, 1.0, 9),  # none remains
        (7, 8, 0.0, 8),
    ],
)
def test_further_photos_are_a_share_of_the_remaining_ones_except_one(photos, whales, further, expected):
    rows = [(f"{whale:02}{photo}", f"w{whale:02}") for whale in range(whales) for photo in range(photos)]
    rows += [(f"s{number}", f"single{number}") for number in range(30)]
    assert len(images(draw(unique=rows, groups=[], known=1.0, further=further), "known")) == expected
    # whales without a known query give no further photos
    assert images(draw(unique=rows, groups=[], further=further), "known") == []


def test_only_whales_with_a_known_query_give_further_photos():
    rows = [(f"{whale:02}{photo}", f"w{whale:02}") for whale in range(10) for photo in range(4)]
    table = draw(unique=rows, groups=[], known=0.3, unknown=0.2, further=1.0)
    assert Counter(table.loc[table["role"] == "known", "Id"].value_counts()) == {
        3: 2
    }  # three tenths of the 8 that are not unknown
    assert Counter(table.loc[table["role"] == "catalogue", "Id"].value_counts()) == {1: 2, 4: 6}


def test_whales_with_several_photos_can_all_stay_in_training():
    table = draw(unknown=1.0, several=0.0)
    counts = pd.DataFrame(UNIQUE, columns=["Image", "Id"])["Id"].value_counts()
    held_out_whales = set(table.loc[table["role"] == "unknown", "Id"])
    assert held_out_whales == {whale for whale, count in counts.items() if count == 1 and whale != "new_whale"}


def test_unknown_whales_of_both_strata_are_held_out_completely():
    for seed in range(8):
        table = draw(seed, unknown=0.5)
        whales = set(table.loc[table["role"] == "unknown", "Id"])
        assert len(whales & {"ann", "bob"}) == 1
        assert len(whales & {"cat", "dan"}) == 1
        assert not whales & set(table.loc[table["part"] == "train", "Id"])
        assert images(table, "unknown") == [image for image, label in UNIQUE if label in whales]


@pytest.mark.parametrize(
    ("share", "whales", "expected"), [(0.29, 50, 15), (0.1, 14, 1), (0.1, 15, 2), (0.001, 9, 1), (0.0, 9, 0)]
)
def test_counts_are_rounded_half_up_and_at_least_one(share, whales, expected):
    rows = [(f"{number:02}{photo}", f"w{number:02}") for number in range(whales) for photo in "ab"]
    assert len(images(draw(unique=rows, groups=[], known=share), "known")) == expected
    assert len(images(draw(unique=rows, groups=[], unknown=share), "unknown")) == 2 * expected
    rows += [(f"n{number:02}", "new_whale") for number in range(whales)]
    assert len(images(draw(unique=rows, groups=[], new_whale=share), "new_whale")) == expected


def test_a_stratum_of_one_whale_stays_in_training():
    rows = [("a1", "ann"), ("a2", "ann"), *[(f"s{number}", f"single{number}") for number in range(4)]]
    table = draw(unique=rows, groups=[], known=0.1, unknown=0.1)
    assert table.loc[table["role"] == "known", "Id"].tolist() == ["ann"]
    assert len(images(table, "unknown")) == 1


def random_catalogue(seed):
    """Draw numbers of photos per whale with a long tail, and duplicate groups, some of them conflicts."""
    rng = np.random.default_rng(seed)
    labels = [f"w{whale}" for whale, photos in enumerate(rng.geometric(0.4, 30)) for _ in range(photos)]
    labels += ["new_whale"] * 12
    unique = [(f"u{number:03}", label) for number, label in enumerate(labels)]
    groups = []
    for group in range(25):
        if group < 18:
            image, label = unique[rng.integers(len(unique))]
            if any(row[1] == image for row in groups):
                continue
            groups.append((group, image, "train", label))
            copies = [label] * rng.integers(0, 3)
        else:
            copies = list(rng.choice(labels, 3))
        groups += [(group, f"c{group}-{number}", "train", label) for number, label in enumerate(copies)]
        groups += [(group, f"q{group}", "test", "")]
    return unique, groups


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(4, 25))])
def test_invariants_hold_for_random_catalogues(seed):
    unique, groups = random_catalogue(seed)
    table = draw(seed, unique, groups, known=0.5, further=0.3, unknown=0.2, new_whale=0.3)
    role = dict(zip(table["Image"], table["role"], strict=True))
    train = table[table["part"] == "train"]

    assert table["Image"].is_unique
    assert table["Image"].is_monotonic_increasing
    assert set(table["role"]) == {"catalogue", "known", "unknown", "new_whale", "duplicate"}
    assert set(train["role"]) == {"catalogue"}
    assert {image for image in role if role[image] != "duplicate"} == {image for image, _ in unique}
    assert all(label in set(train["Id"]) for label in table.loc[table["role"] == "known", "Id"])
    assert not set(table.loc[table["role"] == "unknown", "Id"]) & set(train["Id"])
    assert set(table.loc[table["role"] == "new_whale", "Id"]) == {"new_whale"}
    labels = {**dict(unique), **{image: label for _, image, _, label in groups}}
    assert all(labels[image] == label for image, label in zip(table["Image"], table["Id"], strict=True))

    for group in {row[0] for row in groups}:
        members = [image for number, image, part, _ in groups if number == group and part == "train"]
        uniques = [image for image in members if image in dict(unique)]
        copies = [image for image in members if image not in dict(unique)]
        queries = [image for image in copies if role.get(image) == "duplicate"]
        if not uniques:
            assert len(queries) in (0, len(copies) - 1)
        else:
            assert queries == (copies if role[uniques[0]] == "catalogue" else [])


def test_order_of_rows_does_not_change_the_split():
    unique, groups = random_catalogue(1)
    rng = np.random.default_rng(0)
    held_out = {"known": 0.5, "further": 0.3, "unknown": 0.2, "new_whale": 0.3}
    first = draw(3, unique, groups, **held_out)
    again = draw(3, rng.permutation(unique), [groups[at] for at in rng.permutation(len(groups))], **held_out)
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(draw(4, unique, groups, **held_out))


def test_another_fold_draws_other_photos_of_the_same_number():
    unique, groups = random_catalogue(1)
    held_out = {"known": 0.5, "further": 0.3, "unknown": 0.2, "new_whale": 0.3}
    folds = [draw(3, unique, groups, fold=fold, **held_out) for fold in range(3)]
    for role in ("known", "unknown", "new_whale"):
        assert len({tuple(images(table, role)) for table in folds}) == 3
    for role in ("unknown", "new_whale"):
        assert len({table.loc[table["role"] == role, "Id"].nunique() for table in folds}) == 1
    # a fold is not the same draw as another seed
    assert not folds[1].equals(draw(1, unique, groups, fold=3, **held_out))
    pd.testing.assert_frame_equal(folds[1], draw(3, unique, groups, fold=1, **held_out))


def test_a_larger_share_adds_photos_and_does_not_change_other_roles():
    unique, groups = random_catalogue(2)
    few = draw(0, unique, groups, known=0.2, unknown=0.1, new_whale=0.2)
    for role in ("known", "unknown", "new_whale"):
        more = draw(0, unique, groups, **{"known": 0.2, "unknown": 0.1, "new_whale": 0.2, role: 0.4})
        assert set(images(few, role)) < set(images(more, role))
        for other in {"unknown", "new_whale"} - {role}:
            assert images(few, other) == images(more, other)
    # further photos are added to the first ones
    some, most = (draw(0, unique, groups, known=0.5, further=further) for further in (0.2, 0.8))
    assert set(images(draw(0, unique, groups, known=0.5), "known")) < set(images(some, "known"))
    assert set(images(some, "known")) < set(images(most, "known"))
    # unknown whales have no known query; those of the other whales do not change
    all_known = draw(0, unique, groups, known=1.0)
    fewer = draw(0, unique, groups, known=1.0, unknown=0.4)
    assert set(images(fewer, "known")) == set(images(all_known, "known")) - set(images(fewer, "unknown"))


def test_a_split_without_training_photos_is_refused():
    with pytest.raises(WhaleidError, match="No whale is left to train on: all 4 whales are held out"):
        draw(unknown=1.0)
    with pytest.raises(WhaleidError, match="No whale is left to train on: all 0 whales are held out"):
        draw(unique=[("n1", "new_whale")])


def test_known_queries_need_a_whale_with_two_photos():
    singles = [("c1", "cat"), ("d1", "dan")]
    with pytest.raises(WhaleidError, match=r"split\.known is 0\.5, but no whale has two different photos"):
        draw(unique=singles, groups=[], known=0.5)
    assert len(draw(unique=singles, groups=[])) == 2


def test_stage_writes_the_split_and_counts_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    files.write_csv(unique_table([*UNIQUE, ("e1", "007")]), paths.UNIQUE)
    files.write_csv(groups_table(GROUPS), paths.GROUPS)
    project = config.load(Path(__file__).parents[2] / "params.yaml")
    project = project.model_copy(update={"split": shares(known=1.0)})

    record = stage.run(project)
    assert record.outputs == [paths.SPLIT]

    table = files.read_csv(paths.SPLIT)
    assert list(table.columns) == ["Image", "Id", "part", "role"]
    assert ("e1", "007", "train", "catalogue") in rows(table)
    assert capsys.readouterr().out.splitlines() == [
        "train, catalogue: 8 photos with 6 labels",
        "validation, duplicate: 3 photos with 3 labels",
        "validation, known: 2 photos with 2 labels",
    ]
