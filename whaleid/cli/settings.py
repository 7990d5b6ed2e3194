"""The commands for `params.yaml`: check it, and set it for drawn flukes or for real photos."""

from typing import Annotated

import typer

from whaleid.cli.options import PEOPLE
from whaleid.core import log

app = typer.Typer()


@app.command(rich_help_panel=PEOPLE)
def check() -> None:
    """Check params.yaml: its keys, types and ranges, and that every variant starts somewhere."""
    from whaleid import config
    from whaleid.core import paths

    variants = config.load(paths.PARAMS).variants
    print(f"{paths.PARAMS} is right; its variants: {', '.join(variants)}.")


def _presets() -> list[str]:
    from whaleid import preset

    return [*preset.known()]


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
        float | None, typer.Option(help="Of the queries that are no duplicates, how many are of no known whale.")
    ] = None,
) -> None:
    """Set params.yaml for drawn flukes or for real photos, and print each key that changes."""
    from whaleid import preset as room
    from whaleid.core import paths

    named = {"data.root": root, "backbone.name": backbone, "backbone.weights": weights}
    changes = room.apply(name, paths.PARAMS, {**named, "split.unknown_share": unknown_share})
    with log.summaries():
        print("\n".join(changes) if changes else f"{paths.PARAMS} is as preset {name} has it.")


@app.command(rich_help_panel=PEOPLE)
def explain(
    key: Annotated[
        str | None,
        typer.Argument(help="A key of params.yaml or a part of it, such as threshold, pack, variants.margin.train.lr."),
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print docs/parameters.md: every key, in tables.")
    ] = False,
) -> None:
    """Tell what a key of params.yaml means, its unit and range, its value now and what presets set; or all keys."""
    from rich.console import Console

    from whaleid import config
    from whaleid import explain as room
    from whaleid import preset as presets
    from whaleid.core import paths

    if key and markdown:
        raise typer.BadParameter("prints every key: leave KEY out.", param_hint="--markdown")
    known = {name: config.leaves(of) for name, of in presets.known().items()}
    # also where the file has wrong values, which is when one asks
    now = config.leaves(config.read(paths.PARAMS)) if paths.PARAMS.exists() else {}
    names = room.names(now or known["sample"])
    if markdown:
        print(room.markdown(now, known, names), end="")
        return
    found = room.find(key, names)
    if len(found) == 1:
        print(room.block(*found[0], now, known))
    else:
        Console(markup=False, highlight=False, emoji=False).print(room.table(found, now, known))
