"""The loop learns, alike on every run and after every kill; what it shows, and of what it asks how much."""

from collections.abc import Callable, Mapping
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
from whaleid.training.state import State

CPU = torch.device("cpu")
LOSSES: list[dict[str, Any]] = [
    {"kind": "softmax", "scale": 16, "margin": 0, "centres": 1},
    {"kind": "cosface", "scale": 24, "margin": 0.3, "centres": 1},
    {"kind": "arcface", "scale": 24, "margin": 0.3, "centres": 1},
    {"kind": "arcface", "scale": 24, "margin": 0.3, "centres": 3},
    {"kind": "triplet", "scale": 16, "margin": 0.3, "centres": 1},
]
TRIPLET = LOSSES[-1]
NOTHING = LabelledPhotos(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))


def new(settings: Training, whales: int = 3, backbone: str = "squeezenet1_1", seed: int = 0) -> Network:
    torch.manual_seed(seed)
    columns = whales * (2 if settings.flip == "identity" else 1)
    return Network(backbone, 16, columns, getattr(settings.loss, "centres", 1))


def learn(
    settings: Training, network: Network | None = None, whales: int = 3, photos: int = 4, check: bool = True
) -> tuple[Network, list[dict[str, float]]]:
    packed, of = stripes(whales, photos)
    network = network or new(settings, whales)
    logged: list[Mapping[str, float]] = []

    def log(number: int, figures: Mapping[str, float]) -> None:
        logged.append(figures)
        assert number == len(logged)

    epochs = train(network, packed, of, of if check else NOTHING, settings, 0, CPU, log, lambda _: None)
    assert logged == [epoch.learning | epoch.speed for epoch in epochs]
    assert len(logged) == settings.epochs
    assert all(epoch.speed["photos_per_second"] > 0 for epoch in epochs)
    assert not network.training
    return network, [epoch.learning for epoch in epochs]


def test_the_loop_learns_and_does_so_alike_twice() -> None:
    settings = training(epochs=6, lr=0.003)
    network, history = learn(settings, new(settings, backbone="resnet18"), photos=16)
    assert list(history[0]) == ["lr", "loss", "accuracy", "validation_loss", "validation_accuracy"]
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert history[-1]["validation_loss"] < 0.8 < np.log(3)  # what guessing among three costs
    again, same = learn(settings, new(settings, backbone="resnet18"), photos=16)
    assert same == history
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


@pytest.mark.parametrize("settings", LOSSES[1:], ids=lambda settings: f"{settings['kind']}-{settings['centres']}")
def test_every_loss_learns(settings: dict[str, Any]) -> None:
    batches = {"batch_size": 8, "per_whale": 4} if settings is TRIPLET else {"batch_size": 16}
    given = training(loss=settings, epochs=8, lr=0.003, augment=False, **batches)
    network, history = learn(given, new(given, backbone="resnet18"), photos=16)
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    packed, of = stripes(3, 16)
    with torch.no_grad():
        cosines = network.classifier(torch.from_numpy(embed(network, packed, of.rows, CPU, mirrored=False)[0]))
    assert (cosines.argmax(dim=1).numpy() == of.classes).mean() > 0.7  # 0.33 by guessing
    if settings is TRIPLET:  # it has no classes before it has ended
        assert {tuple(figures) for figures in history} == {("lr", "loss")}
    else:
        expected = F.cross_entropy(settings["scale"] * cosines, torch.from_numpy(of.classes)).item()
        assert history[-1]["validation_loss"] == pytest.approx(expected, rel=1e-4)


def test_without_photos_to_check_nothing_is_measured() -> None:
    _, history = learn(training(epochs=1), check=False)
    assert list(history[0]) == ["lr", "loss", "accuracy"]


@pytest.mark.parametrize("settings", LOSSES[:-1], ids=lambda settings: f"{settings['kind']}-{settings['centres']}")
def test_the_last_layer_alone(settings: dict[str, Any]) -> None:
    given = training(epochs=1, layers="last", loss=settings)
    network = new(given)
    hidden = {name: weight.clone() for name, weight in network.embedder.state_dict().items()}
    last = network.classifier.weight.detach().clone()
    learn(given, network)
    assert all(torch.equal(hidden[name], weight) for name, weight in network.embedder.state_dict().items())
    assert not torch.equal(last, network.classifier.weight)


@pytest.mark.parametrize("flip", ["identity", "augment", "off"])
def test_a_last_layer_that_learns_alone_computes_the_others_once(flip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = training(epochs=4, layers="last", augment=False, flip=flip)
    network = new(given)
    seen: list[int] = []
    network.register_forward_pre_hook(lambda _, taken: seen.append(len(taken[0])))
    _, history = learn(given, network, check=False)
    views = 1 if flip == "off" else 2
    assert sum(seen) == 12 * (views + (2 if flip == "identity" else 1))  # and before, where classes begin

    # as if it computed them anew for each batch
    monkeypatch.setattr(loader, "augment", lambda photos, _: photos)
    again = new(given)
    _, expected = learn(training(epochs=4, layers="last", augment=True, flip=flip), again, check=False)
    assert [epoch["loss"] for epoch in history] == pytest.approx([epoch["loss"] for epoch in expected], rel=1e-4)
    torch.testing.assert_close(network.classifier.weight, again.classifier.weight, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("augment", "refused"), [(False, False), (True, True)])
def test_small_batches_are_refused_only_where_processes_share_them(augment: bool, refused: bool) -> None:
    given = training(epochs=1, layers="last", augment=augment, batch_size=4)
    packed, of = stripes(3, 4)

    class Begun(Exception):
        """Training goes on after batches are checked."""

    class Processes(ProcessGroup):
        def part(self, rows: int) -> slice:
            raise Begun

    with pytest.raises(WhaleidError if refused else Begun):
        train(new(given), packed, of, NOTHING, given, 0, CPU, lambda *_: None, lambda _: None, None, Processes(0, 3))


@pytest.mark.parametrize("layers", ["all", "upper"])
def test_the_upper_layers_alone(layers: str) -> None:
    given = training(epochs=1, layers=layers)
    network = new(given, backbone="resnet18")
    before = {name: value.clone() for name, value in network.backbone.body.state_dict().items()}
    learn(given, network)
    after = network.backbone.body.state_dict()
    still = {name for name, value in before.items() if torch.equal(value, after[name])}
    # their statistics are those of the photos, not those of the photos that the weights come from
    early = {
        "conv1.weight",
        *(name for name in before if name.startswith(("bn1.", "layer1.")) and name.endswith(("weight", "bias"))),
    }
    assert still == (early if layers == "upper" else set())


@dataclass
class Batch:
    """What one step saw and was asked for."""

    inputs: Tensor
    targets: list[int]
    share: float


def watch(monkeypatch: pytest.MonkeyPatch, settings: Training, whales: int, photos: int) -> list[Batch]:
    """Train, and return what every step saw."""
    seen: list[Batch] = []
    inputs: list[Tensor] = []

    def watched(loss: Loss, last: CosineClassifier) -> LossFunction:
        function = build(loss, last)

        def lower(embeddings: Tensor, classes: Tensor, share: float) -> Tensor:
            seen.append(Batch(inputs[-1], classes.tolist(), share))
            return function(embeddings, classes, share)

        return lower

    monkeypatch.setattr(engine, "build", watched)
    network = new(settings, whales)
    network.register_forward_pre_hook(lambda _, given: inputs.append(given[0].clone()))
    learn(settings, network, whales, photos, check=False)
    return seen


def recognise(packed: np.ndarray, photo: Tensor) -> tuple[int, bool]:
    """Return which of the packed photos `photo` is, unchanged, and whether it is mirrored."""
    plain = standardise(torch.from_numpy(packed))
    for row in range(len(packed)):
        for mirrored, view in ((False, plain[row]), (True, plain[row].flip(2))):
            if torch.equal(view, photo):
                return row, mirrored
    raise AssertionError("this photo is none of them")


@pytest.mark.parametrize("per_whale", [1, 3])
@pytest.mark.parametrize("flip", ["identity", "augment", "off"])
def test_photos_that_are_together_are_mirrored_together(
    flip: str, per_whale: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whales, photos = 4, 3
    packed, of = stripes(whales, photos)
    settings = training(flip=flip, augment=False, per_whale=per_whale, batch_size=6, epochs=2)
    batches = watch(monkeypatch, settings, whales, photos)
    mirrored_at_all = set()
    for batch in batches:
        found = [recognise(packed, photo) for photo in batch.inputs]
        for (row, mirrored), target in zip(found, batch.targets, strict=True):
            mirrored_at_all.add(mirrored)
            # a mirrored fluke is another whale, or the same
            assert target == of.classes[row] + (whales if mirrored and flip == "identity" else 0)
        for start in range(0, len(found), per_whale):
            one = found[start : start + per_whale]
            assert len({mirrored for _, mirrored in one}) == 1
            assert len({of.classes[row] for row, _ in one}) == 1
    assert mirrored_at_all == ({False} if flip == "off" else {False, True})
    an_epoch = len(batches) // 2
    for epoch in (batches[:an_epoch], batches[an_epoch:]):
        rows = [recognise(packed, photo)[0] for batch in epoch for photo in batch.inputs]
        assert sorted(rows) == list(range(len(packed)))


def test_augmented_photos_are_other_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    packed, _ = stripes(3, 4)
    (first, *_) = watch(monkeypatch, training(epochs=1), 3, 4)
    with pytest.raises(AssertionError, match="none of them"):
        recognise(packed, first.inputs[0])


def test_the_margin_is_asked_for_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = training(epochs=4, batch_size=6, loss=LOSSES[1])  # two steps an epoch
    shares = [batch.share for batch in watch(monkeypatch, settings, 3, 4)]
    assert shares == [0, 0.25, 0.5, 0.75, 1, 1, 1, 1]


def test_rare_whales_are_shown_more_than_once(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = watch(monkeypatch, training(epochs=1, oversample=5), 3, 2)
    targets = [target for batch in batches for target in batch.targets]
    assert [targets.count(whale) for whale in range(3)] == [5, 5, 5]


class Killed(Exception):
    """The training ends here."""


def killed_after(epoch: int) -> Callable[[int, Mapping[str, float]], None]:
    def log(number: int, _: Mapping[str, float]) -> None:
        if number == epoch + 1:
            raise Killed

    return log


def whole_and_resumed(
    settings: Training, cut: int, backbone: str = "squeezenet1_1"
) -> tuple[list[object], list[object]]:
    """Train undisturbed, and killed in the epoch after `cut` and resumed; return the weights' bytes and the history."""
    packed, of = stripes(3, 4)
    val_set = LabelledPhotos(of.rows[:5], of.classes[:5])

    def run(
        network: Network,
        log: Callable[[int, Mapping[str, float]], None] = lambda *_: None,
        saved: State | None = None,
    ) -> tuple[list[object], list[State]]:
        states: list[State] = []

        def keep(current: State) -> None:
            states.append(state.load(state.save(current, "digest"), "digest", "its file"))

        try:
            epochs = train(network, packed, of, val_set, settings, 0, CPU, log, keep, saved)
        except Killed:
            return [], states
        weights = [value.numpy().tobytes() for value in network.state_dict().values()]
        return [*weights, *(epoch.learning for epoch in epochs)], states

    whole, states = run(new(settings, backbone=backbone))
    assert len(states) == settings.epochs - 1  # none after the last epoch: it is done
    _, states = run(new(settings, backbone=backbone), killed_after(cut))
    assert len(states) == cut

    logged: list[tuple[int, Mapping[str, float]]] = []
    # the state holds all weights: those that it starts with do not matter
    resumed, later = run(new(settings, backbone=backbone, seed=99), lambda *line: logged.append(line), states[-1])
    assert [number for number, _ in logged] == list(range(1, settings.epochs + 1))
    for (_, figures), epoch in zip(logged, states[-1].epochs, strict=False):  # those before, as they were
        assert figures == epoch.learning | epoch.speed
    assert len(later) == settings.epochs - 1 - cut
    return whole, resumed


@pytest.fixture
def every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save the state after every epoch."""
    monkeypatch.setattr(engine, "SAVE_SECONDS", 0.0)


@pytest.mark.parametrize(("seconds", "epochs"), [(0.0, [1, 2, 3]), (1000.0, [1])])
def test_the_state_is_saved_so_many_seconds_apart(
    seconds: float, epochs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "SAVE_SECONDS", seconds)
    packed, of = stripes(3, 4)
    settings, saved = training(epochs=4), []
    train(
        new(settings),
        packed,
        of,
        NOTHING,
        settings,
        0,
        CPU,
        lambda *_: None,
        lambda state: saved.append(len(state.epochs)),
    )
    assert saved == epochs


@pytest.mark.parametrize("cut", [1, 2])
@pytest.mark.parametrize("settings", LOSSES, ids=lambda settings: f"{settings['kind']}-{settings['centres']}")
@pytest.mark.usefixtures("every_epoch")
def test_a_killed_training_resumes_to_the_same_bytes(settings: dict[str, Any], cut: int) -> None:
    per_whale = 2 if settings is TRIPLET else 1
    whole, resumed = whole_and_resumed(
        training(loss=settings, flip="identity", oversample=5, per_whale=per_whale, batch_size=6), cut
    )
    assert resumed == whole


@pytest.mark.usefixtures("every_epoch")
def test_a_killed_training_of_the_last_layer_resumes() -> None:
    whole, resumed = whole_and_resumed(training(layers="last", flip="augment"), 1)
    assert resumed == whole


@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_b0"])  # with batch norms; with layers that draw
@pytest.mark.parametrize("layers", ["all", "upper"])
@pytest.mark.usefixtures("every_epoch")
def test_a_killed_training_resumes_whatever_its_layers_keep(layers: str, backbone: str) -> None:
    whole, resumed = whole_and_resumed(training(epochs=2, layers=layers), 1, backbone)
    assert resumed == whole


@pytest.mark.parametrize("compiles", [True, False])
def test_the_network_is_compiled_where_the_parameters_say_so(compiles: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def compiled(network: Network, dynamic: bool) -> Callable[[Tensor], Tensor]:
        assert not dynamic  # there are two sizes of a batch at most

        def forward(photos: Tensor) -> Tensor:
            calls.append(len(photos))
            embeddings: Tensor = network(photos)
            return embeddings

        return forward

    monkeypatch.setattr(torch, "compile", compiled)
    learn(training(epochs=1, compile=compiles))
    assert calls == ([6, 6] if compiles else [])


def test_mirrored_whales_are_no_answer_to_photos_as_they_are() -> None:
    settings = training(flip="identity", epochs=1)
    packed, of = stripes(3, 4)
    network, history = learn(settings)
    embeddings = torch.from_numpy(embed(network, packed, of.rows, CPU, mirrored=False)[0])
    with torch.no_grad():
        cosines = network.classifier(embeddings)[:, :3]
    found = (cosines.argmax(dim=1).numpy() == of.classes).mean()
    assert history[0]["validation_accuracy"] == pytest.approx(found)
    expected = F.cross_entropy(16 * cosines, torch.from_numpy(of.classes)).item()
    assert history[0]["validation_loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("flip", ["identity", "augment", "off"])
def test_after_triplet_each_class_is_the_mean_of_its_photos(flip: str) -> None:
    packed, of = stripes(3, 4)
    settings = training(loss=TRIPLET, per_whale=2, batch_size=6, epochs=1, flip=flip)
    network, _ = learn(settings)
    plain, mirrored = (torch.from_numpy(view) for view in embed(network, packed, of.rows, CPU, mirrored=True))
    found = network.classifier.directions()[:, 0]
    assert len(found) == (6 if flip == "identity" else 3)
    for column in range(len(found)):
        view = mirrored if column >= 3 else plain
        total = sum(view[row] for row in range(len(packed)) if of.classes[row] == column % 3)
        assert isinstance(total, Tensor)
        torch.testing.assert_close(found[column], F.normalize(total, dim=0), atol=1e-5, rtol=0)
