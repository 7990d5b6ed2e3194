"""The architecture of a torchvision or timm classification model without its classifier."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

TIMM = "timm/"
"""Prefix of the names of timm models."""
StateDict = Mapping[str, Tensor]


@dataclass(frozen=True)
class Architecture:
    """A model without its classifier. Its weights are drawn from torch's global generator."""

    body: nn.Module  # maps (B, 3, H, W) to the last feature map (B, F, H', W') or, without one, to features (B, F)
    ignored_prefixes: tuple[str, ...]  # prefixes of weight names that only the full classification model has
    min_size: tuple[int, int]  # minimum input height and width in pixels
    fixed_size: bool  # whether `min_size` is the only input size
    convert: Callable[[StateDict], StateDict]  # renames the weights of files written by older library versions


def suggest(name: str, names: Iterable[str]) -> str:
    """Return a "did you mean" question with the most similar of `names`, or an empty string."""
    similar = difflib.get_close_matches(name.lower(), sorted(names), 3)
    return f"did you mean {' or '.join(similar)}?" if similar else ""
