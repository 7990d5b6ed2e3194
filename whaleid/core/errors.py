"""Errors that a user can fix. They say what is wrong, where, and what to do."""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
LISTED = 20
"""Problems of a kind that are listed. The rest is counted."""


class WhaleidError(Exception):
    """An error that a user can fix. The command line prints its text, without a traceback."""


class InputProblems(WhaleidError):
    """All problems of one kind at once.

    `what` says what is wrong, each of `where` names one place (file, row, key), and `remedy` says what to do.
    """

    def __init__(self, what: str, where: Sequence[str], remedy: str) -> None:
        lines = [f"  {place}" for place in where[:LISTED]]
        if len(where) > LISTED:
            lines.append(f"  … and {len(where) - LISTED} more")
        super().__init__("\n".join([f"{what} ({len(where)}):", *lines, remedy]))
        self.where = list(where)

    def __reduce__(self) -> tuple[type[WhaleidError], tuple[str]]:
        """Cross from a worker process as text: pickle would call `__init__` with that alone."""
        return WhaleidError, (str(self),)


def raise_all(problems: Sequence[WhaleidError]) -> None:
    """Raise `problems` as one error; return if there are none."""
    if problems:
        raise problems[0] if len(problems) == 1 else WhaleidError("\n\n".join(map(str, problems)))


def attempt(function: Callable[[T], R], item: T) -> R | str:
    """Return `function(item)`, or the text of the WhaleidError that it raises."""
    try:
        return function(item)
    except WhaleidError as error:
        return str(error)


def require_all(results: Sequence[R | str], what: str, remedy: str) -> list[R]:
    """Return `results` of `attempt`.

    Raises:
        InputProblems: some are texts of errors.
    """
    if problems := [result for result in results if isinstance(result, str)]:
        raise InputProblems(what, problems, remedy)
    return [result for result in results if not isinstance(result, str)]


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or its type if it has no text."""
    return str(error).strip().split("\n")[0] or type(error).__name__
