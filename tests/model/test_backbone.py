"""torchvision backbones: feature maps, input sizes, and loading of pretrained weights."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from whaleid.config import Params
from whaleid.core import paths
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.model import checkpoint, pretrained, torchvision_models
from whaleid.model.backbone import Backbone
from whaleid.model.network import Network
from whaleid.model.pretrained import load as load_pretrained
from whaleid.stages import backbone as stage

FAST_MODELS = ["mobilenet_v2", "regnet_x_400mf", "resnet18", "squeezenet1_1"]
HUGE_MODEL = "regnet_y_128gf"
"""Has more than 2 GB of weights, too much memory for a test. Smaller models of its family are tested."""
UNSUPPORTED_MODELS = ["maxvit_t", "vit_b_16", "vit_b_32", "vit_h_14", "vit_l_16", "vit_l_32"]
SUPPORTED_MODELS = [name for name in models.list_models(module=models) if name not in [HUGE_MODEL, *UNSUPPORTED_MODELS]]


def save_torch(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(value, path)
    return path


def classifier(name: str, seed: int = 1, **options: object) -> nn.Module:
    torch.manual_seed(seed)
    model: nn.Module = models.get_model(name, weights=None, **options)
    return model.eval()


def record_input(module: nn.Module, run: Callable[[], object]) -> Tensor:
    """Return the input that `module` receives while `run` runs."""
    recorded: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, inputs: recorded.append(inputs[0]))
    run()
    handle.remove()
    return recorded[0]


def load_error(backbone: Backbone, weights: object) -> str:
    """Return the message of the error that loading `weights` raises."""
    with pytest.raises(WhaleidError) as caught:
        load_pretrained(backbone, weights, "w.pth")
    return str(caught.value)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FAST_MODELS else [pytest.mark.long]) for name in SUPPORTED_MODELS]
)
def test_every_supported_model_returns_one_embedding_per_photo(name: str) -> None:
    torch.manual_seed(0)
    network = Network(name, 16, classes=3).train()
    with torch.no_grad():
        embeddings = network(torch.randn(2, 1, 40, 60))
    assert embeddings.shape == (2, 16)
    assert network.classifier(embeddings).shape == (2, 3)
    assert embeddings.isfinite().all()
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2))
    assert not torch.allclose(embeddings[0], embeddings[1])


@pytest.mark.parametrize(
    ("name", "size", "resized"),
    [
        ("resnet18", (40, 60), (40, 60)),
        ("alexnet", (42, 80), (63, 120)),  # at least 63 x 63, with the same aspect ratio
        ("alexnet", (80, 42), (120, 63)),
        ("inception_v3", (100, 160), (100, 160)),
        pytest.param("swin_t", (112, 160), (224, 320), marks=pytest.mark.long),
    ],
)
def test_photos_are_resized_to_a_size_that_the_model_accepts(
    name: str, size: tuple[int, int], resized: tuple[int, int]
) -> None:
    backbone = Backbone(name).eval()
    with torch.no_grad():
        recorded = record_input(backbone.body, lambda: backbone(torch.zeros(1, 3, *size)))
    assert recorded.shape == (1, 3, *resized)


def test_resizing_is_bilinear() -> None:
    torch.manual_seed(0)
    backbone = Backbone("squeezenet1_1").eval()  # its minimum size is 17 x 17
    row = torch.tensor([0.0, 1.0]).repeat_interleave(4)
    recorded = record_input(backbone.body, lambda: backbone(row.expand(1, 3, 8, 8)))
    assert recorded.shape == (1, 3, 17, 17)
    # the middle of pixel 8 of 17 lies at 8.5 * 8 / 17 = 4, on the edge between the two halves
    assert recorded[0, 0, 0, 8].item() == pytest.approx(0.5)
    assert recorded[0, 0, 0, 0].item() == 0.0
    assert recorded[0, 0, 0, 16].item() == 1.0


def test_the_size_of_the_feature_map_follows_from_the_size_of_the_photo() -> None:
    backbone = Backbone("resnet18").eval()
    with torch.no_grad():
        assert backbone(torch.zeros(1, 3, 64, 160)).shape == (1, 512, 2, 5)  # a 32nd of each side


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "regnet_x_400mf"])
def test_fine_doubles_the_height_and_width_of_the_feature_map(name: str) -> None:
    plain, fine = Backbone(name).eval(), Backbone(name, fine=True).eval()
    fine.load_state_dict(plain.state_dict())  # the same weights
    photos = torch.randn(1, 3, 64, 160)
    with torch.no_grad():
        coarse, result = plain(photos), fine(photos)
    assert coarse.shape[2:] == (2, 5)
    assert result.shape[2:] == (4, 10)
    assert not torch.equal(result[:, :, ::2, ::2], coarse)  # later layers work on a denser map


def test_fine_removes_only_the_last_stride() -> None:
    plain, fine = Backbone("squeezenet1_1").eval(), Backbone("squeezenet1_1", fine=True).eval()
    plain_strides, fine_strides = (
        [layer.stride for layer in backbone.body.modules() if isinstance(layer, nn.MaxPool2d)]
        for backbone in (plain, fine)
    )
    assert plain_strides == [2, 2, 2]
    assert fine_strides == [2, 2, 1]
    assert fine.body.get_submodule("features.0").stride == (2, 2)


@pytest.mark.parametrize("name", ["swin_t"])
def test_fine_is_refused_without_a_last_stride(name: str) -> None:
    with pytest.raises(WhaleidError) as caught:
        Backbone(name, fine=True)
    assert str(caught.value) == (
        f"backbone.fine: {name} has no stride before its last feature map that could be removed. Set backbone.fine to "
        f"false, or use another model, such as resnet18."
    )


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("resnet18", "conv1", "layer1"),  # maps of layer2 have an eighth of the photo's sides
        ("mobilenet_v2", "features.0.0", "features.4.conv.0"),
        pytest.param("densenet121", "features.conv0", "features.transition1.conv", marks=pytest.mark.long),
        pytest.param("convnext_tiny", "features.0.0", "features.2.0", marks=pytest.mark.long),
    ],
)
def test_early_layers_have_maps_of_at_least_a_quarter_of_the_sides(name: str, first: str, last: str) -> None:
    backbone = Backbone(name)
    early = backbone.early_layers()
    assert early[0] is backbone.body.get_submodule(first)
    assert early[-1] is backbone.body.get_submodule(last)


@pytest.mark.parametrize("name", UNSUPPORTED_MODELS)
def test_unsupported_models_are_refused_with_a_timm_model_to_use_instead(name: str) -> None:
    assert name.split("_")[0] in torchvision_models.TIMM_NAMES
    with pytest.raises(WhaleidError) as caught:
        Backbone(name)
    instead = "timm/maxvit_tiny_tf_224" if name == "maxvit_t" else "timm/vit_base_patch16_224"
    assert str(caught.value) == (
        f"backbone.name: torchvision's {name} is not supported. Use a timm model, such as {instead}."
    )


def test_gradients_reach_the_first_layer() -> None:
    backbone = Backbone("densenet121")
    backbone(torch.randn(2, 3, 32, 64)).sum().backward()
    first = backbone.body.get_submodule("features.conv0").weight.grad
    assert first is not None
    assert first.abs().sum() > 0


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v3_small"])
def test_tracing_leaves_weights_mode_hooks_and_random_generator_unchanged(name: str) -> None:
    expected = classifier(name)
    random_numbers = torch.rand(3)
    torch.manual_seed(1)
    backbone = Backbone(name)
    assert torch.equal(torch.rand(3), random_numbers)  # only the weights were drawn
    assert all(layer.training for layer in backbone.modules())
    assert not any(layer._forward_hooks for layer in backbone.modules())
    weights = expected.state_dict()
    for key, weight in backbone.body.state_dict().items():  # includes the running statistics of batch norms
        assert torch.equal(weight, weights[key]), key


def test_an_unknown_backbone_is_refused_with_similar_names() -> None:
    with pytest.raises(WhaleidError, match=r"no classification model 'ResNet-18'; did you mean resnet18 or "):
        Backbone("ResNet-18")
    with pytest.raises(WhaleidError, match=r"no classification model 'zzz'; available: alexnet, convnext_base, "):
        Backbone("zzz")
    # a torchvision segmentation model
    with pytest.raises(WhaleidError, match="no classification model 'fcn_resnet50'"):
        Backbone("fcn_resnet50")


@pytest.mark.parametrize(
    ("name", "pooling", "options"),
    [
        ("resnet18", "avgpool", {}),
        ("mobilenet_v3_small", "avgpool", {"num_classes": 7}),
        ("efficientnet_b0", "avgpool", {}),
        ("regnet_x_400mf", "avgpool", {}),
        pytest.param("convnext_tiny", "avgpool", {}, marks=pytest.mark.long),
        pytest.param("swin_t", "avgpool", {}, marks=pytest.mark.long),
        pytest.param("vgg11", "avgpool", {"num_classes": 2}, marks=pytest.mark.long),
        pytest.param("googlenet", "avgpool", {"aux_logits": True, "init_weights": False}, marks=pytest.mark.long),
        pytest.param("inception_v3", "avgpool", {"aux_logits": True, "init_weights": False}, marks=pytest.mark.long),
    ],
)
def test_the_feature_map_equals_the_input_of_the_classifiers_pooling(
    name: str, pooling: str, options: dict[str, object]
) -> None:
    model = classifier(name, **options)
    backbone = Backbone(name).eval()
    load_pretrained(backbone, model.state_dict(), "w.pth")
    size = max(96, *backbone.min_size)
    photos = torch.randn(1, 3, size, size)
    with torch.no_grad():
        expected = record_input(model.get_submodule(pooling), lambda: model(photos))
        assert torch.equal(backbone(photos), expected)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("mnasnet0_5", "classifier"),
        ("shufflenet_v2_x0_5", "fc"),
        ("mobilenet_v2", "classifier"),
        ("densenet121", "classifier"),
        ("squeezenet1_1", "classifier"),
    ],
)
def test_the_feature_map_of_models_that_pool_without_a_module(name: str, head: str) -> None:
    model = classifier(name)
    backbone = Backbone(name).eval()
    load_pretrained(backbone, model.state_dict(), "w.pth")
    photos = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected, maps = record_input(model.get_submodule(head), lambda: model(photos)), backbone(photos)
        if expected.ndim == 2:
            maps = (maps.relu() if name == "densenet121" else maps).mean(dim=(2, 3))
        torch.testing.assert_close(maps, expected)


def test_old_densenet_weight_names_are_converted() -> None:
    weights = classifier("densenet121").state_dict()
    old_weights = {
        name.replace(".norm1.", ".norm.1.")
        .replace(".norm2.", ".norm.2.")
        .replace(".conv1.", ".conv.1.")
        .replace(".conv2.", ".conv.2."): weight
        for name, weight in weights.items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old_weights
    backbone = Backbone("densenet121")
    load_pretrained(backbone, old_weights, "w.pth")
    for name, weight in backbone.body.state_dict().items():
        assert torch.equal(weight, weights[name])


def test_weights_of_another_model_are_refused() -> None:
    other = classifier("squeezenet1_1").state_dict()
    message = load_error(Backbone("resnet18"), other)
    assert message.startswith("w.pth does not fit resnet18 (")
    assert "\n  conv1.weight: missing\n" in message
    assert message.endswith(
        "Provide weights of resnet18, or set backbone.name to the model that these weights belong to."
    )
    # the same names, but other shapes
    with pytest.raises(InputProblems) as caught:
        load_pretrained(Backbone("wide_resnet50_2"), classifier("resnet50").state_dict(), "w.pth")
    assert any("layer1.0.conv1.weight" in problem and "[64, 64, 1, 1]" in problem for problem in caught.value.locations)


def test_errors_list_missing_and_unknown_weights() -> None:
    weights = classifier("resnet18").state_dict()
    del weights["layer1.0.conv1.weight"], weights["fc.bias"]
    weights["head.weight"] = torch.zeros(3)
    with pytest.raises(InputProblems) as caught:
        load_pretrained(Backbone("resnet18"), weights, "w.pth")
    assert caught.value.locations == ["layer1.0.conv1.weight: missing", "head.weight: unknown"]


@pytest.mark.parametrize("weights", [[torch.zeros(2)], {"conv1.weight": 3}, torch.zeros(2), {"state": {}}])
def test_anything_but_a_state_dict_is_refused(weights: object) -> None:
    assert "it does not contain a state dict" in load_error(Backbone("resnet18"), weights)


def load_backbone() -> Network:
    network, description = checkpoint.load(paths.checkpoint("backbone").read_bytes(), "b")
    assert description.classes == ()
    assert description.photos is None
    return network


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("squeezenet1_1", "731,745 parameters, 512 features"),
        ("timm/test_vit", "307,424 parameters, 64 features"),
    ],
)
def test_the_stage_writes_the_same_bytes_for_the_same_seed(
    project: Callable[..., Params], capsys: pytest.CaptureFixture[str], name: str, size: str
) -> None:
    checkpoints = []
    for seed in (0, 0, 1):
        torch.rand(3)  # changes the state of the global generator
        stage.run(project(seed=seed, backbone={"name": name, "weights": "none", "embedding": 16}))
        checkpoints.append(paths.checkpoint("backbone").read_bytes())
    assert checkpoints[0] == checkpoints[1] != checkpoints[2]
    assert capsys.readouterr().out.splitlines()[0] == (
        f"checkpoints/backbone.safetensors: {name}, {size}, random weights (seed 0)"
    )


def test_the_stage_loads_a_weights_file(project: Callable[..., Params], capsys: pytest.CaptureFixture[str]) -> None:
    weights = classifier("squeezenet1_1").state_dict()
    save_torch(Path("w.pth"), weights)
    stage.run(project(backbone={"name": "squeezenet1_1", "weights": "w.pth"}))
    for name, weight in load_backbone().backbone.body.state_dict().items():
        assert torch.equal(weight, weights[name])
    assert capsys.readouterr().out.endswith("the weights of w.pth\n")


def test_the_stage_refuses_missing_and_damaged_weights_files(project: Callable[..., Params]) -> None:
    settings = project(backbone={"name": "squeezenet1_1", "weights": "w.pth"})
    with pytest.raises(WhaleidError, match=r"^backbone.weights: w.pth cannot be read \(No such file or directory\)"):
        stage.run(settings)
    for content in (b"", b"no weights", b"\x80\x02garbage"):
        Path("w.pth").write_bytes(content)
        with pytest.raises(
            WhaleidError, match=r"^backbone.weights: w.pth cannot be read: it is truncated, or contains more"
        ):
            stage.run(settings)
    save_torch(Path("w.pth"), classifier("squeezenet1_1").state_dict())
    content = Path("w.pth").read_bytes()
    Path("w.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(WhaleidError, match=r"^backbone.weights: w.pth cannot be read: it is truncated"):
        stage.run(settings)
    assert not paths.checkpoint("backbone").exists()


@pytest.fixture
def cache(project: Callable[..., Params], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give torch an empty cache; return the folder in which it stores weights."""
    monkeypatch.setenv("TORCH_HOME", str(Path("torch").resolve()))
    return Path("torch/hub/checkpoints").resolve()


def test_the_error_of_a_failed_download_names_the_url_and_the_cache(
    project: Callable[..., Params], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(WhaleidError) as caught:
        stage.run(project(backbone={"name": "resnet18", "weights": "DEFAULT"}))
    assert str(caught.value) == (
        "backbone.weights: DEFAULT: https://download.pytorch.org/models/resnet18-f37072fd.pth could not be downloaded "
        "(<urlopen error no route to host>). Download resnet18-f37072fd.pth in another way and put it at "
        f"{cache / 'resnet18-f37072fd.pth'}, or set backbone.weights to its path."
    )


def test_pretrained_weights_are_loaded_from_torchs_cache(
    project: Callable[..., Params], cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = classifier("squeezenet1_1").state_dict()
    save_torch(cache / "squeezenet1_1-b8a52dc0.pth", weights)
    stage.run(project(backbone={"name": "squeezenet1_1", "weights": "DEFAULT"}))
    for name, weight in load_backbone().backbone.body.state_dict().items():
        assert torch.equal(weight, weights[name])
    assert "torchvision's pretrained weights (SqueezeNet1_1_Weights.IMAGENET1K_V1)" in capsys.readouterr().out


def test_downloaded_weights_are_checked_against_the_hash_in_their_name(
    project: Callable[..., Params], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = project(backbone={"name": "squeezenet1_1", "weights": "DEFAULT"})
    source = save_torch(Path("served/w.pth"), classifier("squeezenet1_1").state_dict())
    good = source.rename(f"served/s-{hashlib.sha256(source.read_bytes()).hexdigest()[:8]}.pth").resolve()
    bad = good.with_name("s-00000000.pth")
    bad.write_bytes(good.read_bytes())
    weights = models.SqueezeNet1_1_Weights.DEFAULT.value
    monkeypatch.setattr(weights, "url", bad.as_uri())
    with pytest.raises(WhaleidError, match=r"could not be downloaded \(invalid hash value"):
        stage.run(settings)
    assert list(cache.iterdir()) == []
    monkeypatch.setattr(weights, "url", good.as_uri())
    stage.run(settings)
    assert [path.name for path in cache.iterdir()] == [good.name]


@pytest.mark.real
def test_real_weights_fit(real_data: Path) -> None:
    path = real_data.parents[1] / "weights/mobilenet_v2_imagenet.pth"
    if not path.is_file():
        pytest.skip(f"no weights at {path}")
    weights = pretrained.from_file(path.read_bytes(), path.name)
    assert isinstance(weights, dict)
    backbone = Backbone("mobilenet_v2").eval()
    load_pretrained(backbone, weights, path.name)
    for name, weight in backbone.body.state_dict().items():
        assert torch.equal(weight, weights[name])
    with torch.no_grad():
        assert backbone(torch.randn(2, 3, 88, 160)).isfinite().all()
