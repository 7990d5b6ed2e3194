"""Checkpoints restore the same network; damaged and unsuitable files are refused."""

import json
import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch

from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.detection import network as boxes
from whaleid.detection.network import BoxNetwork
from whaleid.model import checkpoint
from whaleid.model.backbone import Backbone
from whaleid.model.checkpoint import Description
from whaleid.model.network import Network

NAME = "checkpoints/v.safetensors"
DESCRIPTION = Description(("007", "nan", "new_whale"), (32, 64, 1))
REMEDY = "Run `dvc repro` to rebuild it."


def network(backbone: str = "squeezenet1_1", columns: int = 3, centres: int = 1, fine: bool = False) -> Network:
    """Return a network whose running statistics differ from the initial ones."""
    torch.manual_seed(0)
    result = Network(backbone, 16, columns, centres, fine)
    with torch.no_grad():
        result(torch.randn(4, 1, 32, 64))
    return result.eval()


def read(data: bytes) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """Return the tensors and the description of a checkpoint."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return safetensors.torch.load(data), json.loads(header["__metadata__"]["whaleid"])


def changed(weights: dict[str, torch.Tensor | None] | None = None, **header: object) -> bytes:
    """Return a checkpoint with changed weights (None removes one) or changed entries of its description."""
    tensors, description = read(checkpoint.save(network(), DESCRIPTION))
    description |= header
    kept = {name: tensor for name, tensor in (tensors | (weights or {})).items() if tensor is not None}
    return safetensors.torch.save(kept, {"whaleid": json.dumps(description)})


def load_error(data: bytes) -> str:
    """Return the message of the error that loading `data` raises."""
    with pytest.raises(WhaleidError) as caught:
        checkpoint.load(data, NAME)
    return str(caught.value)


@pytest.mark.parametrize("flip", ["identity", "augment", "off"])
@pytest.mark.parametrize(
    ("backbone", "centres", "fine"), [("squeezenet1_1", 1, False), ("mnasnet0_5", 3, False), ("squeezenet1_1", 1, True)]
)
def test_a_network_is_restored_bit_for_bit(backbone: str, centres: int, fine: bool, flip: str) -> None:
    expected = Description(DESCRIPTION.classes, DESCRIPTION.photos, flip)
    assert expected.num_outputs == (6 if flip == "identity" else 3)
    before = network(backbone, expected.num_outputs, centres, fine)
    after, description = checkpoint.load(checkpoint.save(before, expected), NAME)
    assert description == expected
    assert (after.backbone.name, after.backbone.fine) == (backbone, fine)
    assert (after.embedding_dim, after.classifier.classes, after.classifier.centres) == (
        16,
        expected.num_outputs,
        centres,
    )
    photos = torch.randn(2, 1, 32, 64)
    with torch.no_grad():
        embeddings = before(photos)
        assert torch.equal(after.eval()(photos), embeddings)
        assert torch.equal(after.classifier(embeddings), before.classifier(embeddings))


def test_a_network_without_classes_is_restored() -> None:
    after, description = checkpoint.load(checkpoint.save(network(columns=0), Description((), None)), NAME)
    assert description == Description((), None, "off")
    assert after.classifier.weight.shape == (16, 0)


def test_weights_and_description_are_stored_as_plain_safetensors_and_json() -> None:
    tensors, description = read(checkpoint.save(network(), DESCRIPTION))
    assert description == {
        "version": 1,
        "kind": "network",
        "backbone": "squeezenet1_1",
        "fine": False,
        "embedding": 16,
        "centres": 1,
        "description": {"classes": ["007", "nan", "new_whale"], "photos": [32, 64, 1], "flip": "off"},
    }
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        name: tensor.shape for name, tensor in network().state_dict().items()
    }


def test_bytes_do_not_depend_on_the_memory_layout() -> None:
    plain = checkpoint.save(network(), DESCRIPTION)
    assert checkpoint.save(network().to(memory_format=torch.channels_last), DESCRIPTION) == plain
    assert checkpoint.save(network(), DESCRIPTION) == plain


@pytest.mark.parametrize("cut", [0, 4, 100, 5000, -1])
def test_a_truncated_file_is_refused(cut: int) -> None:
    data = checkpoint.save(network(), DESCRIPTION)[:cut]
    assert load_error(data).startswith(f"{NAME} is not a safetensors file, or is incomplete (")
    assert load_error(data).endswith(REMEDY)


class Malicious:
    """Creates a folder when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("ran",)


def test_a_pickle_is_refused_without_running_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"backbone": Malicious()}, "a.pt")
    for data in (Path("a.pt").read_bytes(), pickle.dumps(Malicious()), b"no checkpoint"):
        assert load_error(data).startswith(f"{NAME} is not a safetensors file, or is incomplete (")
    assert not Path("ran").exists()


def test_tensors_without_a_description_are_refused() -> None:
    weights = network().state_dict()
    message = f"{NAME} is not a whaleid checkpoint: its header has no description. {REMEDY}"
    assert load_error(safetensors.torch.save(weights)) == message
    assert load_error(safetensors.torch.save(weights, {"format": "pt"})) == message


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"version": 2}, "version: Input should be 1"),
        ({"kind": "boxes"}, "kind: Input should be 'network'"),
        ({"size": 3}, "size: Extra inputs are not permitted"),
        ({"backbone": 7}, "backbone: Input should be a valid string"),
        ({"embedding": 10**9}, "embedding: Input should be less than or equal to 4096"),
        ({"embedding": -1}, "embedding: Input should be greater than 0"),
        ({"centres": 0}, "centres: Input should be greater than 0"),
        ({"centres": "3"}, "centres: Input should be a valid integer"),
        ({"centres": True}, "centres: Input should be a valid integer"),
        ({"description": None}, "description: Input should be"),
        ({"description": {"classes": [3], "photos": None}}, "description.classes.0: Input should be a valid string"),
        ({"description": {"classes": [], "photos": [1]}}, "description.photos.1: Field required"),
        ({"description": {"classes": [], "photos": None, "flip": "up"}}, "description.flip: Input should be 'off'"),
    ],
)
def test_a_description_of_another_kind_or_version_is_refused(header: dict[str, object], reason: str) -> None:
    message = load_error(changed(**header))
    assert message.startswith(f"{NAME} is a checkpoint of another kind or version ({reason}")
    assert message.endswith(REMEDY)


def test_a_description_that_is_not_json_is_refused() -> None:
    for text in ("", "{", "[1]", "[" * 100_000):
        data = safetensors.torch.save({}, {"whaleid": text})
        assert load_error(data).startswith(f"{NAME} is a checkpoint of another kind or version (")


@pytest.mark.parametrize(
    ("header", "weights", "expected", "shape"),
    [
        ({"description": {"classes": ["a", "b"], "photos": None}}, {}, (16, 2), (16, 3)),
        ({"description": {"classes": ["a"], "photos": None, "flip": "identity"}}, {}, (16, 2), (16, 3)),
        ({"centres": 3}, {}, (16, 9), (16, 3)),
        ({"embedding": 8}, {}, (8, 3), (16, 3)),
        ({}, {"classifier.weight": None}, (16, 3), ()),
        ({}, {"classifier.weight": torch.zeros(3)}, (16, 3), (3,)),
    ],
)
def test_a_classifier_of_another_shape_is_refused(
    header: dict[str, object], weights: dict[str, torch.Tensor | None], expected: object, shape: object
) -> None:
    assert load_error(changed(weights, **header)) == (
        f"{NAME} describes a classifier of shape {expected}, but has one of shape {shape}. {REMEDY}"
    )


def test_errors_list_weights_that_are_missing_unknown_or_of_another_shape() -> None:
    wrong = {
        "embedder.neck.running_mean": None,
        "embedder.backbone.head.bias": torch.zeros(3),
        "embedder.norm.weight": torch.zeros(2),
    }
    problems = []
    for name, weight in wrong.items():
        with pytest.raises(InputProblems, match=f"^{NAME} does not fit its backbone, squeezenet1_1 ") as caught:
            checkpoint.load(changed({name: weight}), NAME)
        problems += caught.value.locations
        assert str(caught.value).endswith(REMEDY)
    assert problems[:2] == ["embedder.neck.running_mean: missing", "embedder.backbone.head.bias: unknown"]
    assert problems[2].startswith("size mismatch for embedder.norm.weight: ")


def test_another_or_an_unknown_backbone_is_refused() -> None:
    assert load_error(changed(backbone="resnet18")).startswith(f"{NAME} does not fit its backbone, resnet18 (")
    message = load_error(changed(backbone="resnet19"))
    assert message.startswith(f"{NAME}: backbone.name: torchvision has no classification model 'resnet19'")


@pytest.mark.parametrize("backbone", ["regnet_y_128gf", "timm/eva_giant_patch14_224"])
def test_a_backbone_larger_than_the_file_is_refused_before_it_is_built(backbone: str) -> None:
    assert load_error(changed(backbone=backbone)) == f"{NAME}: it has fewer weights than {backbone}. {REMEDY}"


def test_photos_of_another_shape_are_refused() -> None:
    DESCRIPTION.check_photos((32, 64, 1), NAME)
    with pytest.raises(WhaleidError) as caught:
        DESCRIPTION.check_photos((32, 64, 3), NAME)
    assert str(caught.value) == (
        f"{NAME} was trained on photos of (32, 64, 1) (height, width, channels), but photos are now packed as "
        f"(32, 64, 3). Restore the `pack` section of params.yaml, or run `dvc repro` to train again."
    )


@pytest.mark.parametrize("size", [32, 512])
def test_a_box_network_is_restored_bit_for_bit(size: int) -> None:
    torch.manual_seed(0)
    before = BoxNetwork(Backbone("shufflenet_v2_x0_5"), size, turns=True, squeezed=True).eval()
    data = boxes.save(before)
    after = boxes.load(data, "boxes").eval()
    assert (after.size, after.turns, after.squeezed) == (size, True, True)
    photos = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(after(photos), before(photos))
    assert load_error(data).startswith(f"{NAME} is a checkpoint of another kind or version (kind: ")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"turns": None}, r"another kind or version \(turns: "),
        ({"size": 31}, r"another kind or version \(size: Input should be greater than or equal to 32\)"),
        ({"size": 513}, r"another kind or version \(size: Input should be less than or equal to 512\)"),
        ({"kind": "network"}, r"another kind or version \(kind: "),
        ({"backbone": "nonet"}, r"boxes: backbone.name: torchvision has no classification model 'nonet'"),
        ({"backbone": "squeezenet1_1"}, "boxes does not fit its backbone, squeezenet1_1"),
        ({"turns": True}, "boxes does not fit its backbone, shufflenet_v2_x0_5"),
    ],
)
def test_an_unsuitable_box_network_is_refused(header: dict[str, object], message: str) -> None:
    tensors, description = read(boxes.save(BoxNetwork(Backbone("shufflenet_v2_x0_5"), 32, turns=False)))
    with pytest.raises(WhaleidError, match=message):
        boxes.load(safetensors.torch.save(tensors, {"whaleid": json.dumps(description | header)}), "boxes")
