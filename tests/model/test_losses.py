"""Each loss against one that is worked out photo by photo."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from whaleid.config import Loss
from whaleid.model.losses import build
from whaleid.model.network import CosineClassifier, Network

CLASSES = [0, 1, 2, 0, 3, 1, 0]  # of seven photos: two classes have one photo, 2 and 3
SOFTMAX = {"kind": "softmax", "scale": 16, "margin": 0, "centres": 1}
COSFACE = {"kind": "cosface", "scale": 24, "margin": 0.3, "centres": 1}
ARCFACE = {"kind": "arcface", "scale": 24, "margin": 0.4, "centres": 1}
SUBCENTRE = {"kind": "arcface", "scale": 24, "margin": 0.4, "centres": 3}
TRIPLET = {"kind": "triplet", "scale": 16, "margin": 0.3, "centres": 1}
TRAIN_LAST = [SOFTMAX, COSFACE, ARCFACE, SUBCENTRE]


def loss(settings: dict[str, Any]) -> Loss:
    return Loss.model_validate(settings)


def last_layer(settings: dict[str, Any], embedding: int = 5, classes: int = 4) -> CosineClassifier:
    torch.manual_seed(0)
    last = CosineClassifier(embedding, classes, settings.get("centres", 1))
    with torch.no_grad():
        last.weight.copy_(torch.randn_like(last.weight))  # of any length: only directions count
    return last


def unit(*rows: list[float]) -> Tensor:
    return F.normalize(torch.tensor(rows)).requires_grad_()


def photos(count: int = len(CLASSES), embedding: int = 5) -> Tensor:
    return F.normalize(torch.randn(count, embedding, generator=torch.Generator().manual_seed(1))).requires_grad_()


def cosine(one: list[float], other: list[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / math.sqrt(sum(a * a for a in one)) / math.sqrt(sum(b * b for b in other))


def with_margin(kind: str, value: float, margin: float) -> float:
    """Return the cosine of a photo's own class after the margin is asked for."""
    if kind == "softmax":
        return value
    if kind == "cosface":
        return value - margin
    angle = math.acos(value)
    # beyond half a turn the cosine would rise again
    return math.cos(angle + margin) if angle <= math.pi - margin else value - margin * math.sin(margin)


def slow(
    settings: dict[str, Any], last: CosineClassifier, embeddings: Tensor, classes: list[int], share: float
) -> float:
    columns = last.weight.T.tolist()  # those of a class lie side by side
    total = 0.0
    for embedding, own in zip(embeddings.tolist(), classes, strict=True):
        cosines = [
            max(cosine(embedding, columns[label * last.centres + centre]) for centre in range(last.centres))
            for label in range(last.classes)
        ]
        cosines[own] = with_margin(settings["kind"], cosines[own], share * settings.get("margin", 0))
        powers = [math.exp(settings["scale"] * each) for each in cosines]
        total -= math.log(powers[own] / sum(powers))
    return total / len(classes)


def slow_triplet(margin: float, embeddings: Tensor, classes: list[int]) -> float:
    """Hermans et al.: of each photo the hardest pair; the mean of those that are not yet far enough apart."""
    rows = embeddings.tolist()
    short = []
    for place, own in enumerate(classes):
        far = [math.dist(rows[place], rows[i]) for i, label in enumerate(classes) if label == own and i != place]
        near = [math.dist(rows[place], rows[i]) for i, label in enumerate(classes) if label != own]
        if far and near and max(far) - min(near) + margin > 0:
            short.append(max(far) - min(near) + margin)
    return sum(short) / len(short) if short else 0.0


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("settings", TRAIN_LAST, ids=lambda settings: settings["kind"])
def test_losses_that_train_the_last_layer(settings: dict[str, Any], share: float) -> None:
    last, embeddings = last_layer(settings), photos()
    result = build(loss(settings), last)(embeddings, torch.tensor(CLASSES), share)
    assert result.shape == ()
    assert result.item() == pytest.approx(slow(settings, last, embeddings, CLASSES, share), rel=1e-4)


@pytest.mark.parametrize("settings", [COSFACE, ARCFACE, SUBCENTRE], ids=lambda settings: settings["kind"])
def test_a_share_of_the_margin_is_asked_for_whatever_was_asked_before(settings: dict[str, Any]) -> None:
    function = build(loss(settings), last_layer(settings))
    full, half, none, again = (function(photos(), torch.tensor(CLASSES), share).item() for share in (1, 0.5, 0, 1))
    assert none < half < full == again


def test_softmax_and_triplet_know_no_share() -> None:
    for settings in (SOFTMAX, TRIPLET):
        function = build(loss(settings), last_layer(settings))
        result = {function(photos(), torch.tensor(CLASSES), share).item() for share in (0.0, 0.5, 1.0)}
        assert len(result) == 1


def test_margins_by_hand() -> None:
    # a photo between two classes, 60 degrees from its own and 30 from the other
    embeddings = unit([0.5, math.sqrt(0.75)])
    last = CosineClassifier(2, 2, 1)
    with torch.no_grad():
        last.weight.copy_(torch.eye(2))
    own, other = torch.tensor([0]), math.cos(math.radians(30))
    scale = {"scale": 2, "centres": 1}
    cosface = build(loss({"kind": "cosface", "margin": 0.25} | scale), last)(embeddings, own, 1.0)
    assert cosface.item() == pytest.approx(math.log(1 + math.exp(2 * (other - 0.25))), rel=1e-5)
    arcface = build(loss({"kind": "arcface", "margin": math.radians(30)} | scale), last)(embeddings, own, 1.0)
    assert arcface.item() == pytest.approx(math.log(1 + math.exp(2 * other)), rel=1e-5)  # 60 + 30 degrees: cosine 0


def test_arcface_where_a_photo_is_opposite_to_its_class() -> None:
    embeddings = unit([-1.0, 0.05], [0.05, -1.0])
    last = CosineClassifier(2, 2, 1)
    with torch.no_grad():
        last.weight.copy_(torch.eye(2))
    result = build(loss(ARCFACE), last)(embeddings, torch.tensor([0, 1]), 1.0)
    assert result.item() == pytest.approx(slow(ARCFACE, last, embeddings, [0, 1], 1.0), rel=1e-4)


@pytest.mark.parametrize("settings", [ARCFACE, SUBCENTRE], ids=lambda settings: settings["kind"])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_photo_right_on_its_class_gives_numbers(settings: dict[str, Any], share: float) -> None:
    embeddings = unit([1.0, 0.0], [-1.0, 0.0])
    last = last_layer(settings, embedding=2, classes=2)
    with torch.no_grad():
        last.weight.copy_(torch.tensor([[1.0], [0.0]]).expand_as(last.weight))
    result = build(loss(settings), last)(embeddings, torch.tensor([0, 0]), share)
    result.backward()
    for value in (result, embeddings.grad, last.weight.grad):
        assert value is not None
        assert value.isfinite().all()


@pytest.mark.parametrize("settings", TRAIN_LAST, ids=lambda settings: settings["kind"])
def test_gradients_arrive_at_the_embeddings_and_at_the_last_layer_itself(settings: dict[str, Any]) -> None:
    last, embeddings = last_layer(settings), photos()
    weight = last.weight
    function = build(loss(settings), last)
    result = function(embeddings, torch.tensor(CLASSES), 1.0)
    result.backward()
    assert last.weight is weight
    assert weight.grad is not None
    assert embeddings.grad is not None
    assert embeddings.grad.abs().sum() > 0
    if last.centres == 1:
        assert (weight.grad.abs().sum(dim=0) > 0).all()
    # one step down in the very tensor lowers the loss by what its gradient promises
    with torch.no_grad():
        weight -= 1e-3 * weight.grad
    promised = 1e-3 * weight.grad.square().sum().item()
    assert result.item() - function(embeddings, torch.tensor(CLASSES), 1.0).item() == pytest.approx(promised, rel=0.05)


def test_only_the_closest_centre_of_a_class_is_trained() -> None:
    last, embeddings = last_layer(SUBCENTRE), photos(1)
    build(loss(SUBCENTRE), last)(embeddings, torch.tensor([2]), 1.0).backward()
    assert last.weight.grad is not None
    moved = last.weight.grad.abs().sum(dim=0).reshape(4, 3) > 0
    closest = (embeddings @ F.normalize(last.weight, dim=0)).reshape(4, 3).argmax(dim=1)
    assert moved.tolist() == F.one_hot(closest, 3).bool().tolist()


@pytest.mark.parametrize("classes", [CLASSES, [0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 3, 4, 5, 5]])
def test_triplet_takes_the_hardest_pair_of_each_photo(classes: list[int]) -> None:
    embeddings = photos()
    result = build(loss(TRIPLET), last_layer(TRIPLET))(embeddings, torch.tensor(classes), 1.0)
    assert result.item() == pytest.approx(slow_triplet(0.3, embeddings, classes), rel=1e-4)


def test_triplet_by_hand() -> None:
    # on a circle: whale 0 at 0, 10 and 60 degrees, whale 1 at 90 and 100
    at = [math.radians(degrees) for degrees in (0, 10, 60, 90, 100)]
    embeddings = unit(*([math.cos(angle), math.sin(angle)] for angle in at))

    def chord(degrees: float) -> float:
        return 2 * math.sin(math.radians(degrees) / 2)

    pairs = [(60, 90), (50, 80), (60, 30), (10, 30), (10, 40)]  # hardest positive and negative of each
    for margin in (0.1, 0.6, 2.0):
        short = [chord(far) - chord(near) + margin for far, near in pairs]
        short = [value for value in short if value > 0]
        settings = TRIPLET | {"margin": margin}
        result = build(loss(settings), last_layer(settings))(embeddings, torch.tensor([0, 0, 0, 1, 1]), 1.0)
        assert result.item() == pytest.approx(sum(short) / len(short), rel=1e-4)


def test_a_photo_without_a_partner_adds_nothing_to_triplet() -> None:
    embeddings = photos(5)
    function = build(loss(TRIPLET), last_layer(TRIPLET))
    # whale 2 has one photo: it is a negative of others, but not compared itself
    result = function(embeddings, torch.tensor([0, 0, 1, 1, 2]), 1.0)
    rows = embeddings.tolist()
    short = []
    for place, partner in ((0, 1), (1, 0), (2, 3), (3, 2)):
        others = [math.dist(rows[place], rows[i]) for i in range(5) if i not in (place, partner)]
        short.append(max(0.0, math.dist(rows[place], rows[partner]) - min(others) + 0.3))
    short = [value for value in short if value > 0]
    assert result.item() == pytest.approx(sum(short) / len(short), rel=1e-4)


@pytest.mark.parametrize("classes", [[0, 1, 2], [1, 1, 1]])
def test_a_batch_with_nothing_to_compare_is_no_loss_to_triplet(classes: list[int]) -> None:
    embeddings = photos(3)
    result = build(loss(TRIPLET), last_layer(TRIPLET))(embeddings, torch.tensor(classes), 1.0)
    result.backward()
    assert result.item() == 0
    assert embeddings.grad is not None
    assert embeddings.grad.abs().max() == 0


def test_triplet_of_a_photo_that_is_shown_twice_gives_numbers() -> None:
    embeddings = unit([1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.6, 0.8])
    result = build(loss(TRIPLET | {"margin": 2}), last_layer(TRIPLET))(embeddings, torch.tensor([0, 0, 1, 1]), 1.0)
    result.backward()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()


def test_triplet_leaves_the_last_layer() -> None:
    last, embeddings = last_layer(TRIPLET), photos()
    build(loss(TRIPLET), last)(embeddings, torch.tensor(CLASSES), 1.0).backward()
    assert last.weight.grad is None
    assert embeddings.grad is not None
    assert embeddings.grad.abs().sum() > 0


@pytest.mark.parametrize("settings", [*TRAIN_LAST, TRIPLET], ids=lambda settings: settings["kind"])
def test_embeddings_of_half_precision_give_numbers(settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = Network("squeezenet1_1", 16, 2, settings.get("centres", 1))
    function = build(loss(settings), network.classifier)
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = network(torch.randn(4, 1, 24, 48))
    result = function(embeddings, torch.tensor([0, 0, 1, 1]), 1.0)
    result.backward()
    assert result.dtype == embeddings.dtype == network.classifier.weight.dtype == torch.float32
    assert result.isfinite()
    assert result > 0
    trained = [weight for weight in network.embedder.parameters() if weight.requires_grad]
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in trained)
    last = network.classifier.weight.grad
    assert (last is None) if settings is TRIPLET else (last is not None and last.isfinite().all())
