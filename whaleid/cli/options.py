"""Arguments and options that several commands share, and the shell completion of names from `params.yaml`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whaleid.core import paths
from whaleid.core.errors import WhaleidError

if TYPE_CHECKING:
    from whaleid.config import Params

TOOLS = "Tools"
"""Help panel of the commands that are not a stage of the pipeline."""
EXIT_UNREADABLE = 3
"""Exit code of a command that succeeded, except that some photos could not be read."""
DEFAULT_MODEL = "models/final.bundle"
"""The project's own model."""
CATALOGUE_DEFAULT = "data.root in params.yaml, unless --model is set"
"""Default of --catalogue in the help."""
VARIANT, PREDICTION = "variant", "prediction with a network"
"""Kinds of names in `params.yaml` that commands take. Errors print them."""


def load_params() -> "Params":
    """Read and check the project's params.yaml.

    Raises:
        WhaleidError: the file is missing or invalid.
    """
    from whaleid import config  # building its types takes as long as all other imports of `--help`

    return config.load(paths.PARAMS)


def check_name(name: str, kind: str, params: "Params") -> None:
    """Check that `params.yaml` defines `name`, which is of kind VARIANT or PREDICTION.

    Raises:
        WhaleidError: it does not.
    """
    names = _names(kind, params)
    if name not in names:
        raise WhaleidError(f"{name!r} is not a {kind} in params.yaml. Available: {', '.join(names)}.")


def _names(kind: str, params: "Params") -> list[str]:
    if kind == VARIANT:
        return [*params.variants]
    return [name for name, prediction in params.predictions.items() if prediction.networks]


def _completion(kind: str) -> Callable[[], list[str]]:
    """Return a function that lists the names of a kind for shell completion."""

    def complete() -> list[str]:
        try:
            return _names(kind, load_params())
        except Exception:  # an error would be printed into the shell's prompt
            return []

    return complete


CatalogueOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="The catalogue folder. Queries are also compared with photos that were added after the model was built.",
        exists=True,
        file_okay=False,
        show_default=CATALOGUE_DEFAULT,
    ),
]
ModelOption = Annotated[
    str,
    typer.Option(
        metavar="DIR|URI",
        help="A bundle (a model as a folder), or a registered model such as models:/whaleid@champion.",
    ),
]
VariantArgument = Annotated[
    str,
    typer.Argument(help="A variant in params.yaml.", show_default=False, autocompletion=_completion(VARIANT)),
]
PredictionArgument = Annotated[
    str,
    typer.Argument(help="A prediction in params.yaml, except phash.", autocompletion=_completion(PREDICTION)),
]
