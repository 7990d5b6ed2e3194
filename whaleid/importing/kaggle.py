"""Kaggle's contests of humpback whales, downloaded by Kaggle's own client."""

import shutil
import subprocess
from pathlib import Path

from whaleid.core.errors import WhaleidError

CONTESTS = ("whale-categorization-playground", "humpback-whale-identification")
PREFIX = "kaggle:"


def download(source: str, folder: Path) -> Path:
    """Download the contest `source`, `kaggle:CONTEST`, into `folder` unless it is there; return the zip file.

    Raises:
        WhaleidError: there is no such contest, no client, or the client fails.
    """
    contest = source.removeprefix(PREFIX)
    if contest not in CONTESTS:
        raise WhaleidError(f"{source}: the contests known are {', '.join(PREFIX + name for name in CONTESTS)}.")
    access = (
        "Kaggle asks for an account: sign in by `kaggle auth login`, or make an API token at "
        "https://www.kaggle.com/settings/api and put it into KAGGLE_API_TOKEN or ~/.kaggle/access_token (an older key: "
        "~/.kaggle/kaggle.json, or KAGGLE_USERNAME and KAGGLE_KEY).\n"
        f"Also accept the contest's rules: https://www.kaggle.com/competitions/{contest}/rules\n"
        f"Or download {contest}.zip in a browser and give that file as SOURCE."
    )
    client = shutil.which("kaggle")
    if client is None:
        raise WhaleidError(f"Kaggle's client is not installed: run `pip install kaggle`.\n{access}")
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([client, "competitions", "download", "-c", contest, "-p", str(folder)], check=False)
    archive = folder / f"{contest}.zip"
    if done.returncode != 0 or not archive.is_file():
        raise WhaleidError(f"Kaggle's client has not downloaded {contest}; its messages stand above.\n{access}")
    return archive
