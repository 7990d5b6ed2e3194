"""Batch norms within the convolutions before them: the same maps, and the layers come back as they were."""

import pytest
import torch
from torch import nn

from whaleid.model.backbone import Backbone
from whaleid.model.folding import Folding


def stirred(name: str) -> Backbone:
    """Return a backbone whose batch norms do something."""
    torch.manual_seed(0)
    backbone = Backbone(name)
    for layer in backbone.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias)
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return backbone.eval()


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet121", "squeezenet1_0"])
def test_folded_layers_make_the_same_map(name: str) -> None:
    backbone = stirred(name)
    photos = torch.randn(2, 3, 64, 64)
    pairs = backbone.norms([backbone.body])
    assert len(pairs) == {"resnet18": 20, "mobilenet_v2": 52, "densenet121": 59, "squeezenet1_0": 0}[name]
    with torch.no_grad():
        before = backbone.map(photos)
        with Folding(backbone.body, pairs).folded():
            assert torch.allclose(backbone.map(photos), before, rtol=1e-3, atol=1e-4 * before.abs().max().item())
        assert torch.equal(backbone.map(photos), before)


def test_only_early_norms_are_folded_and_the_layers_come_back() -> None:
    backbone = stirred("resnet18")
    pairs = backbone.norms(backbone.early())
    blocks = [(f"layer1.{block}.conv{n}", f"layer1.{block}.bn{n}") for block in (0, 1) for n in (1, 2)]
    assert pairs == [("conv1", "bn1"), *blocks]
    own, state = dict(backbone.body.named_modules()), backbone.body.state_dict()
    with Folding(backbone.body, pairs).folded():
        assert isinstance(backbone.body.get_submodule("layer1.0.bn2"), nn.Identity)
        assert not backbone.body.get_submodule("conv1").bias.requires_grad
        assert backbone.body.get_submodule("layer2.0.conv1") is own["layer2.0.conv1"]
    assert dict(backbone.body.named_modules()) == own
    assert all(torch.equal(value, state[key]) for key, value in backbone.body.state_dict().items())


def test_a_norm_that_takes_something_else_stays() -> None:
    # in a dense block, a convolution's map is joined to others before the next norm takes them
    pairs = Backbone("densenet121").norms([Backbone("densenet121").body])
    assert pairs == []  # of another network's layers
    backbone = Backbone("densenet121")
    assert ("features.denseblock1.denselayer1.conv2", "features.denseblock1.denselayer2.norm1") not in backbone.norms(
        [backbone.body]
    )
