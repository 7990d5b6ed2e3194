"""The HTML of a prediction's page: embedded values, photos and texts, and escaping."""

import json
import re
from html.parser import HTMLParser

import pytest
from helpers.answers import ANSWERS, AUTO, HOSTILE, answer_table, content, render, sheet

from whaleid.report import prediction, sheets

FIXED = [*("unknown_share", "duplicate_share", "threshold_auto", "map5_auto", "auroc", "tpr_at_fpr01", "tpr_at_fpr05")]
FIXED += [*("oscr", "ece", "ece_uncalibrated", "ece_chance", "baseline_new_whale", "baseline_duplicates")]
"""Figures that do not depend on the threshold."""


def values(page):
    return json.loads(json.dumps(prediction.values(page), allow_nan=False))


class Reader(HTMLParser):
    """Collects the tags, URLs, event handlers, texts and titles of a page."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.addresses, self.handlers, self.open, self.text, self.titles = [], [], [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        self.titles += [value for name, value in attrs if name == "title"]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip() and not {"style", "script"} & set(self.open):
            self.text.append(data.strip())


@pytest.fixture(scope="module")
def html():
    return render(content())


def test_labels_and_file_names_are_escaped():
    rows = [(HOSTILE, HOSTILE, "known", HOSTILE, 0.3, [HOSTILE, "bob", "", "", ""], [0.9, 0.1, 0.0, 0.0, 0.0])]
    rows.append(ANSWERS[5])
    html = render(content(rows, [(HOSTILE, 1, HOSTILE, *rows[0][-2:])]))
    reader = Reader(html)
    assert reader.tags.count("script") == 2  # the values, and the script of the page
    assert reader.open == []
    assert (reader.addresses, reader.handlers) == ([], [])
    assert "alert(1)</script>" not in html
    embedded = html.split('id="data">')[1].split("</script>")[0]
    assert "<" not in embedded
    assert HOSTILE in reader.text  # the label of a whale, as text
    assert HOSTILE in reader.titles  # the name of a photo


def test_each_photo_is_embedded_once_and_nothing_is_downloaded(html):
    page = content()
    whales, queries = ["ann", "bob", "cat", "dan", "eve"], ["k1", "k2", "k3", "k4", "k5", "q1", "q3", "q4"]
    assert sheets.photos(page.sheets) == [*whales, *queries, "u1", "u2", "u3"]
    assert html.count("data:image/jpeg;base64,") == 16
    assert ".p0{background-image:url(data:image/jpeg;base64,YW5u)}" in html  # ann
    assert '<i class="photo p0" role="img" title="ann"></i><b>0.900</b><span>ann</span>' in html
    strips = page.sheets[0].strips
    assert [cell.photo for cell in strips[0].cells] == ["k1", *whales, ""]
    assert [cell.photo for cell in strips[3].cells] == ["k4", "ann", "bob", "dan", "eve", "", ""]  # fay has no photo
    reader = Reader(html)
    assert reader.addresses == []
    assert not {"link", "iframe", "img", "a"} & set(reader.tags)
    assert re.findall(r"https?://[\w./]*", html) == ["http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"]


def test_values_of_a_page():
    data = values(content())
    assert (data["auto"], data["unknown_share"]) == (AUTO, 0.4)
    assert {key: len(rows) for key, rows in data["figures"].items() if len(rows) == 1} == dict.fromkeys(FIXED, 1)
    assert {len(rows) for key, rows in data["figures"].items() if key not in FIXED} == {202}
    assert data["figures"]["unknown_share"] == [["0.400"]]
    assert data["figures"]["threshold_auto"] == [["0.305", "0.3", "0.35"]]
    # the ranks of q1, q2 and q4 are 1, 2, 2 at threshold 0.3 and 2, 1, 3 at 1; q2 is not a leak
    solution = [data["figures"][key] for key in ("solution_map5", "solution_map5_no_duplicates")]
    assert [column[60] + column[-2] for column in solution] == [["0.667", "0.611"], ["0.500", "1.000"]]
    assert [data["leaks"][step] for step in (60, -2)] == ["1 of 2", "0 of 2"]
    # cat has no photo, bob one, ann four, eve twelve
    photos = data["tables"]["photos"]
    assert (photos["least"], photos["queries"]) == ([0, 1, 4, 10], [1, 1, 2, 1])
    assert photos["map5"][10] == [0, 0.333333, 0.75, 0.2]


def test_a_strip_has_a_query_and_its_whales():
    page = content()
    strip = page.sheets[0].strips[5]
    assert strip.data == {"truth": "new_whale", "auto": 0.3, "probabilities": [0.32, 0.1, 0.0, 0.0, 0.0]}
    assert [strip.data["truth"] for strip in page.sheets[1].strips] == ["ann", "", "bob"]  # not known for q3
    query, *whales = page.sheets[0].strips[5].cells
    assert (query.photo, query.text, query.title) == ("u1", "new_whale", "gil, held out")
    assert [cell.text for cell in whales] == ["ann", "bob", "cat", "dan", "eve", "new_whale"]
    assert [cell.bold for cell in whales[:2]] == ["0.320", "0.100"]
    (few,) = content(own_sheets=[sheet("Few", answer_table(ANSWERS[8:9]))]).sheets[0].strips
    assert [cell.text for cell in few.cells] == ["new_whale", "bob", "ann", "new_whale"]
    assert [strip.cells[0].text for strip in page.sheets[1].strips] == ["ann", "q3", "bob"]


def test_a_page_starts_with_the_numbers_of_queries(html):
    text = Reader(html).text
    assert text[:4] == [
        *("whaleid: margin", "whaleid: margin"),
        "Validation has 13 queries: 5 of known whales, 3 of unknown whales, 2 duplicates, 2 labelled new_whale, "
        "1 training photos labelled new_whale.",
        "There are 4 queries to identify; the solution has 3 of them.",
    ]
    titles = ["auto 0.305", "MAP@5 and baselines", "Curves", "MAP@5 by threshold", "MAP@5 by share of unknown queries"]
    titles += ["Reliability, before and after calibration", "Probability of the best whale"]
    titles += ["Rank of the truth, known whales", "MAP@5 by photos of the whale", "Contact sheets", "All figures"]
    assert [line for line in text if line in titles] == titles
    assert '<span id="leaks"></span>.</p>\n<details><summary>Show all</summary>' in html
    empty = render(content(queries=[], own_sheets=[]))
    assert "<h3>Leaks</h3>\n<p>caption</p>\n<p>None.</p>" in empty


def test_the_page_says_if_photos_of_new_whale_stand_for_unknown_whales():
    html = render(content([row for row in ANSWERS if row[2] != "unknown"]))
    assert "Validation holds out no whale, so photos labelled new_whale stand for unknown whales." in html


def test_the_page_says_if_a_prediction_is_not_validated():
    page = content(None, calibrated_by="margin", name="final", tables={"threshold": content().tables["threshold"]})
    text = Reader(render(page)).text
    assert text[2] == (
        "Not validated: final has learnt validation's photos. Its weights and threshold come from margin."
    )
    assert "MAP@5 and baselines" not in text
    assert any(line.startswith("On the validation queries of margin.") for line in text)
    embedded = values(page)["figures"]
    assert embedded.keys() == {
        *("unknown_share", "duplicate_share", "threshold_auto", "solution_map5", "solution_map5_no_duplicates"),
    }


def test_without_a_threshold_there_is_no_slider():
    html = render(content(auto=None))
    assert 'type="range"' not in html
    assert "This prediction has no threshold: duplicates alone decide." in html
    assert re.findall(r'data-plot="(\w+)"', html) == ["unknown_share", "ranks", "photos"]
    embedded = values(content(auto=None))
    assert embedded["auto"] is None
    assert {len(rows) for rows in embedded["figures"].values()} == {1}
    assert {strip.data["auto"] for strip in content(auto=None).sheets[0].strips} == {0}


def test_figures_without_a_display_name_are_kept():
    figures = content().figures | {"new_one": 0.25, "new_one_low": 0.1, "new_one_high": 0.3}
    embedded = values(content(figures=figures))["figures"]
    assert embedded["new_one"] == [["0.250", "0.100", "0.300"]]
    groups = prediction.groups([*embedded])
    assert groups["More"] == {"new_one": ("new_one", "")}
    assert {key for group in groups.values() for key in group} == embedded.keys()
    assert prediction.groups(["map5"]).keys() == {"MAP@5"}
