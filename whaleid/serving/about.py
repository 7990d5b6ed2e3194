"""The description of a bundle: which networks decide, how, and the digests of its files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from whaleid.config import Dedup, Embedding, Pack, Probability, Section
from whaleid.core.errors import WhaleidError

ABOUT = "bundle.json"
FORMAT: Literal[2] = 2
"""Version of the files; a bundle of another one has to be made again."""

Name = Annotated[str, Field(pattern=r"^[\w-]+$")]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Calibration(Section):
    """How probabilities are calibrated: `calibration.Calibration`."""

    slope: Annotated[Number, Field(gt=0)]
    intercept: Number


class Decision(Section):
    """How scores become probabilities, as `decision.from_json` reads it."""

    weights: Annotated[dict[str, Number], Field(min_length=1)]
    bias: Number
    calibration: Calibration
    threshold_auto: Probability


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
        content = json.loads((folder / ABOUT).read_bytes())
        version = content.get("format") if isinstance(content, dict) else None
        if version != FORMAT:
            raise WhaleidError(
                f"{folder} is a bundle of format {version}; this whaleid reads format {FORMAT}. Make it again by `dvc "
                "repro bundle`, and a registered model by `whaleid register`."
            )
        about = About.model_validate(content)
    except (FileNotFoundError, NotADirectoryError):
        raise WhaleidError(
            f"{folder} is no bundle: it has no {ABOUT}. In a project, `dvc repro` makes models/final.bundle; elsewhere "
            "name a bundle by --model, or a registered model: models:/whaleid@champion."
        ) from None
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise _damaged(folder, f"{key}: {problem['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise _damaged(folder, str(error)) from None
    if about.sealed(about.files).digest != about.digest:
        raise _damaged(folder, "it was changed since it was made")
    return about


def _damaged(folder: Path, reason: str) -> WhaleidError:
    return WhaleidError(
        f"{folder / ABOUT} cannot be used ({reason}). Copy the folder again, or make it again by `dvc repro bundle`."
    )
