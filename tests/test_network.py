"""Embeddings, logits and what of a network is trained, against slow references."""

import math

import pytest
import torch
import torch.nn.functional as F

from whaleid.model.network import SCALE, CosineClassifier, Network, standardise


def small(classes: int = 3) -> Network:
    torch.manual_seed(0)
    return Network("squeezenet1_1", classes)


def state(network: Network, part: str) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.get_submodule(part).state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def step(network: Network) -> None:
    """Train for one step."""
    optimiser = torch.optim.AdamW([weight for weight in network.parameters() if weight.requires_grad], lr=0.01)
    _, logits = network.train()(torch.randn(4, 1, 32, 64))
    F.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
    optimiser.step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits_are_scaled_cosines(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    last = CosineClassifier(5, 4, 8.0).to(dtype)
    embeddings = F.normalize(torch.randn(3, 5, dtype=dtype))
    logits = last(embeddings)
    assert logits.shape == (3, 4)
    for photo in range(3):
        for label in range(4):
            weight = last.weight[label].tolist()
            product = sum(a * b for a, b in zip(embeddings[photo].tolist(), weight, strict=True))
            cosine = product / math.sqrt(sum(value**2 for value in weight))
            assert logits[photo, label].item() == pytest.approx(8 * cosine, rel=1e-4, abs=1e-5)


def test_logits_are_those_of_the_centres() -> None:
    network = small().eval()
    with torch.no_grad():
        embeddings, logits = network(torch.randn(2, 3, 32, 64))
        centres = network.last.centres()
    torch.testing.assert_close(centres.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(logits, SCALE * embeddings @ centres.T)


def test_logits_keep_their_precision_where_the_rest_is_halved() -> None:
    network = small().eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        embeddings, logits = network(torch.randn(2, 1, 32, 64))
        expected = SCALE * embeddings.double() @ network.last.centres().double().T
    assert embeddings.dtype == logits.dtype == torch.float32
    torch.testing.assert_close(logits.double(), expected, rtol=1e-5, atol=1e-5)


def test_a_grey_photo_counts_as_one_of_three_equal_channels() -> None:
    network = small().eval()
    grey = torch.randn(2, 1, 32, 64)
    with torch.no_grad():
        assert torch.equal(network(grey)[0], network(grey.repeat(1, 3, 1, 1))[0])


@pytest.mark.parametrize("channels", [1, 3])
def test_each_photo_is_standardised_by_its_own_mean_and_deviation(channels: int) -> None:
    torch.manual_seed(0)
    packed = torch.randint(0, 256, (3, 6, 8, channels), dtype=torch.uint8)
    packed[1] //= 4
    found = standardise(packed)
    assert found.dtype == torch.float32
    assert found.shape == (3, channels, 6, 8)
    for photo in range(3):
        levels = packed[photo].flatten().tolist()
        mean = sum(levels) / len(levels)
        deviation = math.sqrt(sum((level - mean) ** 2 for level in levels) / len(levels))
        expected = (packed[photo, 2, 5, channels - 1].item() - mean) / deviation
        assert found[photo, channels - 1, 2, 5].item() == pytest.approx(expected, rel=1e-5)


def test_a_blank_photo_stays_blank() -> None:
    packed = torch.full((1, 4, 4, 1), 200, dtype=torch.uint8)
    assert standardise(packed).abs().max() == 0.0
    packed[0, 0, 0] = 201  # noise of a grey level is not blown up to a picture
    assert standardise(packed).abs().max() < 1.0


def test_a_step_trains_all_but_the_shift_of_the_neck() -> None:
    network = small()
    hidden, last = state(network, "hidden"), state(network, "last")
    step(network)
    assert not same(last, state(network, "last"))
    changed = {name for name, value in state(network, "hidden").items() if not torch.equal(value, hidden[name])}
    assert changed == hidden.keys() - {"neck.bias"}


def test_frozen_hidden_layers_stay_bit_for_bit() -> None:
    network = small()
    step(network)  # so that the statistics are no longer those of the beginning
    network.freeze_hidden()
    hidden, last = state(network, "hidden"), state(network, "last")
    step(network)
    step(network)
    assert network.training
    assert same(hidden, state(network, "hidden"))
    assert not same(last, state(network, "last"))


def test_frozen_hidden_layers_embed_in_training_as_in_use() -> None:
    network = small()
    network.freeze_hidden()
    photos = torch.randn(3, 1, 32, 64)
    assert torch.equal(network.train()(photos)[0], network.eval()(photos)[0])


def test_a_new_last_layer_leaves_the_hidden_ones() -> None:
    network = small(classes=0).eval()
    hidden = state(network, "hidden")
    assert network(torch.randn(2, 1, 32, 64))[1].shape == (2, 0)
    network.renew_last(5)
    assert network(torch.randn(2, 1, 32, 64))[1].shape == (2, 5)
    assert network.last.scale == SCALE
    assert same(hidden, state(network, "hidden"))
