"""What `pack` leaves, as `train` and `embed` read it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from whaleid.core import arrays, files, paths
from whaleid.core.errors import InputProblems, WhaleidError


@dataclass(frozen=True)
class Packed:
    """Every photo at the network's size."""

    images: list[str]  # N names, in the order of `array`
    array: npt.NDArray[np.uint8]  # (N, H, W, C), mapped from the file

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a photo."""
        _, height, width, channels = self.array.shape
        return height, width, channels

    def rows(self, images: Iterable[str]) -> npt.NDArray[np.int64]:
        """Return (P,) the rows of `images`.

        Raises:
            InputProblems: photos are not packed.
        """
        wanted, row = list(images), {image: number for number, image in enumerate(self.images)}
        missing = sorted(set(wanted) - row.keys())
        if missing:
            raise InputProblems(f"Photos are not in {paths.PACKED}", missing, "Rerun `dvc repro pack`.")
        return np.array([row[image] for image in wanted], dtype=np.int64)


def load() -> Packed:
    """Map the packed photos; none is read before it is used.

    Raises:
        WhaleidError: they are not whole, or not those of their index.
    """
    array = arrays.mapped(paths.PHOTOS, np.uint8, 4)
    try:
        images = files.read_csv(paths.PACKED)["Image"].tolist()
    except (ValueError, KeyError) as error:
        raise WhaleidError(f"{paths.PACKED} cannot be used ({error}): rerun `dvc repro pack`.") from None
    if len(images) != len(array):
        raise WhaleidError(
            f"{paths.PHOTOS} holds {len(array)} photos, {paths.PACKED} {len(images)}: rerun `dvc repro pack`."
        )
    return Packed(images, array)
