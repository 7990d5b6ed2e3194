"""The commands that run a stage of `dvc.yaml`."""

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
    """A stage of `dvc.yaml`, as a command."""

    help: str
    item: str = ""
    """The kind of name that it runs for, if not for all at once."""
    tracked: bool = True
    """Whether it has runs in MLflow."""
    shared: bool = False
    """Whether several processes can share it."""


STAGES = {
    "sample": Stage("Draw a catalogue of flukes, labelled photos and queries: data/sample.", tracked=False),
    "catalog": Stage("Read and check every row and photo of the catalogue folder: data/catalog.csv.", tracked=False),
    "dedup": Stage("Find duplicate photos by perceptual hash: data/dedup."),
    "explore": Stage("Describe the catalogue in tables, pictures and one page: reports/explore/explore.html."),
    "split": Stage("Hold out photos and whole whales for validation: data/split.csv."),
    "boxes": Stage("Train a network that finds flukes, and use it on photos without a box: data/flukes.csv."),
    "pack": Stage("Crop, turn, grey and resize every photo once, into one array: data/pack.", tracked=False),
    "backbone": Stage(
        "Build the network that variants start from, with its weights: checkpoints/backbone.safetensors.", tracked=False
    ),
    "train": Stage("Train the network of a variant: checkpoints/VARIANT.safetensors.", VARIANT, shared=True),
    "embed": Stage("Compute the embedding of every photo: features/VARIANT.npz.", VARIANT, shared=True),
    "calibrate": Stage(
        "Turn a variant's scores into probabilities and find its threshold: calibrations/VARIANT.", VARIANT
    ),
    "rank": Stage("Calibrate ensembles, and rank the whales for every query: rankings."),
    "predict": Stage("Rank five labels for every query, at the threshold: submissions."),
    "report": Stage("Write a page for every prediction, with a slider for its threshold: reports/pages."),
    "bundle": Stage(
        "Write a model as one folder, to share or to serve: models/PREDICTION.bundle.", PREDICTION, tracked=False
    ),
}
"""In the order of the pipeline."""
app = typer.Typer()


def run(stage: str, item: str | None = None) -> None:
    """Run a stage, for the variant or prediction `item` if it runs for one, and track it.

    Raises:
        WhaleidError: there is no such item, or an input is missing or wrong.
    """
    settings = load_params()
    if ranks.launched_by_torchrun() and not STAGES[stage].shared:
        shared = " and ".join(name for name, each in STAGES.items() if each.shared)
        raise WhaleidError(f"Several processes share {shared}; run {stage} without torchrun.")
    if item is not None:
        check_name(item, STAGES[stage].item, settings)
        if STAGES[stage].shared and _launched(stage, item, settings):
            return
    arguments: list[object] = [settings] if item is None else [settings, item]
    items = _tracked(stage, item, settings)
    if items is None or not store.enabled():
        if stage == "train":
            arguments.append(lambda epoch, figures: None)
        _work(stage, arguments)
        return
    with log.timed("MLflow imported"):
        from whaleid import tracking

    setting = f"at {settings.threshold:g}" if stage == "predict" and settings.threshold != "auto" else ""
    # rank calibrates the ensembles. The run begins before the stage's modules are imported: a tracking server that
    # cannot be reached is an error at once
    with tracking.run("calibrate" if stage == "rank" else stage, items, setting) as tracked:
        if stage == "train":
            arguments.append(tracked.log_epoch)
        records = _work(stage, arguments)
        with log.timed("tracked"):
            if stage == "report":
                tracked.attach(records)
            else:
                tracked.log(records if isinstance(records, Mapping) else {item: records})
            if stage == "predict":
                from whaleid.report import comparison

                tracked.summarise(comparison.summary([*settings.predictions]))


def _launched(stage: str, variant: str, settings: "Params") -> bool:
    """Run a stage in several processes where that is wanted; return whether it was."""
    from whaleid.training import launching

    # a small batch is no faster on many GPUs than on one
    batch_size = settings.variants[variant].train.batch_size
    count = launching.process_count(batch_size if stage == "train" else None)
    if count > 1:
        launching.launch(count, [*log.options(), stage, variant])
    return count > 1


def _tracked(stage: str, item: str | None, settings: "Params") -> list[str | None] | None:
    """Return the items with a run of their own in MLflow; None is the only run of a stage. No list: no run at all."""
    if stage == "rank":  # it calibrates ensembles; predictions of one network are calibrated already
        predictions = settings.predictions.items()
        return [name for name, each in predictions if len(each.networks) > 1 and each.calibrated_by is None] or None
    if stage == "predict":
        return [*settings.predictions]
    if stage == "report":  # pages go to the runs of their predictions
        return []
    uncalibrated = stage == "calibrate" and item is not None and settings.variants[item].learn == "all"
    return [item] if STAGES[stage].tracked and not uncalibrated else None


def _work(stage: str, arguments: Sequence[object]) -> Any:
    """Import a stage, which may take longer than its work, and run it; return what it returns."""
    with log.timed(f"code of {stage} loaded"):
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


def explore(show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False) -> None:
    """Run the stage and, if wanted, show its page."""
    run("explore")
    if show:
        typer.launch(str(paths.EXPLORE_PAGE.resolve()))


COMMANDS: dict[str, Callable[[str], Callable[..., None]]] = {
    "": _command,
    VARIANT: _variant_command,
    PREDICTION: _prediction_command,
}
for name, stage in STAGES.items():
    command = COMMANDS[stage.item](name)
    if name == "explore":
        command = explore
    app.command(name, help=stage.help, rich_help_panel="Stages")(command)
