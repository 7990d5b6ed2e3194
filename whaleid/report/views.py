"""The description of MLflow's experiment, and the saved views of its runs.

A view is a tag of the experiment, in the format of the *Views* button of MLflow's UI. A link opens it.
"""

import json
from typing import NamedTuple


class View(NamedTuple):
    """A table of the runs of a stage."""

    name: str
    stage: str
    metric: str
    """The table is sorted by it, the highest value first."""
    params: tuple[str, ...]
    metrics: tuple[str, ...]


PREDICTIONS = View(
    "Predictions",
    "predict",
    "map5",
    ("variant", "validated"),
    ("threshold", "map5", "map5_known", "map5_unknown", "auroc"),
)
TRAININGS = View(
    "Trainings",
    "train",
    "validation_accuracy",
    ("variant", "epochs", "lr"),
    ("loss", "validation_accuracy", "seconds"),
)
VIEWS = (PREDICTIONS, TRAININGS)
WIDTHS = 76, 9, 12, 24
"""Pixels: of the narrowest column, of a letter of its name, around the name, and of the arrow where it is sorted."""
VARIANT = 92
"""Pixels of the column whose values are names."""


def leading() -> list[str]:
    """Return the metrics to log first: MLflow's pages list metrics in the order in which they were logged."""
    names = [*(view.metric for view in VIEWS), *(name for view in VIEWS for name in view.metrics)]
    return [*dict.fromkeys(names)]


def tags() -> dict[str, str]:
    """Return the tags of the experiment that hold its views."""
    return {
        f"mlflow.sharedViewState.{_key(view)}": _envelope(view, created=len(VIEWS) - order)
        for order, view in enumerate(VIEWS)
    }


def link(experiment: str, view: View) -> str:
    """Return the link that opens a view, relative to the address of MLflow's UI."""
    return f"#/experiments/{experiment}/runs?viewStateShareKey={_key(view)}&workflowType=machine_learning"


def description(experiment: str) -> str:
    """Return the description above the table of runs, as Markdown: what to look for where."""
    lines = [
        f"**[{PREDICTIONS.name}]({link(experiment, PREDICTIONS)})**: every prediction at its threshold, best first.",
        f"**[{TRAININGS.name}]({link(experiment, TRAININGS)})**: every training, with its curves.",
        "A run that holds others is one execution of the pipeline: its *Overview* compares its predictions.",
        "A prediction's run has its submission and its threshold curve; its description leads to its page.",
        "The page (an artifact of the `calibrate` run) shows a prediction at any threshold, with contact sheets.",
    ]
    return "  \n".join(lines)


def _envelope(view: View, created: int) -> str:
    """Return a view as MLflow 3.17 stores it; the menu lists the one that was `created` last first."""
    columns = [f"params.`{name}`" for name in view.params] + [f"metrics.`{name}`" for name in view.metrics]
    least, letter, around, arrow = WIDTHS
    widths = [
        VARIANT if name == "variant" else max(least, letter * len(name) + around + arrow * (name == view.metric))
        for name in (*view.params, *view.metrics)
    ]
    state = {
        "searchFilter": f"tags.`whaleid.stage` = '{view.stage}'",
        "orderByKey": f"metrics.`{view.metric}`",  # by anything but time, runs are not folded into their parents
        "orderByAsc": False,
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": dict(zip(columns, widths, strict=True)),
    }
    return json.dumps({"name": view.name, "createdAt": created, "state": json.dumps(state)})


def _key(view: View) -> str:
    return view.name.lower()
