"""The commands for `params.yaml`: check it, and set it for drawn flukes or for real photos."""

from typing import Annotated

import typer

from whaleid.cli.options import PEOPLE, load_params
from whaleid.core import paths
from whaleid.core.log import logger

app = typer.Typer()


@app.command(rich_help_panel=PEOPLE)
def check() -> None:
    """Check params.yaml: its keys, types, ranges, and that they fit each other."""
    variants = load_params().variants
    print(f"{paths.PARAMS} is valid. Its variants: {', '.join(variants)}.")


def _presets() -> list[str]:
    from whaleid.cli import presets

    return [*presets.overlays()]


@app.command(rich_help_panel=PEOPLE)
def preset(
    name: Annotated[
        str,
        typer.Argument(help="sample (drawn flukes) or real (photos).", show_default=False, autocompletion=_presets),
    ],
    root: Annotated[str | None, typer.Option(help="The catalogue folder, in Kaggle's layout.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Any torchvision classification model, or timm/NAME.")] = None,
    weights: Annotated[str | None, typer.Option(help="DEFAULT, none, or the path of a state dict.")] = None,
    unknown_share: Annotated[
        float | None, typer.Option(help="Share of unknown whales in the queries, duplicates excluded.")
    ] = None,
) -> None:
    """Set params.yaml for drawn flukes or for real photos, and print each change."""
    from whaleid.cli import presets

    options = {"data.root": root, "backbone.name": backbone, "backbone.weights": weights}
    changes = presets.apply(name, paths.PARAMS, {**options, "split.unknown_share": unknown_share})
    logger.info("\n".join(changes) if changes else f"{paths.PARAMS} already agrees with preset {name}.")
