"""The errors a user can mend: they say what is wrong, where, and what to do."""

from collections.abc import Sequence

SHOWN = 20
"""How many problems of a kind are listed before the rest is only counted."""


def shown(text: str) -> str:
    """Return `text` as a terminal may show it: what would steer the terminal is written as Python writes it."""
    return "".join(sign if sign.isprintable() or sign == "\n" else ascii(sign)[1:-1] for sign in text)


class WhaleidError(Exception):
    """Something the user can mend. The command line prints its text alone, without a traceback."""


class InputProblems(WhaleidError):
    """All problems of one kind at once.

    `what` says what is wrong, each of `where` names one place (file, row, key), and `remedy` says what to do.
    """

    def __init__(self, what: str, where: Sequence[str], remedy: str) -> None:
        listed = [f"  {place}" for place in where[:SHOWN]]
        if len(where) > SHOWN:
            listed.append(f"  … and {len(where) - SHOWN} more")
        super().__init__("\n".join([f"{what} ({len(where)}):", *listed, remedy]))
        self.where = list(where)

    def __reduce__(self) -> tuple[type[WhaleidError], tuple[str]]:
        """Cross from a worker process as its text: pickle would call `__init__` with that alone."""
        return WhaleidError, (str(self),)


def raise_all(problems: Sequence[WhaleidError]) -> None:
    """Raise `problems` as one error; return if there are none."""
    if problems:
        raise problems[0] if len(problems) == 1 else WhaleidError("\n\n".join(map(str, problems)))
