"""The description of MLflow's experiment, and the saved views of its runs.

A view is a tag of the experiment, in the format of the *Views* button of MLflow 3.17's UI. A link opens it.
"""

import json
from collections.abc import Mapping
from typing import NamedTuple


class View(NamedTuple):
    """A table of the runs of a stage."""

    name: str
    stage: str
    metric: str
    """The table is sorted by it, the highest value first."""
    params: Mapping[str, int]
    """The columns of parameters, and their widths in pixels: room for their headings."""
    metrics: Mapping[str, int]
    """Those of metrics; `metric` has an arrow beside its heading."""


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


def leading() -> list[str]:
    """Return the metrics to log first: MLflow's pages list metrics in the order in which they were logged."""
    return [*(view.metric for view in VIEWS), *(name for view in VIEWS for name in view.metrics)]


def tags() -> dict[str, str]:
    """Return the tags of the experiment that hold its views; MLflow's menu lists the one created last first."""
    return {
        f"mlflow.sharedViewState.{_key(view)}": json.dumps(
            {"name": view.name, "createdAt": len(VIEWS) - number, "state": _state(view)}
        )
        for number, view in enumerate(VIEWS)
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
        "The page (an artifact of the `calibrate` run) has contact sheets, and all thresholds in steps of 0.005.",
    ]
    return "  \n".join(lines)


def _state(view: View) -> str:
    widths = {f"params.`{name}`": width for name, width in view.params.items()}
    widths |= {f"metrics.`{name}`": width for name, width in view.metrics.items()}
    state = {
        "searchFilter": f"tags.`whaleid.stage` = '{view.stage}'",
        "orderByKey": f"metrics.`{view.metric}`",  # by anything but time, runs are not folded into their parents
        "orderByAsc": False,
        "selectedColumns": [*widths],
        "columnOrder": [*widths],
        "columnWidths": widths,
    }
    return json.dumps(state)


def _key(view: View) -> str:
    return view.name.lower()
