"""Pooling, embeddings, cosines and frozen layers, compared with plain reference implementations."""

import math

import pytest
import torch
import torch.nn.functional as F

from whaleid.model.network import CosineClassifier, GeM, Network, standardise


def new_network(classes: int = 3, centres: int = 1) -> Network:
    torch.manual_seed(0)
    return Network("squeezenet1_1", 16, classes, centres)


def state(network: Network, module: str) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.get_submodule(module).state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def step(network: Network) -> None:
    """Run one training step."""
    optimiser = torch.optim.AdamW([weight for weight in network.parameters() if weight.requires_grad], lr=0.01)
    cosines = network.classifier(network.train()(torch.randn(4, 1, 32, 64)))
    F.cross_entropy(16 * cosines, torch.tensor([0, 1, 2, 0])).backward()
    optimiser.step()


@pytest.mark.parametrize("exponent", [1.0, 2.5, 3.0])
def test_pooling_is_the_generalised_mean_of_clamped_values(exponent: float) -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 4, 5)
    result = GeM(exponent)(maps)
    assert result.shape == (2, 3)
    for photo in range(2):
        for channel in range(3):
            values = [max(value, GeM.EPS) for value in maps[photo, channel].flatten().tolist()]
            expected = (sum(value**exponent for value in values) / 20) ** (1 / exponent)
            assert result[photo, channel].item() == pytest.approx(expected, rel=1e-5)


def test_pooling_lies_between_the_mean_and_the_maximum() -> None:
    maps = torch.tensor([[[[0.0, 1.0], [-5.0, 3.0]]]])
    assert GeM(1.0)(maps).item() == pytest.approx(1.0, rel=1e-4)
    assert GeM(3.0)(maps).item() == pytest.approx(7 ** (1 / 3), rel=1e-5)
    assert GeM(8.0)(maps).item() == pytest.approx(3 / 4 ** (1 / 8), rel=1e-3)
    assert GeM(60.0)(maps).item() == GeM(8.0)(maps).item()  # the exponent is limited, or powers of EPS would underflow


def test_gradients_of_pooling_are_finite_at_the_largest_exponent() -> None:
    pool = GeM(60.0)
    maps = torch.tensor([[[[0.0, 0.0]], [[0.0, 2.0]]]], requires_grad=True)
    pool(maps).sum().backward()
    assert maps.grad is not None
    assert pool.exponent.grad is not None
    assert torch.isfinite(maps.grad).all()
    assert torch.isfinite(pool.exponent.grad).all()


def test_the_default_exponent_of_pooling_is_3() -> None:
    maps = torch.rand(1, 1, 3, 3)
    assert GeM()(maps).item() == GeM(3.0)(maps).item()


def test_the_exponent_of_pooling_has_the_numerical_gradient() -> None:
    pool = GeM()
    maps = torch.tensor([[[[0.2, 1.0], [0.0, 3.0]]]])
    pool(maps).sum().backward()
    assert pool.exponent.grad is not None
    slope = (GeM(3.01)(maps) - GeM(2.99)(maps)).item() / 0.02
    assert pool.exponent.grad.item() == pytest.approx(slope, rel=1e-3)


def test_pooling_is_computed_in_float32_under_autocast() -> None:
    maps = torch.rand(2, 3, 4, 5) * 100
    with torch.autocast("cpu", torch.bfloat16):
        result = GeM()(maps.bfloat16())
    assert result.dtype == torch.float32
    assert torch.equal(result, GeM()(maps.bfloat16().float()))


@pytest.mark.parametrize("centres", [1, 3])
def test_the_cosine_of_a_class_is_the_cosine_of_its_closest_centre(centres: int) -> None:
    torch.manual_seed(0)
    classifier = CosineClassifier(5, 4, centres)
    embeddings = F.normalize(torch.randn(3, 5))
    result = classifier(embeddings)
    assert result.shape == (3, 4)
    columns = classifier.weight.T.tolist()  # the centres of a class are adjacent
    for photo in range(3):
        for label in range(4):
            cosines = [
                sum(a * b for a, b in zip(embeddings[photo].tolist(), column, strict=True)) / math.hypot(*column)
                for column in columns[label * centres : (label + 1) * centres]
            ]
            assert result[photo, label].item() == pytest.approx(max(cosines), abs=1e-6)


def test_the_closest_centre_by_hand() -> None:
    classifier = CosineClassifier(2, 2, 2)
    with torch.no_grad():  # the centres of class 0 point right and left, those of class 1 up and down
        classifier.weight.copy_(torch.tensor([[2.0, -3.0, 0.0, 0.0], [0.0, 0.0, 1.0, -4.0]]))
    result = classifier(torch.tensor([[-0.8, 0.6], [0.6, -0.8]]))
    torch.testing.assert_close(result, torch.tensor([[0.8, 0.6], [0.6, 0.8]]))
    assert classifier.prototypes().tolist() == [[[1, 0], [-1, 0]], [[0, 1], [0, -1]]]


@pytest.mark.parametrize("centres", [1, 3])
def test_cosines_follow_from_the_prototypes(centres: int) -> None:
    network = new_network(centres=centres).eval()
    with torch.no_grad():
        embeddings = network(torch.randn(2, 3, 32, 64))
        prototypes = network.classifier.prototypes()
        result = network.classifier(embeddings)
    assert embeddings.shape == (2, 16)
    assert prototypes.shape == (3, centres, 16)
    torch.testing.assert_close(prototypes.norm(dim=2), torch.ones(3, centres))
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(result, torch.einsum("bd,csd->bcs", embeddings, prototypes).amax(dim=2))


@pytest.mark.parametrize("centres", [1, 3])
def test_cosines_are_computed_in_float32_under_autocast(centres: int) -> None:
    network = new_network(centres=centres).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        embeddings = network(torch.randn(2, 1, 32, 64))
        result = network.classifier(embeddings)
        prototypes = network.classifier.prototypes().double()
    expected = torch.einsum("bd,csd->bcs", embeddings.double(), prototypes).amax(dim=2)
    assert embeddings.dtype == result.dtype == torch.float32
    torch.testing.assert_close(result.double(), expected, rtol=1e-5, atol=1e-5)


def test_a_backbone_without_a_map_keeps_its_own_pooling() -> None:
    torch.manual_seed(0)
    network = Network("timm/test_vit", 16, 3).eval()
    assert not network.backbone.has_map
    photos = torch.randn(2, 3, 32, 64)
    with torch.no_grad():
        features = network.embedder.norm(network.backbone(photos))
        expected = F.normalize(network.embedder.neck(features @ network.embedder.reduce.weight.T))
        torch.testing.assert_close(network(photos), expected)


def test_a_backbone_with_a_map_is_pooled_by_the_generalised_mean() -> None:
    network = new_network().eval()
    photos = torch.randn(2, 3, 32, 64)
    with torch.no_grad():
        powers = network.backbone(photos).clamp(min=GeM.EPS) ** 3
        features = network.embedder.norm(powers.mean(dim=(2, 3)) ** (1 / 3))
        expected = F.normalize(network.embedder.neck(features @ network.embedder.reduce.weight.T))
        torch.testing.assert_close(network(photos), expected)


@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18", "mobilenet_v3_small"])
def test_a_new_network_is_in_training_mode(name: str) -> None:
    network = Network(name, 16, 3)
    assert all(layer.training for layer in network.modules())
    assert all(
        weight.requires_grad or key.endswith(("norm.bias", "neck.bias")) for key, weight in network.named_parameters()
    )


def test_a_greyscale_photo_equals_a_photo_with_three_equal_channels() -> None:
    network = new_network().eval()
    grey = torch.randn(2, 1, 32, 64)
    with torch.no_grad():
        assert torch.equal(network(grey), network(grey.repeat(1, 3, 1, 1)))


@pytest.mark.parametrize("channels", [1, 3])
def test_each_photo_is_standardised_by_its_own_mean_and_deviation(channels: int) -> None:
    torch.manual_seed(0)
    packed = torch.randint(0, 256, (3, 6, 8, channels), dtype=torch.uint8)
    packed[1] //= 4
    result = standardise(packed)
    assert result.dtype == torch.float32
    assert result.shape == (3, channels, 6, 8)
    for photo in range(3):
        levels = packed[photo].flatten().tolist()
        mean = sum(levels) / len(levels)
        deviation = math.sqrt(sum((level - mean) ** 2 for level in levels) / len(levels))
        expected = (packed[photo, 2, 5, channels - 1].item() - mean) / deviation
        assert result[photo, channels - 1, 2, 5].item() == pytest.approx(expected, rel=1e-5)


def test_a_blank_photo_stays_blank() -> None:
    packed = torch.full((1, 4, 4, 1), 200, dtype=torch.uint8)
    assert standardise(packed).abs().max() == 0.0
    packed[0, 0, 0] = 201  # noise of one grey level is not amplified
    assert standardise(packed).abs().max() < 1.0


def test_a_step_changes_all_weights_but_the_frozen_biases() -> None:
    network = new_network()
    embedder, classifier = state(network, "embedder"), state(network, "classifier")
    step(network)
    assert not same(classifier, state(network, "classifier"))
    changed = {name for name, value in state(network, "embedder").items() if not torch.equal(value, embedder[name])}
    assert changed == embedder.keys() - {"norm.bias", "neck.bias"}


def test_a_frozen_embedder_does_not_change() -> None:
    network = new_network()
    step(network)  # changes the running statistics
    network.freeze([network.embedder])
    embedder, classifier = state(network, "embedder"), state(network, "classifier")
    step(network)
    step(network)
    assert network.training
    assert same(embedder, state(network, "embedder"))
    assert not same(classifier, state(network, "classifier"))


def test_a_frozen_embedder_has_the_same_output_in_training_and_evaluation_mode() -> None:
    network = new_network()
    network.freeze([network.embedder])
    photos = torch.randn(3, 1, 32, 64)
    assert torch.equal(network.train()(photos), network.eval()(photos))


def test_frozen_early_layers_do_not_change_and_the_others_do() -> None:
    network = Network("resnet18", 16, 3)
    step(network)
    network.freeze(network.backbone.early_layers())
    embedder = state(network, "embedder")
    step(network)
    changed = {name for name, value in state(network, "embedder").items() if not torch.equal(value, embedder[name])}
    early = {
        name
        for name in embedder
        if name.startswith(("backbone.body.conv1", "backbone.body.bn1", "backbone.body.layer1"))
    }
    assert changed == embedder.keys() - early - {"norm.bias", "neck.bias"}
