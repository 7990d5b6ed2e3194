"""The page: whole in itself, each photo in it once, and nothing that a label or a file name says taken for HTML."""

import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from PIL import Image

from whaleid.images.thumbnails import thumbnail
from whaleid.report import page
from whaleid.report.choice import Candidate, Shown
from whaleid.report.pictures import Picture

HOSTILE = "</style><script>alert(1)</script>\"'&.jpg"


class Reader(HTMLParser):
    """Collects a page's tags, its addresses and what a person reads."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.addresses, self.open, self.text = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip() and "style" not in self.open:
            self.text.append(data.strip())


def shown(image="q.jpg", truth="ann", labels=("bob", "new_whale", "ann"), whale=None):
    candidates = [Candidate(label, 0.5, label == truth if truth else None) for label in labels]
    return Shown(image, truth, truth if whale is None else whale, tuple(candidates))


def render(rows=(), figures=None, pictures=(), photos=None, folded=False, title="t"):
    sheets = [page.Sheet("Sheet", "says", rows, folded)] if rows else []
    return page.render(title, ["lead"], figures or {}, pictures, sheets, photos or {})


def test_labels_and_names_are_text():
    photos = {HOSTILE: b"jpeg", "b.jpg": b"other"}
    html = render(
        [(shown(HOSTILE, HOSTILE, (HOSTILE, "new_whale")), [HOSTILE, ""])], {HOSTILE: 1.0}, (), photos, title=HOSTILE
    )
    reader = Reader(html)
    assert "script" not in reader.tags
    assert reader.open == []
    assert reader.text.count(HOSTILE) == 5  # title and heading, truth and answer, a figure without a name
    assert html.count("</style>") == 1


def test_each_photo_is_embedded_once():
    photos = {"a.jpg": b"first", "b.jpg": b"second", "q.jpg": b"third"}
    rows = [(shown(), ["b.jpg", "", "a.jpg"]), (shown("a.jpg"), ["b.jpg", "", "b.jpg"])]
    html = render(rows, photos=photos)
    for number, content in enumerate(("Zmlyc3Q=", "c2Vjb25k", "dGhpcmQ=")):
        assert html.count(content) == 1
        assert f".p{number}{{background-image:url(data:image/jpeg;base64,{content})}}" in html
    assert re.findall(r'class="t (p\d|x)"', html) == ["p2", "p1", "x", "p0", "p0", "p1", "x", "p1"]
    assert page.images([page.Sheet("", "", rows)]) == {"a.jpg", "b.jpg", "q.jpg"}


def test_nothing_is_fetched_and_nothing_runs():
    picture = Picture("Title", "says", b"png", pd.DataFrame({"x": [1, 2], "y": [0.25, 1 / 3]}))
    html = render([(shown(), ["", "", ""])], {"map5": 0.5}, [picture], {"q.jpg": b"jpeg"})
    reader = Reader(html)
    assert reader.addresses == ["data:image/png;base64,cG5n"]
    assert not {"script", "link", "iframe", "a"} & set(reader.tags)
    assert "http" not in html
    assert "<th>x</th><th>y</th>" in html
    assert '<td class="n">2</td><td class="n">0.3333</td>' in html


@pytest.mark.parametrize(
    ("truth", "signs", "verdict"),
    [
        ("bob", ["✓ 0.500", "✗ 0.500", "✗ 0.500"], "✓ rank 1"),
        ("ann", ["✗ 0.500", "✗ 0.500", "✓ 0.500"], "rank 3"),
        ("zoe", ["✗ 0.500", "✗ 0.500", "✗ 0.500"], "✗ not named"),
        ("", ["0.500", "0.500", "0.500"], "query"),
    ],
)
def test_right_and_wrong_have_a_sign_each(truth, signs, verdict):
    text = Reader(render([(shown(truth=truth), ["", "", ""])], photos={"q.jpg": b""})).text
    start = text.index(verdict)
    assert [word for word in text[start:] if word.endswith("0.500")] == signs


def test_what_comes_after_the_truth_is_pale():
    html = render([(shown(labels=("bob", "ann", "cat")), ["", "", ""])], photos={"q.jpg": b""})
    assert re.findall(r'class="(c[^"]*)"', html) == ["c q", "c no", "c ok", "c off"]


def test_a_query_whose_truth_is_not_known_has_its_name():
    text = Reader(render([(shown(truth=""), ["", "", ""])], photos={"q.jpg": b""})).text
    assert text[text.index("query") + 1] == "q.jpg"


def test_an_unknown_query_tells_whose_it_is():
    html = render([(shown(truth="new_whale", whale="zoe"), ["", "", ""])], photos={"q.jpg": b""})
    assert '<span title="zoe, held out">new_whale</span>' in html


def test_figures_stand_with_intervals_beside_the_baselines():
    figures = {"map5": 0.5, "map5_low": 0.4, "map5_high": 0.6123, "threshold_cost": 0.00123}
    figures |= {"baseline_new_whale": 0.3, "baseline_duplicates": 0.35, "baseline_centroid": 0.41, "new_one": 0.25}
    html = render(figures=figures)
    text = Reader(html).text
    assert text.count("0.500") == 3  # on top, beside the baselines, among all figures
    assert text.count("0.400 to 0.612") == 3
    start = text.index("MAP@5 beside the baselines")
    assert text[start + 1 : start + 10] == [
        *("this variant", "0.500", "0.400 to 0.612"),
        *("new_whale to everything", "0.300", "duplicates, else new_whale", "0.350"),
        *("nearest centroid, no threshold", "0.410"),
    ]
    assert 'style="left:40.00%;width:21.23%"' in html
    assert "0.00123" in text
    assert text[text.index("More") :] == ["More", "new_one", "0.250"]
    assert "threshold curve" not in text


def test_a_page_of_nothing_has_no_empty_headings():
    assert Reader(render()).text == ["t", "t", "lead"]


def test_a_folded_sheet_shows_its_title():
    html = render([(shown(), ["", "", ""])], photos={"q.jpg": b""}, folded=True)
    assert "<h3>Sheet</h3>\n<p>says</p><details><summary>Show all</summary>" in html


@pytest.mark.parametrize(("size", "small"), [((600, 300), (96, 48)), ((100, 100), (72, 72)), ((50, 40), (50, 40))])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_thumbnail_is_whole_and_in_proportion(tmp_path, size, small, mode):
    photo = Image.effect_noise(size, 60).convert(mode)
    content = thumbnail(photo)
    (tmp_path / "a.jpg").write_bytes(content)
    with Image.open(tmp_path / "a.jpg") as found:
        assert (found.format, found.size, found.mode) == ("JPEG", small, mode)
    assert photo.size == size
    assert thumbnail(photo) == content
