"""The commands that run a stage of `dvc.yaml`."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whaleid.cli.options import NETWORK, PredictionArgument, VariantArgument, check_name, variants, with_networks
from whaleid.core import log, ranks, startup, store

if TYPE_CHECKING:
    from whaleid.config import Params

STAGES = {
    "sample": "Draw a catalogue of flukes, labelled photos and queries: data/sample.",
    "catalog": "Read and check every row and photo of the catalogue folder: data/catalog.csv.",
    "dedup": "Find duplicate photos by perceptual hash: data/dedup.",
    "explore": "Describe the catalogue in tables, pictures and one page: reports/explore/explore.html.",
    "split": "Hold out photos and whole whales for validation: data/split.csv.",
    "boxes": "Train a network that finds flukes, and use it on photos without a box: data/flukes.csv.",
    "pack": "Crop, turn, grey and resize every photo once, into one array: data/pack.",
    "backbone": "Build the network that variants start from, with its weights: checkpoints/backbone.safetensors.",
    "train": "Train a variant, on a GPU where there is one: checkpoints/VARIANT.safetensors.",
    "embed": "Compute the embedding of every photo: features/VARIANT.npz.",
    "calibrate": "Turn a variant's scores into probabilities and find its threshold: calibrations/VARIANT.",
    "rank": "Calibrate ensembles, and rank the whales for every query: rankings.",
    "predict": "Rank five labels for every query, at the threshold: submissions.",
    "report": "Write a page for every prediction, with a slider for its threshold: reports/pages.",
    "bundle": "Write a model as one folder, to share or to serve: models/PREDICTION.bundle.",
}
"""The help of each stage's command, in the order of the pipeline."""
OF_A_VARIANT = ("train", "embed", "calibrate")
OF_A_PREDICTION = ("bundle",)
SHARED = ("train", "embed")
"""The stages that several processes can share."""
UNTRACKED = ("sample", "catalog", "pack", "backbone", "bundle")
"""The stages without a run in MLflow."""
app = typer.Typer()


def run(stage: str, item: str | None = None) -> None:
    """Run a stage, for the variant or prediction `item` where it runs for one, and track it.

    Raises:
        WhaleidError: there is no such item, or an input is missing or wrong.
    """
    settings = _settings(stage)
    if item is not None:
        kind, known = ("variant", variants) if stage in OF_A_VARIANT else (NETWORK, with_networks)
        check_name(item, kind, known(settings))
        if stage in SHARED and _launched(stage, item, settings):
            return
    arguments: list[object] = [settings] if item is None else [settings, item]
    items = _tracked(stage, item, settings)
    if items is None or not store.enabled():
        _work(stage, *arguments, *([_no_log] if stage == "train" else []))
        return
    with log.timed("MLflow imported"), startup.importing():
        from whaleid import tracking

    setting = f"at {settings.threshold:g}" if stage == "predict" and settings.threshold != "auto" else ""
    # rank calibrates the ensembles. The run begins before the stage's modules are imported: a tracking server that
    # cannot be reached is an error at once
    with tracking.run("calibrate" if stage == "rank" else stage, items, setting) as tracked:
        if stage == "train":
            arguments.append(tracked.log_epoch)
        records = _work(stage, *arguments)
        with log.timed("tracked"):
            if stage == "report":
                tracked.attach(records)
            elif isinstance(records, Mapping):
                tracked.log_each(records)
            else:
                tracked.log(records)
            if stage == "predict":
                from whaleid.report import comparison

                tracked.summarise(comparison.summary([*settings.predictions]))


def _no_log(epoch: int, figures: Mapping[str, float]) -> None:
    """Take the figures of an epoch where nothing is tracked."""


def _settings(stage: str) -> "Params":
    """Return the parameters for a stage, once leftovers of killed stages are removed."""
    from whaleid import config, strays
    from whaleid.core import paths

    settings = config.load(paths.PARAMS)
    if stage not in SHARED and ranks.launched():
        from whaleid.core.errors import WhaleidError

        raise WhaleidError(f"Several processes share {' and '.join(SHARED)}; run {stage} without torchrun.")
    if ranks.first():
        strays.sweep(Path(settings.data.root))
    return settings


def _launched(stage: str, variant: str, settings: "Params") -> bool:
    """Run a stage in several processes where that is wanted; return whether it was."""
    with startup.importing():
        from whaleid.training import launching

    # a small batch is no faster on many GPUs than on one
    batch_size = settings.variants[variant].train.batch_size
    several = launching.processes(batch_size if stage == "train" else None)
    if several > 1:
        launching.launch(several, [*log.options(), stage, variant])
    return several > 1


def _tracked(stage: str, item: str | None, settings: "Params") -> list[str | None] | None:
    """Return the items of a stage that have a run of their own in MLflow; None if it is not tracked."""
    if stage == "rank":  # the predictions that it calibrates; those of one network are calibrated already
        each = settings.predictions.items()
        return [name for name, its in each if len(its.networks) > 1 and its.calibrated_by is None] or None
    if stage == "predict":
        return [*settings.predictions]
    if stage == "report":  # pages go to the runs of their predictions
        return []
    uncalibrated = stage == "calibrate" and item is not None and settings.variants[item].learn == "all"
    return None if stage in UNTRACKED or uncalibrated else [item]


def _work(stage: str, *arguments: object) -> Any:
    """Import a stage, which may take longer than its work, and run it; return its records."""
    with log.timed(f"code of {stage} loaded"), startup.importing():
        module = importlib.import_module(f"whaleid.stages.{stage}")
    with log.timed(f"{stage} done"), log.summaries():
        return module.run(*arguments)


def _command(stage: str) -> Callable[..., None]:
    """Return the function that typer makes the command of a stage from."""
    if stage in OF_A_VARIANT:

        def of_a_variant(variant: VariantArgument) -> None:
            run(stage, variant)

        return of_a_variant
    if stage in OF_A_PREDICTION:

        def of_a_prediction(prediction: PredictionArgument = "final") -> None:
            run(stage, prediction)

        return of_a_prediction
    if stage == "explore":

        def explore(
            show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
        ) -> None:
            run(stage)
            if show:
                from whaleid.core import paths

                typer.launch(str(paths.EXPLORE_PAGE.resolve()))

        return explore

    def plain() -> None:
        run(stage)

    return plain


for name, help_text in STAGES.items():
    app.command(name, help=help_text, rich_help_panel="Stages")(_command(name))
