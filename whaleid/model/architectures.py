"""What a classification model of torchvision or timm is without its classifier."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

TIMM = "timm/"
"""Begins the names of timm's models."""
Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Architecture:
    """A model without its classifier, with random weights drawn from torch's global generator."""

    body: nn.Module  # from (B, 3, H, W) to the last map (B, F, H', W') or, without a map, to features (B, F)
    unused: tuple[str, ...]  # prefixes of the names of weights that only the whole classifier has
    smallest: tuple[int, int]  # height and width, in pixels
    fixed: bool  # whether `smallest` is the only size
    rename: Callable[[Weights], Weights]  # weights of files of older versions to the names that they have today


def suggest(name: str, known: Iterable[str]) -> str:
    """Return a question that names the models in `known` closest to `name`, or an empty string."""
    close = difflib.get_close_matches(name.lower(), sorted(known), 3)
    return f"did you mean {' or '.join(close)}?" if close else ""
