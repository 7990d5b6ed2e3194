"""The commands for submissions to Kaggle: score, submit."""

from pathlib import Path
from typing import Annotated

import typer

from whaleid.cli.options import TOOLS
from whaleid.core import paths
from whaleid.core.errors import WhaleidError

SubmissionArgument = Annotated[
    Path,
    typer.Argument(
        help="A csv file with the columns Image and Id: up to five labels per photo, separated by spaces.",
        exists=True,
        dir_okay=False,
        show_default=False,
    ),
]
app = typer.Typer()


@app.command(rich_help_panel=TOOLS)
def score(
    submission: SubmissionArgument,
    solution: Annotated[
        Path,
        typer.Argument(
            help="A csv file with the columns Image and Id: the true label of each photo.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ],
) -> None:
    """Print the MAP@5 of a submission: 0 to 1, from the first five distinct labels per photo, as Kaggle computes it.

    A photo counts 1 if its true label is first, 1/2 if second, and so on to 1/5, and 0 if it is not among the five.
    """
    print(f"{grade(submission, solution):.5f}")


def grade(submission: Path, solution: Path) -> float:
    """Compute the MAP@5 of `submission` over the photos of `solution`, as on Kaggle.

    Raises:
        WhaleidError: a file cannot be read or is invalid, or the submission does not answer each photo exactly once.
    """
    from whaleid.catalog.submission import read_solution, read_submission
    from whaleid.identification.map5 import mean_average_precision

    truth = read_solution(solution)
    ranked = read_submission(submission, truth.keys())
    return mean_average_precision([ranked[image] for image in truth], list(truth.values()))


@app.command(rich_help_panel=TOOLS)
def submit(submission: SubmissionArgument) -> None:
    """Check that Kaggle will accept a submission, and print how to upload it."""
    from whaleid.catalog.submission import check_ready
    from whaleid.core.files import read_csv

    if not paths.CATALOG.is_file():
        raise WhaleidError(
            f"{paths.CATALOG} does not exist, so the queries (photos to identify) are unknown. Run `dvc repro catalog`."
        )
    catalog = read_csv(paths.CATALOG)
    queries = catalog.loc[catalog["part"] == "test", "Image"].tolist()
    if not queries:
        raise WhaleidError(
            "The catalogue has no queries (photos to identify). Put them into test/, and run `dvc repro`."
        )
    check_ready(submission, queries, catalog.loc[catalog["part"] == "train", "Id"].unique().tolist())
    print(f"{submission} is ready: it has one row for each of {len(queries)} queries. Upload it with Kaggle's client:")
    print(f"  kaggle competitions submit -c whale-categorization-playground -f {submission} -m whaleid")
