"""A network with the description that rebuilds it, as the bytes of a file and back."""

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
    """What a network was trained for."""

    classes: tuple[str, ...]  # labels in the order of the logits; none before training on whales
    photos: tuple[Count, Count, Count] | None  # height, width and channels; None before training on whales
    flip: Literal["off", "identity", "augment"] = "off"
    """A mirrored fluke is another whale (`identity`), the same whale (`augment`), or was not shown (`off`)."""

    @property
    def columns(self) -> int:
        """The columns of the classifier: two for each class if a mirrored fluke is another whale."""
        return len(self.classes) * (2 if self.flip == "identity" else 1)

    def check_photos(self, packed: tuple[int, int, int], name: str) -> None:
        """Refuse photos of another height, width or number of channels; `name` names the checkpoint.

        Raises:
            WhaleidError: `packed` differs from the photos that the network was trained on.
        """
        if self.photos != packed:
            raise WhaleidError(
                f"{name} was trained on photos of {self.photos} (height, width, channels), but they are packed as "
                f"{packed}. Set `pack` back, or train anew with `dvc repro`."
            )


class _NetworkHeader(Header):
    kind: Literal["network"] = "network"
    backbone: str
    fine: bool
    embedding: Annotated[int, Field(gt=0, le=4096)]  # as in the parameters
    centres: Count
    description: Description


def save(network: Network, description: Description) -> bytes:
    """Return the bytes of a checkpoint: all that is needed to rebuild `network`."""
    header = _NetworkHeader(
        backbone=network.backbone.name,
        fine=network.backbone.fine,
        embedding=network.embedding,
        centres=network.classifier.centres,
        description=description,
    )
    return tensors.save(network.state_dict(), header)


def load(data: bytes, name: str) -> tuple[Network, Description]:
    """Rebuild a network, on the CPU, from the bytes of its checkpoint; `name` names the file in errors.

    Raises:
        WhaleidError: `data` is no whole checkpoint of a network, or there is no such backbone.
        InputProblems: weights are missing, of another shape, or unknown.
    """
    weights, header = tensors.load(data, name, _NetworkHeader)
    description = header.description
    expected = header.embedding, description.columns * header.centres
    shape = tuple(weights["classifier.weight"].shape) if "classifier.weight" in weights else ()
    if shape != expected:
        raise WhaleidError(f"{name} describes a classifier of shape {expected}, but has one of shape {shape}. {REMEDY}")
    build = partial(Network, header.backbone, header.embedding, description.columns, header.centres, header.fine)
    return rebuild(build, header.backbone, weights, name), description
