"""The commands for predictions and models: compare, register."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from whaleid.cli.options import PREDICTION, TOOLS, PredictionArgument, check_name, load_params
from whaleid.core import store
from whaleid.core.errors import WhaleidError

app = typer.Typer()


@app.command(rich_help_panel=TOOLS)
def compare() -> None:
    """Compare the results of all predictions on the photos held out for validation. * marks the best of each column.

    MAP@5 ranges from 0 to 1; 1 means that the correct label is always first.
    The columns known and unknown are its values for whales inside and outside the catalogue.
    """
    from whaleid.report import comparison
    from whaleid.serving import registry

    print(comparison.as_text(comparison.read([*load_params().predictions])))
    if (champion := registry.champion()) is not None:
        print(f"\nChampion: version {champion.number} of models:/{registry.NAME}, {champion.variant}: {champion.why}")


@app.command(rich_help_panel=TOOLS)
def register(
    prediction: PredictionArgument = "final",
    alias: Annotated[
        str | None,
        typer.Option(help="Alias in the registry.", show_default="champion, or challenger if the champion is better"),
    ] = None,
) -> None:
    """Register a prediction as a model in MLflow, to serve it: models:/whaleid@champion."""
    params = load_params()
    check_name(prediction, PREDICTION, params)
    if not store.enabled():
        raise WhaleidError("Models are registered in MLflow, but tracking is off: unset WHALEID_TRACKING.")
    from whaleid import tracking
    from whaleid.serving import export, registry

    threshold = None if params.threshold == "auto" else params.threshold
    with TemporaryDirectory() as folder, tracking.run("register", [prediction]) as run:
        bundle = Path(folder) / f"{prediction}.bundle"
        export.write(params, prediction, bundle, threshold)
        version = registry.register(run.ids[prediction], bundle, alias)
    print(f"models:/{registry.NAME}/{version.number} is {version.alias}: {version.why}")
    print(f"  mlflow models serve --env-manager local --port 5001 -m models:/{registry.NAME}@{version.alias}")
