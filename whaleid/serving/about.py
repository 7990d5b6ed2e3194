"""The description of a bundle: which networks decide, how, and the digests of its files."""

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
"""Version of the files; a bundle of another one has to be made again."""
REMEDY = "Copy the folder again, or make it again by `dvc repro bundle`."

Name = Annotated[str, Field(pattern=r"^[\w-]+$")]


class About(Section):
    """The description of a bundle."""

    format: Literal[2] = FORMAT
    variant: Name  # the prediction
    timm: bool  # whether its networks are built by timm
    calibrated_by: Name  # the prediction whose decision and threshold were fitted on validation
    threshold: Probability
    decision: Decision
    dedup: Dedup
    pack: Pack
    networks: Annotated[dict[Name, Embedding], Field(min_length=1)]
    figures: dict[str, float]  # of `calibrated_by` at this threshold, as in `paths.FIGURES`
    validation: str  # a digest of the photos that they were measured on
    files: dict[str, str] = Field(default_factory=dict)  # the SHA-256 of each, by name
    digest: str = ""  # of all of this, and so of the files

    def sealed(self, files: dict[str, str]) -> About:
        """Return the same description with the SHA-256 of `files`, by name, and its own digest."""
        about = self.model_copy(update={"files": files, "digest": ""})
        return about.model_copy(update={"digest": hashlib.sha256(about.model_dump_json().encode()).hexdigest()})


def read(folder: Path) -> About:
    """Read the description of the bundle in `folder`.

    Raises:
        WhaleidError: it is no bundle, one of another version of whaleid, or its description was changed.
    """
    try:
        about = About.model_validate_json((folder / ABOUT).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise WhaleidError(
            f"{folder} is no bundle: it has no {ABOUT}. In a project, `dvc repro` makes models/final.bundle; elsewhere "
            "name a bundle by --model, or a registered model: models:/whaleid@champion."
        ) from None
    except ValidationError as error:
        problems = {".".join(map(str, each["loc"])): each for each in error.errors()}
        if "format" in problems:
            raise WhaleidError(
                f"{folder} is a bundle of format {problems['format']['input']}; this whaleid reads format {FORMAT}. "
                "Make it again by `dvc repro bundle`, and a registered model by `whaleid register`."
            ) from None
        key, problem = next(iter(problems.items()))
        reason = f"{key}: {problem['msg']}" if key else problem["msg"]
        raise WhaleidError(f"{folder / ABOUT} cannot be used ({reason}). {REMEDY}") from None
    if about.sealed(about.files).digest != about.digest:
        raise WhaleidError(f"{folder / ABOUT} cannot be used (it was changed since it was made). {REMEDY}")
    return about
