"""Arguments and options that several commands share, and the names that a shell completes for them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from whaleid.config import Params

PEOPLE = "For people"
"""The panel of the help with the commands that are no stage."""
PARTLY = 3
"""The exit code where some photos could not be read."""
MODEL = "models/final.bundle"


def with_networks(settings: "Params") -> list[str]:
    """Return the predictions that have a network."""
    return [name for name, prediction in settings.predictions.items() if prediction.networks]


def _names(choose: Callable[["Params"], list[str]]) -> Callable[[], list[str]]:
    """Return a function that completes names of params.yaml."""

    def complete() -> list[str]:
        from whaleid import config
        from whaleid.core import paths

        try:
            return choose(config.load(paths.PARAMS))
        except Exception:  # a shell's prompt shows no errors, whatever the file holds
            return []

    return complete


CatalogueOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="The catalogue folder. Photos that it got after the model was made count too.",
        exists=True,
        file_okay=False,
        show_default="data.root, for a project's own model",
    ),
]
ModelOption = Annotated[
    str, typer.Option(metavar="DIR|URI", help="A bundle, or a registered model such as models:/whaleid@champion.")
]
VariantArgument = Annotated[
    str,
    typer.Argument(
        help="A variant named in params.yaml.",
        show_default=False,
        autocompletion=_names(lambda settings: [*settings.variants]),
    ),
]
PredictionArgument = Annotated[
    str,
    typer.Argument(help="A prediction with a network, named in params.yaml.", autocompletion=_names(with_networks)),
]


def check_variant(variant: str, settings: "Params") -> None:
    """Check that params.yaml names `variant`.

    Raises:
        WhaleidError: it does not.
    """
    from whaleid.core.errors import WhaleidError

    if variant not in settings.variants:
        raise WhaleidError(
            f"There is no variant {variant!r} in params.yaml; there are: {', '.join(settings.variants)}."
        )


def check_prediction(prediction: str, settings: "Params") -> None:
    """Check that params.yaml names `prediction` and gives it a network.

    Raises:
        WhaleidError: it does not.
    """
    from whaleid.core.errors import WhaleidError

    known = with_networks(settings)
    if prediction not in known:
        raise WhaleidError(
            f"There is no prediction {prediction!r} with a network in params.yaml; there are: {', '.join(known)}."
        )
