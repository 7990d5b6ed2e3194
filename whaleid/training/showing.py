"""What the network is shown in an epoch: this process's part of each batch, and what is on all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from whaleid.images.augment import DRAWS, augment
from whaleid.model.network import standardise
from whaleid.training.distributed import World
from whaleid.training.loading import fetched

if TYPE_CHECKING:
    from whaleid.config import Training

Batches = Sequence[npt.NDArray[np.int64]]
"""(P, K) each: of P classes, K photos of what is learnt."""


@dataclass(frozen=True)
class Photos:
    """Photos and what is on them: `rows` (P,) of the packed array, `classes` (P,) of the variant's classes."""

    rows: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Show:
    """What batches are made from."""

    learn: Photos
    settings: Training
    columns: int  # of the last layer: where a mirrored fluke is another whale, twice as many as classes
    device: torch.device
    world: World

    def photos(
        self, packed: npt.NDArray[np.uint8], batches: Batches, draws: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the photos (B / processes, C, H, W) that this process sees of each batch, and all columns (B,).

        Photos that are together are mirrored together; each is changed in its own way. `draws` is on the CPU: every
        device and every process sees the same.
        """

        def take(rows: npt.NDArray[np.int64]) -> Tensor:
            return torch.from_numpy(packed[self.learn.rows[rows]])

        for taken, mirrored, drawn, columns in self._fetched(take, batches, draws):
            photos = standardise(taken)
            if self.settings.flip != "off":
                photos = torch.where(mirrored[:, None, None, None], photos.flip(3), photos)
            yield augment(photos, drawn) if self.settings.augment else photos, columns

    def embeddings(self, known: Tensor, batches: Batches, draws: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the embeddings (B, D) of each batch, and its columns (B,), out of those `known` (V, P, D).

        V is 2 where photos may be mirrored, else 1; P are the photos of `learn`.
        """
        for rows, mirrored, _, columns in self._fetched(torch.from_numpy, batches, draws):
            yield known[mirrored.long(), rows], columns

    def _fetched(
        self, take: Callable[[npt.NDArray[np.int64]], Tensor], batches: Batches, draws: torch.Generator
    ) -> Iterator[list[Tensor]]:
        def fetch(batch: npt.NDArray[np.int64]) -> list[Tensor]:
            drawn = torch.rand(*batch.shape, 1 + DRAWS, generator=draws)  # (P, K, 1 + DRAWS)
            columns = torch.from_numpy(self.learn.classes[batch])  # (P, K)
            mirrored = (drawn[:, :1, 0] < 0.5).expand(batch.shape)
            if self.settings.flip == "off":
                mirrored = torch.zeros_like(mirrored)
            elif self.settings.flip == "identity":
                columns = columns + mirrored * (self.columns // 2)
            own = self.world.part(batch.size)
            return [
                take(batch.reshape(-1)[own]),
                mirrored.reshape(-1)[own],
                drawn.reshape(-1, 1 + DRAWS)[own, 1:],
                columns.reshape(-1),
            ]

        return fetched(fetch, batches, self.device)
