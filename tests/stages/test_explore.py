"""Stage `explore`: tables and summary of the catalogue, and the page."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from whaleid import config
from whaleid.catalog import explore
from whaleid.core import files, paths
from whaleid.core.errors import WhaleidError
from whaleid.report import catalogue as page
from whaleid.stages import explore as stage

COLUMNS = ["Image", "Id", "part", "width", "height", "mode"]


def catalogue():
    """Return four whales with 5, 3, 1 and 1 photos, two photos labelled new_whale, and three queries."""
    labels = ["ann"] * 5 + ["bob"] * 3 + ["007", "cat"] + ["new_whale"] * 2
    train = [(f"t{n:02}.png", label, "train", 40, 20, "RGB" if n else "L") for n, label in enumerate(labels)]
    test = [(f"q{n}.png", "", "test", 60, 30, "RGB") for n in range(3)]
    return pd.DataFrame(test + train, columns=COLUMNS)


def rows(table):
    return list(table.itertuples(index=False, name=None))


def test_tables_count_named_whales_and_photos_by_part_in_any_row_order():
    for catalog in (catalogue(), catalogue().sample(frac=1, random_state=0)):
        assert {name: rows(table) for name, table in explore.tables(catalog).items()} == {
            "photos_per_whale": [("ann", 5), ("bob", 3), ("007", 1), ("cat", 1)],
            "whales_by_photos": [(1, 2), (3, 1), (5, 1)],
            "sizes": [("test", 60, 30, 3), ("train", 40, 20, 12)],
            "modes": [("test", "RGB", 3), ("train", "L", 1), ("train", "RGB", 11)],
        }
        assert rows(explore.example_photos(catalog, 2, 4)) == [
            *(("t00.png", "ann"), ("t01.png", "ann"), ("t02.png", "ann")),
            *(("t05.png", "bob"), ("t06.png", "bob"), ("t07.png", "bob")),
        ]


def test_summary_by_hand():
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


def test_a_tenth_of_the_whales_is_rounded_up():
    labels = ["ann"] * 6 + ["bob"] * 5 + [f"w{n}" for n in range(9)]
    catalog = pd.DataFrame({"Id": labels, "part": "train"})
    assert explore.summary(catalog)["top_tenth_share"] == 11 / 20


def test_a_catalogue_needs_a_named_whale():
    catalog = catalogue()
    with pytest.raises(WhaleidError, match="All 2 labelled photos have the label new_whale"):
        explore.summary(catalog[catalog["Id"].isin(["new_whale", ""])])


def test_gini_is_half_the_relative_mean_difference_of_all_pairs():
    counts = np.random.default_rng(0).geometric(0.3, 17)
    pairs = sum(abs(int(a) - int(b)) for a in counts for b in counts)
    assert explore.gini(counts) == pytest.approx(pairs / (2 * len(counts) ** 2 * counts.mean()))
    assert explore.gini([4, 4, 4]) == 0
    assert explore.gini([0, 0, 0, 9]) == 0.75


def texts(section):
    """Return the captions of the photos in a section of the page."""
    return re.findall(r"<span>(.*?)</span></div>", section)


def test_the_stage_writes_the_same_tables_plots_and_page_twice(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    catalog = catalogue()
    files.write_csv(catalog, paths.CATALOG)
    (tmp_path / "photos/train").mkdir(parents=True)
    (tmp_path / "photos/test").mkdir()
    for row in catalog.itertuples():
        Image.new(row.mode, (row.width, row.height)).save(tmp_path / "photos" / row.part / row.Image)
    groups = [(0, "q1.png", "test", ""), (0, "t09.png", "train", "cat"), (1, "t02.png", "train", "ann")]
    groups += [(1, "t06.png", "train", "bob")]
    files.write_csv(pd.DataFrame(groups, columns=["group", "Image", "part", "Id"]), paths.GROUPS)
    conflicts = [(1, "t02.png", "ann", "ann bob"), (1, "t06.png", "bob", "ann bob")]
    files.write_csv(pd.DataFrame(conflicts, columns=["group", "Image", "Id", "labels"]), paths.CONFLICTS)
    project = config.load(Path(__file__).parents[2] / "params.yaml")
    project = project.model_copy(update={"data": config.Data(root="photos")})

    record = stage.run(project)

    printed = capsys.readouterr().out
    assert "12 labelled photos (16.7% of them new_whale) and 3 queries" in printed
    assert "4 whales, 50.0% of them with a single photo" in printed
    assert record.metrics == explore.summary(catalog)
    assert record.artifacts == [paths.EXPLORE]
    assert record.inputs == [paths.CATALOG, paths.GROUPS, paths.CONFLICTS]
    written = {path.name: path.read_bytes() for path in paths.EXPLORE.iterdir()}
    assert sorted(written) == [
        "explore.html",
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
    html = written["explore.html"].decode()
    assert "http" not in html  # the page is self-contained
    sections = dict(re.findall(r"<h2>(.*?)</h2>(.*?)(?=<h2>|</body>)", html, re.DOTALL))
    assert list(sections) == ["Distribution", "Whales", "More whales", "No named whale", "Duplicates", "Conflicts"]
    assert sections["Distribution"].count("<img alt=") == 3
    captions = re.findall(r"<p>(.*?)</p></div>", sections["Whales"])
    assert captions == ["ann: 5 photos", "bob: 3 photos", "007: 1 photo", "cat: 1 photo"]
    assert texts(sections["Whales"]) == [f"t{n:02}.png" for n in range(10)]
    assert "None." in sections["More whales"]
    assert texts(sections["No named whale"]) == ["t10.png", "t11.png"]
    assert texts(sections["Duplicates"]) == ["to identify", "cat"]
    assert texts(sections["Conflicts"]) == ["ann", "bob"]
    stage.run(project)
    assert {path.name: path.read_bytes() for path in paths.EXPLORE.iterdir()} == written


def test_whales_left_out_of_the_page_are_counted(monkeypatch):
    monkeypatch.setattr(page, "PHOTOS", 2)
    monkeypatch.setattr(page, "UNFOLDED", 1)
    monkeypatch.setattr(page, "MAX_PHOTOS", 5)
    whales, more, unnamed = page.whale_sheets(catalogue())
    assert [strip.caption for strip in whales.strips] == ["ann: 5 photos"]
    assert [cell.photo for cell in whales.strips[0].cells] == ["t00.png", "t01.png"]
    assert [strip.caption for strip in more.strips] == ["bob: 3 photos", "007: 1 photo"]
    assert more.folded
    assert whales.caption.endswith("most photos first. Not shown: 1 with the fewest.")
    assert unnamed.caption.startswith("2 photos are labelled new_whale")
