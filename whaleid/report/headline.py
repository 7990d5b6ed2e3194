"""The figures that DVC shows as metrics, laid out so that its tables fit a terminal."""

from collections.abc import Mapping

COLUMNS = {"map5": "map5", "known": "map5_known", "at": "threshold"}
"""Name of each column, and its key among the figures of a prediction."""


def headline(figures: Mapping[str, Mapping[str, float]]) -> dict[str, object]:
    """Return `best_map5`, the highest MAP@5 on validation, and `COLUMNS` as text with a line for each prediction.

    `dvc metrics show` and `dvc exp show` make a column of each key: three columns of six lines fit a terminal, 18
    columns do not. `figures` are those of each prediction, by its name.
    """
    validated = [row["map5"] for row in figures.values() if "map5" in row]
    columns: dict[str, object] = {"best_map5": round(max(validated), 4)} if validated else {}
    for column, key in COLUMNS.items():
        lines = [f"{name} {row[key]:.3f}" for name, row in figures.items() if key in row]
        if column == "map5":
            lines += [f"{name} unvalidated" for name, row in figures.items() if key not in row]
        columns[column] = "\n".join(lines)
    return columns
