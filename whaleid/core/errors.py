"""Errors that a user can fix. Each message states the problem, its location and the remedy."""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
MAX_LISTED = 20
"""Maximum number of locations that one error lists. Further ones are only counted."""


class WhaleidError(Exception):
    """An error that a user can fix. The command line prints its message without a traceback."""


class InputProblems(WhaleidError):
    """One problem of the input, with all locations where it occurs.

    Args:
        problem: the problem, as a noun phrase.
        locations: one text per occurrence, such as a file, a row or a key, with details if needed.
        remedy: an imperative sentence.
    """

    def __init__(self, problem: str, locations: Sequence[str], remedy: str) -> None:
        lines = [f"  {location}" for location in locations[:MAX_LISTED]]
        if len(locations) > MAX_LISTED:
            lines.append(f"  … and {len(locations) - MAX_LISTED} more")
        super().__init__("\n".join([f"{problem} ({len(locations)}):", *lines, remedy]))
        self.locations = list(locations)

    def __reduce__(self) -> tuple[type[WhaleidError], tuple[str]]:
        """Pickle as a WhaleidError with the same message: unpickling would call `__init__` with the message alone."""
        return WhaleidError, (str(self),)


def raise_all(problems: Sequence[WhaleidError]) -> None:
    """Raise `problems` as one error. Do nothing if there are none."""
    if problems:
        raise problems[0] if len(problems) == 1 else WhaleidError("\n\n".join(map(str, problems)))


def attempt(function: Callable[[T], R], item: T) -> R | str:
    """Return `function(item)`, or the message of the WhaleidError that it raises."""
    try:
        return function(item)
    except WhaleidError as error:
        return str(error)


def require_all(results: Sequence[R | str], problem: str, remedy: str) -> list[R]:
    """Return `results` of `attempt` if all calls succeeded.

    Raises:
        InputProblems: some results are error messages. They are listed as its locations.
    """
    if messages := [result for result in results if isinstance(result, str)]:
        raise InputProblems(problem, messages, remedy)
    return [result for result in results if not isinstance(result, str)]


def first_line(error: Exception | str) -> str:
    """Return the first line of an error or its message, or the name of its type if the message is empty."""
    return str(error).strip().split("\n")[0] or type(error).__name__
