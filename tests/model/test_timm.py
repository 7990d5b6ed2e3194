"""timm backbones: feature maps, input sizes, pretrained weights, and checkpoints that need neither hub nor folder."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from helpers.project import ROOT
from helpers.stripes import write_stripes
from safetensors.torch import save_file
from timm.models import save_for_hf
from torch import Tensor, nn

from whaleid.config import Params
from whaleid.core import paths
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.model import checkpoint
from whaleid.model.backbone import Backbone
from whaleid.model.checkpoint import Description
from whaleid.model.network import GeM, Network
from whaleid.model.pretrained import load as load_pretrained
from whaleid.stages import backbone as stage
from whaleid.stages import train

MEGADESCRIPTOR = "hf-hub:BVRA/MegaDescriptor-T-224"
SWIN = "swin_tiny_patch4_window7_224"


def classifier(name: str, **options: object) -> nn.Module:
    """Return a timm classification model with random weights and random running statistics."""
    torch.manual_seed(1)
    model: nn.Module = timm.create_model(name, **options)
    for buffer in model.buffers():
        if buffer.is_floating_point() and buffer.ndim == 1:  # running means and variances
            nn.init.uniform_(buffer, 0.5, 1.5)
    return model.eval()


def error_message(run: Callable[[], object]) -> str:
    """Return the message of the error that `run` raises."""
    with pytest.raises(WhaleidError) as caught:
        run()
    return str(caught.value)


def load_backbone() -> Network:
    return checkpoint.load(paths.checkpoint("backbone").read_bytes(), "b")[0]


def same(body: nn.Module, weights: dict[str, Tensor]) -> bool:
    return all(torch.equal(weight, weights[name]) for name, weight in body.state_dict().items())


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise AssertionError on any network connection."""

    def connect(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the hub client an empty cache and offline mode; return the cache folder."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def cached_model(hub: Path, model: str) -> Path:
    """Create the folder of `model`, which has no safetensors file, in the hub's cache; return it."""
    folder, revision = hub / f"models--{model.replace('/', '--')}", "0" * 40
    for name in ("refs", f"snapshots/{revision}", f".no_exist/{revision}"):
        (folder / name).mkdir(parents=True)
    (folder / "refs/main").write_text(revision)
    (folder / f".no_exist/{revision}/model.safetensors").touch()
    return folder / f"snapshots/{revision}"


@pytest.mark.parametrize(
    ("name", "features", "has_map"),
    [
        ("resnet18", 512, True),
        ("resnet18.a1_in1k", 512, True),
        ("test_resnet", 96, True),
        ("test_efficientnet", 256, True),
        ("test_convnext", 64, True),
        ("test_vit", 64, False),
        ("mobilenetv3_small_050", 1024, True),
        ('test_vit {"img_size": 96}', 64, False),
        *(
            pytest.param(*case, marks=pytest.mark.long)
            for case in (
                (SWIN, 768, False),
                ("convnext_tiny", 768, True),
                ("efficientnet_b0", 1280, True),
                ("vit_small_patch16_224", 384, False),
                ("vit_small_patch14_dinov2", 384, False),
                ("vit_small_patch16_dinov3", 384, False),
                ("densenet121", 1024, True),
                ("regnety_002", 368, True),
                ("hrnet_w18_small", 2048, True),
                ("levit_128s", 384, False),
                ("mobilevit_xxs", 320, True),
                ("deit_tiny_distilled_patch16_224", 192, False),
                ("crossvit_tiny_240", 288, False),
                ("maxvit_rmlp_pico_rw_256", 256, True),
                ("eva02_tiny_patch14_224", 192, False),
            )
        ),
    ],
)
def test_a_timm_model_returns_one_embedding_per_photo(name: str, features: int, has_map: bool) -> None:
    torch.manual_seed(0)
    network = Network(f"timm/{name}", 16, classes=3).train()
    assert (network.backbone.num_features, network.backbone.has_map) == (features, has_map)
    assert isinstance(network.embedder.pool, GeM) == has_map
    with torch.no_grad():
        embeddings = network(torch.randn(2, 1, 40, 60))
    assert embeddings.shape == (2, 16)
    assert embeddings.isfinite().all()
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2))
    assert not torch.allclose(embeddings[0], embeddings[1])


@pytest.mark.parametrize(
    ("name", "size", "resized"),
    [
        ("resnet18", (40, 60), (40, 60)),
        ('test_vit {"img_size": 32}', (40, 60), (40, 60)),
        ("test_vit", (40, 60), (40, 60)),  # the model itself pads it to a multiple of the patch size
        ("test_convnext", (24, 60), (32, 80)),  # at least 32 x 32, with the same aspect ratio
        ("test_coatnet", (40, 60), (160, 160)),
        ('beit_base_patch16_224 {"img_size": [64, 128]}', (48, 96), (64, 128)),
        *(
            pytest.param(*case, marks=pytest.mark.long)
            for case in (
                (SWIN, (48, 96), (224, 224)),
                ("hrnet_w18_small", (48, 96), (224, 224)),  # accepts only multiples of 32
                ('beit_base_patch16_224 {"img_size": 64}', (48, 96), (64, 64)),
            )
        ),
    ],
)
def test_photos_are_resized_to_a_size_that_the_model_accepts(
    name: str, size: tuple[int, int], resized: tuple[int, int]
) -> None:
    backbone = Backbone(f"timm/{name}").eval()
    recorded: list[Tensor] = []
    backbone.body.register_forward_pre_hook(lambda _, inputs: recorded.append(inputs[0]))
    with torch.no_grad():
        backbone(torch.randn(1, 3, *size))
    assert recorded[0].shape == (1, 3, *resized)


@pytest.mark.parametrize("name", ["resnet18", "test_vit", "test_efficientnet", "levit_128s"])
def test_pooled_features_equal_the_input_of_timms_last_layer(name: str) -> None:
    expected = classifier(name, num_classes=7)
    backbone = Backbone(f"timm/{name}").eval()
    load_pretrained(backbone, expected.state_dict(), "w.pth")
    size = backbone.min_size if backbone.fixed_size else (160, 160)
    photos = torch.randn(2, 3, *size)
    with torch.no_grad():
        pooled = expected.forward_head(expected.forward_features(photos), pre_logits=True)
        assert torch.equal(backbone(photos).mean(dim=(2, 3)) if backbone.has_map else backbone(photos), pooled)


@pytest.mark.parametrize("name", ["resnet18", "test_efficientnet", "efficientnet_b0"])
def test_fine_doubles_the_height_and_width_of_the_feature_map(name: str) -> None:
    torch.manual_seed(0)
    plain, fine = Backbone(f"timm/{name}").eval(), Backbone(f"timm/{name}", fine=True).eval()
    fine.load_state_dict(plain.state_dict())
    photos = torch.randn(1, 3, 64, 160)
    with torch.no_grad():
        for backbone, size in ((plain, (2, 5)), (fine, (4, 10))):
            result = backbone(photos)
            assert result.shape == (1, backbone.num_features, *size)


@pytest.mark.parametrize("name", ["timm/test_vit", pytest.param(f"timm/{SWIN}", marks=pytest.mark.long)])
def test_fine_is_refused_without_a_last_stride(name: str) -> None:
    assert error_message(lambda: Backbone(name, fine=True)) == (
        f"backbone.fine: {name} has no stride before its last feature map that could be removed. Set backbone.fine to "
        f"false, or use another model, such as resnet18."
    )


@pytest.mark.parametrize("name", ["timm/test_vit", pytest.param(f"timm/{SWIN}", marks=pytest.mark.long)])
def test_transformers_have_no_early_layers(name: str) -> None:
    assert error_message(Backbone(name).early_layers) == (
        f"layers: upper freezes the first layers, which work on large feature maps, but {name} has no such layers. "
        f"Set it to all or last, or use another model (backbone.name), such as resnet18."
    )


def test_early_layers_of_a_fixed_size_model_are_relative_to_that_size() -> None:
    backbone = Backbone("timm/botnet26t_256")
    names = {layer: name for name, layer in backbone.body.named_modules()}
    early = [names[layer] for layer in backbone.early_layers()]
    assert (early[0], early[-1]) == ("stem.conv1.conv", "stages.1.0.conv1_1x1")  # feature maps of at least 64 x 64


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [("resnet18", "conv1", "layer1.1.act2"), ("test_efficientnet", "conv_stem", "blocks.1.0.bn1")],
)
def test_frozen_early_layers_do_not_change_and_the_others_do(name: str, first: str, last: str) -> None:
    torch.manual_seed(0)
    network = Network(f"timm/{name}", 16, 3)
    for layer in network.backbone.body.modules():
        if isinstance(layer, nn.BatchNorm2d):  # timm initialises some to zero, so that earlier layers get no gradient
            nn.init.ones_(layer.weight)
    early = network.backbone.early_layers()
    assert early[0] is network.backbone.body.get_submodule(first)
    assert network.backbone.body.get_submodule(last) in early
    network.freeze(early)
    frozen = {weight for layer in early for weight in layer.state_dict(keep_vars=True).values()}
    names = {key for key, weight in network.embedder.state_dict(keep_vars=True).items() if weight in frozen}
    before = {key: weight.clone() for key, weight in network.embedder.state_dict().items()}
    optimiser = torch.optim.SGD([weight for weight in network.parameters() if weight.requires_grad], lr=0.5)
    network.train()
    network.classifier(network(torch.randn(4, 1, 64, 64))).pow(2).sum().backward()
    optimiser.step()
    changed = {key for key, weight in network.embedder.state_dict().items() if not torch.equal(weight, before[key])}
    assert not changed & names
    assert changed == before.keys() - names - {"norm.bias", "neck.bias"}


@pytest.mark.parametrize(
    "name",
    [
        "test_resnet",
        "test_efficientnet",
        "test_vit",
        'test_vit {"img_size": [96, 64]}',
        "test_convnext",
        pytest.param(SWIN, marks=pytest.mark.long),
    ],
)
@pytest.mark.usefixtures("offline")
def test_a_network_is_restored_bit_for_bit_offline(name: str) -> None:
    torch.manual_seed(0)
    before = Network(f"timm/{name}", 16, 3).eval()
    after, _ = checkpoint.load(checkpoint.save(before, Description(("a", "b", "c"), (24, 48, 1))), "m")
    assert after.backbone.name == f"timm/{name}"
    photos = torch.randn(2, 1, 24, 48)
    with torch.no_grad():
        assert torch.equal(after.eval()(photos), before(photos))


@pytest.mark.parametrize("name", ["timm/resnet18", "timm/test_efficientnet", "timm/test_vit"])
def test_tracing_leaves_weights_mode_and_random_generator_unchanged(name: str) -> None:
    torch.manual_seed(1)
    expected = timm.create_model(name.removeprefix("timm/"))
    random_numbers = torch.rand(3)
    torch.manual_seed(1)
    backbone = Backbone(name)
    assert torch.equal(torch.rand(3), random_numbers)
    assert all(layer.training for layer in backbone.modules())
    assert same(backbone.body, expected.state_dict())


@pytest.mark.slow
def test_loading_a_checkpoint_does_not_import_slow_modules(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(checkpoint.save(Network("squeezenet1_1", 16, 2), Description(("a", "b"), (24, 48, 1))))
    code = (
        "import sys; from pathlib import Path; from whaleid.model import checkpoint, embedding; "
        "checkpoint.load(Path('a').read_bytes(), 'a'); "
        "print(*({'torch._dynamo', 'timm', 'pytorch_metric_learning', 'scipy.stats', 'sympy'} & sys.modules.keys())); "
        "import torch._dynamo.utils as real; from torchvision.ops import roi_align; "
        "assert sys.modules[roi_align.__module__].is_compile_supported('cpu') == real.is_compile_supported('cpu'); "
        "from whaleid.stages import backbone, train; assert 'timm' not in sys.modules"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (process.stdout, process.stderr) == ("\n", "")


def test_a_timm_model_is_refused_if_timm_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    assert error_message(lambda: Backbone("timm/resnet18")) == (
        "backbone.name: timm/resnet18 needs timm: pip install 'whaleid[timm]'"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/ResNet-18", "backbone.name: timm has no model 'ResNet-18'; did you mean resnet18 or "),
        ("timm/resnet18.a1_in2k", "backbone.name: timm has no model 'resnet18.a1_in2k'; did you mean resnet18.a1_in1k"),
        (
            "timm/~",
            "backbone.name: timm has no model '~'; `python -c 'import timm; print(timm.list_models())'` lists all "
            "models.",
        ),
        # checkpoints may be of unknown origin, so that a name in one must not cause a download
        ("timm/hf-hub:a/b", "backbone.name: timm has no model 'hf-hub:a/b'; "),
        ("timm/local-dir:a", "backbone.name: timm has no model 'local-dir:a'; "),
        (
            'timm/test_vit {"pretrained": true, "checkpoint_path": "w"}',
            'backbone.name: timm/test_vit {"pretrained": true, "checkpoint_path": "w"}: checkpoint_path, pretrained '
            "cannot be set. Remove it.",
        ),
        (
            'timm/test_vit {"in_chans": 1}',
            'backbone.name: timm/test_vit {"in_chans": 1}: in_chans cannot be set. Remove it.',
        ),
        (
            "timm/test_vit img_size=96",
            "backbone.name: timm/test_vit img_size=96: the arguments after timm/test_vit must be a JSON object, "
            'such as {"img_size": 224}.',
        ),
        (
            'timm/test_resnet {"depth": 3}',
            'backbone.name: timm cannot build timm/test_resnet {"depth": 3} (ResNet.__init__() got an unexpected '
            "keyword argument 'depth').",
        ),
        pytest.param(
            "timm/qwen3_vit_88m_enc",
            "backbone.name: timm cannot build timm/qwen3_vit_88m_enc ('Qwen3VitEncoder' object has no attribute "
            "'reset_classifier').",
            marks=pytest.mark.long,
        ),
        (
            'timm/test_vit {"global_pool": ""}',
            'backbone.name: timm/test_vit {"global_pool": ""} returns neither a feature map nor features.',
        ),
    ],
)
@pytest.mark.usefixtures("offline")
def test_invalid_models_are_refused(name: str, message: str) -> None:
    assert error_message(lambda: Backbone(name)).startswith(message)


def test_errors_list_missing_and_unknown_weights() -> None:
    weights = classifier("test_vit").state_dict()
    del weights["blocks.0.attn.qkv.weight"], weights["head.bias"]
    weights["tail.weight"] = torch.zeros(3)
    with pytest.raises(InputProblems) as caught:
        load_pretrained(Backbone("timm/test_vit"), weights, "w.pth")
    assert caught.value.locations == ["blocks.0.attn.qkv.weight: missing", "tail.weight: unknown"]
    message = error_message(
        lambda: load_pretrained(Backbone("timm/test_vit"), classifier("test_resnet").state_dict(), "w.pth")
    )
    assert message.startswith("w.pth does not fit timm/test_vit (")
    assert message.endswith(
        "Provide weights of timm/test_vit, or set backbone.name to the model that these weights belong to."
    )


def old_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of a Swin as in earlier versions of timm; add a buffer that these stored."""
    renamed = {
        name.replace("layers.1.downsample", "layers.0.downsample")
        .replace("layers.2.downsample", "layers.1.downsample")
        .replace("layers.3.downsample", "layers.2.downsample"): weight
        for name, weight in weights.items()
    }
    assert "layers.0.downsample.reduction.weight" in renamed
    return renamed | {"layers.0.blocks.1.attn_mask": torch.zeros(64, 49, 49)}


def test_old_swin_weight_names_are_converted() -> None:
    expected = classifier(SWIN, num_classes=0)
    backbone = Backbone(f"timm/{SWIN}")
    load_pretrained(backbone, old_names(expected.state_dict()), "w.pth")
    assert same(backbone.body, expected.state_dict())


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_the_stage_loads_a_weights_file(
    project: Callable[..., Params], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    expected = classifier("test_resnet", num_classes=3)
    if name.endswith("pth"):
        torch.save(expected.state_dict(), name)
    else:
        save_file(expected.state_dict(), name)
    stage.run(project(backbone={"name": "timm/test_resnet", "weights": name}))
    assert same(load_backbone().backbone.body, expected.state_dict())
    assert capsys.readouterr().out.endswith(f"96 features, the weights of {name}\n")
    Path(name).write_bytes(Path(name).read_bytes()[:-100])
    message = error_message(lambda: stage.run(project(backbone={"name": "timm/test_resnet", "weights": name})))
    assert message.startswith(f"backbone.weights: {name} ")
    assert message.endswith("Save a state dict, or fetch the file again.")


@pytest.mark.slow
@pytest.mark.usefixtures("offline")
def test_a_megadescriptor_checkpoint_does_not_need_the_download(
    project: Callable[..., Params], hub: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = classifier(SWIN, num_classes=0)
    files = cached_model(hub, "BVRA/MegaDescriptor-T-224")
    description = {"architecture": SWIN, "num_classes": 0, "num_features": 768, "global_pool": "avg"}
    config = {"input_size": [3, 224, 224], "fixed_input_size": True, "num_classes": 0, "classifier": "head.fc"}
    (files / "config.json").write_text(json.dumps(description | {"pretrained_cfg": config}))
    torch.save(old_names(expected.state_dict()), files / "pytorch_model.bin")
    stage.run(project(backbone={"name": f"timm/{MEGADESCRIPTOR}", "weights": "DEFAULT"}))
    assert capsys.readouterr().out == (
        f"checkpoints/backbone.safetensors: timm/{SWIN}, 27,545,530 parameters, 768 features, timm's pretrained "
        f"weights ({MEGADESCRIPTOR})\n"
    )
    shutil.rmtree(hub)
    network = load_backbone()
    assert network.backbone.name == f"timm/{SWIN}"
    assert same(network.backbone.body, expected.state_dict())


@pytest.mark.usefixtures("offline", "hub")
def test_models_that_cannot_be_fetched_are_refused_with_a_remedy(project: Callable[..., Params]) -> None:
    message = error_message(
        lambda: stage.run(project(backbone={"name": f"timm/{MEGADESCRIPTOR}", "weights": "DEFAULT"}))
    )
    assert message.startswith(f"backbone.name: timm could not fetch {MEGADESCRIPTOR} (")
    remedy = (
        "Download the model's config.json and model.safetensors in another way, put both into a folder, and set "
        "backbone.name to timm/local-dir:FOLDER."
    )
    assert message.endswith(remedy)
    message = error_message(lambda: stage.run(project(backbone={"name": "timm/test_resnet", "weights": "DEFAULT"})))
    assert message.startswith("backbone.weights: DEFAULT: timm could not fetch test_resnet (")
    assert message.endswith(remedy)
    assert not paths.checkpoint("backbone").exists()


def test_a_timm_model_without_pretrained_weights_is_refused(project: Callable[..., Params]) -> None:
    assert error_message(lambda: stage.run(project(backbone={"name": "timm/resnet14t {}", "weights": "x"}))).startswith(
        "backbone.weights: x cannot be read"
    )
    unweighted = next(name for name in timm.list_models("*resnet*") if not timm.get_pretrained_cfg(name).has_weights)
    message = error_message(lambda: stage.run(project(backbone={"name": f"timm/{unweighted}", "weights": "DEFAULT"})))
    assert message == (
        f"backbone.weights: DEFAULT: timm cannot use {unweighted} (No pretrained weights exist for {unweighted}. Use "
        "`pretrained=False` for random init). Use another model (backbone.name), or set backbone.weights to none or "
        "the path of a state dict."
    )


@pytest.mark.parametrize(
    ("name", "options", "built"),
    [
        ("test_resnet", {"num_classes": 3}, 'timm/test_resnet {"global_pool": "avg"}'),
        ("test_vit", {"img_size": 96}, 'timm/test_vit {"global_pool": "token", "img_size": [96, 96]}'),
    ],
)
@pytest.mark.usefixtures("offline")
def test_a_model_is_loaded_from_a_folder(
    project: Callable[..., Params], name: str, options: dict[str, object], built: str
) -> None:
    expected = classifier(name, **options)
    folder = Path("a folder")
    save_for_hf(expected, str(folder), safe_serialization=True)
    settings = project(backbone={"name": f"timm/local-dir:{folder}", "weights": "DEFAULT"})
    stage.run(settings)
    weights = expected.state_dict()
    del weights["conv1.0.weight" if name == "test_resnet" else "pos_embed"]
    save_file(weights, folder / "model.safetensors")
    assert error_message(lambda: stage.run(settings)).startswith(
        f"backbone.weights: DEFAULT: timm cannot use local-dir:{folder} (Error(s) in loading state_dict for "
    )
    (folder / "config.json").write_text("{}")
    assert error_message(lambda: stage.run(settings)).startswith(f"backbone.name: timm cannot use local-dir:{folder} (")
    shutil.rmtree(folder)
    assert error_message(lambda: stage.run(settings)).startswith(
        f"backbone.name: timm could not fetch local-dir:{folder} ("
    )
    network = load_backbone()
    assert network.backbone.name == built
    assert same(network.backbone.body, expected.state_dict())


def train_toy(project: Callable[..., Params], name: str, epochs: int = 2) -> tuple[bytes, str]:
    """Train the variant toy; return its checkpoint and its history."""
    network = {"name": name, "weights": "none", "embedding": 16}
    toy = {"whales": "all", "photos": "all", "epochs": epochs, "batch_size": 4}
    params = project(backbone=network, variants={"toy": {"train": toy}})
    stage.run(params)
    train.run(params, "toy", lambda *_: None)
    return paths.checkpoint("toy").read_bytes(), paths.history("toy").read_text()


@pytest.mark.parametrize("name", ["timm/test_vit", pytest.param("timm/test_resnet", marks=pytest.mark.long)])
def test_a_training_is_reproducible_to_the_byte(
    project: Callable[..., Params], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("WHALEID_DEVICE", "cpu")
    write_stripes(whales=3, photos=5)
    result = train_toy(project, name)
    assert result == train_toy(project, name)
    network, description = checkpoint.load(result[0], "toy")
    assert network.backbone.name == name
    assert description.classes == ("w0", "w1", "w2")
    assert not same(network.backbone.body, load_backbone().backbone.body.state_dict())


@pytest.mark.long
def test_the_architecture_of_megadescriptor_trains(
    project: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHALEID_DEVICE", "cpu")
    write_stripes(whales=2, photos=3)
    _, history = train_toy(project, f"timm/{SWIN}", epochs=1)
    assert len(history.splitlines()) == 2
    assert "nan" not in history
