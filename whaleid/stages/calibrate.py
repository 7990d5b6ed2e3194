"""Stage `calibrate`: scores into probabilities and a threshold, fitted on validation by cross-fitting."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from whaleid.core import arrays, calibration_files, files, paths
from whaleid.core.log import logger
from whaleid.core.record import Record
from whaleid.identification import calibrated

if TYPE_CHECKING:
    from whaleid.config import Params


def run(params: Params, variant: str) -> Record:
    """Calibrate `variant` alone; write the folder `paths.calibration`."""
    settings = params.variants[variant]
    with files.replacing_folder(paths.calibration(variant)) as folder:
        if settings.learn == "all":
            files.write_json({"validated": False}, folder / paths.DECISION)
            logger.info(
                f"calibrate {variant}: it learns validation's photos too, so there is nothing to calibrate it on"
            )
            return Record()
        inputs, allocate = calibration_files.read([variant]), partial(arrays.allocate, folder=folder)
        fit = calibrated.calibrate(variant, inputs, {variant: settings.scores}, params.split.unknown_share, allocate)
        record = calibration_files.write(fit, [variant], folder, paths.calibration(variant))
        logger.info(fit.summary)
        return record
