"""The commands for `params.yaml`: check, preset."""

from typing import Annotated

import typer

from whaleid.cli.options import TOOLS, load_params
from whaleid.core import paths
from whaleid.core.log import logger

app = typer.Typer()


@app.command(rich_help_panel=TOOLS)
def check() -> None:
    """Check params.yaml: its keys, types and ranges, and contradictions between keys."""
    variants = load_params().variants
    print(f"{paths.PARAMS} is valid. Its variants: {', '.join(variants)}.")


def _presets() -> list[str]:
    from whaleid.cli import presets

    return [*presets.overlays()]


@app.command(rich_help_panel=TOOLS)
def preset(
    name: Annotated[
        str,
        typer.Argument(help="sample (synthetic flukes) or real (photos).", show_default=False, autocompletion=_presets),
    ],
    root: Annotated[str | None, typer.Option(metavar="DIR", help="The catalogue folder.")] = None,
    backbone: Annotated[str | None, typer.Option(help="A classification model of torchvision, or timm/NAME.")] = None,
    weights: Annotated[str | None, typer.Option(help="DEFAULT (pretrained), none, or path of a state dict.")] = None,
    unknown_share: Annotated[
        float | None, typer.Option(help="Expected share of unknown whales among queries, without duplicates.")
    ] = None,
) -> None:
    """Set params.yaml to the values for synthetic flukes or for real photos, and print each change."""
    from whaleid.cli import presets

    options = {"data.root": root, "backbone.name": backbone, "backbone.weights": weights}
    changes = presets.apply(name, paths.PARAMS, {**options, "split.unknown_share": unknown_share})
    logger.info("\n".join(changes) if changes else f"{paths.PARAMS} already agrees with preset {name}.")
