"""The commands for `params.yaml`: check, preset."""

from typing import Annotated

import typer

from whaleid.cli.options import TOOLS, load_params
from whaleid.core import paths
from whaleid.core.log import logger

app = typer.Typer()


@app.command(rich_help_panel=TOOLS)
def check() -> None:
    """Check params.yaml, the settings of the project: its keys, types and ranges, and contradictions between keys."""
    variants = load_params().variants
    print(f"{paths.PARAMS} is valid. Its variants: {', '.join(variants)}.")


def _presets() -> list[str]:
    from whaleid.cli import presets

    return [*presets.overlays()]


@app.command(rich_help_panel=TOOLS)
def preset(
    name: Annotated[
        str,
        typer.Argument(
            help="real (your photos) or sample (synthetic flukes).", show_default=False, autocompletion=_presets
        ),
    ],
    root: Annotated[str | None, typer.Option(metavar="DIR", help="The catalogue folder; required for real.")] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Network to train: a classification model of torchvision, or timm/NAME.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Its initial weights: DEFAULT (pretrained), none (random), or the path of a state dict."),
    ] = None,
    unknown_share: Annotated[
        float | None,
        typer.Option(
            help="Expected share, 0 to 1, of queries that show whales outside the catalogue; duplicates are not "
            "counted."
        ),
    ] = None,
) -> None:
    """Set params.yaml, the settings of the project, for real photos or for synthetic flukes. Each change is printed."""
    from whaleid.cli import presets

    options = {"data.root": root, "backbone.name": backbone, "backbone.weights": weights}
    changes = presets.apply(name, paths.PARAMS, {**options, "split.unknown_share": unknown_share})
    logger.info("\n".join(changes) if changes else f"{paths.PARAMS} already has the values of preset {name}.")
