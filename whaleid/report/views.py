"""The description of the MLflow experiment, and the saved views of its runs.

A saved view is a tag of the experiment, in the format of the *Views* button in the UI of MLflow 3.17.
"""

import json
from collections.abc import Mapping
from typing import NamedTuple


class View(NamedTuple):
    """A saved view: the table of the runs of one stage."""

    name: str
    stage: str
    metric: str
    """The metric to sort by, in descending order."""
    params: Mapping[str, int]
    """The columns of parameters and their widths in pixels, wide enough for the headings."""
    metrics: Mapping[str, int]
    """The columns of metrics and their widths; the heading of `metric` also has an arrow."""


PREDICTIONS = View(
    "Predictions",
    "predict",
    "map5",
    {"variant": 92, "validated": 93},
    {"threshold": 93, "map5": 76, "map5_known": 102, "map5_unknown": 120, "auroc": 76},
)
TRAININGS = View(
    "Trainings",
    "train",
    "validation_accuracy",
    {"variant": 92, "epochs": 76, "lr": 76},
    {"loss": 76, "validation_accuracy": 207, "seconds": 76},
)
VIEWS = (PREDICTIONS, TRAININGS)


def first_metrics() -> list[str]:
    """Return the metrics to log first, because MLflow lists metrics in the order in which they were logged."""
    return [*(view.metric for view in VIEWS), *(name for view in VIEWS for name in view.metrics)]


def tags() -> dict[str, str]:
    """Return the saved views as tags of the experiment. MLflow's menu lists the newest view first."""
    return {
        f"mlflow.sharedViewState.{_key(view)}": json.dumps(
            {"name": view.name, "createdAt": len(VIEWS) - number, "state": _state(view)}
        )
        for number, view in enumerate(VIEWS)
    }


def link(experiment: str, view: View) -> str:
    """Return a link that opens `view`, relative to the address of MLflow's UI."""
    return f"#/experiments/{experiment}/runs?viewStateShareKey={_key(view)}&workflowType=machine_learning"


def description(experiment: str) -> str:
    """Return the description of the experiment as Markdown. MLflow displays it above the table of runs."""
    lines = [
        f"**[{PREDICTIONS.name}]({link(experiment, PREDICTIONS)})**: all predictions at their thresholds, best first.",
        f"**[{TRAININGS.name}]({link(experiment, TRAININGS)})**: all training runs, with their curves.",
        "A parent run is one execution of the pipeline. Its *Overview* compares the predictions.",
        "A run of a prediction has the submission and the threshold curve. Its description links to the page.",
        "The page (an artifact of the `calibrate` run) has contact sheets, and a slider for the threshold.",
    ]
    return "  \n".join(lines)


def _state(view: View) -> str:
    widths = {f"params.`{name}`": width for name, width in view.params.items()}
    widths |= {f"metrics.`{name}`": width for name, width in view.metrics.items()}
    state = {
        "searchFilter": f"tags.`whaleid.stage` = '{view.stage}'",
        "orderByKey": f"metrics.`{view.metric}`",  # if sorted by time, MLflow nests runs in their parents
        "orderByAsc": False,
        "selectedColumns": [*widths],
        "columnOrder": [*widths],
        "columnWidths": widths,
    }
    return json.dumps(state)


def _key(view: View) -> str:
    return view.name.lower()
