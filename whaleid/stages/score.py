"""The command `whaleid score`: a submission against the truth."""

from pathlib import Path

from whaleid.catalog.submission import read_solution, read_submission
from whaleid.identify.metrics import mean_average_precision


def score(submission: Path, solution: Path) -> float:
    """Return the MAP@5 of `submission` over the photos of `solution`, as Kaggle counts it.

    Raises:
        WhaleidError: one of the files cannot be read.
        InputProblems: one of the files is wrong, or the submission does not answer each photo once.
    """
    truth = read_solution(solution)
    ranked = read_submission(submission, truth.keys())
    return mean_average_precision([ranked[image] for image in truth], list(truth.values()))
