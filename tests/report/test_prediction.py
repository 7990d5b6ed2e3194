"""The page of a prediction without a browser: the values in it, each photo once, and no HTML from outside."""

import json
import re
from html.parser import HTMLParser

import pytest
from helpers.answers import ANSWERS, AUTO, HOSTILE, QUERIES, answered, content, render, sheet
from PIL import Image

from whaleid.images.previews import preview
from whaleid.report import prediction


def values(made):
    return json.loads(json.dumps(prediction.values(made), allow_nan=False))


class Reader(HTMLParser):
    """Collects a page's tags, its addresses, handlers of events, and what a person reads without JavaScript."""

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


def test_labels_and_file_names_are_no_html():
    rows = [(HOSTILE, HOSTILE, "known", HOSTILE, 0.3, [HOSTILE, "bob", "", "", ""], [0.9, 0.1, 0.0, 0.0, 0.0])]
    rows.append(ANSWERS[5])
    html = render(content(rows, [(HOSTILE, 1, HOSTILE, *rows[0][-2:])]))
    reader = Reader(html)
    assert reader.tags.count("script") == 2  # the values and the page's own
    assert reader.open == []
    assert (reader.addresses, reader.handlers) == ([], [])
    assert "alert(1)</script>" not in html
    embedded = html.split('id="data">')[1].split("</script>")[0]
    assert "<" not in embedded
    assert HOSTILE in reader.text  # the label of a whale, as text
    assert HOSTILE in reader.titles  # the name of a photo


def test_the_values_are_plain_ascii():
    name = "fl\u00fcke\u2028.jpg"
    html = render(content(queries=[(name, 1, "", *QUERIES[0][-2:])]))
    embedded = html.split('id="data">')[1].split("</script>")[0]
    assert embedded.isascii()
    assert name in Reader(html).titles


def test_each_photo_is_embedded_once():
    made = content()
    whales, queries = ["ann", "bob", "cat", "dan", "eve"], ["k1", "k2", "k3", "k4", "k5", "q1", "q3", "q4"]
    assert made.photos == [*whales, *queries, "u1", "u2", "u3"]
    html = render(made)
    assert html.count("data:image/jpeg;base64,") == 16
    assert ".p0{background-image:url(data:image/jpeg;base64,YW5u)}" in html  # ann
    strips = made.sheets[0].strips
    assert [cell.photo for cell in strips[0].cells] == ["k1", *whales, ""]
    assert [cell.photo for cell in strips[3].cells] == [
        "k4",
        "ann",
        "bob",
        "dan",
        "eve",
        "",
        "",
    ]  # none of fay
    assert '<i class="photo p0" role="img" title="ann"></i><b></b><span>ann</span>' in html


def test_nothing_is_fetched():
    html = render(content())
    reader = Reader(html)
    assert reader.addresses == []
    assert not {"link", "iframe", "img", "a"} & set(reader.tags)
    assert re.findall(r"https?://[\w./]*", html) == ["http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"]


def test_the_values_of_each_query():
    queries = values(content())["queries"]
    assert queries["kind"] == ["known"] * 5 + ["unknown"] * 3 + [""] * 3 + ["duplicate"] * 2
    assert queries["role"][8:11] == ["new_whale", "new_whale", "new_whale_train"]
    assert queries["place"] == [0, 1, 2, -1, 4, -2, -2, -2, -2, -2, -2, 0, 1]
    assert queries["probabilities"][1] == [0.5, 0.4, 0.1]  # those of 0 are above no threshold
    assert queries["auto"] == [row[4] for row in ANSWERS]
    # ann and gil have two queries of their kind; photos labelled new_whale are of a whale each
    assert queries["queries_of_whale"] == [2, 2, 1, 1, 1, 2, 2, 1, 1, 1, 1, 1, 1]
    # no photo of cat, one of bob, four of ann, twelve of eve
    assert queries["photo_class"] == [2, 2, 1, 0, 3, *[-1] * 8]


def test_the_values_of_queries_in_the_solution():
    made = values(content())
    assert made["solution"] == {
        "place": [0, -2, 1],
        "probabilities": [[0.95, 0.01], [0.31, 0.01], [0.4, 0.35]],
        "auto": [AUTO] * 3,
        "leaked": [1, 0, 1],
    }
    assert (made["auto"], made["shares"]) == (AUTO, {"unknown": 0.4, "duplicate": 0.2})


def test_a_strip_has_the_whales_of_its_query():
    made = content()
    drawn = values(made)["sheets"][0]
    assert {key: column[5] for key, column in drawn.items()} == {
        **{"place": -2, "auto": 0.3, "graded": True, "probabilities": [0.32, 0.1, 0.0, 0.0, 0.0]},
    }
    query, *whales = made.sheets[0].strips[5].cells
    assert (query.photo, query.text, query.title) == ("u1", "new_whale", "gil, held out")
    assert [cell.text for cell in whales] == ["ann", "bob", "cat", "dan", "eve", "new_whale"]
    (few,) = content(sheets=[sheet("Few", answered(ANSWERS[8:9]))]).sheets[0].strips
    assert [cell.text for cell in few.cells] == ["new_whale", "bob", "ann", "new_whale"]
    # the truth of q3 is not known
    assert [strip.cells[0].text for strip in made.sheets[1].strips] == ["ann", "q3", "bob"]
    assert values(made)["sheets"][1]["graded"] == [True, False, True]


def test_a_page_opens_with_what_validation_asks():
    text = Reader(render(content())).text
    assert text[:4] == [
        *("whaleid: margin", "whaleid: margin"),
        "Validation has 13 queries: 5 of known whales, 3 of unknown whales, 2 duplicates, 2 labelled new_whale, "
        "1 training photos labelled new_whale.",
        "There are 4 queries to identify; the solution has 3 of them.",
    ]
    assert "auto 0.305" in text
    headings = [text[text.index(heading)] for heading in ("MAP@5 and baselines", "Curves", "Contact sheets")]
    assert len(headings) == 3
    titles = [*("MAP@5 by threshold", "MAP@5 by share of unknown queries", "Reliability, before and after calibration")]
    titles += ["Probability of the best whale", "Rank of the truth, known whales", "MAP@5 by photos of the whale"]
    assert [line for line in text if line in titles] == titles


def test_photos_of_new_whale_that_stand_for_unknowns_are_declared():
    html = render(content([row for row in ANSWERS if row[2] != "unknown"]))
    assert "Validation holds out no whale, so photos labelled new_whale stand for unknown whales." in html
    kinds = values(content([row for row in ANSWERS if row[2] != "unknown"]))["queries"]
    assert kinds["kind"][5:8] == ["unknown", "unknown", ""]
    assert kinds["role"][5:8] == ["new_whale", "new_whale", "new_whale_train"]


def test_a_prediction_that_is_not_validated_is_declared():
    curve = content().tables["threshold"]
    made = content(None, name="final", calibrated_by="margin", tables={"threshold": curve})
    text = Reader(render(made)).text
    assert text[2] == (
        "Not validated: final has learnt validation's photos. Its weights and threshold come from margin."
    )
    assert "MAP@5 and baselines" not in text
    assert any(line.startswith("On the validation queries of margin.") for line in text)
    embedded = values(made)
    assert embedded["queries"]["place"] == []
    assert embedded["intervals"] == {}
    assert len(embedded["solution"]["place"]) == 3


def test_without_a_threshold_there_is_no_control():
    html = render(content(auto=None))
    assert 'type="range"' not in html
    assert "This prediction has no threshold: duplicates alone decide." in html
    assert re.findall(r'data-plot="(\w+)"', html) == ["unknown_share", "ranks", "photos"]
    embedded = values(content(auto=None))
    assert embedded["auto"] is None
    assert embedded["queries"]["auto"] == [None] * 13
    assert {len(ends) for ends in embedded["intervals"].values()} == {1}


def test_figures_without_a_name_are_kept():
    figures = content().figures | {"new_one": 0.25, "new_one_low": 0.1, "new_one_high": 0.3}
    names = dict(values(content(figures=figures))["names"])
    assert names["More"] == [["new_one", "new_one", ""]]
    assert names["Baselines, MAP@5"][0] == ["baseline_new_whale", "new_whale for all", ""]
    named = {key for rows in names.values() for key, *_ in rows}
    ends = {f"{key}_{end}" for key in figures for end in ("low", "high")}
    assert figures.keys() - named - ends == set()


def test_a_sheet_without_queries_says_so():
    made = content(queries=[], sheets=[])
    html = render(made)
    assert '<h3>Leaks</h3>\n<p>caption <span id="leaks"></span></p>\n<p>None.</p>' in html


def test_a_folded_sheet_shows_its_title():
    html = render(content())
    assert '<p>caption <span id="leaks"></span></p>\n<details><summary>Show all</summary>' in html


@pytest.mark.parametrize(("size", "small"), [((600, 300), (96, 48)), ((100, 100), (72, 72)), ((50, 40), (50, 40))])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_preview_is_whole_and_in_proportion(tmp_path, size, small, mode):
    photo = Image.effect_noise(size, 60).convert(mode)
    jpeg = preview(photo)
    (tmp_path / "a.jpg").write_bytes(jpeg)
    with Image.open(tmp_path / "a.jpg") as opened:
        assert (opened.format, opened.size, opened.mode) == ("JPEG", small, mode)
    assert photo.size == size
    assert preview(photo) == jpeg
