"""The loop learns, alike on every run and after every kill; what it trains, and what each step gets."""

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
CHECKED = ["lr", "loss", "accuracy", "validation_loss", "validation_accuracy"]


def new(settings: Training, whales: int = 3, backbone: str = "squeezenet1_1", seed: int = 0) -> Network:
    torch.manual_seed(seed)
    columns = whales * (2 if settings.flip == "identity" else 1)
    return Network(backbone, 16, columns, settings.loss.centres)


def learn(
    settings: Training, network: Network | None = None, photos: LabelledPhotos | None = None, check: bool = True
) -> tuple[Network, list[dict[str, float]]]:
    """Train; return the network and the figures of each epoch."""
    photos = photos or stripes(3, 4)
    network = network or new(settings)
    states = list(train(network, photos, photos if check else photos.subset(slice(0)), settings, 0))
    assert [len(each.epochs) for each in states] == list(range(1, settings.epochs + 1))
    assert all(epoch.speed["photos_per_second"] > 0 for epoch in states[-1].epochs)
    assert not network.training
    return network, [epoch.learning for epoch in states[-1].epochs]


def weights(network: Network) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in network.state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss", ["cosface", *(pytest.param(name, marks=pytest.mark.long) for name in ("softmax", "arcface", "subcentre"))]
)
def test_the_loop_learns_with_every_loss(loss: str) -> None:
    settings = training(loss=LOSSES[loss], epochs=8, lr=0.003, augment=False, batch_size=16)
    photos = stripes(3, 16)
    network, history = learn(settings, new(settings, backbone="resnet18"), photos)
    assert list(history[0]) == CHECKED
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    with torch.no_grad():
        cosines = network.classifier(torch.from_numpy(embed(network, photos.packed, photos.rows, mirrored=False)[0]))
    assert (cosines.argmax(dim=1).numpy() == photos.classes).mean() > 0.7  # 0.33 by guessing
    expected = F.cross_entropy(settings.loss.scale * cosines, torch.from_numpy(photos.classes)).item()
    assert history[-1]["validation_loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_triplet_learns_and_has_no_classes_before_its_end() -> None:
    settings = training(**PAIRS | {"per_whale": 4, "batch_size": 8}, epochs=8, lr=0.003, augment=False)
    photos = stripes(3, 16)
    network, history = learn(settings, new(settings, backbone="resnet18"), photos)
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert {tuple(figures) for figures in history} == {("lr", "loss")}
    embeddings = embed(network, photos.packed, photos.rows, mirrored=False)[0]
    directions = network.classifier.prototypes().detach().numpy()[:, 0]
    assert ((embeddings @ directions.T).argmax(axis=1) == photos.classes).mean() > 0.7


@pytest.mark.long
def test_the_loop_learns_from_photos_that_change() -> None:
    settings = training(epochs=6, lr=0.003)
    _, history = learn(settings, new(settings, backbone="resnet18"), stripes(3, 16))
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert history[-1]["validation_loss"] < 0.8 < np.log(3)  # what guessing among three costs


@pytest.mark.parametrize("flip", ["identity", "augment", "off"])
def test_a_last_layer_that_learns_alone_computes_the_others_once(flip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = training(epochs=4, layers="last", augment=False, flip=flip, loss=LOSSES["cosface"])
    network = new(settings)
    embedder = weights(network.embedder)
    embedded: list[int] = []
    network.register_forward_pre_hook(lambda _, inputs: embedded.append(len(inputs[0])))
    _, history = learn(settings, network, check=False)
    assert list(history[0]) == ["lr", "loss", "accuracy"]
    assert weights(network.embedder) == embedder
    flips = 1 if flip == "off" else 2
    assert sum(embedded) == 12 * (flips + (2 if flip == "identity" else 1))  # and before, where classes begin

    # as if it computed them anew for each batch
    monkeypatch.setattr(loader, "augment", lambda photos, _: photos)
    again = new(settings)
    _, expected = learn(settings.model_copy(update={"augment": True}), again, check=False)
    assert [epoch["loss"] for epoch in history] == pytest.approx([epoch["loss"] for epoch in expected], rel=1e-4)
    torch.testing.assert_close(network.classifier.weight, again.classifier.weight, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("augment", "refused"), [(False, False), (True, True)])
def test_small_batches_are_refused_only_where_processes_share_them(augment: bool, refused: bool) -> None:
    settings = training(epochs=1, layers="last", augment=augment, batch_size=4)
    photos = stripes(3, 4)

    class Begun(Exception):
        """Training goes on after batches are checked."""

    class Processes(ProcessGroup):
        def shard(self, rows: int) -> slice:
            raise Begun

    with pytest.raises(WhaleidError if refused else Begun):
        next(train(new(settings), photos, photos.subset(slice(0)), settings, 0, processes=Processes(rank=0, size=3)))


@pytest.mark.parametrize("layers", ["all", "upper"])
def test_the_upper_layers_alone(layers: str) -> None:
    settings = training(epochs=1, layers=layers)
    network = new(settings, backbone="resnet18")
    before = weights(network.backbone.body)
    learn(settings, network, check=False)
    after = weights(network.backbone.body)
    # their statistics are those of the photos, not those of the photos that the weights come from
    early = {
        "conv1.weight",
        *(name for name in before if name.startswith(("bn1.", "layer1.")) and name.endswith(("weight", "bias"))),
    }
    unchanged = {name for name, value in before.items() if value == after[name]}
    assert unchanged == (early if layers == "upper" else set())


@dataclass
class Batch:
    """What one step got."""

    inputs: Tensor
    targets: list[int]
    margin: float


def watch(monkeypatch: pytest.MonkeyPatch, settings: Training, photos: LabelledPhotos) -> list[Batch]:
    """Train, and return what every step got."""
    batches: list[Batch] = []
    inputs: list[Tensor] = []

    def watched(loss: Loss, last: CosineClassifier) -> LossFunction:
        function = build(loss, last)

        def call(embeddings: Tensor, classes: Tensor, margin: float) -> Tensor:
            batches.append(Batch(inputs[-1], classes.tolist(), margin))
            return function(embeddings, classes, margin)

        return call

    monkeypatch.setattr(engine, "build", watched)
    network = new(settings, int(photos.classes.max()) + 1)
    network.register_forward_pre_hook(lambda _, args: inputs.append(args[0].clone()))
    learn(settings, network, photos, check=False)
    return batches


def recognise(packed: np.ndarray, photo: Tensor) -> tuple[int, bool] | None:
    """Return which of the packed photos `photo` is, unchanged, and whether it is mirrored."""
    for row, plain in enumerate(standardise(torch.from_numpy(packed))):
        if torch.equal(plain, photo) or torch.equal(plain.flip(2), photo):
            return row, not torch.equal(plain, photo)
    return None


@pytest.mark.parametrize("per_whale", [1, 3])
@pytest.mark.parametrize("flip", ["identity", "augment", "off"])
def test_photos_that_are_together_are_mirrored_together(
    flip: str, per_whale: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whales, photos = 4, stripes(4, 3)
    settings = training(flip=flip, augment=False, per_whale=per_whale, batch_size=6, epochs=2)
    batches = watch(monkeypatch, settings, photos)
    rows, flips = [], set()
    for batch in batches:
        known = [recognise(photos.packed, photo) or (-1, False) for photo in batch.inputs]
        rows += [row for row, _ in known]
        flips |= {mirrored for _, mirrored in known}
        # a mirrored fluke is another whale, or the same
        other = [whales if mirrored and flip == "identity" else 0 for _, mirrored in known]
        assert batch.targets == [photos.classes[row] + more for (row, _), more in zip(known, other, strict=True)]
        for start in range(0, len(known), per_whale):
            assert len({(photos.classes[row], mirrored) for row, mirrored in known[start : start + per_whale]}) == 1
    assert flips == ({False} if flip == "off" else {False, True})
    assert sorted(rows[:12]) == sorted(rows[12:]) == list(range(12))  # each epoch has every photo


def test_steps_get_changed_photos_rare_whales_more_often_and_a_margin_that_grows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photos = stripes(3, 2)
    settings = training(epochs=4, batch_size=8, oversample=5, loss=LOSSES["cosface"])  # two steps an epoch
    batches = watch(monkeypatch, settings, photos)
    assert recognise(photos.packed, batches[0].inputs[0]) is None
    assert [batch.margin for batch in batches] == [0, 0.25, 0.5, 0.75, 1, 1, 1, 1]
    targets = batches[0].targets + batches[1].targets
    assert [targets.count(whale) for whale in range(3)] == [5, 5, 5]


RESUMED: list[Any] = [
    *(
        ("squeezenet1_1", cut, {"loss": LOSSES[name], "flip": "identity", "oversample": 5, "batch_size": 6})
        for name, cut in (("softmax", 1), ("cosface", 2), ("arcface", 1), ("subcentre", 2))
    ),
    ("squeezenet1_1", 2, PAIRS | {"flip": "identity"}),
    ("squeezenet1_1", 1, {"layers": "last", "flip": "augment", "augment": False}),
    ("squeezenet1_1", 1, {"layers": "last", "flip": "augment"}),
    ("efficientnet_b0", 1, {"layers": "upper", "epochs": 2}),  # with batch norms, and layers that draw
    ("efficientnet_b0", 1, {"epochs": 2}),
    pytest.param("resnet18", 1, {"epochs": 2}, marks=pytest.mark.long),
    pytest.param("resnet18", 1, {"epochs": 2, "layers": "upper"}, marks=pytest.mark.long),
]


@pytest.mark.parametrize(("backbone", "cut", "changes"), RESUMED)
def test_a_training_that_is_repeated_or_resumed_ends_in_the_same_bytes(
    backbone: str, cut: int, changes: dict[str, Any]
) -> None:
    settings, photos = training(**changes), stripes(3, 4)
    val_set = photos.subset(slice(5))
    whole = new(settings, backbone=backbone)
    *_, last = train(whole, photos, val_set, settings, 0)

    run = train(new(settings, backbone=backbone), photos, val_set, settings, 0)
    content = [state.save(next(run), "digest") for _ in range(cut)][-1]
    # the state holds all weights: those that it starts with do not matter
    resumed = new(settings, backbone=backbone, seed=99)
    states = list(train(resumed, photos, val_set, settings, 0, state.load(content, "digest", "its file")))
    assert len(states) == settings.epochs - cut
    assert [epoch.learning for epoch in states[-1].epochs] == [epoch.learning for epoch in last.epochs]
    assert weights(resumed) == weights(whole)


def test_the_network_is_compiled_where_the_parameters_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def compiled(network: Network, dynamic: bool) -> Callable[[Tensor], Tensor]:
        assert not dynamic  # there are two sizes of a batch at most

        def forward(photos: Tensor) -> Tensor:
            calls.append(len(photos))
            embeddings: Tensor = network(photos)
            return embeddings

        return forward

    monkeypatch.setattr(torch, "compile", compiled)
    learn(training(epochs=1, compile=True))
    assert calls == [6, 6]


def test_mirrored_whales_are_no_answer_to_photos_as_they_are() -> None:
    photos = stripes(3, 4)
    network, history = learn(training(flip="identity", epochs=1))
    embeddings = torch.from_numpy(embed(network, photos.packed, photos.rows, mirrored=False)[0])
    with torch.no_grad():
        cosines = network.classifier(embeddings)[:, :3]
    right = (cosines.argmax(dim=1).numpy() == photos.classes).mean()
    assert history[0]["validation_accuracy"] == pytest.approx(right)
    expected = F.cross_entropy(16 * cosines, torch.from_numpy(photos.classes)).item()
    assert history[0]["validation_loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("flip", ["identity", "augment", "off"])
def test_after_triplet_each_class_is_the_mean_of_its_photos(flip: str) -> None:
    photos = stripes(3, 4)
    network, _ = learn(training(**PAIRS, epochs=1, flip=flip))
    embeddings = torch.from_numpy(embed(network, photos.packed, photos.rows, mirrored=True))
    classes = network.classifier.prototypes()[:, 0]
    assert len(classes) == (6 if flip == "identity" else 3)
    for column, direction in enumerate(classes):
        total = embeddings[column // 3, photos.classes == column % 3].sum(dim=0)
        torch.testing.assert_close(direction, F.normalize(total, dim=0), atol=1e-5, rtol=0)
