"""Download Kaggle's competitions on humpback whales with Kaggle's own client."""

import shutil
import subprocess
from pathlib import Path

from whaleid.core.errors import WhaleidError

COMPETITIONS = ("whale-categorization-playground", "humpback-whale-identification")
"""Competitions that can be imported, by their names at Kaggle."""
PREFIX = "kaggle:"
"""A source that begins with it is a competition to download."""


def download(source: str, folder: Path) -> Path:
    """Download the competition `source`, `kaggle:COMPETITION`, into `folder`, unless it is there; return the zip file.

    Raises:
        WhaleidError: the competition is unknown, the client is not installed, or the client fails.
    """
    competition = source.removeprefix(PREFIX)
    if competition not in COMPETITIONS:
        competitions = ", ".join(PREFIX + name for name in COMPETITIONS)
        raise WhaleidError(f"{source} is not a competition that can be imported. Choose one of: {competitions}.")
    access = (
        "Kaggle needs an account: sign in with `kaggle auth login`, or create an API token at "
        "https://www.kaggle.com/settings/api and put it into KAGGLE_API_TOKEN or ~/.kaggle/access_token (an older key: "
        "~/.kaggle/kaggle.json, or KAGGLE_USERNAME and KAGGLE_KEY).\n"
        f"Also accept the rules of the competition: https://www.kaggle.com/competitions/{competition}/rules\n"
        f"Or download {competition}.zip in a browser and import that file."
    )
    client = shutil.which("kaggle")
    if client is None:
        raise WhaleidError(f"Kaggle's client is not installed: run `pip install kaggle`.\n{access}")
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.run([client, "competitions", "download", "-c", competition, "-p", str(folder)], check=False)
    archive = folder / f"{competition}.zip"
    if process.returncode != 0 or not archive.is_file():
        raise WhaleidError(f"Kaggle's client did not download {competition}: see its messages above.\n{access}")
    return archive
