"""Write the results on the drawn catalogue into README.md, from `reports/figures/`.

Run in the project's folder, after `dvc repro`: python docs/results.py
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from parameters import table

from whaleid import config
from whaleid.core import paths
from whaleid.core.labels import NEW_WHALE
from whaleid.sample.compose import compose

README = Path("README.md")
START, END = "<!-- results, by `python docs/results.py` -->", "<!-- /results -->"
MAP5 = {
    "map5": "validation",
    "map5_no_duplicates": "without duplicates",
    "map5_known": "known whales",
    "map5_unknown": "held-out whales",
    "solution_map5": "truth of `test/`",
}
DECISION = {
    "top1": "known whales named first",
    "top5": "known whales among five",
    "auroc": "AUROC",
    "ece": "ECE",
    "ece_chance": "ECE by chance alone",
    "oracle_gain": "oracle gain",
}
INTERVALS = ("map5", "top1", "top5", "auroc")
"""Figures that are shown with their 95 % interval."""

Figures = Mapping[str, Mapping[str, float]]
"""The figures of each prediction."""


def cell(figures: Mapping[str, float], key: str, bold: bool = False) -> str:
    """Return a figure to three digits, with its interval if it is one of `INTERVALS`; empty if there is none."""
    if key not in figures:
        return ""
    text = f"**{figures[key]:.3f}**" if bold else f"{figures[key]:.3f}"
    if key in INTERVALS:
        text += f" ({figures[f'{key}_low']:.3f}\N{EN DASH}{figures[f'{key}_high']:.3f})"
    return text


def map5_rows(figures: Figures, new_whale: float) -> Iterator[Sequence[str]]:
    """Yield the rows of MAP@5; the best prediction on validation and the best on the truth are bold.

    `new_whale` is the share of queries of no known whale, which is MAP@5 of `new_whale` for all.
    """
    yield ["MAP@5", *MAP5.values()]
    baseline = next(of["baseline_new_whale"] for of in figures.values() if "baseline_new_whale" in of)
    yield ["all `new_whale`", f"{baseline:.3f}", "", "", "", f"{new_whale:.3f}"]
    best = {key: max(of[key] for of in figures.values() if key in of) for key in ("map5", "solution_map5")}
    for name, of in figures.items():
        cells = [cell(of, key, bold=best.get(key) == of.get(key)) for key in MAP5]
        yield [f"`{name}`", cells[0] or "not validated", *cells[1:]]


def decision_rows(figures: Figures) -> Iterator[Sequence[str]]:
    """Yield the rows of the figures that only a calibrated prediction has."""
    yield ["validation", *DECISION.values()]
    for name, of in figures.items():
        if "ece" in of:
            yield [f"`{name}`", *(cell(of, key) for key in DECISION)]


def page(readme: str) -> str:
    """Return the text of README.md with the tables of now between `START` and `END`."""
    settings = config.load(Path("params.yaml"))
    figures = {name: json.loads(paths.figures(name).read_text(encoding="utf-8")) for name in settings.predictions}
    truth = [entry.label for entry in compose(settings.sample, settings.seed) if entry.part == "test"]
    map5 = table([*map5_rows(figures, truth.count(NEW_WHALE) / len(truth))])
    before, _, rest = readme.partition(START)
    _, _, after = rest.partition(END)
    return "\n".join([before + START, "", *map5, "", *table([*decision_rows(figures)]), "", END + after])


if __name__ == "__main__":
    README.write_text(page(README.read_text(encoding="utf-8")), encoding="utf-8")
