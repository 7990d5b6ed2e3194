"""The page of a prediction in Chromium: at each threshold of the slider, it displays the figures of `predict`."""

import os

import numpy as np
import pandas as pd
import pytest
from helpers.answers import ANSWERS, AUTO, HOSTILE, QUERIES, SHARES, content, frame, render, sheet
from helpers.browser import chromium
from playwright.sync_api import sync_playwright

from whaleid.identification import figures
from whaleid.identification.map5 import mean_average_precision
from whaleid.identification.ranking import LABELS, PROBABILITIES, rank

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        chromium() is None and os.environ.get("CI") != "true",
        reason="no Chromium: install Debian's package `chromium`",
    ),
]
WHALES = ["ann", "bob", "cat", "dan", "eve", "fay", "gil", "hal"]


def random_answers(count=300):
    """Draw random answers of every role; many of their probabilities equal thresholds of these tests."""
    rng = np.random.default_rng(7)
    rows = []
    roles = ["known", "known", "known", "unknown", "unknown", "duplicate", "new_whale", "new_whale_train"]
    for number in range(count):
        role = roles[number % len(roles)]
        labels = rng.permutation(WHALES)
        whale = "new_whale" if role.startswith("new_whale") else str(labels[rng.choice([0, 0, 0, 1, 2, 5])])
        truth = "new_whale" if role == "unknown" else whale
        probabilities = np.sort(np.append(rng.choice([0, 0.1, 0.31, 0.4, 1.0]), rng.random(4) ** 3))[::-1]
        fold = (0.3, 0.305, 0.33)[number % 3]
        rows.append((f"i{number:03}", whale, role, truth, fold, labels[:5].tolist(), probabilities.tolist()))
    return rows


ROWS = random_answers()
RANDOM_QUERIES = [
    (f"q{row[0]}", int(row[2] == "duplicate"), row[3] if row[2] != "known" else row[1], *row[-2:]) for row in ROWS[:150]
]


class PredictionPage:
    """The page of a prediction in a browser."""

    def __init__(self, page, folder):
        self.page, self.folder = page, folder
        self.requests, self.errors = [], []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self, content):
        path = self.folder / "page.html"
        path.write_text(render(content), encoding="utf-8", newline="\n")
        self.page.goto(path.as_uri())

    def choose(self, threshold):
        """Choose a threshold with the button or in the field."""
        if threshold == "auto":
            self.page.locator("#auto").click()
        else:
            self.page.locator("#value").fill(str(threshold))

    def figures(self, parent="table:not(.bars)"):
        """Return the texts of the value and interval of every figure below the element `parent`, by key."""
        number, interval = (f"{parent} [data-{kind}]" for kind in ("value", "interval"))
        texts = "(cells, kind) => cells.map(cell => [cell.dataset[kind], cell.textContent])"
        intervals = dict(self.page.locator(interval).evaluate_all(texts, "interval"))
        numbers = self.page.locator(number).evaluate_all(texts, "value")
        return {name: (text, intervals.get(name)) for name, text in numbers}

    def strip(self, number):
        """Return the cells of a strip in order: label, text above it, and CSS classes."""
        script = (
            "c => [c.querySelector('span').textContent, c.querySelector('b').textContent, c.className.slice(5).trim()]"
        )
        cells = self.page.locator(".cells").nth(number).locator(".cell")
        return [tuple(cell) for cell in cells.evaluate_all(f"cells => cells.map({script})")]

    def photos(self, number):
        """Return the photos of a strip in order, or the texts in place of missing photos."""
        photos = self.page.locator(".cells").nth(number).locator(".photo, .none")
        return photos.evaluate_all("all => all.map(each => each.title || each.textContent)")

    def legend(self, plot):
        return self.page.locator(f"[data-plot={plot}] .legend span").all_inner_texts()

    def texts(self, plot):
        return self.page.locator(f"[data-plot={plot}] .plot > svg text").all_text_contents()

    def numbers(self, plot, shapes, attribute):
        """Return the values of an attribute of the shapes of a plot."""
        script = "(all, name) => all.map(each => Number(each.getAttribute(name)))"
        return self.page.locator(f"[data-plot={plot}] {shapes}").evaluate_all(script, attribute)

    def columns(self, plot):
        """Unfold the table of a plot; return its columns by name."""
        fold = self.page.locator(f"[data-plot={plot}] details")
        fold.evaluate("fold => { fold.open = true }")
        fold.locator("table").wait_for()
        rows = "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
        names, *values = fold.locator("tr").evaluate_all(rows)
        return {
            name: [float(value) for value in column]
            for name, column in zip(names, zip(*values, strict=True), strict=True)
        }


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=chromium()) as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(10_000)
        yield PredictionPage(page, tmp_path_factory.mktemp("slider"))


@pytest.fixture
def view(window):
    yield window
    assert window.errors == []
    assert [url for url in window.requests if not url.startswith(("file:", "data:"))] == []


def measured(rows, threshold):
    """Return the figures that `predict` measures at a threshold."""
    answers = content(rows).answers
    fixed = {"unknown_share": SHARES[0], "duplicate_share": SHARES[1], "threshold_auto": AUTO}
    expected = figures.evaluate(fixed, answers, None if threshold == "auto" else threshold)
    return {key: value for key, value in expected.items() if key not in (*fixed, "threshold")}


def digits(figure):
    """Format a figure with three decimals, after rounding it as in its JSON file."""
    return f"{float(f'{figure:.6g}'):.3f}"


def solution_figures(queries, threshold):
    """Return the figures that `predict` measures by the solution at a threshold."""
    rows = frame(queries, ["Image", "leaked", "truth"])
    limit = AUTO if threshold == "auto" else threshold
    labels, _ = rank(rows[LABELS].to_numpy(dtype=str), rows[PROBABILITIES].to_numpy(), limit)
    ranked = pd.Series(labels.tolist())
    parts = {
        "solution_map5": rows["truth"] != "",
        "solution_map5_no_duplicates": (rows["truth"] != "") & (rows["leaked"] == 0),
    }
    return {
        key: mean_average_precision(ranked[part].tolist(), rows.loc[part, "truth"].tolist())
        for key, part in parts.items()
    }


@pytest.mark.parametrize(("rows", "queries"), [(ANSWERS, QUERIES), (ROWS, RANDOM_QUERIES)], ids=["hand-made", "random"])
def test_the_figures_equal_those_of_predict(view, rows, queries):
    view.open(content(rows, queries))
    for threshold in (0.0, 0.31, 0.4, 1.0, "auto"):
        view.choose(threshold)
        figures = measured(rows, threshold)
        expected = {
            key: (digits(figures[key]), f"{digits(figures[f'{key}_low'])} to {digits(figures[f'{key}_high'])}")
            for key in figures
            if f"{key}_low" in figures
        }
        expected |= {key: (digits(value), "") for key, value in solution_figures(queries, threshold).items()}
        displayed = view.figures()
        assert displayed | expected == displayed, threshold
        assert float(displayed["threshold_cost"][0]) == pytest.approx(figures["threshold_cost"], abs=1e-4)
        tiles = view.figures(".tiles")
        assert tiles.items() <= displayed.items()
        assert {"map5", "map5_known", "map5_unknown", "map5_duplicates", "top1", "solution_map5"} <= tiles.keys()
        assert view.figures(".bars")["map5"] == expected["map5"]
        assert view.page.locator("output").inner_text() == f"MAP@5 {expected['map5'][0]}"
        bar, interval = view.page.locator("[data-bar=map5] i").evaluate_all(
            "all => all.map(each => parseFloat(each.style.width))"
        )
        assert bar == pytest.approx(100 * figures["map5"], abs=0.06)
        assert interval == pytest.approx(100 * (figures["map5_high"] - figures["map5_low"]), abs=0.11)


def test_the_slider_and_the_field_are_synchronised(view):
    view.open(content())
    slider, field, auto = (view.page.locator(f"#{name}") for name in ("slider", "value", "auto"))
    assert (slider.input_value(), field.input_value(), auto.get_attribute("aria-pressed")) == ("0.305", "0.305", "true")
    slider.press("ArrowRight")
    assert (slider.input_value(), field.input_value(), auto.get_attribute("aria-pressed")) == ("0.31", "0.31", "false")
    field.fill("0.6")
    assert slider.input_value() == "0.6"
    before = view.figures()
    for invalid in ("1.5", "-1", ""):
        field.fill(invalid)
        assert view.figures() == before
    view.choose(0.125)
    exact = view.figures()
    view.choose("auto")
    view.choose(0.123)
    assert (view.figures(), slider.input_value(), field.input_value()) == (exact, "0.125", "0.123")
    field.press("Enter")
    assert field.input_value() == "0.125"
    view.choose("auto")
    assert (slider.input_value(), field.input_value(), auto.get_attribute("aria-pressed")) == ("0.305", "0.305", "true")


def test_new_whale_moves_to_its_rank_in_every_strip(view):
    view.open(content())
    # the strips are k1 to k5, u1 to u3
    view.choose(0.3)
    assert view.strip(2) == [
        *(("bob", "rank 4", "query"), ("cat", "0.400", "wrong"), ("new_whale", "0.300", "wrong")),
        *(("dan", "0.300", "wrong"), ("bob", "0.200", "right"), ("ann", "0.100", "after")),
    ]
    assert view.strip(0)[:3] == [
        *(("ann", "rank 1", "query right"), ("ann", "0.900", "right"), ("new_whale", "0.300", "after")),
    ]
    marks = "all => all.slice(1, 3).map(each => getComputedStyle(each, '::before').content)"
    assert view.page.locator(".cells").nth(0).locator("b").evaluate_all(marks) == ['"✓ "', '"✗ "']
    assert view.photos(3) == ["k4", "new", "ann", "bob", "dan", "eve"]
    titles = "all => all.map(each => each.querySelector('span').title)"
    assert view.page.locator(".query").evaluate_all(titles)[:6] == [
        *("ann", "ann", "bob", "cat", "eve"),
        "gil, held out",
    ]
    view.choose(0.29)
    assert [label for label, *_ in view.strip(2)[1:]] == ["cat", "dan", "new_whale", "bob", "ann"]
    view.choose(0.05)
    assert view.photos(3) == ["k4", "ann", "bob", "dan", "eve", "no photo"]  # fay has no photo
    view.choose(0.0)  # all five whales of u3 are above the threshold: new_whale has no rank
    assert view.strip(7) == [
        ("new_whale", "missed", "query wrong"),
        *((whale, "0.200", "wrong") for whale in ("bob", "ann", "cat", "dan", "eve")),
    ]
    view.choose(1.0)  # new_whale moves eve from rank 5 to 6
    assert view.strip(4)[:2] == [("eve", "missed", "query wrong"), ("new_whale", "1.000", "wrong")]
    view.choose("auto")  # each query has the threshold of its fold
    assert view.strip(5)[1:3] == [("ann", "0.320", "wrong"), ("new_whale", "0.300", "right")]
    assert view.strip(6)[1:3] == [("new_whale", "0.350", "right"), ("bob", "0.320", "after")]


def test_leaks_are_unfolded_and_depend_on_the_threshold(view):
    view.open(content(own_sheets=[sheet("Few", content().answers[8:9])]))
    assert view.strip(0)[1:] == [("bob", "0.950", "wrong"), ("new_whale", "0.300", "right"), ("ann", "0.020", "after")]
    assert not view.page.locator(".cells").nth(1).is_visible()
    view.page.locator("summary", has_text="Show all").click()
    view.page.locator("details .query b", has_text="rank").first.wait_for()
    leaks = view.page.locator("p", has_text="The truth, where it is known")
    assert leaks.inner_text() == "caption The truth, where it is known, ranks first in 1 of 2."
    assert [view.strip(number)[0] for number in (1, 2, 3)] == [
        *(("ann", "rank 1", "query right"), ("q3", "query", "query"), ("bob", "rank 2", "query")),
    ]
    # the truth of q3 is not known
    assert view.strip(2)[1:3] == [("bob", "0.950", ""), ("new_whale", "0.305", "")]
    view.choose(0.96)
    assert view.strip(1)[0] == ("ann", "rank 2", "query")
    assert leaks.inner_text() == "caption The truth, where it is known, ranks first in 0 of 2."


def test_without_a_threshold_new_whale_ranks_after_whales_with_a_probability(view):
    view.open(content(auto=None))
    assert view.page.locator("#slider").count() == 0
    assert view.strip(5)[1:4] == [
        *(("ann", "0.320", "wrong"), ("bob", "0.100", "wrong"), ("new_whale", "\N{EN DASH}", "right")),
    ]
    expected = figures.measure(content(auto=None).answers, SHARES)
    assert view.figures()["map5"] == (
        digits(expected["map5"]),
        f"{expected['map5_low']:.3f} to {expected['map5_high']:.3f}",
    )


def test_without_validation_the_page_has_the_solution(view):
    curve = content().tables["threshold"]
    view.open(content(None, name="final", calibrated_by="margin", tables={"threshold": curve}))
    assert view.page.locator(".tile").count() == 2
    # ranks at 0: 1, 3, 2; at 0.3: 1, 2, 2; at 0.31: 1, 1, 2; at 1: 2, 1, 3
    for threshold, solution in ((0.0, "0.611"), (0.3, "0.667"), (0.31, "0.833"), (1.0, "0.611")):
        view.choose(threshold)
        assert view.figures(".tiles")["solution_map5"][0] == solution
        assert view.page.locator("output").inner_text() == f"MAP@5 {solution}"


def test_the_plots_have_the_values_of_their_tables(view):
    page = content()
    view.open(page)
    for name, table in page.tables.items():
        columns = view.columns(name)
        assert columns.keys() == table.keys()
        for key, column in table.items():
            assert columns[key] == pytest.approx(column if column.ndim == 1 else column[:, -1], abs=1e-4)
    map5 = digits(measured(ANSWERS, "auto")["map5"])
    assert view.legend("unknown_share") == ["this prediction", "new_whale for all", f"declared 0.4: {map5}"]
    assert view.legend("reliability") == ["perfect", "before calibration", "after"]
    assert view.page.locator("[data-plot=reliability] .bar").count() == len(page.tables["reliability"]["least"])
    assert [text for text in view.texts("scores") if ":" in text] == [
        *("known, best whale right: 1", "known, best whale wrong: 4", "unknown: 3"),
    ]
    view.choose(0.3)
    # rank 1 for k1, 2 for k2, 4 for k3, outside five for k4; k5 is fifth of the whales, but sixth with new_whale
    assert view.columns("ranks") == {
        **{"rank": [1, 2, 3, 4, 5, 0], "queries": [1, 1, 0, 1, 0, 2], "whales_alone": [1, 1, 1, 0, 1, 1]},
    }
    percents = [text for text in view.texts("ranks") if text.endswith("%")]
    assert percents == ["20%", "20%", "0%", "20%", "0%", "40%", "20%", "20%", "20%", "0%", "20%", "20%"]
    assert "beyond" in view.texts("ranks")
    assert "10\N{EN DASH}19" in view.texts("photos")
    # cat (k4) has no photo, bob (k3) one, ann (k1, k2) four, eve (k5) twelve
    assert view.columns("photos")["map5"] == [0, 0.25, 0.75, 0]
    view.choose(0.05)
    assert view.columns("photos")["map5"] == [0, 0.3333, 0.75, 0.2]


def test_the_marker_of_the_threshold_moves(view):
    view.open(content())
    assert view.page.locator("[data-plot=threshold] .chosen").count() == 0
    assert view.legend("threshold") == ["known", "unknown", "overall", "auto 0.305"]
    curve = pd.DataFrame(content().tables["threshold"]).set_index("threshold")["map5"]
    for threshold, x in ((0.0, 56), (0.25, 56 + 490 / 4), (1.0, 546)):
        view.choose(threshold)
        assert view.legend("threshold")[-1] == f"threshold {threshold:g}: {curve[threshold]:.3f}"
        (centre,) = zip(*(view.numbers("threshold", ".chosen", name) for name in ("cx", "cy")), strict=True)
        assert centre == pytest.approx((x, 282 - curve[threshold] * 270), abs=1e-3)
    (centre,) = zip(*(view.numbers("threshold", ".dot.auto", name) for name in ("cx", "cy")), strict=True)
    assert centre == pytest.approx((56 + 490 * AUTO, 282 - curve[AUTO] * 270), abs=1e-3)
    assert view.numbers("scores", ".at", "x1") == [546] * 3
    view.open(content(auto=0.3071))  # the nearest point of the curve is 0.305
    assert view.numbers("threshold", ".dot.auto", "cx") == pytest.approx([56 + 490 * 0.305], abs=1e-3)


def test_hostile_labels_and_names_are_not_executed(view):
    whales = [HOSTILE, "<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>"]
    whales += ["javascript:alert(1)", "&lt;"]
    rows = [(HOSTILE, HOSTILE, "known", HOSTILE, 0.3, whales, [0.9, 0.5, 0.1, 0.0, 0.0])]
    rows.append(("u", whales[1], "unknown", "new_whale", 0.3, whales, [0.9, 0.5, 0.1, 0.0, 0.0]))
    dialogs = []
    view.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    view.open(content(rows, [(HOSTILE, 1, HOSTILE, *rows[0][-2:])]))
    view.page.locator("summary", has_text="Show all").click()
    view.page.locator("details .query b", has_text="rank").first.wait_for()
    for threshold in (0.0, 0.7, 1.0):
        view.choose(threshold)
    assert dialogs == []
    assert view.page.locator("img").count() == 0
    assert view.page.locator("script").count() == 2
    assert [label for label, *_ in view.strip(0)] == [HOSTILE, "new_whale", *whales[:4]]
    assert view.strip(0)[0][1:] == ("rank 2", "query")
    title = view.page.locator(".cells").nth(1).locator("span").first.get_attribute("title")
    assert title == f"{whales[1]}, held out"


def test_the_slider_stays_visible_and_nothing_overflows(view):
    view.open(content())
    for width in (1400, 500):
        view.page.set_viewport_size({"width": width, "height": 700})
        assert view.page.evaluate("document.documentElement.scrollWidth") == width
        view.page.locator("h2", has_text="All figures").scroll_into_view_if_needed()
        view.page.mouse.wheel(0, 10_000)
        assert view.page.locator(".control").bounding_box()["y"] == 0
        assert view.page.locator("#slider").is_visible()
