"""The commands `whaleid score` and `whaleid submit`: a submission against the truth, and against its catalogue."""

from pathlib import Path

from whaleid.catalog.submission import check_ready, read_solution, read_submission
from whaleid.core import files, paths
from whaleid.core.errors import WhaleidError
from whaleid.identification.metrics import mean_average_precision


def score(submission: Path, solution: Path) -> float:
    """Return the MAP@5 of `submission` over the photos of `solution`, as Kaggle counts it.

    Raises:
        WhaleidError: one of the files cannot be read.
        InputProblems: one of the files is wrong, or the submission does not answer each photo once.
    """
    truth = read_solution(solution)
    ranked = read_submission(submission, truth.keys())
    return mean_average_precision([ranked[image] for image in truth], list(truth.values()))


def ready(submission: Path) -> int:
    """Return the number of queries that `submission` answers, if it may be uploaded.

    Raises:
        WhaleidError: a file cannot be read, or the catalogue was not read yet or has no queries.
        InputProblems: a query is not answered once, or by other labels than the catalogue's.
    """
    if not paths.CATALOG.is_file():
        raise WhaleidError(f"{paths.CATALOG} is not here, so the queries are not known: run `dvc repro catalog` first.")
    catalog = files.read_csv(paths.CATALOG)
    queries = catalog.loc[catalog["part"] == "test", "Image"].tolist()
    if not queries:
        raise WhaleidError("The catalogue has no photos to identify, so there is nothing to hand in: fill test/.")
    check_ready(submission, queries, catalog.loc[catalog["part"] == "train", "Id"].unique().tolist())
    return len(queries)
