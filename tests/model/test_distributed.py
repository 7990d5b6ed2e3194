"""Distributed training: shards, gradients equal to those of one process, and failing processes."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from helpers.project import run_stage, runs
from helpers.stripes import stripes, training, write_stripes
from timm.layers import BatchNormAct2d
from torch import nn

from whaleid.cli.app import app
from whaleid.config import Params
from whaleid.core import files, paths
from whaleid.core.errors import WhaleidError
from whaleid.core.parallel import cores
from whaleid.model.backbone import Backbone
from whaleid.model.device import pick_device
from whaleid.model.distributed import SINGLE_PROCESS, ProcessGroup, join_process_group, synchronise_batch_norms
from whaleid.model.network import Network
from whaleid.stages import backbone
from whaleid.training import launching
from whaleid.training.engine import train

Project = Callable[..., Params]
CPU = torch.device("cpu")
TOY = {
    "whales": "all",
    "photos": "all",
    "flip": "identity",
    "augment": True,
    "epochs": 3,
    "batch_size": 15,
    "lr": 0.002,
}


@pytest.mark.parametrize(("rows", "size"), [(8, 3), (2, 3), (64, 1), (65, 2)])
def test_shards_cover_all_rows_and_differ_by_at_most_one(rows: int, size: int) -> None:
    shards = [list(range(rows))[ProcessGroup(CPU, rank, size).shard(rows)] for rank in range(size)]
    assert [row for shard in shards for row in shard] == list(range(rows))
    assert {len(shard) for shard in shards} <= {rows // size, -(-rows // size)}


def test_a_single_process_needs_no_communication() -> None:
    network, values = nn.Linear(2, 2), torch.arange(3.0)
    assert SINGLE_PROCESS.wrap(network) is network
    assert SINGLE_PROCESS.sum(values).tolist() == [0, 1, 2]
    assert SINGLE_PROCESS.broadcast("value") == "value"
    assert SINGLE_PROCESS.all_gather("value") == ["value"]
    with join_process_group() as processes:
        assert processes == ProcessGroup(pick_device())


def test_only_trainable_norms_are_synchronised_and_they_keep_their_activation() -> None:
    torch.manual_seed(0)
    body = Backbone("timm/test_efficientnet").body.eval()
    norms = {name: layer for name, layer in body.named_modules() if isinstance(layer, BatchNormAct2d)}
    frozen = next(iter(norms))
    norms[frozen].requires_grad_(False)
    names, photos = list(body.state_dict()), torch.randn(4, 3, 64, 64)
    before = body(photos)
    synchronise_batch_norms(body, "timm/test_efficientnet")
    assert list(body.state_dict()) == names
    replaced = {name for name, layer in body.named_modules() if isinstance(layer, nn.SyncBatchNorm)}
    assert replaced == norms.keys() - {frozen}
    torch.testing.assert_close(body(photos), before)


def test_torchvision_norms_are_synchronised_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    body = Backbone("resnet18").body
    for name in [*sys.modules, "timm"]:
        if name.split(".")[0] == "timm":
            monkeypatch.setitem(sys.modules, name, None)  # as if timm were not installed
    names = [name for name, layer in body.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    synchronise_batch_norms(body, "resnet18")
    assert [name for name, layer in body.named_modules() if isinstance(layer, nn.SyncBatchNorm)] == names


def torchrun(processes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, timeout=120)


SCRIPT = """
import contextlib, copy, torch
from pathlib import Path
from torch import nn
from whaleid.cli.app import app
from whaleid.core.errors import WhaleidError
from whaleid.model import distributed

with distributed.join_process_group() as processes:
    torch.manual_seed(0)
    single = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5).eval(), nn.ReLU(), nn.Flatten(), nn.Linear(180, 4))
    distributed_model = copy.deepcopy(single)
    photos, targets = torch.randn(7, 3, 8, 8), torch.randn(7, 4)

    nn.functional.mse_loss(single(photos), targets).backward()
    shard = processes.shard(7)  # 3 or 4 photos
    model = processes.wrap(distributed_model)
    loss = nn.functional.mse_loss(model(photos[shard]), targets[shard])
    (loss * (shard.stop - shard.start) * processes.size / 7).backward()
    for expected, weight in zip(single.parameters(), distributed_model.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, expected.grad)

    assert processes.broadcast(processes.rank) == 0
    assert processes.all_gather(processes.rank) == [0, 1]
    assert processes.sum(torch.tensor([processes.rank, 1])).tolist() == [1, 2]
    norm = nn.BatchNorm1d(3)
    norm.running_mean.fill_(processes.rank + 1)
    processes.broadcast_buffers(norm)
    assert norm.running_mean.tolist() == [1, 1, 1]

    processes.check_same("digest")
    message = ""
    try:
        processes.check_same(f"digest {processes.rank}")
    except WhaleidError as error:
        message = str(error)
    assert message.startswith("process 1 of 2 and process 0 have different photos, parameters, networks"), message
    distributed.join_process_group = lambda: contextlib.nullcontext(processes)  # already joined
    for command in ("train toy", "embed toy"):
        app(command.split(), standalone_mode=False)
        processes.broadcast(None)  # wait until the first process has written its files
    Path(f"{processes.rank}.passed").touch()  # a file, since the output of the processes is interleaved
"""
"""Run by two processes: check gradients and communication, then train and embed."""


@pytest.fixture
def toy(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Write packed photos of six whales; return a function that writes a backbone and changes `params.yaml`."""
    monkeypatch.setenv("WHALEID_DEVICE", "cpu")
    monkeypatch.setenv("WHALEID_TRACKING", "off")
    write_stripes(whales=6, photos=9)

    def write(**changes: object) -> Params:
        network = {"name": "resnet18", "weights": "none", "embedding": 16}
        params = project(backbone=network, variants={"toy": {"train": TOY | changes}})
        backbone.run(params)
        return params

    return write


def whaleid(*arguments: str) -> str:
    """Run whaleid in one process; return its standard output."""
    command = [sys.executable, "-m", "whaleid", *arguments]
    process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.slow
@pytest.mark.parametrize("augment", [True, pytest.param(False, marks=pytest.mark.long)], ids=["photos", "embeddings"])
def test_two_processes_reproduce_the_training_of_one_if_norms_are_frozen(augment: bool, toy: Project) -> None:
    params = toy(layers="last", augment=augment)
    run_stage("train", params, "toy", lambda epoch, figures: None)
    run_stage("embed", params, "toy")
    expected_history = files.read_csv(paths.history("toy"))
    with np.load(paths.features("toy")) as features:
        expected = dict(features)
    for path in (paths.checkpoint("toy"), paths.history("toy"), paths.features("toy")):
        path.unlink()

    Path("script.py").write_text(SCRIPT)
    process = torchrun(2, "script.py")
    assert process.returncode == 0, process.stderr
    assert sorted(path.name for path in Path().glob("*.passed")) == ["0.passed", "1.passed"]
    lines = process.stdout.splitlines()
    assert sum(line.startswith("epoch 2 of 3: loss") for line in lines) == 1  # only the first process prints
    assert f"on cpu ({max(1, cores() // 2)} threads), 2 processes in float32" in lines[0]
    assert lines[-1].startswith("embed toy: ")
    pd.testing.assert_frame_equal(files.read_csv(paths.history("toy")), expected_history, rtol=1e-4)
    assert sorted(path.stem for path in paths.checkpoint("toy").parent.iterdir()) == ["backbone", "toy"]
    with np.load(paths.features("toy")) as features:
        assert features["images"].tolist() == expected["images"].tolist()
        assert features["embeddings"] == pytest.approx(expected["embeddings"], abs=1e-5)
        assert features["centres"] == pytest.approx(expected["centres"], abs=1e-3)


@pytest.mark.long
def test_two_hosts_train_with_norms_per_process(toy: Project) -> None:
    """Two torchrun agents simulate two hosts that share a folder and communicate by network."""
    toy(epochs=6, augment=False)
    with socket.socket() as port:
        port.bind(("localhost", 0))
        endpoint = f"localhost:{port.getsockname()[1]}"
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d"]
    command += [f"--rdzv-endpoint={endpoint}", "--rdzv-id=whales", "-m", "whaleid", "train", "toy"]
    hosts = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [host.communicate(timeout=300) for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], outputs
    assert sorted(out.count("epoch 6 of 6: loss") for out, _ in outputs) == [0, 1]
    losses = files.read_csv(paths.history("toy"))["loss"].tolist()
    assert losses[-1] < 0.7 * losses[0]


def test_shards_of_less_than_two_photos_are_refused() -> None:
    network, photos = Network("squeezenet1_1", 16, 6), stripes(whales=6, photos=2)
    epochs = train(network, photos, photos, training(batch_size=4), 0, None, ProcessGroup(CPU, 0, 3))
    with pytest.raises(WhaleidError, match=r"^3 processes need batches of at least 6 photos, but some have 4"):
        next(epochs)


def test_stages_for_a_single_process_are_refused_under_torchrun(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(WhaleidError, match=r"^Only train and embed can run in several processes: run predict without"):
        app(["predict"], standalone_mode=False)


GPUS = "from whaleid.training import launching; launching.process_count = lambda _: 2"
"""Code that starts two processes as on a machine with two GPUs, but on the CPU."""
LAUNCH_COMMAND = [sys.executable, "-c", f"{GPUS}; from whaleid.cli.app import main; main()", "train", "toy"]
TORCHRUN_COMMAND = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
TORCHRUN_COMMAND += ["-m", "whaleid", "train", "toy"]


def start(command: list[str]) -> subprocess.Popen[str]:
    """Start to train toy in two processes; return after the first epoch was saved."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not paths.training_state("toy").exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    return process


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "message"),
    [
        pytest.param(
            LAUNCH_COMMAND,
            "error: process 1 of 2 ended (SIGKILL), so all were stopped. Run the same command again",
            marks=pytest.mark.long,
        ),
        (TORCHRUN_COMMAND, "SIGKILL"),
    ],
    ids=["launch", "torchrun"],
)
def test_a_killed_process_stops_all_and_training_resumes(
    command: list[str], message: str, toy: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy(epochs=3, oversample=20)
    monkeypatch.setenv("WHALEID_TRACKING", "on")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    unfinished = paths.training_state("toy")
    with start(command) as process:
        children = [child for child in psutil.Process(process.pid).children(True) if "whaleid" in child.cmdline()]
        (second,) = [child for child in children if child.environ().get("RANK") == "1"]
        second.send_signal(signal.SIGKILL)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert message in errors
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    assert not paths.checkpoint("toy").exists()
    assert f"{unfinished}: training resumes after epoch 1." in whaleid("train", "toy")  # in one process
    resumed, stopped = [run.info.status for run in runs(Path()) if run.info.run_name == "train toy"]
    assert resumed == "FINISHED"
    assert stopped in ("FAILED", "KILLED")  # depends on whether the first process noticed the failure or was stopped
    assert files.read_csv(paths.history("toy"))["epoch"].tolist() == [1, 2, 3]
    assert not unfinished.exists()


@pytest.mark.long
@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_launcher_stops_all_processes(
    toy: Project, monkeypatch: pytest.MonkeyPatch, stop: signal.Signals, code: int
) -> None:
    toy(epochs=100, oversample=60)
    monkeypatch.setenv("WHALEID_TRACKING", "on")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with start(LAUNCH_COMMAND) as process:
        process.send_signal(stop)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == code
    assert errors.endswith({130: "interrupted\n", 143: "terminated\n"}[code])
    assert "Traceback" not in errors
    assert [run.info.status for run in runs(Path()) if run.info.run_name == "train toy"] == ["KILLED"]


@pytest.mark.parametrize(
    ("gpus", "batch", "expected"), [(0, 64, 1), (1, 64, 1), (8, 64, 2), (8, 16, 1), (8, 1024, 8), (8, None, 8)]
)
def test_the_number_of_processes_follows_from_gpus_and_batch_size(
    gpus: int,
    batch: int | None,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("WHALEID_DEVICE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert launching.process_count(batch) == expected
    assert (
        f"{expected} of {gpus} GPUs are used: a batch of {batch} photos is not faster" in capsys.readouterr().out
    ) == (expected < gpus)
    monkeypatch.setenv("WHALEID_DEVICE", "cuda:3")
    assert launching.process_count(batch) == 1
    monkeypatch.delenv("WHALEID_DEVICE")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")  # as in a process that torchrun started
    assert launching.process_count(batch) == 1
