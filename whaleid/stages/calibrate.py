"""Stage `calibrate`: fit weights, calibration and threshold of a variant on validation, by cross-fitting."""

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
    """Calibrate one variant and write the folder `paths.calibration`.

    A variant that is trained on validation photos too (`learn: all`) is only marked as not validated.
    """
    settings = params.variants[variant]
    with files.replacing_folder(paths.calibration(variant)) as folder:
        if settings.learn == "all":
            files.write_json({"validated": False}, folder / paths.DECISION)
            logger.info(
                f"calibrate {variant}: not calibrated, because it is trained on the validation photos (learn: all)"
            )
            return Record()
        inputs, allocate = calibration_files.read([variant]), partial(arrays.allocate, folder=folder)
        fit = calibrated.calibrate(variant, inputs, {variant: settings.scores}, params.split.unknown_share, allocate)
        record = calibration_files.write(fit, [variant], folder, paths.calibration(variant))
        logger.info(fit.summary)
        return record
