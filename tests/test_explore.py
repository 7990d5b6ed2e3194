from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from whaleid import files, params, paths
from whaleid.catalog import explore
from whaleid.errors import WhaleidError
from whaleid.stages import explore as stage

COLUMNS = ["Image", "Id", "part", "width", "height", "mode"]


def catalogue():
    """Return four whales with 5, 3, 1 and 1 photos, two photos of new_whale, three queries."""
    labels = ["ann"] * 5 + ["bob"] * 3 + ["007", "cat"] + ["new_whale"] * 2
    train = [(f"t{n:02}.png", label, "train", 40, 20, "RGB" if n else "L") for n, label in enumerate(labels)]
    test = [(f"q{n}.png", "", "test", 60, 30, "RGB") for n in range(3)]
    return pd.DataFrame(test + train, columns=COLUMNS)


def rows(table):
    return list(table.itertuples(index=False, name=None))


def test_whales_are_counted_without_new_whale():
    assert rows(explore.photos_per_whale(catalogue())) == [("ann", 5), ("bob", 3), ("007", 1), ("cat", 1)]
    assert rows(explore.whales_by_photos(catalogue())) == [(1, 2), (3, 1), (5, 1)]


def test_sizes_and_modes_are_counted_by_part():
    assert rows(explore.sizes(catalogue())) == [("test", 60, 30, 3), ("train", 40, 20, 12)]
    assert rows(explore.modes(catalogue())) == [("test", "RGB", 3), ("train", "L", 1), ("train", "RGB", 11)]


def test_row_order_changes_nothing():
    shuffled = catalogue().sample(frac=1, random_state=0)
    for table in (explore.photos_per_whale, explore.whales_by_photos, explore.sizes, explore.modes):
        pd.testing.assert_frame_equal(table(catalogue()), table(shuffled))
    assert rows(explore.commonest(shuffled, 2, 2)) == rows(explore.commonest(catalogue(), 2, 2))


def test_summary_of_a_worked_out_catalogue():
    assert explore.summary(catalogue()) == {
        "labelled": 12,
        "queries": 3,
        "whales": 4,
        "single_photo_share": 0.5,
        "new_whale_share": pytest.approx(2 / 12),
        "most_photos": 5,
        "mean_photos": 2.5,
        "median_photos": 2.0,
        "top_tenth_share": 0.5,
        "gini": pytest.approx(0.35),
    }


def test_a_tenth_of_eleven_whales_is_two():
    labels = ["ann"] * 6 + ["bob"] * 5 + [f"w{n}" for n in range(9)]
    catalog = pd.DataFrame({"Id": labels, "part": "train"})
    assert explore.summary(catalog)["top_tenth_share"] == 11 / 20


def test_a_catalogue_that_names_no_whale_is_refused():
    catalog = catalogue()
    with pytest.raises(WhaleidError, match="None of the 2 labelled photos names a whale"):
        explore.summary(catalog[catalog["Id"].isin(["new_whale", ""])])


@pytest.mark.parametrize("seed", range(5))
def test_gini_is_half_the_relative_mean_difference_of_all_pairs(seed):
    counts = np.random.default_rng(seed).geometric(0.3, 17)
    pairs = sum(abs(int(a) - int(b)) for a in counts for b in counts)
    assert explore.gini(counts) == pytest.approx(pairs / (2 * len(counts) ** 2 * counts.mean()))


def test_gini_of_equal_and_of_concentrated_counts():
    assert explore.gini([4, 4, 4]) == 0
    assert explore.gini([0, 0, 0, 9]) == 0.75


def test_commonest_shows_equally_many_photos_of_each_whale():
    assert rows(explore.commonest(catalogue(), 2, 4)) == [
        ("t00.png", "ann"),
        ("t01.png", "ann"),
        ("t02.png", "ann"),
        ("t05.png", "bob"),
        ("t06.png", "bob"),
        ("t07.png", "bob"),
    ]


def test_stage_leaves_tables_and_pictures_twice_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    catalog = catalogue()
    files.write_csv(catalog, paths.CATALOG)
    (tmp_path / "photos/train").mkdir(parents=True)
    for row in catalog[catalog["part"] == "train"].itertuples():
        Image.new(row.mode, (row.width, row.height)).save(tmp_path / "photos/train" / row.Image)
    project = params.load(Path(__file__).parents[1] / "params.yaml")
    project = project.model_copy(update={"data": params.Data(root="photos")})

    record = stage.run(project)

    said = capsys.readouterr().out
    assert "12 labelled photos (16.7% of them new_whale) and 3 to identify" in said
    assert "4 whales, 50.0% of them with a single photo" in said
    assert record.metrics == explore.summary(catalog)
    assert record.artifacts == [paths.EXPLORE]
    assert record.inputs == [paths.CATALOG]
    written = {path.name: path.read_bytes() for path in paths.EXPLORE.iterdir()}
    assert sorted(written) == [
        "modes.csv",
        "modes.png",
        "photos_per_whale.csv",
        "photos_per_whale.png",
        "sheet.png",
        "sizes.csv",
        "sizes.png",
        "summary.csv",
        "whales_by_photos.csv",
    ]
    assert written["summary.csv"].startswith(b"figure,value\nlabelled,12\nqueries,3\nwhales,4\n")
    stage.run(project)
    assert {path.name: path.read_bytes() for path in paths.EXPLORE.iterdir()} == written
