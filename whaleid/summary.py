"""What the run of a whole execution shows: values only, as a stage's record, of which no stage knows."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """What the parent of an execution's runs shows once another of its stages has run.

    `metrics` are added to the parent's; `description` (Markdown) and `pages` (text by file name) take the place of the
    last ones.
    """

    metrics: Mapping[str, float]
    description: str
    pages: Mapping[str, str]


Summarise = Callable[[Collection[str]], Summary]
"""Draws a summary, given the names of the metrics that the parent has so far."""
