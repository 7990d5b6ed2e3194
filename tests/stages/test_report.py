"""Stage `report`: pages and tables, the same bytes on each run, and the error for missing photos."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.answers import ANSWERS, AUTO, QUERIES, SHARES, answer_table, content, frame
from helpers.project import ROOT
from PIL import Image

from whaleid import config
from whaleid.core import files, paths
from whaleid.core.errors import InputProblems
from whaleid.identification.figures import measure
from whaleid.identification.ranking import at_threshold
from whaleid.stages import report

DEFAULTS = config.load(ROOT / "params.yaml")
NAMES = ["phash", "margin", "final"]
VALIDATION = [row[0] for row in ANSWERS]
TRAIN = {"ann1": "ann", "ann2": "ann", "bob1": "bob", "cat1": "cat", "dan1": "dan", "eve1": "eve", "fay1": "fay"}
TABLES = ["history", "photos", "ranks", "reliability", "scores", "threshold", "unknown_share"]
PAIRS = [(0, "d1", "ann"), (0, "ann1", "ann"), (1, "k1", "ann"), (1, "ann2", "ann")]


PARAMS = DEFAULTS.model_copy(
    update={
        "data": DEFAULTS.data.model_copy(update={"root": "photos"}),
        "variants": {name: DEFAULTS.variants[name] for name in ("margin", "final")},
        "predictions": {name: DEFAULTS.predictions[name] for name in NAMES},
    }
)


def save(table, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_csv(table, path)


def write_tables():
    """Write the tables of the catalogue."""
    whales = {row[0]: row[1] for row in ANSWERS}
    labelled = {**TRAIN, **whales}
    rows = [(image, label, "train") for image, label in labelled.items()] + [(row[0], "", "test") for row in QUERIES]
    save(pd.DataFrame(rows, columns=["Image", "Id", "part"]), paths.CATALOG)
    roles = {row[0]: row[2] for row in ANSWERS}
    split = [(image, whale, "validation", roles[image]) for image, whale in whales.items()]
    split += [(image, whale, "train", "catalogue") for image, whale in TRAIN.items()]
    save(pd.DataFrame(split, columns=["Image", "Id", "part", "role"]), paths.SPLIT)
    groups = [(group, image, "train", label) for group, image, label in PAIRS]
    save(pd.DataFrame(groups, columns=["group", "Image", "part", "Id"]), paths.GROUPS)
    leaks = [("q1", "ann2", "ann"), ("q1", "ann1", "ann"), ("q3", "bob1", "bob"), ("q4", "bob1", "bob")]
    save(pd.DataFrame(leaks, columns=["query", "photo", "Id"]), paths.LEAKS)
    solution = [(row[0], row[2]) for row in QUERIES if row[2]]
    save(pd.DataFrame(solution, columns=["Image", "Id"]), paths.SOLUTION)


def write_ranking(name):
    """Write the ranking of a prediction, and the features and the history of its network."""
    auto = None if name == "phash" else AUTO
    page = content(None if name == "final" else ANSWERS, auto=auto)
    folder = paths.ranking(name)
    save(frame(QUERIES, ["Image", "leaked", "truth"]).drop(columns="truth"), folder / paths.QUERIES)
    files.write_json(page.figures, folder / paths.THRESHOLD_FREE)
    if name != "final":
        answers = answer_table()
        save(answers.drop(columns="threshold") if name == "phash" else answers, folder / paths.VALIDATION)
    if name == "margin":
        save(pd.DataFrame(page.tables["threshold"]), folder / paths.CURVE)
    if name != "phash":
        images = [*TRAIN, *VALIDATION, *(row[0] for row in QUERIES)]
        embeddings = np.random.default_rng(0).normal(size=(1, len(images), 4)).astype(np.float32)
        embeddings /= np.linalg.norm(embeddings, axis=2, keepdims=True)
        centres, classes = np.ones((1, 1, 1, 4), dtype=np.float32), np.array(["ann"])
        paths.features(name).parent.mkdir(exist_ok=True)
        np.savez(paths.features(name), images=images, embeddings=embeddings, centres=centres, classes=classes)
        losses = pd.DataFrame({"epoch": [1, 2], "lr": [0.1, 0.05], "loss": [2.0, 1.5], "accuracy": [0.1, 0.2]})
        save(losses if name == "final" else losses.assign(validation_loss=3.0), paths.history(name))


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """Create a project in which all stages up to `report` have run; return its folder and the records of `report`."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_tables()
        for name in NAMES:
            write_ranking(name)
        for shade, image in enumerate([*TRAIN, *VALIDATION, *(row[0] for row in QUERIES)]):
            path = Path("photos", "test" if image.startswith("q") else "train", image)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (300, 150), (9 * shade, 100, 50)).save(path, "JPEG")
        return folder, report.run(PARAMS)


@pytest.fixture
def records(reported, monkeypatch):
    """Go to the project, which tests must not change; return the records of `report`."""
    monkeypatch.chdir(reported[0])
    return reported[1]


@pytest.fixture
def project(reported, tmp_path, monkeypatch):
    """Go to a copy of the project."""
    shutil.copytree(reported[0], tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")


def outputs():
    return {path.name: path.read_bytes() for folder in (paths.PAGES, paths.TABLES) for path in sorted(folder.iterdir())}


def embedded(name):
    html = paths.page(name).read_text(encoding="utf-8")
    return json.loads(html.split('id="data">')[1].split("</script>")[0])


def strips(name):
    """Return the names of the photos of each strip of each sheet of a page; empty if there is no photo."""
    html = paths.page(name).read_text(encoding="utf-8").split("<script")[0]
    sheets = [sheet.split("<h3>")[0] for sheet in html.split('class="ranked"')[1:]]
    cell = r'<i class="(?:photo p\d+" role="img" title="([^"]*)|none)"'
    return [[re.findall(cell, strip) for strip in sheet.split('"strip"')[1:]] for sheet in sheets]


def test_each_prediction_has_a_page_and_all_share_tables(records, reported):
    assert sorted(outputs()) == sorted([*(f"{name}.html" for name in NAMES), *(f"{name}.csv" for name in TABLES)])
    assert list(records) == NAMES
    assert records["final"].artifacts == [paths.page("final")]
    # the page of final is logged to the run of the calibration of margin
    assert records["final"].report == ("final.html", paths.calibration("margin") / paths.DECISION)
    assert records["phash"].report == ("phash.html", paths.LEAKS)
    assert str(reported[0]).encode() not in b"".join(outputs().values())


def test_the_first_column_of_the_tables_is_the_name(records):
    tables = {name: files.read_csv(paths.TABLES / f"{name}.csv") for name in TABLES}
    assert {name: table.columns[0] for name, table in tables.items()} == dict.fromkeys(TABLES, "name")
    predictions = {name: list(dict.fromkeys(table["name"])) for name, table in tables.items()}
    # phash has no threshold, and final is not validated
    assert predictions == {
        **{name: ["margin"] for name in ("threshold", "reliability", "scores")},
        **{name: ["phash", "margin"] for name in ("unknown_share", "ranks", "photos")},
        "history": ["margin", "final"],
    }
    ranks = (paths.TABLES / "ranks.csv").read_text(encoding="utf-8").splitlines()
    assert ranks[0] == "name,rank,queries,whales_alone"
    assert ranks[7:] == ["margin,1,1,1", "margin,2,1,1", "margin,3,0,1", "margin,4,1,0", "margin,5,0,1", "margin,0,2,1"]
    assert (paths.TABLES / "history.csv").read_text(encoding="utf-8").splitlines() == [
        "name,epoch,lr,loss,accuracy,validation_loss,validation_accuracy",
        *("margin,1,0.1,2,0.1,3,", "margin,2,0.05,1.5,0.2,3,", "final,1,0.1,2,0.1,,", "final,2,0.05,1.5,0.2,,"),
    ]
    assert tables["threshold"].columns.tolist() == ["name", "threshold", "map5", "map5_known", "map5_unknown"]
    assert len(tables["threshold"]) == 201
    # after calibration, by bins (0.1, 0.2], (0.2, 0.3] and so on: u3; k4; k3, u1, u2; k2, d2; k5; k1; d1
    reliability = tables["reliability"]
    assert reliability.columns.tolist() == ["name", "least", "most", "queries", "probability", "right"]
    assert reliability["queries"].tolist() == [1, 1, 3, 2, 1, 1, 1]
    assert reliability["probability"].is_monotonic_increasing


def test_the_page_has_the_answers_at_auto(records):
    page = embedded("margin")
    assert (page["auto"], page["unknown_share"]) == (AUTO, SHARES.unknown)
    figures = measure(at_threshold(answer_table()), SHARES)
    assert page["figures"]["map5"][-1] == [f"{figures[key]:.3f}" for key in ("map5", "map5_low", "map5_high")]
    # in training, ann has two photos; bob, cat and eve have one
    assert page["tables"]["photos"]["least"] == [1, 2]
    assert page["tables"]["photos"]["queries"] == [3, 2]
    # k1 is correct; k5, k2, k3 and u1 are wrong; each is ranked at the threshold of its fold
    assert [[strip[0] for strip in sheet] for sheet in strips("margin")] == [
        ["k1"],
        ["k5", "k2", "k3", "u1"],
        ["u1", "u2", "k4", "u3", "k3", "k2", "k5", "k1"],
        ["q1", "q3", "q4"],
    ]
    html = paths.page("margin").read_text(encoding="utf-8")
    values = [json.loads(text) for text in re.findall("data-strip='([^']*)'", html)]
    assert values[1] == {"truth": "eve", "auto": 0.35, "probabilities": [0.6, 0.1, 0.1, 0.1, 0.1]}
    assert [strip["truth"] for strip in values[-3:]] == ["ann", "", "bob"]


def test_each_whale_has_its_photo_most_similar_to_the_query(records):
    query, ann, *others, new = strips("margin")[0][0]
    assert (query, others, new) == ("k1", ["bob1", "cat1", "dan1", "eve1"], "")
    features = np.load(paths.features("margin"))
    rows = {image: features["embeddings"][0, row] for row, image in enumerate(features["images"].tolist())}
    cosine = {image: rows["k1"] @ rows[image] for image in ("ann1", "ann2")}
    assert ann == max(cosine, key=cosine.get)


def test_phash_shows_the_duplicates(records):
    right, *_, leaks = strips("phash")
    # the closest duplicate of q1 is ann2, and it has duplicates of one whale only
    assert ["q1", "ann2", "", "", "", "", ""] in leaks
    assert ["k1", "ann2"] in [strip[:2] for strip in right]
    assert "close" not in paths.page("phash").read_text(encoding="utf-8").split("<script")[0].lower()


def test_the_page_of_final_says_that_it_is_not_validated(records):
    html = paths.page("final").read_text(encoding="utf-8")
    assert "Not validated: final has learnt validation" in html
    assert "Its weights and threshold come from margin." in html
    assert re.findall(r'data-plot="(\w+)"', html) == ["threshold"]
    assert re.findall(r"<h3>([^<]*)</h3>", html) == ["MAP@5 by threshold", "Leaks"]
    assert "3 queries to identify duplicate a labelled photo." in html


def test_pages_and_tables_without_queries_and_networks(project):
    for path in (paths.LEAKS, paths.SOLUTION, *(paths.ranking(name) / paths.QUERIES for name in NAMES)):
        files.write_csv(files.read_csv(path)[:0], path)
    report.run(PARAMS)
    for name in NAMES:
        html = paths.page(name).read_text(encoding="utf-8")
        assert "There are 0 queries to identify.</p>" in html
        assert "0 queries to identify duplicate a labelled photo." in html
        assert not [key for key in embedded(name)["figures"] if key.startswith("solution")]
    report.run(PARAMS.model_copy(update={"predictions": {"phash": PARAMS.predictions["phash"]}, "variants": {}}))
    for name in ("threshold", "reliability", "scores", "history"):
        (header,) = (paths.TABLES / f"{name}.csv").read_text(encoding="utf-8").splitlines()
        assert header.startswith("name,")


def test_a_second_run_writes_the_same_bytes_and_a_failed_one_changes_nothing(project):
    first = outputs()
    report.run(PARAMS)
    assert outputs() == first
    Path("photos/train/k2").unlink()
    Path("photos/train/bob1").write_bytes(b"no photo")
    with pytest.raises(InputProblems) as caught:
        report.run(PARAMS)
    lines = str(caught.value).splitlines()
    assert lines[0] == "The report cannot show photos (2):"
    assert lines[1] == "  photos/train/bob1: not an image in a known format"
    assert lines[2].startswith("  photos/train/k2 cannot be read (")
    assert lines[3] == "Restore these files, or run `dvc repro` to read the catalogue again."
    assert outputs() == first
    assert sorted(path.name for path in paths.PAGES.parent.iterdir()) == ["histories", "pages", "tables"]
