"""The commands that run the stages of `dvc.yaml`."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from whaleid.cli.options import (
    PREDICTION,
    VARIANT,
    PredictionArgument,
    VariantArgument,
    check_name,
    load_params,
)
from whaleid.core import log, paths, ranks, store
from whaleid.core.errors import WhaleidError

if TYPE_CHECKING:
    from whaleid.config import Params


class Stage(NamedTuple):
    """The command of a stage of `dvc.yaml`."""

    help: str
    item: str = ""
    """The kind of name that the stage takes, VARIANT or PREDICTION; empty if it takes none."""
    tracked: bool = True
    """Whether its runs are logged to MLflow."""
    shared: bool = False
    """Whether it can run in several processes."""


STAGES = {
    "sample": Stage("Generate a catalogue of synthetic flukes for a first run. Writes data/sample.", tracked=False),
    "catalog": Stage("Check all rows and photos of the catalogue folder. Writes data/catalog.csv.", tracked=False),
    "dedup": Stage("Find duplicate photos by perceptual hash. Writes data/dedup."),
    "explore": Stage("Describe the catalogue with tables and figures. Writes reports/explore/explore.html."),
    "split": Stage("Hold out photos and whole whales for validation. Writes data/split.csv."),
    "boxes": Stage("Train a fluke detector, and apply it to photos without a box. Writes data/flukes.csv."),
    "pack": Stage("Crop, rotate, resize and convert all photos to one array. Writes data/pack.", tracked=False),
    "backbone": Stage(
        "Build the network that variants start from. Writes checkpoints/backbone.safetensors.", tracked=False
    ),
    "train": Stage("Train the network of a variant. Writes checkpoints/VARIANT.safetensors.", VARIANT, shared=True),
    "embed": Stage("Compute the embeddings of all photos. Writes features/VARIANT.npz.", VARIANT, shared=True),
    "calibrate": Stage(
        "Calibrate a variant's scores to probabilities, and choose its threshold. Writes calibrations/VARIANT.", VARIANT
    ),
    "rank": Stage("Calibrate ensembles, and rank the whales for each query. Writes rankings."),
    "predict": Stage("Rank five labels for each query, with new_whale at the threshold. Writes submissions."),
    "report": Stage("Show each prediction on a page, with a slider for the threshold. Writes reports/pages."),
    "bundle": Stage(
        "Export a model as one folder, to share or to serve. Writes models/PREDICTION.bundle.",
        PREDICTION,
        tracked=False,
    ),
}
"""The stages by name, in the order of the pipeline."""
app = typer.Typer()


def run(stage: str, item: str | None = None) -> None:
    """Run a stage, for the variant or prediction `item` if it runs for one, and log it to MLflow.

    Raises:
        WhaleidError: there is no such item, or an input is missing or invalid.
    """
    params = load_params()
    if ranks.launched_by_torchrun() and not STAGES[stage].shared:
        shared = " and ".join(name for name, entry in STAGES.items() if entry.shared)
        raise WhaleidError(f"Only {shared} can run in several processes: run {stage} without torchrun.")
    if item is not None:
        check_name(item, STAGES[stage].item, params)
        if STAGES[stage].shared and _run_in_processes(stage, item, params):
            return
    arguments: list[object] = [params] if item is None else [params, item]
    items = _tracked_items(stage, item, params)
    if items is None or not store.enabled():
        if stage == "train":
            arguments.append(lambda epoch, figures: None)
        _run(stage, arguments)
        return
    with log.timed("MLflow imported"):
        from whaleid import tracking

    threshold = f"at {params.threshold:g}" if stage == "predict" and params.threshold != "auto" else ""
    # rank logs the calibration of ensembles. The run begins before the stage's modules are imported, so that an
    # unreachable tracking server is reported at once
    with tracking.run("calibrate" if stage == "rank" else stage, items, threshold) as tracked:
        if stage == "train":
            arguments.append(tracked.log_epoch)
        records = _run(stage, arguments)
        with log.timed("logged to MLflow"):
            if stage == "report":
                tracked.attach(records)
            else:
                tracked.log(records if isinstance(records, Mapping) else {item: records})
            if stage == "predict":
                from whaleid.report import comparison

                tracked.summarise(comparison.summary([*params.predictions]))


def _run_in_processes(stage: str, variant: str, params: "Params") -> bool:
    """Run a stage in several processes, one per GPU, if that is faster. Return whether the stage was run."""
    from whaleid.training import launching

    # several GPUs do not speed up a small batch
    batch_size = params.variants[variant].train.batch_size
    count = launching.process_count(batch_size if stage == "train" else None)
    if count > 1:
        launching.launch(count, [*log.options(), stage, variant])
    return count > 1


def _tracked_items(stage: str, item: str | None, params: "Params") -> list[str | None] | None:
    """Return the items that get their own run in MLflow, [None] for a single run of the stage, or None for no run."""
    if stage == "rank":  # it calibrates ensembles; predictions with one network are already calibrated
        predictions = params.predictions.items()
        return [name for name, entry in predictions if len(entry.networks) > 1 and entry.calibrated_by is None] or None
    if stage == "predict":
        return [*params.predictions]
    if stage == "report":  # its pages are attached to existing runs of the predictions
        return []
    uncalibrated = stage == "calibrate" and item is not None and params.variants[item].learn == "all"
    return [item] if STAGES[stage].tracked and not uncalibrated else None


def _run(stage: str, arguments: Sequence[object]) -> Any:
    """Import the module of a stage and call its `run`. Both times are logged: the import may take longer."""
    with log.timed(f"code of {stage} imported"):
        module = importlib.import_module(f"whaleid.stages.{stage}")
    with log.timed(f"{stage} done"):
        return module.run(*arguments)


def _command(stage: str) -> Callable[[], None]:
    return lambda: run(stage)


def _variant_command(stage: str) -> Callable[[str], None]:
    def command(variant: VariantArgument) -> None:
        run(stage, variant)

    return command


def _prediction_command(stage: str) -> Callable[[str], None]:
    def command(prediction: PredictionArgument = "final") -> None:
        run(stage, prediction)

    return command


def explore(open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False) -> None:
    """Run the stage, and open its page with `--open`."""
    run("explore")
    if open_page:
        typer.launch(str(paths.EXPLORE_PAGE.resolve()))


COMMANDS: dict[str, Callable[[str], Callable[..., None]]] = {
    "": _command,
    VARIANT: _variant_command,
    PREDICTION: _prediction_command,
}
"""Function that creates the command of a stage, by the kind of name that the stage takes."""
for name, stage in STAGES.items():
    command = COMMANDS[stage.item](name)
    if name == "explore":
        command = explore
    app.command(name, help=stage.help, rich_help_panel="Stages")(command)
