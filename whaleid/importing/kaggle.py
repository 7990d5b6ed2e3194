"""Kaggle's contests of humpback whales, fetched by Kaggle's own client."""

import shutil
import subprocess
from pathlib import Path

from whaleid.core.errors import WhaleidError

CONTESTS = ("whale-categorization-playground", "humpback-whale-identification")
PREFIX = "kaggle:"


def fetch(source: str, folder: Path) -> Path:
    """Download the contest that `source` names into `folder`, as far as it is not there; return the zip file.

    Raises:
        WhaleidError: there is no such contest, no client, or the client fails.
    """
    contest = source.removeprefix(PREFIX)
    if contest not in CONTESTS:
        raise WhaleidError(f"{source}: the contests known are {', '.join(PREFIX + name for name in CONTESTS)}.")
    client = shutil.which("kaggle")
    if client is None:
        raise WhaleidError(f"Kaggle's client is not installed: run `pip install kaggle`.\n{_account(contest)}")
    folder.mkdir(parents=True, exist_ok=True)
    ended = subprocess.run([client, "competitions", "download", "-c", contest, "-p", str(folder)], check=False)
    archive = folder / f"{contest}.zip"
    if ended.returncode != 0 or not archive.is_file():
        raise WhaleidError(
            f"Kaggle's client has not downloaded {contest}; what it said stands above.\n{_account(contest)}"
        )
    return archive


def _account(contest: str) -> str:
    return (
        "Kaggle asks for an account. Sign in by `kaggle auth login`, or make an API token at "
        "https://www.kaggle.com/settings/api and put it into KAGGLE_API_TOKEN or the file ~/.kaggle/access_token (an "
        "older key: ~/.kaggle/kaggle.json, or KAGGLE_USERNAME and KAGGLE_KEY).\n"
        f"It also asks that you accept the contest's rules: https://www.kaggle.com/competitions/{contest}/rules\n"
        f"Or download {contest}.zip in a browser and give that file as SOURCE."
    )
