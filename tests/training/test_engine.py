"""The training loop: convergence, reproducibility, resuming, trained layers and the input of each step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.stripes import stripes, training
from torch import Tensor

from whaleid.config import Loss, Training
from whaleid.core.errors import WhaleidError
from whaleid.model.distributed import ProcessGroup
from whaleid.model.embedding import embed
from whaleid.model.losses import LossFunction, build
from whaleid.model.network import CosineClassifier, Network, standardise
from whaleid.training import engine, loader, state
from whaleid.training.engine import train
from whaleid.training.loader import LabelledPhotos

LOSSES: dict[str, dict[str, Any]] = {
    "softmax": {"kind": "softmax", "scale": 16, "margin": 0, "centres": 1},
    "cosface": {"kind": "cosface", "scale": 24, "margin": 0.3, "centres": 1},
    "arcface": {"kind": "arcface", "scale": 24, "margin": 0.3, "centres": 1},
    "subcentre": {"kind": "arcface", "scale": 24, "margin": 0.3, "centres": 3},
    "triplet": {"kind": "triplet", "scale": 16, "margin": 0.3, "centres": 1},
}
PAIRS = {"loss": LOSSES["triplet"], "per_whale": 2, "batch_size": 6}
METRICS = ["lr", "loss", "accuracy", "validation_loss", "validation_accuracy"]


def new_network(settings: Training, whales: int = 3, backbone: str = "squeezenet1_1", seed: int = 0) -> Network:
    torch.manual_seed(seed)
    outputs = whales * (2 if settings.flip == "identity" else 1)
    return Network(backbone, 16, outputs, settings.loss.centres)


def run_training(
    settings: Training, network: Network | None = None, photos: LabelledPhotos | None = None, validate: bool = True
) -> tuple[Network, list[dict[str, float]]]:
    """Train; return the network and the metrics of each epoch."""
    photos = photos or stripes(3, 4)
    network = network or new_network(settings)
    states = list(train(network, photos, photos if validate else photos.subset(slice(0)), settings, 0))
    assert [len(state.epochs) for state in states] == list(range(1, settings.epochs + 1))
    assert all(epoch.speed["photos_per_second"] > 0 for epoch in states[-1].epochs)
    assert not network.training
    return network, [epoch.learning for epoch in states[-1].epochs]


def weights(network: Network) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in network.state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss", ["cosface", *(pytest.param(name, marks=pytest.mark.long) for name in ("softmax", "arcface", "subcentre"))]
)
def test_every_loss_decreases(loss: str) -> None:
    settings = training(loss=LOSSES[loss], epochs=8, lr=0.003, augment=False, batch_size=16)
    photos = stripes(3, 16)
    network, history = run_training(settings, new_network(settings, backbone="resnet18"), photos)
    assert list(history[0]) == METRICS
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    with torch.no_grad():
        cosines = network.classifier(torch.from_numpy(embed(network, photos.packed, photos.rows, mirrored=False)[0]))
    assert (cosines.argmax(dim=1).numpy() == photos.classes).mean() > 0.7  # 0.33 by chance
    expected = F.cross_entropy(settings.loss.scale * cosines, torch.from_numpy(photos.classes)).item()
    assert history[-1]["validation_loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_triplet_loss_decreases_and_the_classifier_is_set_at_the_end() -> None:
    settings = training(**PAIRS | {"per_whale": 4, "batch_size": 8}, epochs=8, lr=0.003, augment=False)
    photos = stripes(3, 16)
    network, history = run_training(settings, new_network(settings, backbone="resnet18"), photos)
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert {tuple(epoch) for epoch in history} == {("lr", "loss")}
    embeddings = embed(network, photos.packed, photos.rows, mirrored=False)[0]
    prototypes = network.classifier.prototypes().detach().numpy()[:, 0]
    assert ((embeddings @ prototypes.T).argmax(axis=1) == photos.classes).mean() > 0.7


@pytest.mark.long
def test_the_loss_decreases_on_augmented_photos() -> None:
    settings = training(epochs=6, lr=0.003)
    _, history = run_training(settings, new_network(settings, backbone="resnet18"), stripes(3, 16))
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert history[-1]["validation_loss"] < 0.8 < np.log(3)  # the loss of a uniform prediction


@pytest.mark.parametrize("flip", ["identity", "augment", "off"])
def test_frozen_layers_embed_each_photo_once_if_only_the_classifier_is_trained(
    flip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = training(epochs=4, layers="last", augment=False, flip=flip, loss=LOSSES["cosface"])
    network = new_network(settings)
    embedder = weights(network.embedder)
    batch_sizes: list[int] = []
    network.register_forward_pre_hook(lambda _, inputs: batch_sizes.append(len(inputs[0])))
    _, history = run_training(settings, network, validate=False)
    assert list(history[0]) == ["lr", "loss", "accuracy"]
    assert weights(network.embedder) == embedder
    flips = 1 if flip == "off" else 2
    assert sum(batch_sizes) == 12 * (flips + (2 if flip == "identity" else 1))  # includes the initial prototypes

    # the same training, but with embeddings computed for each batch
    monkeypatch.setattr(loader, "augment", lambda photos, _: photos)
    reference = new_network(settings)
    _, expected = run_training(settings.model_copy(update={"augment": True}), reference, validate=False)
    assert [epoch["loss"] for epoch in history] == pytest.approx([epoch["loss"] for epoch in expected], rel=1e-4)
    torch.testing.assert_close(network.classifier.weight, reference.classifier.weight, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("augment", "refused"), [(False, False), (True, True)])
def test_small_batches_are_refused_only_if_processes_share_them(augment: bool, refused: bool) -> None:
    settings = training(epochs=1, layers="last", augment=augment, batch_size=4)
    photos = stripes(3, 4)

    class Started(Exception):
        """Raised after the check of batches."""

    class FakeGroup(ProcessGroup):
        def shard(self, rows: int) -> slice:
            raise Started

    with pytest.raises(WhaleidError if refused else Started):
        next(
            train(
                new_network(settings), photos, photos.subset(slice(0)), settings, 0, processes=FakeGroup(rank=0, size=3)
            )
        )


@pytest.mark.parametrize("layers", ["all", "upper"])
def test_layers_upper_freezes_the_early_layers(layers: str) -> None:
    settings = training(epochs=1, layers=layers)
    network = new_network(settings, backbone="resnet18")
    before = weights(network.backbone.body)
    run_training(settings, network, validate=False)
    after = weights(network.backbone.body)
    # the running statistics of early layers are adapted to the photos
    early = {
        "conv1.weight",
        *(name for name in before if name.startswith(("bn1.", "layer1.")) and name.endswith(("weight", "bias"))),
    }
    unchanged = {name for name, value in before.items() if value == after[name]}
    assert unchanged == (early if layers == "upper" else set())


@dataclass
class Step:
    """The input of one training step."""

    inputs: Tensor
    targets: list[int]
    margin: float


def record_steps(monkeypatch: pytest.MonkeyPatch, settings: Training, photos: LabelledPhotos) -> list[Step]:
    """Train; return the input of every step."""
    steps: list[Step] = []
    inputs: list[Tensor] = []

    def recording_build(loss: Loss, classifier: CosineClassifier) -> LossFunction:
        function = build(loss, classifier)

        def loss_function(embeddings: Tensor, classes: Tensor, margin: float) -> Tensor:
            steps.append(Step(inputs[-1], classes.tolist(), margin))
            return function(embeddings, classes, margin)

        return loss_function

    monkeypatch.setattr(engine, "build", recording_build)
    network = new_network(settings, int(photos.classes.max()) + 1)
    network.register_forward_pre_hook(lambda _, args: inputs.append(args[0].clone()))
    run_training(settings, network, photos, validate=False)
    return steps


def find_photo(packed: np.ndarray, photo: Tensor) -> tuple[int, bool] | None:
    """Return the row of `photo` among the packed photos and whether it is mirrored; None if it is augmented."""
    for row, original in enumerate(standardise(torch.from_numpy(packed))):
        if torch.equal(original, photo) or torch.equal(original.flip(2), photo):
            return row, not torch.equal(original, photo)
    return None


@pytest.mark.parametrize("per_whale", [1, 3])
@pytest.mark.parametrize("flip", ["identity", "augment", "off"])
def test_all_photos_in_a_row_are_mirrored_or_none(flip: str, per_whale: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whales, photos = 4, stripes(4, 3)
    settings = training(flip=flip, augment=False, per_whale=per_whale, batch_size=6, epochs=2)
    steps = record_steps(monkeypatch, settings, photos)
    rows, flips = [], set()
    for step in steps:
        matches = [find_photo(photos.packed, photo) or (-1, False) for photo in step.inputs]
        rows += [row for row, _ in matches]
        flips |= {mirrored for _, mirrored in matches}
        # with identity, the classes of mirrored whales follow the others
        offsets = [whales if mirrored and flip == "identity" else 0 for _, mirrored in matches]
        assert step.targets == [photos.classes[row] + offset for (row, _), offset in zip(matches, offsets, strict=True)]
        for start in range(0, len(matches), per_whale):
            assert len({(photos.classes[row], mirrored) for row, mirrored in matches[start : start + per_whale]}) == 1
    assert flips == ({False} if flip == "off" else {False, True})
    assert sorted(rows[:12]) == sorted(rows[12:]) == list(range(12))  # each epoch has every photo


def test_steps_get_augmented_photos_oversampled_whales_and_a_growing_margin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photos = stripes(3, 2)
    settings = training(epochs=4, batch_size=8, oversample=5, loss=LOSSES["cosface"])  # two steps per epoch
    steps = record_steps(monkeypatch, settings, photos)
    assert find_photo(photos.packed, steps[0].inputs[0]) is None
    assert [step.margin for step in steps] == [0, 0.25, 0.5, 0.75, 1, 1, 1, 1]
    targets = steps[0].targets + steps[1].targets
    assert [targets.count(whale) for whale in range(3)] == [5, 5, 5]


RESUME_CASES: list[Any] = [
    *(
        ("squeezenet1_1", cut, {"loss": LOSSES[name], "flip": "identity", "oversample": 5, "batch_size": 6})
        for name, cut in (("softmax", 1), ("cosface", 2), ("arcface", 1), ("subcentre", 2))
    ),
    ("squeezenet1_1", 2, PAIRS | {"flip": "identity"}),
    ("squeezenet1_1", 1, {"layers": "last", "flip": "augment", "augment": False}),
    ("squeezenet1_1", 1, {"layers": "last", "flip": "augment"}),
    ("efficientnet_b0", 1, {"layers": "upper", "epochs": 2}),  # has batch norms and dropout
    ("efficientnet_b0", 1, {"epochs": 2}),
    pytest.param("resnet18", 1, {"epochs": 2}, marks=pytest.mark.long),
    pytest.param("resnet18", 1, {"epochs": 2, "layers": "upper"}, marks=pytest.mark.long),
]


@pytest.mark.parametrize(("backbone", "cut", "changes"), RESUME_CASES)
def test_a_repeated_and_a_resumed_training_end_in_the_same_bytes(
    backbone: str, cut: int, changes: dict[str, Any]
) -> None:
    settings, photos = training(**changes), stripes(3, 4)
    val_set = photos.subset(slice(5))
    uninterrupted = new_network(settings, backbone=backbone)
    *_, last = train(uninterrupted, photos, val_set, settings, 0)

    epochs = train(new_network(settings, backbone=backbone), photos, val_set, settings, 0)
    content = [state.save(next(epochs), "digest") for _ in range(cut)][-1]
    # the state contains all weights, so that the initial ones do not matter
    resumed = new_network(settings, backbone=backbone, seed=99)
    states = list(train(resumed, photos, val_set, settings, 0, state.load(content, "digest", "state")))
    assert len(states) == settings.epochs - cut
    assert [epoch.learning for epoch in states[-1].epochs] == [epoch.learning for epoch in last.epochs]
    assert weights(resumed) == weights(uninterrupted)


def test_compile_compiles_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    batch_sizes: list[int] = []

    def fake_compile(network: Network, dynamic: bool) -> Callable[[Tensor], Tensor]:
        assert not dynamic  # batches have at most two sizes

        def forward(photos: Tensor) -> Tensor:
            batch_sizes.append(len(photos))
            embeddings: Tensor = network(photos)
            return embeddings

        return forward

    monkeypatch.setattr(torch, "compile", fake_compile)
    run_training(training(epochs=1, compile=True))
    assert batch_sizes == [6, 6]


def test_validation_ignores_the_classes_of_mirrored_whales() -> None:
    photos = stripes(3, 4)
    network, history = run_training(training(flip="identity", epochs=1))
    embeddings = torch.from_numpy(embed(network, photos.packed, photos.rows, mirrored=False)[0])
    with torch.no_grad():
        cosines = network.classifier(embeddings)[:, :3]
    accuracy = (cosines.argmax(dim=1).numpy() == photos.classes).mean()
    assert history[0]["validation_accuracy"] == pytest.approx(accuracy)
    expected = F.cross_entropy(16 * cosines, torch.from_numpy(photos.classes)).item()
    assert history[0]["validation_loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("flip", ["identity", "augment", "off"])
def test_after_triplet_each_prototype_is_the_mean_of_its_photos(flip: str) -> None:
    photos = stripes(3, 4)
    network, _ = run_training(training(**PAIRS, epochs=1, flip=flip))
    embeddings = torch.from_numpy(embed(network, photos.packed, photos.rows, mirrored=True))
    prototypes = network.classifier.prototypes()[:, 0]
    assert len(prototypes) == (6 if flip == "identity" else 3)
    for index, prototype in enumerate(prototypes):
        total = embeddings[index // 3, photos.classes == index % 3].sum(dim=0)
        torch.testing.assert_close(prototype, F.normalize(total, dim=0), atol=1e-5, rtol=0)
