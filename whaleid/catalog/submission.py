"""Submission files: `Image,Id`, where `Id` is up to five labels, most probable first, separated by spaces."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd

from whaleid.catalog.table import read_table
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.core.files import write_csv
from whaleid.core.labels import NEW_WHALE, TOP_K

COLUMNS = ["Image", "Id"]


def write_submission(ranked: Mapping[str, Sequence[str]], path: Path) -> None:
    """Write the ranked labels of each photo, sorted by Image."""
    images = sorted(ranked)
    write_csv(pd.DataFrame({"Image": images, "Id": [" ".join(ranked[image]) for image in images]}), path)


def read_submission(path: Path, photos: Collection[str]) -> dict[str, list[str]]:
    """Return the labels of each of `photos`, in the order of the file.

    Raises:
        WhaleidError: the file is no csv, or lacks a column.
        InputProblems: empty labels, and photos that are repeated, missing or no queries; all at once.
    """
    table = read_table(path, COLUMNS)
    if problems := _problems(path, table, photos):
        raise InputProblems("This submission cannot be scored", problems, "Answer every photo of the solution once.")
    return {image: labels.split() for image, labels in table.itertuples(index=False)}


def read_solution(path: Path) -> dict[str, str]:
    """Return the true label of each photo.

    Raises:
        WhaleidError: the file is no csv, lacks a column, or has no rows.
        InputProblems: labels that are empty or several, and photos that are repeated; all at once.
    """
    table = read_table(path, COLUMNS)
    if table.empty:
        raise WhaleidError(f"{path}: has no rows: a solution gives the true label of at least one photo.")
    problems = _problems(path, table)
    for line, image, labels in table.itertuples():
        if len(labels.split()) > 1:
            problems.append(f"{path}, line {line}: {image!r} has several labels: {labels!r}")
    if problems:
        raise InputProblems("This solution cannot be used", problems, "Give every photo its one true label.")
    return {image: label.strip() for image, label in table.itertuples(index=False)}


def check_ready(path: Path, queries: Collection[str], labels: Collection[str]) -> None:
    """Check that the file can be submitted: each query once, with one to five distinct, known labels.

    `queries` are the photos to identify; the `labels` of the catalogue and `new_whale` are known.

    Raises:
        WhaleidError: the file is no csv, or lacks a column.
        InputProblems: all rows that are wrong, and all queries without a row.
    """
    table = read_table(path, COLUMNS)
    problems = _problems(path, table, queries)
    known = {*labels, NEW_WHALE}
    for line, image, text in table.itertuples():
        ranked = text.split()
        where = f"{path}, line {line}: {image!r} has"
        if len(ranked) > TOP_K:
            problems.append(f"{where} {len(ranked)} labels, {TOP_K} are allowed")
        if len(set(ranked)) < len(ranked):
            problems.append(f"{where} a label twice: {text!r}")
        problems += [f"{where} an unknown label: {label!r}" for label in ranked if label not in known]
    if problems:
        raise InputProblems("This submission is not ready", problems, "Write it anew with `dvc repro`.")


def _problems(path: Path, table: pd.DataFrame, photos: Collection[str] | None = None) -> list[str]:
    """Return the rows without a label, those that repeat a photo or are about none of `photos`, and missing photos."""
    expected = None if photos is None else {*photos}
    problems = []
    lines: dict[str, int] = {}
    for line, image, labels in table.itertuples():
        where = f"{path}, line {line}: {image!r}"
        if not labels.strip():
            problems.append(f"{where} has no label")
        if image in lines:
            problems.append(f"{where} is repeated, it is in line {lines[image]}")
        if expected is not None and image not in expected:
            problems.append(f"{where} is not asked for")
        lines.setdefault(image, line)
    return problems + [f"{path}: {image!r} is missing" for image in sorted((expected or set()) - lines.keys())]
