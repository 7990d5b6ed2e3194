"""Arguments and options that several commands share, and the names that a shell completes for them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whaleid.core import paths
from whaleid.core.errors import WhaleidError

if TYPE_CHECKING:
    from whaleid.config import Params

PEOPLE = "For people"
"""The panel of the help with the commands that are no stage."""
PARTLY = 3
"""The exit code where some photos could not be read."""
MODEL = "models/final.bundle"
VARIANT, PREDICTION = "variant", "prediction with a network"
"""The kinds of names of params.yaml that commands take."""


def load_params() -> "Params":
    """Read and check the project's params.yaml.

    Raises:
        WhaleidError: it is missing or wrong.
    """
    from whaleid import config  # whose types take as long to build as all else that the help imports

    return config.load(paths.PARAMS)


def check_name(name: str, kind: str, settings: "Params") -> None:
    """Check that params.yaml has a `name` of a `kind`.

    Raises:
        WhaleidError: it has not.
    """
    known = _names(kind, settings)
    if name not in known:
        raise WhaleidError(f"{name!r} is no {kind} in params.yaml. There are: {', '.join(known)}.")


def _names(kind: str, settings: "Params") -> list[str]:
    if kind == VARIANT:
        return [*settings.variants]
    return [name for name, prediction in settings.predictions.items() if prediction.networks]


def _completion(kind: str) -> Callable[[], list[str]]:
    """Return a function that completes names of params.yaml."""

    def complete() -> list[str]:
        try:
            return _names(kind, load_params())
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
    typer.Argument(help="A variant named in params.yaml.", show_default=False, autocompletion=_completion(VARIANT)),
]
PredictionArgument = Annotated[
    str,
    typer.Argument(help="A prediction with a network, named in params.yaml.", autocompletion=_completion(PREDICTION)),
]
