"""The stage `train`: what it learns from and leaves, and that it resumes where the same training was killed."""

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
from safetensors.torch import save_file

from whaleid.config import Params
from whaleid.core import files, paths
from whaleid.core.errors import WhaleidError
from whaleid.model import checkpoint
from whaleid.model.network import Network
from whaleid.stages import backbone, train

Project = Callable[..., Params]
UNFINISHED = paths.unfinished("toy")
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
    """The training ends here."""


def nothing(*_: object) -> None:
    pass


def kill(number: int, _: object) -> None:
    """End a training in its second epoch."""
    if number == 2:
        raise Killed


@pytest.fixture
def settings(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Write a backbone and the packed photos of three whales; return what writes `params.yaml` with changes of toy."""
    monkeypatch.setenv("WHALEID_DEVICE", "cpu")
    write_stripes(whales=3, photos=5)

    def write(seed: int = 0, scores: tuple[str, ...] = ("class",), zoom: float = 1.0, **changes: object) -> Params:
        network = {"name": "squeezenet1_1", "weights": "none", "embedding": 16}
        final = {"init": "toy", "learn": "all", "train": TOY | {"epochs": 2}}
        toy = {"train": TOY | changes, "embed": {"zoom": zoom}, "scores": [*scores]}
        return project(seed=seed, backbone=network, variants={"toy": toy, "final": final})

    backbone.run(write())
    return write


def left() -> list[bytes]:
    """Return what a training leaves."""
    return [paths.checkpoint("toy").read_bytes(), paths.history("toy").read_bytes()]


def begun(params: Params) -> None:
    """Train until the second epoch."""
    with pytest.raises(Killed):
        train.run(params, "toy", kill)
    assert UNFINISHED.exists()


def goes_on(params: Params, capsys: pytest.CaptureFixture[str]) -> bool:
    """Tell whether a training would go on; it is killed again at once."""
    capsys.readouterr()
    with pytest.raises(Killed):
        train.run(params, "toy", kill)
    said = capsys.readouterr().out
    went_on = f"{UNFINISHED}: training resumes after epoch 1.\n" in said
    anew = f"{UNFINISHED} is of another training (other photos, parameters or code): this one begins anew.\n" in said
    assert went_on != anew
    return went_on


def read(variant: str) -> tuple[Network, checkpoint.Description]:
    path = paths.checkpoint(variant)
    return checkpoint.load(path.read_bytes(), str(path))


def test_what_a_training_leaves(settings: Project, capsys: pytest.CaptureFixture[str]) -> None:
    params = settings()
    capsys.readouterr()
    record = train.run(params, "toy", nothing)
    network, description = read("toy")
    assert description == checkpoint.Description(("w0", "w1", "w2"), (24, 48, 1), "identity")
    assert network.classifier.weight.shape == (16, 6)
    history = files.read_csv(paths.history("toy"))
    assert list(history) == ["epoch", "lr", "loss", "accuracy", "validation_loss", "validation_accuracy"]
    assert history["epoch"].tolist() == [1, 2, 3]
    assert not UNFINISHED.exists()
    said = capsys.readouterr().out
    assert "train toy: 12 photos of 3 classes, all layers of squeezenet1_1 from backbone, on cpu (" in said
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


def test_a_killed_training_goes_on_to_the_same_bytes(settings: Project, capsys: pytest.CaptureFixture[str]) -> None:
    params = settings()
    train.run(params, "toy", nothing)
    undisturbed = left()
    paths.checkpoint("toy").unlink()
    paths.history("toy").unlink()

    begun(params)
    assert not paths.checkpoint("toy").exists()
    capsys.readouterr()
    logged: list[tuple[int, Mapping[str, float]]] = []
    train.run(params, "toy", lambda number, figures: logged.append((number, figures)))
    assert f"{UNFINISHED}: training resumes after epoch 1.\n" in capsys.readouterr().out
    assert [number for number, _ in logged] == [1, 2, 3]
    losses = files.read_csv(paths.history("toy"))["loss"].tolist()
    assert [figures["loss"] for _, figures in logged] == pytest.approx(losses, rel=1e-5)
    assert left() == undisturbed
    assert not UNFINISHED.exists()
    assert list(UNFINISHED.parent.glob(".*")) == []  # nor a file that was half written


def start() -> subprocess.Popen[str]:
    """Run the stage in a process of its own."""
    command = [sys.executable, "-m", "whaleid", "train", "toy"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run() -> str:
    """Run the stage to its end in a process of its own; return what it said."""
    with start() as process:
        said, _ = process.communicate()
    assert process.returncode == 0, said
    return said


@pytest.mark.slow
def test_a_training_killed_in_mid_epoch_goes_on_to_the_same_bytes(
    settings: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHALEID_TRACKING", "off")
    settings(epochs=2, oversample=100)  # a second epoch long enough to be killed in its midst
    run()
    undisturbed = left()
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
    stray = UNFINISHED.with_name(".toy.unfinished.999999999.partial.safetensors")  # as of a kill while it was written
    stray.write_bytes(UNFINISHED.read_bytes()[:1000])
    assert f"{UNFINISHED}: training resumes after epoch 1.\n" in run()
    assert left() == undisturbed
    assert list(UNFINISHED.parent.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stop", "code", "said"), [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, "terminated\n")]
)
def test_a_training_that_is_stopped_says_so_and_ends_its_run(
    settings: Project, monkeypatch: pytest.MonkeyPatch, stop: signal.Signals, code: int, said: str
) -> None:
    monkeypatch.setenv("WHALEID_TRACKING", "on")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    settings(epochs=100, oversample=100)
    command = [sys.executable, "-m", "whaleid", "train", "toy"]
    # who runs these tests in the background of a shell has Ctrl-C ignored, and so would what they start
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, preexec_fn=heard) as process:
        while not UNFINISHED.exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(stop)
        out, err = process.communicate()
    assert process.returncode == code
    assert err == said
    assert "epoch 1 of 100" in out
    assert [run.info.status for run in runs(Path()) if run.info.run_name == "train toy"] == ["KILLED"]
    assert UNFINISHED.exists()
    assert [path for path in Path("models").iterdir() if ".partial" in path.name] == []


@pytest.mark.parametrize("changes", [{"lr": 0.001}, {"epochs": 4}, {"augment": False}, {"seed": 1}])
def test_with_another_parameter_a_training_begins_anew(
    changes: dict[str, object], settings: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    begun(settings())
    assert not goes_on(settings(**changes), capsys)


def test_a_training_that_began_anew_is_as_one_that_met_nothing(settings: Project) -> None:
    changed = settings(lr=0.001)
    train.run(changed, "toy", nothing)
    undisturbed = left()
    begun(settings())
    train.run(changed, "toy", nothing)
    assert left() == undisturbed
    assert not UNFINISHED.exists()


def test_what_is_used_after_training_does_not_make_it_another(
    settings: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    begun(settings())
    assert goes_on(settings(scores=("class", "nearest"), zoom=0.9), capsys)


def pack_otherwise() -> None:
    packed = np.load(paths.PHOTOS)
    packed[3, 5, 7] ^= 1
    np.save(paths.PHOTOS, packed)


def split_otherwise() -> None:
    split = files.read_csv(paths.SPLIT)
    split.loc[0, ["part", "role"]] = ["validation", "known"]
    files.write_csv(split, paths.SPLIT)


def name_otherwise() -> None:
    index = files.read_csv(paths.PACKED)
    index.loc[[0, 1], "Image"] = index.loc[[1, 0], "Image"].tolist()
    files.write_csv(index, paths.PACKED)


def start_otherwise() -> None:
    network, description = read("backbone")
    with torch.no_grad():
        network.embedder.neck.weight[0] = 2
    paths.checkpoint("backbone").write_bytes(checkpoint.save(network, description))


@pytest.mark.parametrize("change", [pack_otherwise, split_otherwise, name_otherwise, start_otherwise])
def test_with_other_photos_or_another_start_a_training_begins_anew(
    change: Callable[[], None], settings: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    begun(settings())
    change()
    assert not goes_on(settings(), capsys)


def test_with_other_code_a_training_begins_anew(
    settings: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun(settings())
    assert goes_on(settings(), capsys)
    sources = train._sources()
    assert any(b"def train(" in source for source in sources)
    assert any(b"def augment(" in source for source in sources)
    assert any(b"class Network(" in source for source in sources)
    assert [source for source in sources if source.startswith(b'"""Stage `')] == [Path(train.__file__).read_bytes()]
    monkeypatch.setattr(train, "_sources", lambda: [*sources[:-1], sources[-1] + b"\n"])
    assert not goes_on(settings(), capsys)


def test_with_another_version_of_torchvision_a_training_begins_anew(
    settings: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun(settings())
    versions = {"timm": "another"}  # the backbone is torchvision's
    monkeypatch.setattr(train, "version", lambda library: versions.get(library) or version(library))
    assert goes_on(settings(), capsys)
    versions["torchvision"] = "another"
    assert not goes_on(settings(), capsys)


@pytest.mark.parametrize("damage", [lambda whole: whole[: len(whole) // 2], lambda _: b"", lambda _: b"no tensors"])
def test_a_damaged_file_is_not_used(
    damage: Callable[[bytes], bytes], settings: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    begun(settings())
    UNFINISHED.write_bytes(damage(UNFINISHED.read_bytes()))
    capsys.readouterr()
    logged: list[int] = []
    train.run(settings(), "toy", lambda number, _: logged.append(number))
    said = capsys.readouterr().out
    assert f"{UNFINISHED} is no safetensors file, or not a whole one (" in said
    assert "Training begins anew.\n" in said
    assert "training resumes" not in said
    assert logged == [1, 2, 3]
    assert not UNFINISHED.exists()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (None, "is no checkpoint of whaleid: its header has no description. Training begins anew."),
        ({"whaleid": '{"kind": "network"}'}, "is a checkpoint of another kind or version"),
    ],
)
def test_a_file_of_something_else_is_not_used(
    header: dict[str, str] | None, message: str, settings: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    params = settings()
    UNFINISHED.parent.mkdir()
    save_file({"a": torch.zeros(1)}, UNFINISHED, header)
    with pytest.raises(Killed):
        train.run(params, "toy", kill)
    said = capsys.readouterr().out
    assert f"{UNFINISHED} {message}" in said
    assert "resumes" not in said


def test_a_variant_that_learns_all_learns_from_validation_too(
    settings: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    params = settings(epochs=1)
    split = files.read_csv(paths.SPLIT)
    split.loc[0, ["part", "role"]] = ["validation", "duplicate"]  # a copy: its picture is learnt already
    files.write_csv(split, paths.SPLIT)
    train.run(params, "toy", nothing)
    capsys.readouterr()
    record = train.run(params, "final", nothing)
    said = capsys.readouterr().out
    assert "train final: 14 photos of 3 classes, all layers of squeezenet1_1 from toy, on cpu (" in said
    expected = {"train_photos": 14, "init": "toy", "learn": "all", "epochs": 2}
    assert {key: record.params[key] for key in expected} == expected
    assert record.outputs == [paths.checkpoint("final")]
    assert len(files.read_csv(paths.history("final"))) == 2
    assert list(files.read_csv(paths.history("final"))) == ["epoch", "lr", "loss", "accuracy"]
    assert read("final")[1].flip == "identity"
    assert "validation_accuracy" in files.read_csv(paths.history("toy"))


def test_validation_whales_that_are_not_learnt_are_not_measured(settings: Project) -> None:
    split = files.read_csv(paths.SPLIT)
    split.loc[split["Id"] == "w2", ["part", "role"]] = ["validation", "unknown"]
    files.write_csv(split, paths.SPLIT)
    record = train.run(settings(epochs=1), "toy", nothing)
    assert record.params["classes"] == 2
    assert read("toy")[1].classes == ("w0", "w1")
    assert np.isfinite(pd.read_csv(paths.history("toy"))["validation_loss"]).all()


def test_refuses_to_start_from_a_network_of_photos_that_were_packed_otherwise(settings: Project) -> None:
    params = settings()
    description = checkpoint.Description(("w0", "w1"), (24, 64, 1))
    other = checkpoint.save(Network("squeezenet1_1", 16, 2), description)
    paths.checkpoint("backbone").write_bytes(other)
    with pytest.raises(
        WhaleidError, match=r"^checkpoints/backbone\.safetensors was trained on photos of \(24, 64, 1\)"
    ):
        train.run(params, "toy", nothing)
