"""Read, check and write submission files: `Image,Id`. `Id` is up to five labels, separated by spaces, best first."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd

from whaleid.catalog.table import read_table
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.core.files import write_csv
from whaleid.core.labels import NEW_WHALE, TOP_K

COLUMNS = ["Image", "Id"]
"""Columns of a submission and of a solution."""


def write_submission(ranked: Mapping[str, Sequence[str]], path: Path) -> None:
    """Write the ranked labels of each photo to the csv file `path`, sorted by Image."""
    images = sorted(ranked)
    write_csv(pd.DataFrame({"Image": images, "Id": [" ".join(ranked[image]) for image in images]}), path)


def read_submission(path: Path, photos: Collection[str]) -> dict[str, list[str]]:
    """Read the ranked labels of each photo from a submission that must have one row for each of `photos`.

    Raises:
        WhaleidError: the file is not csv, or lacks a column.
        InputProblems: rows have no label, are repeated, missing or not about `photos`; the error lists all of them.
    """
    table = read_table(path, COLUMNS)
    if problems := _problems(path, table, photos):
        remedy = "Write one row, with a label, for each photo of the solution."
        raise InputProblems("This submission cannot be scored", problems, remedy)
    return {image: labels.split() for image, labels in table.itertuples(index=False)}


def read_solution(path: Path) -> dict[str, str]:
    """Read the true label of each photo from a solution.

    Raises:
        WhaleidError: the file is not csv, lacks a column, or has no rows.
        InputProblems: rows have no label or several, or are repeated; the error lists all of them.
    """
    table = read_table(path, COLUMNS)
    if table.empty:
        raise WhaleidError(f"{path} has no rows. Write the true label of at least one photo.")
    problems = _problems(path, table)
    for line, image, labels in table.itertuples():
        if len(labels.split()) > 1:
            problems.append(f"{path}, line {line}: {image!r} has several labels: {labels!r}")
    if problems:
        raise InputProblems("This solution cannot be used", problems, "Write one row, with one label, for each photo.")
    return {image: label.strip() for image, label in table.itertuples(index=False)}


def check_ready(path: Path, queries: Collection[str], labels: Collection[str]) -> None:
    """Check that the file can be submitted: one row per query, with one to five distinct labels.

    `queries` are the file names of the queries. Allowed labels are `labels`, which the catalogue has, and `new_whale`.

    Raises:
        WhaleidError: the file is not csv, or lacks a column.
        InputProblems: rows are wrong or missing; the error lists all of them.
    """
    table = read_table(path, COLUMNS)
    problems = _problems(path, table, queries, "test/")
    known = {*labels, NEW_WHALE}
    for line, image, text in table.itertuples():
        ranked = text.split()
        row = f"{path}, line {line}: {image!r} has"
        if len(ranked) > TOP_K:
            problems.append(f"{row} {len(ranked)} labels; at most {TOP_K} are allowed")
        if len(set(ranked)) < len(ranked):
            problems.append(f"{row} a label twice: {text!r}")
        problems += [f"{row} an unknown label: {label!r}" for label in ranked if label not in known]
    if problems:
        raise InputProblems("This submission is not ready", problems, "Run `dvc repro` to rebuild it.")


def _problems(
    path: Path, table: pd.DataFrame, photos: Collection[str] | None = None, where: str = "the solution"
) -> list[str]:
    """Describe rows without a label, repeated rows, rows that are not about `photos`, and `photos` without a row.

    `where` says, in messages, what lists the `photos`.
    """
    expected = None if photos is None else {*photos}
    problems = []
    lines: dict[str, int] = {}
    for line, image, labels in table.itertuples():
        row = f"{path}, line {line}: {image!r}"
        if not labels.strip():
            problems.append(f"{row} has no label")
        if image in lines:
            problems.append(f"{row} is repeated: it is also in line {lines[image]}")
        if expected is not None and image not in expected:
            problems.append(f"{row} is not in {where}")
        lines.setdefault(image, line)
    return problems + [f"{path}: {image!r} is missing" for image in sorted((expected or set()) - lines.keys())]
