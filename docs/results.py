"""Generate the tables of results in README.md from `reports/figures/`.

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
    "solution_map5": "solution (`test/`)",
}
DECISION = {
    "top1": "top-1 accuracy, known whales",
    "top5": "top-5 accuracy, known whales",
    "auroc": "AUROC",
    "ece": "ECE",
    "ece_chance": "ECE expected by chance",
    "oracle_gain": "oracle gain",
}
INTERVALS = ("map5", "top1", "top5", "auroc")
"""Figures displayed with their 95 % confidence interval."""

Figures = Mapping[str, Mapping[str, float]]
"""Figures by prediction, then by name."""


def cell(figures: Mapping[str, float], key: str, bold: bool = False) -> str:
    """Format a figure with three decimals, and with its interval if `key` is in `INTERVALS`; empty if it is missing."""
    if key not in figures:
        return ""
    text = f"**{figures[key]:.3f}**" if bold else f"{figures[key]:.3f}"
    if key in INTERVALS:
        text += f" ({figures[f'{key}_low']:.3f}\N{EN DASH}{figures[f'{key}_high']:.3f})"
    return text


def map5_rows(figures: Figures, new_whale: float) -> Iterator[Sequence[str]]:
    """Yield the rows of MAP@5. The best results on validation and on the solution are bold.

    `new_whale` is the share of queries of unknown whales: the MAP@5 of predicting `new_whale` for every query.
    """
    yield ["MAP@5", *MAP5.values()]
    baseline = next(
        prediction["baseline_new_whale"] for prediction in figures.values() if "baseline_new_whale" in prediction
    )
    yield ["all `new_whale`", f"{baseline:.3f}", "", "", "", f"{new_whale:.3f}"]
    best = {
        key: max(prediction[key] for prediction in figures.values() if key in prediction)
        for key in ("map5", "solution_map5")
    }
    for name, prediction in figures.items():
        cells = [cell(prediction, key, bold=best.get(key) == prediction.get(key)) for key in MAP5]
        yield [f"`{name}`", cells[0] or "not validated", *cells[1:]]


def decision_rows(figures: Figures) -> Iterator[Sequence[str]]:
    """Yield the rows of figures that require a calibration."""
    yield ["validation", *DECISION.values()]
    for name, prediction in figures.items():
        if "ece" in prediction:
            yield [f"`{name}`", *(cell(prediction, key) for key in DECISION)]


def page(readme: str) -> str:
    """Return the text of README.md with current tables between `START` and `END`."""
    settings = config.load(Path("params.yaml"))
    figures = {name: json.loads(paths.figures(name).read_text(encoding="utf-8")) for name in settings.predictions}
    labels = [entry.label for entry in compose(settings.sample, settings.seed) if entry.part == "test"]
    map5 = table([*map5_rows(figures, labels.count(NEW_WHALE) / len(labels))])
    before, _, remainder = readme.partition(START)
    _, _, after = remainder.partition(END)
    return "\n".join([before + START, "", *map5, "", *table([*decision_rows(figures)]), "", END + after])


if __name__ == "__main__":
    README.write_text(page(README.read_text(encoding="utf-8")), encoding="utf-8")
