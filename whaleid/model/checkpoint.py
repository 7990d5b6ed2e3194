"""A network with what is needed to use it, as the bytes of a file and back."""

import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whaleid.core.errors import WhaleidError
from whaleid.model import pickled, zoo
from whaleid.model.backbone import load_exactly
from whaleid.model.network import Network

KEYS = ("backbone", "fine", "embedding", "classes", "photos", "flip", "centres", "hidden", "last")
MODEST = 50_000_000
"""Weights that take a second and 200 MB to build."""
EMBEDDING = 4096
"""The most numbers that a photo is turned into, as in `params`."""
MEND = "Make it anew with `dvc repro`."


@dataclass(frozen=True)
class Description:
    """What a network was trained for."""

    classes: tuple[str, ...]  # labels in the order of the logits; none before any training on whales
    photos: tuple[int, int, int] | None  # height, width and channels; None before any training on whales
    flip: str = "off"  # what a mirrored fluke was: another whale (`identity`), the same (`augment`), not shown (`off`)

    @property
    def columns(self) -> int:
        """The classes of the last layer: where a mirrored fluke is another whale, twice as many."""
        return len(self.classes) * (2 if self.flip == "identity" else 1)

    def check_photos(self, packed: tuple[int, int, int], name: str) -> None:
        """Refuse to use the network on photos of another height, width or number of channels.

        Raises:
            WhaleidError: they are packed otherwise than those it was trained on; `name` names its checkpoint.
        """
        if self.photos != packed:
            raise WhaleidError(
                f"{name} was trained on photos of {self.photos} (height, width, channels), but they are packed as "
                f"{packed}. Set `pack` back, or train anew with `dvc repro`."
            )


def to_checkpoint(network: Network, description: Description) -> dict[str, object]:
    """Return all that is needed to rebuild `network`, its tensors on the CPU."""
    return {
        "backbone": network.backbone.name,
        "fine": network.backbone.fine,
        "embedding": network.embedding,
        "classes": list(description.classes),
        "photos": description.photos,
        "flip": description.flip,
        "centres": network.last.centres,
        "hidden": state(network.hidden),
        "last": state(network.last),
    }


def state(module: nn.Module) -> dict[str, Tensor]:
    """Copy a state dict to the CPU, in one memory layout, so that no byte depends on where training ran."""
    weights = module.state_dict()
    for name, weight in weights.items():  # in place: some models need the version that rides on this very dict
        weights[name] = weight.cpu().clone(memory_format=torch.contiguous_format)
    return weights


def from_checkpoint(checkpoint: object, name: str) -> tuple[Network, Description]:
    """Rebuild a network, on the CPU, from what `to_checkpoint` returned; `name` names its file in errors.

    Raises:
        WhaleidError: a part is missing, there is no such backbone, or there are not as many weights as classes.
        InputProblems: weights are missing, of another shape, or not of this backbone.
    """
    if not isinstance(checkpoint, Mapping):
        raise WhaleidError(f"{name} is no checkpoint of whaleid: it holds {type(checkpoint).__name__}. {MEND}")
    if missing := [key for key in KEYS if key not in checkpoint]:
        raise WhaleidError(f"{name} is no checkpoint of whaleid: it lacks {', '.join(missing)}. {MEND}")
    backbone, fine, embedding, centres = (checkpoint[key] for key in ("backbone", "fine", "embedding", "centres"))
    try:
        weights, state = checkpoint["last"]["weight"], checkpoint["hidden"]
        description = Description(tuple(checkpoint["classes"]), checkpoint["photos"], checkpoint["flip"])
        columns = weights.shape[1] // centres
        plain = isinstance(backbone, str) and isinstance(fine, bool) and {type(embedding), type(centres)} == {int}
        plain &= isinstance(state, Mapping)
        plain &= all(isinstance(each, str) for each in description.classes) and centres > 0
        if not plain or not 0 < embedding <= EMBEDDING or embedding * weights.shape[1] > max(MODEST, weights.numel()):
            raise TypeError
    except (KeyError, TypeError, IndexError, AttributeError, ZeroDivisionError):
        raise WhaleidError(
            f"{name} is no checkpoint of whaleid: its classes or its last layer are amiss. {MEND}"
        ) from None
    refuse_hollow([*state.values(), weights], name)
    if columns != description.columns:
        raise WhaleidError(f"{name} names {description.columns} classes, but has the weights of {columns}. {MEND}")
    try:
        refuse_larger(backbone, state, name)
        network = Network(backbone, embedding, columns, centres, fine)
    except WhaleidError as error:
        raise WhaleidError(f"{name}: {error}") from None
    wrong = f"{name} does not fit its backbone, {network.backbone.name}"
    load_exactly(network.hidden, checkpoint["hidden"], wrong, MEND)
    load_exactly(network.last, checkpoint["last"], wrong, MEND)
    return network, description


def refuse_hollow(weights: Iterable[object], name: str) -> None:
    """Refuse weights that claim a size which their file does not have: views of a few numbers.

    Raises:
        WhaleidError: some are no tensors, or such views.
    """
    for weight in weights:
        if not isinstance(weight, Tensor) or not weight.is_contiguous() or weight.layout is not torch.strided:
            raise WhaleidError(f"{name} is no checkpoint of whaleid: its weights are no plain tensors. {MEND}")


def refuse_larger(backbone: str, state: Mapping[str, Tensor], name: str) -> None:
    """Refuse a checkpoint that names a backbone with more weights than `state` holds, before one is built.

    Raises:
        WhaleidError: it does, or there is no such backbone.
    """
    # the last layer of the classifier, which `state` lacks, has less than half of all weights
    if zoo.size(backbone) > max(MODEST, 2 * sum(weight.numel() for weight in state.values())):
        raise WhaleidError(f"{name} does not fit its backbone, {backbone}: it holds fewer weights. {MEND}")


def dumps(checkpoint: Mapping[str, object]) -> bytes:
    """Return the bytes of a file: the same for the same checkpoint, whatever the file is called."""
    buffer = io.BytesIO()
    torch.save(dict(checkpoint), buffer)
    return buffer.getvalue()


def loads(data: bytes, name: str) -> object:
    """Return what a file of torch holds, tensors on the CPU; no code in it is run. `name` names it in errors.

    Raises:
        WhaleidError: `data` is no whole file of torch, or holds more than tensors and plain values.
    """
    try:
        if data[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(data)) as packed:
                if sum(each.file_size for each in packed.infolist()) > len(data):
                    raise ValueError("it is packed, or holds its content twice")
        pickled.check(data)
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # by the bytes that it meets, torch raises nearly anything
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise WhaleidError(
            f"{name} cannot be read: it is cut off, or no file of tensors and plain values ({reason}). "
            f"Make or fetch it anew."
        ) from None
