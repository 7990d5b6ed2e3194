"""Photos of a batch, from the packed array to the device, mirrored and augmented."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from whaleid.images.augment import DRAWS, augment
from whaleid.model.distributed import ProcessGroup
from whaleid.model.network import standardise
from whaleid.training.sampler import Rows

if TYPE_CHECKING:
    from whaleid.config import Training


@dataclass(frozen=True)
class LabelledPhotos:
    """N photos, rows of the packed array, and their classes."""

    packed: npt.NDArray[np.uint8]  # (M, H, W, C)
    rows: npt.NDArray[np.int64]  # (N,)
    classes: npt.NDArray[np.int64]  # (N,)

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, photos: slice) -> Self:
        """Return some of the photos."""
        return replace(self, rows=self.rows[photos], classes=self.classes[photos])


@dataclass(frozen=True)
class BatchLoader:
    """Loads this process's part of a batch."""

    train_set: LabelledPhotos
    embeddings: Tensor | None  # (F, N, D) of `train_set`, loaded instead of photos; F is 2 where photos are mirrored
    settings: Training
    processes: ProcessGroup

    def load(self, batch: Rows, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return photos (B, C, H, W) or embeddings (B, D), and their columns of the last layer (B,).

        Photos in one row of `batch` (P, K) are mirrored together; each is augmented by itself. `generator` is on the
        CPU and draws for the whole batch, so that every device and number of processes gets the same.
        """
        draws = torch.rand(*batch.shape, 1 + DRAWS, generator=generator)  # (P, K, 1 + DRAWS)
        mirrored = (draws[:, :1, 0] < 0.5).expand(batch.shape)  # (P, K)
        if self.settings.flip == "off":
            mirrored = torch.zeros_like(mirrored)
        columns = torch.from_numpy(self.train_set.classes[batch])  # (P, K)
        if self.settings.flip == "identity":  # mirrored whales come after the others
            columns = columns + mirrored * (int(self.train_set.classes.max()) + 1)
        own = self.processes.part(len(batch))
        photos = batch[own].reshape(-1)  # (B,)
        mirrored, columns = (self._to_device(values[own].reshape(-1)) for values in (mirrored, columns))
        if self.embeddings is not None:
            return self.embeddings[mirrored.long(), self._to_device(torch.from_numpy(photos))], columns
        packed = self.train_set.packed[self.train_set.rows[photos]]
        inputs = standardise(self._to_device(torch.from_numpy(packed)))
        if self.settings.flip != "off":
            inputs = torch.where(mirrored[:, None, None, None], inputs.flip(3), inputs)
        if self.settings.augment:
            inputs = augment(inputs, self._to_device(draws[own, :, 1:].reshape(-1, DRAWS)))
        return inputs, columns

    def _to_device(self, values: Tensor) -> Tensor:
        device = self.processes.device
        if device.type == "cuda":  # copied while the GPU computes the last batch
            return values.pin_memory().to(device, non_blocking=True)
        return values
