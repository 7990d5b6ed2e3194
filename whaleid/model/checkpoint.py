"""Checkpoints: save a network with the description that rebuilds it, and load it."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from whaleid.core.errors import WhaleidError
from whaleid.model import tensors
from whaleid.model.backbone import rebuild
from whaleid.model.network import Network
from whaleid.model.tensors import REMEDY, Header

Count = Annotated[int, Field(gt=0)]


@dataclass(frozen=True)
class Description:
    """The classes and the photo format that a network was trained for."""

    classes: tuple[str, ...]  # labels in the order of the classifier's outputs; empty before training on whales
    photos: tuple[Count, Count, Count] | None  # height, width and channels; None before training on whales
    flip: Literal["off", "identity", "augment"] = "off"
    """Mirrored photos in training: another whale (`identity`), the same whale (`augment`) or not used (`off`)."""

    @property
    def num_outputs(self) -> int:
        """The number of the classifier's outputs: two per class if a mirrored fluke is another whale, else one."""
        return len(self.classes) * (2 if self.flip == "identity" else 1)

    def check_photos(self, packed: tuple[int, int, int], name: str) -> None:
        """Check that packed photos have the height, width and channels that the network was trained on.

        Raises:
            WhaleidError: `packed` differs; the error names the checkpoint `name`.
        """
        if self.photos != packed:
            raise WhaleidError(
                f"{name} was trained on photos of {self.photos} (height, width, channels), but photos are now "
                f"packed as {packed}. Restore the `pack` section of params.yaml, or run `dvc repro` to train again."
            )


class _NetworkHeader(Header):
    kind: Literal["network"] = "network"
    backbone: str
    fine: bool
    embedding: Annotated[int, Field(gt=0, le=4096)]  # the same maximum as backbone.embedding in params.yaml
    centres: Count
    description: Description


def save(network: Network, description: Description) -> bytes:
    """Return the bytes of a checkpoint, which contains everything that is needed to rebuild `network`."""
    header = _NetworkHeader(
        backbone=network.backbone.name,
        fine=network.backbone.fine,
        embedding=network.embedding_dim,
        centres=network.classifier.centres,
        description=description,
    )
    return tensors.save(network.state_dict(), header)


def load(data: bytes, name: str) -> tuple[Network, Description]:
    """Rebuild a network, on the CPU, from the bytes of its checkpoint; `name` is the file's name in errors.

    Raises:
        WhaleidError: `data` is not a complete checkpoint of a network, or its backbone does not exist.
        InputProblems: weights are missing, unknown or of another shape.
    """
    weights, header = tensors.load(data, name, _NetworkHeader)
    description = header.description
    expected = header.embedding, description.num_outputs * header.centres
    shape = tuple(weights["classifier.weight"].shape) if "classifier.weight" in weights else ()
    if shape != expected:
        raise WhaleidError(f"{name} describes a classifier of shape {expected}, but has one of shape {shape}. {REMEDY}")
    build = partial(Network, header.backbone, header.embedding, description.num_outputs, header.centres, header.fine)
    return rebuild(build, header.backbone, weights, name), description
