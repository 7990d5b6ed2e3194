"""The description of a bundle, `bundle.json`: networks, decision, parameters, and digests of its files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from whaleid.config import Dedup, Embedding, Pack, Probability, Section
from whaleid.core.errors import WhaleidError
from whaleid.identification.decision import Decision

ABOUT = "bundle.json"
FORMAT: Final = 2
"""Version of the file format. Bundles of another version cannot be read."""
REMEDY = "Copy the folder again, or run `dvc repro bundle` to rebuild it."

Name = Annotated[str, Field(pattern=r"^[\w-]+$")]


class About(Section):
    """The description of a bundle."""

    format: Literal[2] = FORMAT
    variant: Name  # name of the prediction
    timm: bool  # whether timm builds the networks
    calibrated_by: Name  # the validated prediction that provides decision and threshold
    threshold: Probability
    decision: Decision
    dedup: Dedup
    pack: Pack
    networks: Annotated[dict[Name, Embedding], Field(min_length=1)]
    figures: dict[str, float]  # validation figures of `calibrated_by` at `threshold`, by key
    validation: str  # digest of the split and the expected shares; bundles with the same digest are comparable
    files: dict[str, str] = Field(default_factory=dict)  # SHA-256 of each file of the bundle, by name
    digest: str = ""  # SHA-256 of this description, which includes the digests of the files

    def with_digests(self, files: dict[str, str]) -> About:
        """Return a copy with the SHA-256 of each file, by name, and the digest of the description itself."""
        about = self.model_copy(update={"files": files, "digest": ""})
        return about.model_copy(update={"digest": hashlib.sha256(about.model_dump_json().encode()).hexdigest()})


def read(folder: Path) -> About:
    """Read the description of the bundle in `folder`.

    Raises:
        WhaleidError: the folder is not a bundle, it has another format, or its description was modified.
    """
    try:
        about = About.model_validate_json((folder / ABOUT).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        if not folder.exists():
            raise WhaleidError(
                f"There is no model at {folder}. In the project's folder, run `dvc repro` to build it. Elsewhere, set "
                "--model to a bundle or a registered model such as models:/whaleid@champion."
            ) from None
        raise WhaleidError(
            f"{folder} is not a bundle (a model as a folder): it does not contain {ABOUT}. In the project's folder, "
            "run `dvc repro` to build models/final.bundle. In other folders, set --model to a bundle, or to a "
            "registered model such as models:/whaleid@champion."
        ) from None
    except ValidationError as error:
        problems = {".".join(map(str, problem["loc"])): problem for problem in error.errors()}
        if "format" in problems:
            raise WhaleidError(
                f"{folder} has bundle format {problems['format']['input']}, but this version of whaleid reads format "
                f"{FORMAT}. Run `dvc repro bundle` to rebuild it, or `whaleid register` to register a new version."
            ) from None
        key, problem = next(iter(problems.items()))
        reason = f"{key}: {problem['msg']}" if key else problem["msg"]
        raise WhaleidError(f"{folder / ABOUT} cannot be used ({reason}). {REMEDY}") from None
    if about.with_digests(about.files).digest != about.digest:
        raise WhaleidError(f"{folder / ABOUT} cannot be used (it was modified after it was written). {REMEDY}")
    return about
