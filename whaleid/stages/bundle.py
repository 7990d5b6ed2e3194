"""Stage `bundle`: export a prediction as a folder that identifies photos without the pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whaleid.core import paths
from whaleid.serving import export

if TYPE_CHECKING:
    from whaleid.config import Params


def run(params: Params, prediction: str) -> None:
    """Write the bundle of `prediction`, which must have networks, with the threshold of its calibration.

    The parameter `threshold` is not used, since `identify --threshold` can set it.
    """
    export.write(params, prediction, paths.bundle(prediction))
