"""Losses, compared with reference implementations that loop over photos."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from whaleid.config import Loss
from whaleid.model.losses import build
from whaleid.model.network import CosineClassifier, Network

CLASSES = [0, 1, 2, 0, 3, 1, 0]  # the classes of seven photos; classes 2 and 3 have one photo
SOFTMAX = {"kind": "softmax", "scale": 16, "margin": 0, "centres": 1}
COSFACE = {"kind": "cosface", "scale": 24, "margin": 0.3, "centres": 1}
ARCFACE = {"kind": "arcface", "scale": 24, "margin": 0.4, "centres": 1}
SUBCENTRE = {"kind": "arcface", "scale": 24, "margin": 0.4, "centres": 3}
TRIPLET = {"kind": "triplet", "scale": 16, "margin": 0.3, "centres": 1}
TRAIN_CLASSIFIER = [SOFTMAX, COSFACE, ARCFACE, SUBCENTRE]


def loss_settings(settings: dict[str, Any]) -> Loss:
    return Loss.model_validate(settings)


def new_classifier(settings: dict[str, Any], embedding_dim: int = 5, classes: int = 4) -> CosineClassifier:
    torch.manual_seed(0)
    classifier = CosineClassifier(embedding_dim, classes, settings.get("centres", 1))
    with torch.no_grad():
        classifier.weight.copy_(torch.randn_like(classifier.weight))  # the length of a prototype has no influence
    return classifier


def unit(*rows: list[float]) -> Tensor:
    return F.normalize(torch.tensor(rows)).requires_grad_()


def random_embeddings(count: int = len(CLASSES), dim: int = 5) -> Tensor:
    return F.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(1))).requires_grad_()


def cosine(one: list[float], other: list[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / math.sqrt(sum(a * a for a in one)) / math.sqrt(sum(b * b for b in other))


def with_margin(kind: str, value: float, margin: float) -> float:
    """Apply `margin` to `value`, the cosine with the true class."""
    if kind == "softmax":
        return value
    if kind == "cosface":
        return value - margin
    angle = math.acos(value)
    # above 180 degrees, the cosine would increase again
    return math.cos(angle + margin) if angle <= math.pi - margin else value - margin * math.sin(margin)


def reference_loss(
    settings: dict[str, Any], classifier: CosineClassifier, embeddings: Tensor, classes: list[int], margin_factor: float
) -> float:
    columns = classifier.weight.T.tolist()  # the centres of a class are adjacent
    total = 0.0
    for embedding, true_class in zip(embeddings.tolist(), classes, strict=True):
        cosines = [
            max(cosine(embedding, columns[label * classifier.centres + centre]) for centre in range(classifier.centres))
            for label in range(classifier.classes)
        ]
        cosines[true_class] = with_margin(
            settings["kind"], cosines[true_class], margin_factor * settings.get("margin", 0)
        )
        powers = [math.exp(settings["scale"] * value) for value in cosines]
        total -= math.log(powers[true_class] / sum(powers))
    return total / len(classes)


def reference_triplet_loss(margin: float, embeddings: Tensor, classes: list[int]) -> float:
    """Average the loss of the hardest triplet of each photo over those that violate the margin (Hermans et al.)."""
    rows = embeddings.tolist()
    losses = []
    for anchor, true_class in enumerate(classes):
        positive = [
            math.dist(rows[anchor], rows[i]) for i, label in enumerate(classes) if label == true_class and i != anchor
        ]
        negative = [math.dist(rows[anchor], rows[i]) for i, label in enumerate(classes) if label != true_class]
        if positive and negative and max(positive) - min(negative) + margin > 0:
            losses.append(max(positive) - min(negative) + margin)
    return sum(losses) / len(losses) if losses else 0.0


@pytest.mark.parametrize("margin_factor", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("settings", TRAIN_CLASSIFIER, ids=lambda settings: settings["kind"])
def test_losses_that_train_the_classifier(settings: dict[str, Any], margin_factor: float) -> None:
    classifier, embeddings = new_classifier(settings), random_embeddings()
    result = build(loss_settings(settings), classifier)(embeddings, torch.tensor(CLASSES), margin_factor)
    expected = reference_loss(settings, classifier, embeddings, CLASSES, margin_factor)
    assert result.shape == ()
    assert result.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("settings", [COSFACE, ARCFACE, SUBCENTRE], ids=lambda settings: settings["kind"])
def test_the_margin_factor_of_a_call_does_not_affect_later_calls(settings: dict[str, Any]) -> None:
    function = build(loss_settings(settings), new_classifier(settings))
    full, half, none, again = (
        function(random_embeddings(), torch.tensor(CLASSES), factor).item() for factor in (1, 0.5, 0, 1)
    )
    assert none < half < full == again


def test_softmax_and_triplet_ignore_the_margin_factor() -> None:
    for settings in (SOFTMAX, TRIPLET):
        function = build(loss_settings(settings), new_classifier(settings))
        result = {function(random_embeddings(), torch.tensor(CLASSES), factor).item() for factor in (0.0, 0.5, 1.0)}
        assert len(result) == 1


def test_margins_by_hand() -> None:
    # the embedding is 60 degrees from its own class and 30 degrees from the other
    embeddings = unit([0.5, math.sqrt(0.75)])
    classifier = CosineClassifier(2, 2, 1)
    with torch.no_grad():
        classifier.weight.copy_(torch.eye(2))
    true_class, other = torch.tensor([0]), math.cos(math.radians(30))
    scale = {"scale": 2, "centres": 1}
    cosface = build(loss_settings({"kind": "cosface", "margin": 0.25} | scale), classifier)(embeddings, true_class, 1.0)
    assert cosface.item() == pytest.approx(math.log(1 + math.exp(2 * (other - 0.25))), rel=1e-5)
    arcface = build(loss_settings({"kind": "arcface", "margin": math.radians(30)} | scale), classifier)(
        embeddings, true_class, 1.0
    )
    assert arcface.item() == pytest.approx(math.log(1 + math.exp(2 * other)), rel=1e-5)  # 60 + 30 degrees: cosine 0


def test_arcface_of_photos_opposite_to_their_class() -> None:
    embeddings = unit([-1.0, 0.05], [0.05, -1.0])
    classifier = CosineClassifier(2, 2, 1)
    with torch.no_grad():
        classifier.weight.copy_(torch.eye(2))
    result = build(loss_settings(ARCFACE), classifier)(embeddings, torch.tensor([0, 1]), 1.0)
    assert result.item() == pytest.approx(reference_loss(ARCFACE, classifier, embeddings, [0, 1], 1.0), rel=1e-4)


@pytest.mark.parametrize("settings", [ARCFACE, SUBCENTRE], ids=lambda settings: settings["kind"])
@pytest.mark.parametrize("margin_factor", [0.0, 1.0])
def test_gradients_are_finite_for_an_embedding_equal_to_its_prototype(
    settings: dict[str, Any], margin_factor: float
) -> None:
    embeddings = unit([1.0, 0.0], [-1.0, 0.0])
    classifier = new_classifier(settings, embedding_dim=2, classes=2)
    with torch.no_grad():
        classifier.weight.copy_(torch.tensor([[1.0], [0.0]]).expand_as(classifier.weight))
    result = build(loss_settings(settings), classifier)(embeddings, torch.tensor([0, 0]), margin_factor)
    result.backward()
    for value in (result, embeddings.grad, classifier.weight.grad):
        assert value is not None
        assert value.isfinite().all()


@pytest.mark.parametrize("settings", TRAIN_CLASSIFIER, ids=lambda settings: settings["kind"])
def test_gradients_reach_the_embeddings_and_the_classifier(settings: dict[str, Any]) -> None:
    classifier, embeddings = new_classifier(settings), random_embeddings()
    weight = classifier.weight
    function = build(loss_settings(settings), classifier)
    result = function(embeddings, torch.tensor(CLASSES), 1.0)
    result.backward()
    assert classifier.weight is weight
    assert weight.grad is not None
    assert embeddings.grad is not None
    assert embeddings.grad.abs().sum() > 0
    if classifier.centres == 1:
        assert (weight.grad.abs().sum(dim=0) > 0).all()
    # one step of gradient descent lowers the loss as the gradient predicts
    with torch.no_grad():
        weight -= 1e-3 * weight.grad
    predicted = 1e-3 * weight.grad.square().sum().item()
    assert result.item() - function(embeddings, torch.tensor(CLASSES), 1.0).item() == pytest.approx(predicted, rel=0.05)


def test_only_the_closest_centre_of_a_class_is_trained() -> None:
    classifier, embeddings = new_classifier(SUBCENTRE), random_embeddings(1)
    build(loss_settings(SUBCENTRE), classifier)(embeddings, torch.tensor([2]), 1.0).backward()
    assert classifier.weight.grad is not None
    trained = classifier.weight.grad.abs().sum(dim=0).reshape(4, 3) > 0
    closest = (embeddings @ F.normalize(classifier.weight, dim=0)).reshape(4, 3).argmax(dim=1)
    assert trained.tolist() == F.one_hot(closest, 3).bool().tolist()


@pytest.mark.parametrize("classes", [CLASSES, [0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 3, 4, 5, 5]])
def test_triplet_uses_the_hardest_triplet_of_each_photo(classes: list[int]) -> None:
    embeddings = random_embeddings()
    result = build(loss_settings(TRIPLET), new_classifier(TRIPLET))(embeddings, torch.tensor(classes), 1.0)
    assert result.item() == pytest.approx(reference_triplet_loss(0.3, embeddings, classes), rel=1e-4)


def test_triplet_by_hand() -> None:
    # embeddings on a circle: class 0 at 0, 10 and 60 degrees, class 1 at 90 and 100 degrees
    angles = [math.radians(degrees) for degrees in (0, 10, 60, 90, 100)]
    embeddings = unit(*([math.cos(angle), math.sin(angle)] for angle in angles))

    def chord(degrees: float) -> float:
        return 2 * math.sin(math.radians(degrees) / 2)

    # degrees to the hardest positive and negative of each photo
    pairs = [(60, 90), (50, 80), (60, 30), (10, 30), (10, 40)]
    for margin in (0.1, 0.6, 2.0):
        losses = [chord(positive) - chord(negative) + margin for positive, negative in pairs]
        losses = [value for value in losses if value > 0]
        settings = TRIPLET | {"margin": margin}
        result = build(loss_settings(settings), new_classifier(settings))(
            embeddings, torch.tensor([0, 0, 0, 1, 1]), 1.0
        )
        assert result.item() == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_triplet_ignores_a_photo_without_a_positive() -> None:
    embeddings = random_embeddings(5)
    function = build(loss_settings(TRIPLET), new_classifier(TRIPLET))
    # the only photo of class 2 is a negative, but not an anchor
    result = function(embeddings, torch.tensor([0, 0, 1, 1, 2]), 1.0)
    rows = embeddings.tolist()
    losses = []
    for anchor, positive in ((0, 1), (1, 0), (2, 3), (3, 2)):
        negatives = [math.dist(rows[anchor], rows[i]) for i in range(5) if i not in (anchor, positive)]
        losses.append(max(0.0, math.dist(rows[anchor], rows[positive]) - min(negatives) + 0.3))
    losses = [value for value in losses if value > 0]
    assert result.item() == pytest.approx(sum(losses) / len(losses), rel=1e-4)


@pytest.mark.parametrize("classes", [[0, 1, 2], [1, 1, 1]])
def test_triplet_is_zero_for_a_batch_without_triplets(classes: list[int]) -> None:
    embeddings = random_embeddings(3)
    result = build(loss_settings(TRIPLET), new_classifier(TRIPLET))(embeddings, torch.tensor(classes), 1.0)
    result.backward()
    assert result.item() == 0
    assert embeddings.grad is not None
    assert embeddings.grad.abs().max() == 0


def test_triplet_gradients_are_finite_for_equal_embeddings() -> None:
    embeddings = unit([1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.6, 0.8])
    result = build(loss_settings(TRIPLET | {"margin": 2}), new_classifier(TRIPLET))(
        embeddings, torch.tensor([0, 0, 1, 1]), 1.0
    )
    result.backward()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()


def test_triplet_does_not_train_the_classifier() -> None:
    classifier, embeddings = new_classifier(TRIPLET), random_embeddings()
    build(loss_settings(TRIPLET), classifier)(embeddings, torch.tensor(CLASSES), 1.0).backward()
    assert classifier.weight.grad is None
    assert embeddings.grad is not None
    assert embeddings.grad.abs().sum() > 0


@pytest.mark.parametrize("settings", [*TRAIN_CLASSIFIER, TRIPLET], ids=lambda settings: settings["kind"])
def test_loss_and_gradients_are_finite_in_half_precision(settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = Network("squeezenet1_1", 16, 2, settings.get("centres", 1))
    function = build(loss_settings(settings), network.classifier)
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = network(torch.randn(4, 1, 24, 48))
    result = function(embeddings, torch.tensor([0, 0, 1, 1]), 1.0)
    result.backward()
    assert result.dtype == embeddings.dtype == network.classifier.weight.dtype == torch.float32
    assert result.isfinite()
    assert result > 0
    trained = [weight for weight in network.embedder.parameters() if weight.requires_grad]
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in trained)
    gradient = network.classifier.weight.grad
    assert (gradient is None) if settings is TRIPLET else (gradient is not None and gradient.isfinite().all())
