"""The headline metrics for `dvc metrics show`, in columns that fit a terminal."""

from collections.abc import Mapping

COLUMNS = {"map5": "map5", "known": "map5_known", "at": "threshold"}
"""Name of each column and the key of its figure."""


def headline(figures: Mapping[str, Mapping[str, float]]) -> dict[str, object]:
    """Return the headline metrics: `best_map5` and one text per key of `COLUMNS`, with one line per prediction.

    `figures` has the figures of each prediction, by its name. `best_map5` is the highest MAP@5 on validation; it is
    omitted if no prediction is validated. `dvc metrics show` and `dvc exp show` display one column per key: three
    columns of six lines fit a terminal, 18 columns do not.
    """
    validated = [row["map5"] for row in figures.values() if "map5" in row]
    columns: dict[str, object] = {"best_map5": round(max(validated), 4)} if validated else {}
    for column, key in COLUMNS.items():
        lines = [f"{name} {row[key]:.3f}" for name, row in figures.items() if key in row]
        if column == "map5":
            lines += [f"{name} unvalidated" for name, row in figures.items() if key not in row]
        columns[column] = "\n".join(lines)
    return columns
