"""Stage `train`: its inputs and outputs, and resuming an interrupted training to the same bytes."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.project import runs
from helpers.stripes import write_stripes
from safetensors.torch import save

from whaleid.config import Params
from whaleid.core import files, paths
from whaleid.core.errors import WhaleidError
from whaleid.model import checkpoint
from whaleid.model.network import Network
from whaleid.stages import backbone, train

Project = Callable[..., Params]
UNFINISHED = paths.training_state("toy")
TOY = {
    "whales": "all",
    "photos": "all",
    "flip": "identity",
    "augment": True,
    "loss": {"kind": "cosface", "scale": 24, "margin": 0.3, "centres": 1},
    "epochs": 3,
    "batch_size": 4,
    "lr": 0.002,
}


class Killed(Exception):
    """Raised to interrupt a training."""


def no_log(*_: object) -> None:
    pass


def kill(number: int, _: object) -> None:
    """Interrupt a training in its second epoch."""
    if number == 2:
        raise Killed


@pytest.fixture
def settings(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Write a backbone and the packed photos of three whales; return a function that writes params.yaml."""
    monkeypatch.setenv("WHALEID_DEVICE", "cpu")
    write_stripes(whales=3, photos=5)

    def write(seed: int = 0, scores: tuple[str, ...] = ("class",), zoom: float = 1.0, **changes: object) -> Params:
        network = {"name": "squeezenet1_1", "weights": "none", "embedding": 16}
        final = {"init": "toy", "learn": "all", "train": TOY | {"epochs": 2}}
        toy = {"train": TOY | changes, "embed": {"zoom": zoom}, "scores": [*scores]}
        return project(seed=seed, backbone=network, variants={"toy": toy, "final": final})

    backbone.run(write())
    return write


def outputs() -> list[bytes]:
    return [paths.checkpoint("toy").read_bytes(), paths.history("toy").read_bytes()]


def train_and_kill(params: Params) -> bytes:
    """Interrupt a training in its second epoch; return the saved state."""
    with pytest.raises(Killed):
        train.run(params, "toy", kill)
    return UNFINISHED.read_bytes()


def resumes(params: Params, saved: bytes, capsys: pytest.CaptureFixture[str]) -> bool:
    """Return whether a training resumes from `saved`."""
    UNFINISHED.write_bytes(saved)
    capsys.readouterr()
    train_and_kill(params)
    printed = capsys.readouterr().out
    resumed = f"{UNFINISHED}: training resumes after epoch 1.\n" in printed
    other = "belongs to a training with other photos, parameters or code. Training starts from the beginning.\n"
    assert resumed != (f"{UNFINISHED} {other}" in printed)
    return resumed


def read(variant: str) -> tuple[Network, checkpoint.Description]:
    path = paths.checkpoint(variant)
    return checkpoint.load(path.read_bytes(), str(path))


def test_outputs_of_a_training_and_of_an_interrupted_one_are_the_same(
    settings: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    params = settings()
    capsys.readouterr()
    record = train.run(params, "toy", no_log)
    network, description = read("toy")
    assert description == checkpoint.Description(("w0", "w1", "w2"), (24, 48, 1), "identity")
    assert network.classifier.weight.shape == (16, 6)
    history = files.read_csv(paths.history("toy"))
    assert list(history) == ["epoch", "lr", "loss", "accuracy", "validation_loss", "validation_accuracy"]
    assert history["epoch"].tolist() == [1, 2, 3]
    assert not UNFINISHED.exists()
    printed = capsys.readouterr().out
    assert "train toy: 12 photos of 3 classes, all layers of squeezenet1_1 from backbone, on cpu (" in printed
    expected = {
        "init": "backbone",
        "learn": "train",
        "flip": "identity",
        "loss.kind": "cosface",
        "loss.scale": 24,
        "loss.margin": 0.3,
        "oversample": 1,
        "batch_size": 4,
        "lr": 0.002,
        "weight_decay": 0.0005,
        "backbone": "squeezenet1_1",
        "device": "cpu",
        "classes": 3,
        "train_photos": 12,
    }
    assert {key: record.params[key] for key in expected} == expected
    assert not {"loss", "scores"} & record.params.keys()
    assert record.outputs == [paths.checkpoint("toy")]

    uninterrupted = outputs()
    paths.checkpoint("toy").unlink()
    paths.history("toy").unlink()
    train_and_kill(params)
    assert not paths.checkpoint("toy").exists()
    capsys.readouterr()
    logged: list[tuple[int, Mapping[str, float]]] = []
    train.run(params, "toy", lambda number, figures: logged.append((number, figures)))
    assert f"{UNFINISHED}: training resumes after epoch 1.\n" in capsys.readouterr().out
    assert [number for number, _ in logged] == [1, 2, 3]
    assert [figures["loss"] for _, figures in logged] == pytest.approx(history["loss"].tolist(), rel=1e-5)
    assert outputs() == uninterrupted
    assert list(UNFINISHED.parent.iterdir()) == []  # no partial file either


@pytest.mark.parametrize(("seconds", "epoch"), [(0.0, 3), (1000.0, 1)])
def test_the_state_is_saved_at_most_every_save_seconds(
    seconds: float, epoch: int, settings: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "SAVE_SECONDS", seconds)
    params = settings(epochs=4)

    def kill_last(number: int, _: object) -> None:
        if number == 4:
            raise Killed

    for _ in range(2):
        with pytest.raises(Killed):
            train.run(params, "toy", kill_last)
    assert f"{UNFINISHED}: training resumes after epoch {epoch}.\n" in capsys.readouterr().out


def start() -> subprocess.Popen[str]:
    """Start the stage in a separate process."""
    command = [sys.executable, "-m", "whaleid", "train", "toy"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run() -> str:
    """Run the stage to its end in a separate process; return its output."""
    with start() as process:
        printed, _ = process.communicate()
    assert process.returncode == 0, printed
    return printed


@pytest.mark.long
def test_a_training_killed_during_an_epoch_resumes_to_the_same_bytes(
    settings: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHALEID_TRACKING", "off")
    settings(epochs=2, oversample=100)  # the second epoch takes long enough to be killed
    run()
    uninterrupted = outputs()
    paths.checkpoint("toy").unlink()
    paths.history("toy").unlink()

    with start() as process:
        while not UNFINISHED.exists():
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.01)
        time.sleep(0.1)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert UNFINISHED.exists()
    assert not paths.checkpoint("toy").exists()
    stray = UNFINISHED.with_name(".toy.unfinished.partial.safetensors")  # as left by a kill during writing
    stray.write_bytes(UNFINISHED.read_bytes()[:1000])
    assert f"{UNFINISHED}: training resumes after epoch 1.\n" in run()
    assert outputs() == uninterrupted
    assert list(UNFINISHED.parent.iterdir()) == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("stop", "code", "printed"), [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, "terminated\n")]
)
def test_a_signal_ends_a_training_with_a_message_and_ends_its_run(
    settings: Project, monkeypatch: pytest.MonkeyPatch, stop: signal.Signals, code: int, printed: str
) -> None:
    monkeypatch.setenv("WHALEID_TRACKING", "on")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    settings(epochs=100, oversample=100)
    command = [sys.executable, "-m", "whaleid", "train", "toy"]
    # background jobs of a shell ignore SIGINT, and their child processes inherit this
    restore_sigint = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, preexec_fn=restore_sigint) as process:
        while not UNFINISHED.exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(stop)
        out, err = process.communicate()
    assert process.returncode == code
    assert err == printed
    assert "epoch 1 of 100" in out
    assert [run.info.status for run in runs(Path()) if run.info.run_name == "train toy"] == ["KILLED"]
    assert UNFINISHED.exists()
    assert [path for path in Path("models").iterdir() if ".partial" in path.name] == []


def test_a_training_resumes_only_with_the_same_inputs(
    settings: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = train_and_kill(settings())
    assert resumes(settings(scores=("class", "nearest"), zoom=0.9), saved, capsys)  # these are used only after training
    changes: list[dict[str, object]] = [{"lr": 0.001}, {"epochs": 4}, {"augment": False}, {"seed": 1}]
    for change in changes:
        assert not resumes(settings(**change), saved, capsys)

    params = settings()
    versions = {"timm": "another"}  # the backbone is from torchvision
    with monkeypatch.context() as patch:
        patch.setattr(train, "version", lambda library: versions.get(library) or version(library))
        assert resumes(params, saved, capsys)
        versions["torchvision"] = "another"
        assert not resumes(params, saved, capsys)

    copy = tmp_path / "copy"
    shutil.copytree(train.PACKAGE, copy)
    monkeypatch.setattr(train, "PACKAGE", copy)
    assert resumes(params, saved, capsys)
    for name in ("images/augment.py", "model/network.py", "training/engine.py"):
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(content + b"\n")
        assert not resumes(params, saved, capsys)
        (copy / name).write_bytes(content)


def change_photo() -> None:
    packed = np.load(paths.PHOTOS)
    packed[3, 5, 7] ^= 1
    np.save(paths.PHOTOS, packed)


def change_split() -> None:
    split = files.read_csv(paths.SPLIT)
    split.loc[0, ["part", "role"]] = ["validation", "known"]
    files.write_csv(split, paths.SPLIT)


def change_names() -> None:
    index = files.read_csv(paths.PACK_INDEX)
    index.loc[[0, 1], "Image"] = index.loc[[1, 0], "Image"].tolist()
    files.write_csv(index, paths.PACK_INDEX)


def change_backbone() -> None:
    network, description = read("backbone")
    with torch.no_grad():
        network.embedder.neck.weight[0] = 2
    paths.checkpoint("backbone").write_bytes(checkpoint.save(network, description))


@pytest.mark.parametrize("change", [change_photo, change_split, change_names, change_backbone])
def test_a_training_starts_again_with_other_photos_or_another_init(
    change: Callable[[], None], settings: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = train_and_kill(settings())
    change()
    assert not resumes(settings(), saved, capsys)


def test_a_saved_state_that_cannot_be_used_is_ignored(settings: Project, capsys: pytest.CaptureFixture[str]) -> None:
    params = settings()
    train.run(params, "toy", no_log)
    uninterrupted = outputs()
    saved = train_and_kill(settings(lr=0.001))
    damaged = "is not a safetensors file, or is incomplete ("
    for content, message in (
        (saved, "belongs to a training with other photos"),
        (saved[: len(saved) // 2], damaged),
        (b"", damaged),
        (b"no tensors", damaged),
        (save({"a": torch.zeros(1)}), "is not a whaleid checkpoint: its header has no description. Training starts"),
        (save({"a": torch.zeros(1)}, {"whaleid": '{"kind": "network"}'}), "is a checkpoint of another kind or version"),
    ):
        UNFINISHED.write_bytes(content)
        capsys.readouterr()
        logged: list[int] = []
        train.run(params, "toy", lambda number, _, logged=logged: logged.append(number))
        printed = capsys.readouterr().out
        assert f"{UNFINISHED} {message}" in printed
        assert "from the beginning.\n" in printed
        assert "resumes" not in printed
        assert logged == [1, 2, 3]
        assert outputs() == uninterrupted
        assert not UNFINISHED.exists()


def test_a_variant_with_learn_all_is_trained_on_validation_photos_too(
    settings: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    params = settings(epochs=1)
    split = files.read_csv(paths.SPLIT)
    split.loc[0, ["part", "role"]] = ["validation", "duplicate"]  # a duplicate is excluded from training
    files.write_csv(split, paths.SPLIT)
    train.run(params, "toy", no_log)
    capsys.readouterr()
    record = train.run(params, "final", no_log)
    printed = capsys.readouterr().out
    assert "train final: 14 photos of 3 classes, all layers of squeezenet1_1 from toy, on cpu (" in printed
    expected = {"train_photos": 14, "init": "toy", "learn": "all", "epochs": 2}
    assert {key: record.params[key] for key in expected} == expected
    assert record.outputs == [paths.checkpoint("final")]
    assert len(files.read_csv(paths.history("final"))) == 2
    assert list(files.read_csv(paths.history("final"))) == ["epoch", "lr", "loss", "accuracy"]
    assert read("final")[1].flip == "identity"
    assert "validation_accuracy" in files.read_csv(paths.history("toy"))


def test_validation_loss_excludes_whales_that_are_not_a_class(settings: Project) -> None:
    split = files.read_csv(paths.SPLIT)
    split.loc[split["Id"] == "w2", ["part", "role"]] = ["validation", "unknown"]
    files.write_csv(split, paths.SPLIT)
    record = train.run(settings(epochs=1), "toy", no_log)
    assert record.params["classes"] == 2
    assert read("toy")[1].classes == ("w0", "w1")
    assert np.isfinite(pd.read_csv(paths.history("toy"))["validation_loss"]).all()


def test_init_must_be_trained_on_photos_of_the_same_shape(settings: Project) -> None:
    params = settings()
    description = checkpoint.Description(("w0", "w1"), (24, 64, 1))
    other = checkpoint.save(Network("squeezenet1_1", 16, 2), description)
    paths.checkpoint("backbone").write_bytes(other)
    with pytest.raises(
        WhaleidError, match=r"^checkpoints/backbone\.safetensors was trained on photos of \(24, 64, 1\)"
    ):
        train.run(params, "toy", no_log)
