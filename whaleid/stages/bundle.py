"""Stage `bundle`: a model as a folder that works without the pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whaleid.core import paths
from whaleid.serving import export

if TYPE_CHECKING:
    from whaleid.config import Params


def run(params: Params, prediction: str) -> None:
    """Write the bundle of `prediction`, which has networks, with the threshold of its calibration.

    The key `threshold` of the parameters is not used: whoever identifies photos may set one.
    """
    export.write(params, prediction, paths.bundle(prediction))
