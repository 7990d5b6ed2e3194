"""Load the photos of a batch from the packed array to the device, mirrored and augmented."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from whaleid.images.augment import NUM_DRAWS, augment
from whaleid.model.distributed import ProcessGroup
from whaleid.model.network import standardise
from whaleid.training.sampler import Rows

if TYPE_CHECKING:
    from whaleid.config import Training


@dataclass(frozen=True)
class LabelledPhotos:
    """N photos, as rows of the packed array, and their classes."""

    packed: npt.NDArray[np.uint8]  # (M, H, W, C)
    rows: npt.NDArray[np.int64]  # (N,)
    classes: npt.NDArray[np.int64]  # (N,)

    def __len__(self) -> int:
        return len(self.rows)

    def subset(self, photos: slice) -> Self:
        """Return the photos of a slice."""
        return replace(self, rows=self.rows[photos], classes=self.classes[photos])


@dataclass(frozen=True)
class BatchLoader:
    """Loads this process's shard of each batch."""

    train_set: LabelledPhotos
    embeddings: Tensor | None  # (F, N, D) of `train_set`, loaded instead of photos; F is 1 if `flip` is off, else 2
    settings: Training
    processes: ProcessGroup

    def load(self, batch: Rows, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return photos (B, C, H, W) or embeddings (B, D), and their targets (B,), the indices of classifier outputs.

        Either all photos in a row of `batch` (P, K) are mirrored or none. Each photo has its own augmentation.
        `generator` is on the CPU and draws for the whole batch, so that results do not depend on the number of
        processes.
        """
        draws = torch.rand(*batch.shape, 1 + NUM_DRAWS, generator=generator)  # (P, K, 1 + NUM_DRAWS)
        mirrored = (draws[:, :1, 0] < 0.5).expand(batch.shape)  # (P, K)
        if self.settings.flip == "off":
            mirrored = torch.zeros_like(mirrored)
        targets = torch.from_numpy(self.train_set.classes[batch])  # (P, K)
        if self.settings.flip == "identity":  # the classes of mirrored whales follow the others
            targets = targets + mirrored * (int(self.train_set.classes.max()) + 1)
        shard = self.processes.shard(len(batch))
        photos = batch[shard].reshape(-1)  # (B,)
        mirrored, targets = (self._to_device(values[shard].reshape(-1)) for values in (mirrored, targets))
        if self.embeddings is not None:
            return self.embeddings[mirrored.long(), self._to_device(torch.from_numpy(photos))], targets
        packed = self.train_set.packed[self.train_set.rows[photos]]
        inputs = standardise(self._to_device(torch.from_numpy(packed)))
        if self.settings.flip != "off":
            inputs = torch.where(mirrored[:, None, None, None], inputs.flip(3), inputs)
        if self.settings.augment:
            inputs = augment(inputs, self._to_device(draws[shard, :, 1:].reshape(-1, NUM_DRAWS)))
        return inputs, targets

    def _to_device(self, values: Tensor) -> Tensor:
        device = self.processes.device
        if device.type == "cuda":  # copied while the GPU computes the previous batch
            return values.pin_memory().to(device, non_blocking=True)
        return values
