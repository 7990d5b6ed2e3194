"""The page of a prediction in Chromium: at every threshold it shows what `predict` measures there."""

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
    pytest.mark.xdist_group("slider"),
    pytest.mark.slow,
    pytest.mark.skipif(
        chromium() is None and os.environ.get("CI") != "true",
        reason="no Chromium: install Debian's package `chromium`",
    ),
]
THRESHOLDS = [0.0, 0.1, 0.31, 0.4, 1.0, "auto"]
TILES = ["map5", "map5_known", "map5_unknown", "map5_duplicates", "top1"]
WHALES = ["ann", "bob", "cat", "dan", "eve", "fay", "gil", "hal"]


def drawn_answers(count=300):
    """Draw answers of every role, many of their probabilities being thresholds that are chosen here."""
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


ROWS = drawn_answers()
TO_COME = [
    (f"q{row[0]}", int(row[2] == "duplicate"), row[3] if row[2] != "known" else row[1], *row[-2:]) for row in ROWS[:150]
]


class View:
    """A page of a prediction in a browser."""

    def __init__(self, page):
        self.page = page
        self.requests, self.errors = [], []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self, html, folder):
        path = folder / "page.html"
        path.write_text(html, encoding="utf-8", newline="\n")
        self.page.goto(path.as_uri())
        self.page.wait_for_function("document.getElementById('tiles').childElementCount > 0")
        return self

    def choose(self, threshold):
        """Choose a threshold as a person does: by the button, or in the field."""
        if threshold == "auto":
            self.page.locator("#auto").click()
        else:
            self.page.locator("#value").fill(str(threshold))

    def tile(self, key):
        return self.page.locator(f"#tiles [data-key={key}]").inner_text().split("\n")[1:]

    def figures(self):
        """Return the number and the interval of every figure, as they are written."""
        rows = self.page.locator("#figures tr[data-key]").evaluate_all(
            "rows => rows.map(row => [row.dataset.key, row.cells[1].textContent, row.cells[2].textContent])"
        )
        return {key: (number, interval) for key, number, interval in rows}

    def strip(self, sheet, place):
        """Return the labels of a strip in order, and what is written above each."""
        cells = self.page.locator(f"[data-sheet='{sheet}'] .cells").nth(place).locator(".cell")
        return cells.evaluate_all(
            "cells => cells.map(c => [c.querySelector('span').textContent, c.querySelector('b').textContent])"
        )

    def legend(self, plot):
        return self.page.locator(f"[data-plot={plot}] .legend span").all_inner_texts()

    def texts(self, plot):
        return self.page.locator(f"[data-plot={plot}] .plot > svg text").all_text_contents()

    def rows(self, plot):
        """Return the table behind a plot."""
        fold = self.page.locator(f"[data-plot={plot}] details")
        fold.evaluate("fold => { fold.open = true }")
        fold.locator("table").wait_for()
        return fold.locator("tr").evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.textContent))")


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=chromium()) as opened:
        yield opened


@pytest.fixture
def view(browser):
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(10_000)
    opened = View(page)
    yield opened
    assert opened.errors == []
    assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []
    page.close()


def measured(rows, threshold):
    """Return what `predict` measures at a threshold, and what it grades by the solution."""
    answers = content(rows).answers
    fixed = {"unknown_share": SHARES[0], "duplicate_share": SHARES[1], "threshold_auto": AUTO}
    found = figures.at(fixed, answers, None if threshold == "auto" else threshold)
    return {key: value for key, value in found.items() if key not in (*fixed, "threshold")}


def digits(figure):
    """Return a figure as it is read from its JSON file, with three digits."""
    return f"{float(f'{figure:.6g}'):.3f}"


def graded(queries, threshold):
    rows = frame(queries, ["Image", "leaked", "truth"])
    limit = AUTO if threshold == "auto" else threshold
    labels, _ = rank(rows[LABELS].to_numpy(dtype=str), rows[PROBABILITIES].to_numpy(), limit)
    ranked = pd.Series(labels.tolist())
    parts = {
        "solution_map5": rows["truth"] != "",
        "solution_map5_no_duplicates": (rows["truth"] != "") & (rows["leaked"] == 0),
    }
    return {
        key: mean_average_precision(ranked[of].tolist(), rows.loc[of, "truth"].tolist()) for key, of in parts.items()
    }


@pytest.mark.parametrize(("rows", "queries"), [(ANSWERS, QUERIES), (ROWS, TO_COME)], ids=["by hand", "drawn"])
def test_the_page_shows_what_predict_measures(view, tmp_path, rows, queries):
    view.open(render(content(rows, queries)), tmp_path)
    for threshold in THRESHOLDS:
        view.choose(threshold)
        figures = measured(rows, threshold)
        expected = {
            key: (digits(figures[key]), f"{digits(figures[f'{key}_low'])} to {digits(figures[f'{key}_high'])}")
            for key in figures
            if f"{key}_low" in figures
        }
        expected |= {key: (digits(value), "") for key, value in graded(queries, threshold).items()}
        written = view.figures()
        assert {key: written[key] for key in expected} == expected, threshold
        assert float(written["threshold_cost"][0]) == pytest.approx(figures["threshold_cost"], abs=1e-4)
        for key in TILES:
            assert view.tile(key) == list(expected[key])
        assert view.tile("solution_map5")[0] == expected["solution_map5"][0]
        assert view.page.locator("#bars tr[data-key=map5]").inner_text().split("\t")[-2:] == list(expected["map5"])
        assert view.page.locator("#now").inner_text() == f"MAP@5 {expected['map5'][0]}"


def test_the_page_opens_at_auto(view, tmp_path):
    view.open(render(content()), tmp_path)
    assert view.page.locator("#auto").get_attribute("aria-pressed") == "true"
    assert view.page.locator("#value").input_value() == "0.305"
    assert view.page.locator("#slider").input_value() == "0.305"


def test_the_slider_and_the_field_follow_each_other(view, tmp_path):
    view.open(render(content()), tmp_path)
    slider, field = view.page.locator("#slider"), view.page.locator("#value")
    slider.press("ArrowRight")
    assert (slider.input_value(), field.input_value()) == ("0.31", "0.31")
    assert view.page.locator("#auto").get_attribute("aria-pressed") == "false"
    field.fill("0.6")
    assert slider.input_value() == "0.6"
    before = view.figures()
    for wrong in ("1.5", "-1", ""):
        field.fill(wrong)
        assert view.figures() == before
    view.choose("auto")
    assert (slider.input_value(), field.input_value()) == ("0.305", "0.305")


def test_a_value_off_the_grid_is_exact_and_has_no_interval(view, tmp_path):
    view.open(render(content()), tmp_path)
    view.choose(0.3199)
    assert view.tile("map5_unknown") == [f"{measured(ANSWERS, 0.3199)['map5_unknown']:.3f}", "\N{NO-BREAK SPACE}"]
    assert view.figures()["map5"][1] == ""
    view.choose(0.32)  # the best whale of u1 and of u2 has that probability: it is no longer above
    assert view.tile("map5_unknown")[0] == "1.000"


def test_halves_round_to_even_as_in_python(view, tmp_path):
    rows = [*ANSWERS[:1], *([ANSWERS[3]] * 15)]  # 1 of 16 queries is right: 0.0625
    view.open(render(content(rows, sheets=[])), tmp_path)
    assert view.tile("map5_known")[0] == f"{1 / 16:.3f}" == "0.062"


def test_new_whale_has_its_place_in_every_strip(view, tmp_path):
    view.open(render(content()), tmp_path)
    # the sheet holds k1 to k5, u1 to u3
    view.choose(0.3)
    assert view.strip(0, 2) == [
        *(["bob", "rank 4"], ["cat", "✗ 0.400"], ["new_whale", "✗ 0.300"], ["dan", "✗ 0.300"]),
        *(["bob", "✓ 0.200"], ["ann", "✗ 0.100"]),
    ]
    assert view.strip(0, 0)[:3] == [["ann", "✓ rank 1"], ["ann", "✓ 0.900"], ["new_whale", "✗ 0.300"]]
    view.choose(0.29)
    assert [label for label, _ in view.strip(0, 2)[1:]] == ["cat", "dan", "new_whale", "bob", "ann"]
    view.choose(0.0)  # of u3 five whales are above: no place is left
    assert view.strip(0, 7) == [
        ["new_whale", "✗ missed"],
        *([whale, "✗ 0.200"] for whale in ("bob", "ann", "cat", "dan", "eve")),
    ]
    view.choose(1.0)
    assert view.strip(0, 4)[:2] == [["eve", "✗ missed"], ["new_whale", "✗ 1.000"]]  # eve is fifth without new_whale
    view.choose("auto")  # each query at the threshold of its fold
    assert view.strip(0, 5)[1:3] == [["ann", "✗ 0.320"], ["new_whale", "✓ 0.300"]]
    assert view.strip(0, 6)[1:3] == [["new_whale", "✓ 0.350"], ["bob", "✗ 0.320"]]


def test_a_strip_has_colours_titles_and_photos(view, tmp_path):
    view.open(render(content()), tmp_path)
    view.choose(0.3)
    strips = view.page.locator("[data-sheet='0'] .cells")
    pictures = "all => all.map(each => each.title || each.textContent)"
    kinds = "cells => cells.map(cell => cell.className.replace('cell', '').trim())"
    assert strips.nth(2).locator(".cell").evaluate_all(kinds) == [
        "query",
        "wrong",
        "wrong",
        "wrong",
        "right",
        "after",
    ]
    assert strips.nth(5).locator("span").first.get_attribute("title") == "gil, held out"
    assert strips.nth(0).locator("span").first.get_attribute("title") == "ann"
    pictures = (
        strips.nth(3).locator(".photo, .none").evaluate_all("all => all.map(each => each.title || each.textContent)")
    )
    assert pictures == ["k4", "new", "ann", "bob", "dan", "eve"]
    view.choose(0.05)
    pictures = (
        strips.nth(3).locator(".photo, .none").evaluate_all("all => all.map(each => each.title || each.textContent)")
    )
    assert pictures == ["k4", "ann", "bob", "dan", "eve", "no photo"]  # of fay


def test_leaks_unfold_and_move(view, tmp_path):
    view.open(render(content()), tmp_path)
    assert not view.page.locator("[data-sheet='1'] .cells").first.is_visible()
    view.page.locator("summary", has_text="Show all").click()
    view.page.locator("[data-sheet='1'] b", has_text="rank").first.wait_for()
    assert view.strip(1, 0)[:3] == [["ann", "✓ rank 1"], ["ann", "✓ 0.950"], ["new_whale", "✗ 0.305"]]
    # the truth of q3 is not known
    assert view.strip(1, 1)[:3] == [["q3", "query"], ["bob", "0.950"], ["new_whale", "0.305"]]
    assert view.strip(1, 2)[0] == ["bob", "rank 2"]
    assert view.page.locator("#leaks").inner_text() == "The truth, where it is known, ranks first in 1 of 2."
    view.choose(0.96)
    assert view.strip(1, 0)[0] == ["ann", "rank 2"]
    assert view.page.locator("#leaks").inner_text() == "The truth, where it is known, ranks first in 0 of 2."


def test_few_whales(view, tmp_path):
    view.open(render(content(sheets=[sheet("Few", content().answers[8:9])])), tmp_path)
    assert view.strip(0, 0)[1:] == [["bob", "✗ 0.950"], ["new_whale", "✓ 0.300"], ["ann", "✗ 0.020"]]


def test_without_a_threshold_new_whale_comes_after_what_is_probable(view, tmp_path):
    view.open(render(content(auto=None)), tmp_path)
    assert view.page.locator("#slider").count() == 0
    assert view.strip(0, 5)[1:4] == [["ann", "✗ 0.320"], ["bob", "✗ 0.100"], ["new_whale", "✓ –"]]  # noqa: RUF001
    answers = content(auto=None).answers
    found = figures.measure(answers, SHARES)
    assert view.tile("map5") == [
        f"{found['map5']:.3f}",
        f"{found['map5_low']:.3f} to {found['map5_high']:.3f}",
    ]


def test_a_prediction_that_is_not_validated_has_the_solution(view, tmp_path):
    curve = content().tables["threshold"]
    made = content(None, name="final", calibrated_by="margin", tables={"threshold": curve})
    view.open(render(made), tmp_path)
    # at 0 the ranks are 1, 3 and 2; at 0.3 they are 1, 2, 2; at 0.31 they are 1, 1, 2; at 1 they are 2, 1, 3
    for threshold, solution in ((0.0, "0.611"), (0.3, "0.667"), (0.31, "0.833"), (1.0, "0.611")):
        view.choose(threshold)
        assert view.tile("solution_map5")[0] == f"{graded(QUERIES, threshold)['solution_map5']:.3f}" == solution
    assert view.page.locator("#tiles .tile").count() == 2


def test_the_mark_of_the_threshold_moves(view, tmp_path):
    view.open(render(content()), tmp_path)
    marks = view.page.locator("[data-plot=threshold] .chosen")
    assert marks.count() == 0
    curve = content().tables["threshold"]
    at_auto = curve.set_index("threshold").loc[AUTO]
    assert view.legend("threshold") == ["known", "unknown", "overall", "auto 0.305"]
    places = {}
    for threshold in (0.0, 0.25, 0.5, 1.0):
        view.choose(threshold)
        places[threshold] = float(marks.get_attribute("cx"))
        there = curve.set_index("threshold").loc[threshold, "map5"]
        assert view.legend("threshold")[-1] == f"threshold {threshold:g}: {there:.3f}"
        assert float(marks.get_attribute("cy")) == pytest.approx(282 - there * 270)
    assert places == pytest.approx({0.0: 56, 0.25: 56 + 490 / 4, 0.5: 56 + 490 / 2, 1.0: 546})
    auto = view.page.locator("[data-plot=threshold] .dot.auto")
    assert float(auto.get_attribute("cx")) == pytest.approx(56 + 490 * AUTO)
    assert float(auto.get_attribute("cy")) == pytest.approx(282 - at_auto["map5"] * 270)
    uprights = view.page.locator("[data-plot=scores] .at")
    assert [float(each.get_attribute("x1")) for each in uprights.all()] == [546] * 3


def test_the_plots_have_the_numbers_of_their_tables(view, tmp_path):
    made = content()
    view.open(render(made), tmp_path)
    assert view.legend("unknown_share")[:2] == ["this prediction", "new_whale for all"]
    known, unknown, duplicates = (
        measured(ANSWERS, "auto")[f"map5_{kind}"] for kind in ("known", "unknown", "duplicates")
    )
    declared = 0.8 * (0.6 * known + 0.4 * unknown) + 0.2 * duplicates
    assert view.legend("unknown_share")[2] == f"declared 0.4: {declared:.3f}"
    for name in ("unknown_share", "ranks", "photos"):
        rows = view.rows(name)
        expected = made.tables[name]
        assert len(rows) == len(expected) + 1
        column = "queries" if name == "ranks" else "map5"
        numbers = [float(row[rows[0].index(column)]) for row in rows[1:]]
        assert numbers == pytest.approx(expected[column].tolist(), abs=1e-4)
    assert view.legend("reliability") == ["perfect", "before calibration", "after"]
    bars = view.page.locator("[data-plot=reliability] .bar").count()
    assert bars == len(made.tables["reliability"]) == len(view.rows("reliability")) - 1
    assert [text for text in view.texts("scores") if ":" in text] == [
        *("known, best whale right: 1", "known, best whale wrong: 4", "unknown: 3"),
    ]


def test_ranks_and_photos_move(view, tmp_path):
    view.open(render(content()), tmp_path)
    view.choose(0.3)
    # k1 is first, k2 second, k3 fourth, k4 beyond, k5 fifth of the whales and sixth behind new_whale
    assert view.rows("ranks") == [
        ["rank", "queries", "whales_alone"],
        *(["1", "1", "1"], ["2", "1", "1"], ["3", "0", "1"], ["4", "1", "0"], ["5", "0", "1"], ["0", "2", "1"]),
    ]
    percents = [text for text in view.texts("ranks") if text.endswith("%")]
    assert percents == ["20%", "20%", "0%", "20%", "0%", "40%", "20%", "20%", "20%", "0%", "20%", "20%"]
    assert "beyond" in view.texts("ranks")
    # no photo of cat (k4), one of bob (k3), four of ann (k1, k2), twelve of eve (k5)
    assert view.rows("photos") == [
        ["photos", "queries", "map5"],
        *(["0", "1", "0"], ["1", "1", "0.25"], ["4", "2", "0.75"], ["10–19", "1", "0"]),  # noqa: RUF001
    ]
    view.choose(0.05)
    assert [row[2] for row in view.rows("photos")[1:]] == ["0", "0.3333", "0.75", "0.2"]


def test_what_comes_from_outside_does_nothing(view, tmp_path):
    whales = [
        HOSTILE,
        "<img src=x onerror=alert(1)>",
        "</script><script>alert(1)</script>",
        "javascript:alert(1)",
        "&lt;",
    ]
    rows = [(HOSTILE, HOSTILE, "known", HOSTILE, 0.3, whales, [0.9, 0.5, 0.1, 0.0, 0.0])]
    rows.append(("u", whales[1], "unknown", "new_whale", 0.3, whales, [0.9, 0.5, 0.1, 0.0, 0.0]))
    dialogs = []
    view.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    view.open(render(content(rows, [(HOSTILE, 1, HOSTILE, *rows[0][-2:])])), tmp_path)
    view.page.locator("summary", has_text="Show all").click()
    view.page.locator("[data-sheet='1'] b", has_text="rank").first.wait_for()
    for threshold in (0.0, 0.7, 1.0):
        view.choose(threshold)
    view.page.wait_for_timeout(100)
    assert dialogs == []
    assert view.page.locator("img").count() == 0
    assert view.page.locator("script").count() == 2
    assert [label for label, _ in view.strip(0, 0)] == [HOSTILE, "new_whale", *whales[:4]]
    assert (
        view.page.locator("[data-sheet='0'] .cells").nth(1).locator("span").first.get_attribute("title")
        == f"{whales[1]}, held out"
    )


@pytest.mark.parametrize("width", [1400, 500])
def test_the_control_stays_in_view_and_nothing_is_cut(view, tmp_path, width):
    view.page.set_viewport_size({"width": width, "height": 700})
    view.open(render(content()), tmp_path)
    assert view.page.evaluate("document.documentElement.scrollWidth") == width
    view.page.locator("h2", has_text="All figures").scroll_into_view_if_needed()
    view.page.mouse.wheel(0, 10_000)
    box = view.page.locator(".control").bounding_box()
    assert box["y"] == 0
    assert view.page.locator("#slider").is_visible()
