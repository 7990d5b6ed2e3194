"""The report of a variant as a folder: what is in it, the same bytes each time, and what is said of a missing photo."""

import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from whaleid.core.errors import InputProblems
from whaleid.stages import reporting
from whaleid.stages.reporting import Answers, Photos

PICTURES = ["photos", "ranks", "reliability", "scores", "threshold", "unknown_share"]
ANSWERS = [
    # Image, whale, role, truth, rank, labels, probabilities
    ("k1.jpg", "ann", "known", "ann", 1, ["ann", "bob"], [0.9, 0.05]),
    ("k2.jpg", "bob", "known", "bob", 3, ["ann", "bob"], [0.4, 0.1]),
    ("u1.jpg", "dan", "unknown", "new_whale", 1, ["bob", "ann"], [0.2, 0.1]),
    ("n1.jpg", "new_whale", "new_whale", "new_whale", 2, ["bob", "ann"], [0.6, 0.1]),
    ("d1.jpg", "ann", "duplicate", "ann", 1, ["ann", "bob"], [0.99, 0.0]),
]
QUERIES = [
    ("q1.jpg", ["ann", "new_whale", "bob"], [0.95, 0.3, 0.01], "ann", True),
    ("q2.jpg", ["new_whale", "ann", "bob"], [0.3, 0.2, 0.01], "new_whale", False),
    ("q3.jpg", ["bob", "new_whale", "ann"], [0.95, 0.3, 0.01], "", True),
]
FIGURES = {"map5": 0.61, "map5_low": 0.5, "map5_high": 0.7, "baseline_new_whale": 0.3, "ece": 0.02, "threshold": 0.3}
OF_WHALE = {"ann": "a.jpg", "bob": "b.jpg"}


def wide(rows, labels, values):
    """Spread lists of labels and probabilities over columns."""
    spread = {}
    for place in range(5):
        spread[f"label{place + 1}"] = [(row[labels] + [""] * 5)[place] for row in rows]
        spread[f"probability{place + 1}"] = [(row[values] + [0.0] * 5)[place] for row in rows]
    return spread


def answers(**changes):
    columns = dict(
        zip(["Image", "whale", "role", "truth", "rank"], zip(*(row[:5] for row in ANSWERS), strict=True), strict=True)
    )
    frame = pd.DataFrame({**columns, **wide(ANSWERS, 5, 6), "threshold": 0.3, "uncalibrated": 0.5})
    curve = pd.DataFrame({"threshold": [0.0, 0.5, 1.0], "map5": [0.5, 0.6, 0.2]})
    given = {
        "frame": frame,
        "threshold": 0.3,
        "threshold_auto": 0.3,
        "curve": curve,
        "unknown_share": 0.3,
        "duplicate_share": 0.1,
        "photos_of_whale": pd.Series({"ann": 3, "bob": 1}),
    }
    return Answers(**(given | changes))


def queries():
    frame = pd.DataFrame({"Image": [row[0] for row in QUERIES], **wide(QUERIES, 1, 2)})
    return frame.assign(truth=[row[3] for row in QUERIES], leaked=[row[4] for row in QUERIES])


@pytest.fixture
def photos(tmp_path):
    """Draw every photo; the nearest of a whale is its only one."""
    part = dict.fromkeys([row[0] for row in ANSWERS] + list(OF_WHALE.values()), "train")
    part |= {row[0]: "test" for row in QUERIES}
    for shade, (image, folder) in enumerate(part.items()):
        path = tmp_path / "catalogue" / folder / image
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (300, 150), (20 * shade, 100, 50)).save(path)

    def nearest(pairs):
        return [OF_WHALE[whale] for _, whale in pairs]

    return Photos(tmp_path / "catalogue", part, nearest, nearest)


def write(folder, photos, given="default", variant="margin", figures=FIGURES):
    reporting.write(folder, variant, figures, answers() if given == "default" else given, queries(), photos)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_report_has_a_page_six_pictures_and_their_tables(tmp_path, photos):
    written = write(tmp_path / "report", photos)
    assert sorted(written) == sorted(["report.html", *(f"{name}.{end}" for name in PICTURES for end in ("csv", "png"))])
    assert written["ranks.csv"] == b"rank,queries,whales_alone\n1,1,1\n2,0,1\n3,1,0\n4,0,0\n5,0,0\n0,0,0\n"
    assert written["threshold.csv"] == b"threshold,map5\n0,0.5\n0.5,0.6\n1,0.2\n"
    assert written["photos.csv"] == b"least,most,queries,map5\n1,1,1,0.333333\n3,3,1,1\n"
    html = written["report.html"].decode()
    assert "<h1>whaleid: margin</h1>" in html
    assert (
        "Validation asked 5 queries: 2 of known whales, 1 of unknown whales, 1 duplicates, 1 labelled new_whale."
        in html
    )
    assert "Threshold auto, found on validation: 0.3." in html
    assert "2 queries to come duplicate a labelled photo. Named first, where the truth is known: 1 of 1." in html
    assert html.count("data:image/png") == 6
    # k1 k2 u1 of validation, a b of the whales, q1 q3 that leak; each once
    assert html.count("data:image/jpeg") == 7


def test_the_same_bytes_again_and_nothing_of_the_machine(tmp_path, photos):
    first, second = write(tmp_path / "one", photos), write(tmp_path / "two", photos)
    assert first == second
    assert str(tmp_path).encode() not in b"".join(first.values())
    assert write(tmp_path / "one", photos) == first


def test_a_number_is_told_apart_from_auto(tmp_path, photos):
    html = write(tmp_path / "report", photos, answers(threshold=0.2))["report.html"].decode()
    assert "Threshold 0.2 (auto, found on validation: 0.3)." in html


def test_without_a_threshold_there_is_nothing_of_one(tmp_path, photos):
    given = answers()
    frame = given.frame.assign(threshold=np.nan)
    written = write(
        tmp_path / "report", photos, answers(frame=frame, threshold=None, threshold_auto=None, curve=None), "phash"
    )
    assert sorted(name for name in written if name.endswith(".png")) == ["photos.png", "ranks.png", "unknown_share.png"]
    html = written["report.html"].decode()
    assert "Closest to the threshold" not in html
    assert "Threshold auto" not in html


def test_without_validation_there_are_leaks_and_the_solution(tmp_path, photos):
    graded = {"solution_map5": 0.75, "solution_map5_no_duplicates": 0.5}
    written = write(tmp_path / "report", photos, None, "final", graded)
    assert list(written) == ["report.html"]
    html = written["report.html"].decode()
    assert re.findall(r"<span>([^<]*)</span><b>([^<]*)</b>", html) == [
        ("MAP@5, solution", "0.750"),
        ("solution, without leaks", "0.500"),
    ]
    assert "3 queries to come were answered. Validation asked nothing: its photos were learnt, too." in html
    assert html.count("data:image/jpeg") == 4  # q1 q3 a b


def test_photos_of_new_whale_that_stand_for_unknowns_are_said(tmp_path, photos):
    frame = answers().frame
    html = write(tmp_path / "report", photos, answers(frame=frame[frame["role"] != "unknown"]))["report.html"].decode()
    assert "Validation holds out no whale, so photos labelled new_whale stand for unknown whales." in html


def test_missing_and_damaged_photos_are_named_with_the_remedy(tmp_path, photos):
    whole = write(tmp_path / "report", photos)
    photos.path("k2.jpg").unlink()
    photos.path("b.jpg").write_bytes(b"no photo")
    with pytest.raises(InputProblems) as caught:
        write(tmp_path / "report", photos)
    said = str(caught.value).splitlines()
    assert said[0] == "The report cannot show photos (2):"
    assert said[1] == f"  {photos.path('b.jpg')}: no image in a format that is known"
    assert said[2].startswith(f"  {photos.path('k2.jpg')}: ")
    assert said[3] == "Put them back as they were, or run `dvc repro`: it reads the catalogue anew."
    # the last whole report is still there, and nothing beside it
    assert {path.name: path.read_bytes() for path in sorted((tmp_path / "report").iterdir())} == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["catalogue", "report"]
