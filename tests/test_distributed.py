"""Several processes that train together: each has its part, the result is that of one, and one that dies stops all."""

import os
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
from conftest import runs
from stripes import write_stripes

from whaleid.config import Params
from whaleid.core import files, paths
from whaleid.core.errors import WhaleidError
from whaleid.core.parallel import cores
from whaleid.stages import backbone
from whaleid.training import launching
from whaleid.training.device import pick_device
from whaleid.training.distributed import ALONE, World, joined

Project = Callable[..., Params]
CPU = torch.device("cpu")
TOY = {"whales": "all", "photos": "all", "flip": "identity", "augment": True, "epochs": 3, "batch_size": 16, "lr": 1e-5}


def test_parts_are_all_and_differ_by_one_row() -> None:
    assert [World(rank, 3).part(8) for rank in range(3)] == [slice(0, 3), slice(3, 6), slice(6, 8)]
    assert [World(rank, 3).part(2) for rank in range(3)] == [slice(0, 1), slice(1, 2), slice(2, 2)]
    assert ALONE.part(7) == slice(0, 7)


def test_alone_everything_is_its_own() -> None:
    rows = torch.arange(6.0).view(3, 2)
    assert ALONE.gathered(rows, 3) is rows
    assert ALONE.shared("it") == "it"
    assert ALONE.every("it") == ["it"]
    network = torch.nn.Linear(2, 2)
    assert ALONE.wrapped(network) is network
    with joined(CPU) as world:
        assert world == ALONE


WHOLE = """
import copy, sys, torch
from pathlib import Path
from torch import nn
from whaleid.training import norms
from whaleid.training.distributed import joined
from whaleid.training.sums import by_backend

with joined(torch.device("cpu")) as world:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(180, 4), nn.BatchNorm1d(4)]
    alone = nn.Sequential(*layers)
    nn.init.normal_(alone[1].weight)
    shared = copy.deepcopy(alone)
    photos, wanted = torch.randn(7, 3, 8, 8), torch.randn(7, 4)

    expected = alone(photos)
    (expected - wanted).square().mean().backward()
    norms.synchronise(shared, by_backend if "by_backend" in sys.argv else world.add)
    wrapped = world.wrapped(shared)
    found = world.gathered(wrapped(photos[world.part(7)]), 7)
    (found - wanted).square().mean().backward()

    torch.testing.assert_close(found, expected)
    for (name, one), (same, other) in zip(alone.named_parameters(), shared.named_parameters(), strict=True):
        assert name == same
        torch.testing.assert_close(other.grad, one.grad, atol=1e-5, rtol=1e-4, msg=name)
    for (name, one), (same, other) in zip(alone.named_buffers(), shared.named_buffers(), strict=True):
        assert name == same
        torch.testing.assert_close(other, one, atol=1e-6, rtol=1e-5, msg=name)
    torch.testing.assert_close(shared.eval()(photos), alone.eval()(photos))
    (Path(sys.argv[1]) / f"{world.rank}.agrees").touch()  # lines of several processes may run into one another
"""


def torchrun(processes: int, *command: str) -> subprocess.CompletedProcess[str]:
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *command]
    return subprocess.run(run, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "summed"), [(2, "by_sockets"), (3, "by_sockets"), (3, "by_backend")])
def test_gradients_and_statistics_are_those_of_the_whole_batch(processes: int, summed: str, tmp_path: Path) -> None:
    script = tmp_path / "whole.py"
    script.write_text(WHOLE)
    ended = torchrun(processes, str(script), str(tmp_path), summed)
    assert ended.returncode == 0, ended.stderr
    assert sorted(path.name for path in tmp_path.glob("*.agrees")) == [f"{rank}.agrees" for rank in range(processes)]


SUMS = """
import sys, torch
from dataclasses import replace
from pathlib import Path
from whaleid.core.errors import WhaleidError
from whaleid.training.distributed import joined

said = Path(sys.argv[1])
try:
    with joined(torch.device("cpu")) as world:
        rows = torch.randn(50, world.size, 2, 300, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        found = rows[:, world.rank].clone()
        for each in found:
            world.add(each)
        torch.testing.assert_close(found, rows.sum(dim=1))
        alike = world.every(found.numpy().tobytes())
        assert alike == alike[:1] * world.size

        world.agree("same")
        told = ""
        try:
            world.agree(f"mark {max(world.rank, 1)}")
        except WhaleidError as error:
            told = str(error)
        assert told.startswith("process 2 of 3 has other photos, parameters, networks or code than process 0"), told

        norm = torch.nn.BatchNorm1d(3)
        norm.running_mean.fill_(world.rank + 1)
        replace(world, same_norms=False).level(norm)
        assert norm.running_mean.tolist() == [1, 1, 1]

        if world.rank < 2:
            world.add(found[0])  # which the last one leaves without
except WhaleidError as error:
    (said / f"{world.rank}.txt").write_text(str(error))
"""


@pytest.mark.slow
def test_sums_are_the_same_in_each_process_and_want_all(tmp_path: Path) -> None:
    script = tmp_path / "sums.py"
    script.write_text(SUMS)
    ended = torchrun(3, str(script), str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    said = {path.name: path.read_text() for path in tmp_path.glob("*.txt")}
    assert said.keys() == {"0.txt", "1.txt"}
    for rank in range(2):
        assert said[f"{rank}.txt"].startswith(f"process {rank} of 3 on ")
        assert "another one ended or does not answer (connection closed by another process)" in said[f"{rank}.txt"]


@pytest.fixture
def toy(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Write the packed photos of six whales; return what writes `params.yaml` with changes of toy, and a backbone."""
    monkeypatch.setenv("WHALEID_DEVICE", "cpu")
    monkeypatch.setenv("WHALEID_TRACKING", "off")
    write_stripes(whales=6, photos=9)

    def write(**changes: object) -> Params:
        network = {"name": "resnet18", "weights": "none", "embedding": 16}
        params = project(backbone=network, variants={"toy": {"train": TOY | changes}})
        backbone.run(params)
        return params

    return write


def whaleid(*command: str, processes: int | None = None) -> str:
    """Run a command, which may share its work among processes; return what it said."""
    shared = {"WHALEID_PROCESSES": str(processes)} if processes else {}
    run = [sys.executable, "-m", "whaleid", *command]
    ended = subprocess.run(run, capture_output=True, text=True, check=False, env=os.environ | shared, timeout=300)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


TRIPLET = {"loss": {"kind": "triplet", "scale": 16, "margin": 0.3, "centres": 1}, "per_whale": 4}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "changes"),
    [
        (2, {}),
        (3, TRIPLET),
        (2, {"layers": "upper"}),
        (2, {"layers": "last"}),
        (2, {"layers": "last", "augment": False}),
    ],
    ids=str,
)
def test_several_processes_learn_what_one_does(processes: int, changes: dict[str, object], toy: Project) -> None:
    toy(**changes)
    whaleid("train", "toy")
    alone = files.read_csv(paths.history("toy"))
    whaleid("embed", "toy")
    with np.load(paths.features("toy")) as features:
        embeddings = features["embeddings"]

    ended = torchrun(processes, "-m", "whaleid", "train", "toy")
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert sum(line.startswith("epoch 2 of 3: loss") for line in lines) == 1  # one of them talks
    assert f"on cpu ({max(1, cores() // processes)} threads), {processes} processes" in lines[0]
    together = files.read_csv(paths.history("toy"))
    pd.testing.assert_frame_equal(together, alone, rtol=2e-3, atol=1e-3)

    said = whaleid("embed", "toy", processes=2)
    assert "2 processes" in said
    with np.load(paths.features("toy")) as features:
        assert features["embeddings"].shape == embeddings.shape
        assert (features["embeddings"] * embeddings).sum(axis=2).min() > 0.99
    assert sorted(path.name for path in paths.checkpoint("toy").parent.iterdir()) == [
        "backbone.safetensors",
        "toy.safetensors",
    ]


@pytest.mark.slow
def test_processes_of_a_cpu_may_compute_in_half_precision(toy: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    toy()
    monkeypatch.setenv("WHALEID_FAST", "on")
    alone = whaleid("train", "toy")
    assert "speed: a step takes" in alone
    one = files.read_csv(paths.history("toy"))["loss"]
    said = whaleid("train", "toy", processes=2)
    assert said.count("speed: a step takes") == 1
    assert "; not compiled: 2 processes" in said
    assert files.read_csv(paths.history("toy"))["loss"].to_numpy() == pytest.approx(one.to_numpy(), rel=0.05)


@pytest.mark.slow
def test_two_hosts_learn_what_one_does(toy: Project) -> None:
    """Two agents stand for two hosts that share a folder: neither knows of the other's processes but by the network."""
    toy()
    whaleid("train", "toy")
    alone = files.read_csv(paths.history("toy"))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        endpoint = f"localhost:{free.getsockname()[1]}"
    run = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d"]
    run += [f"--rdzv-endpoint={endpoint}", "--rdzv-id=whales", "-m", "whaleid", "train", "toy"]
    hosts = [subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [host.communicate(timeout=300) for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], said
    assert sorted(out.count("epoch 3 of 3: loss") for out, _ in said) == [0, 1]
    pd.testing.assert_frame_equal(files.read_csv(paths.history("toy")), alone, rtol=2e-3, atol=1e-3)


@pytest.mark.slow
def test_more_processes_than_photos_in_a_batch_are_refused(toy: Project) -> None:
    toy(batch_size=2)
    ended = torchrun(3, "-m", "whaleid", "train", "toy")
    assert ended.returncode == 1
    assert "error: 3 processes need 3 photos in a batch, but there are batches of 2: start fewer" in ended.stderr


@pytest.mark.slow
def test_only_some_stages_are_shared(toy: Project) -> None:
    toy()
    ended = torchrun(1, "-m", "whaleid", "predict")
    assert ended.returncode == 1
    assert "error: Several processes share train and embed; run predict without torchrun." in ended.stderr


@pytest.mark.slow
def test_norms_of_each_process_lead_elsewhere(toy: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    toy()
    whaleid("train", "toy", processes=2)
    synchronised = files.read_csv(paths.history("toy"))["loss"]
    monkeypatch.setenv("WHALEID_SYNC_NORMS", "off")
    whaleid("train", "toy", processes=2)
    assert (files.read_csv(paths.history("toy"))["loss"] / synchronised - 1).abs().max() > 1e-3


@pytest.mark.slow
def test_embeddings_are_those_of_one_process(toy: Project) -> None:
    toy(epochs=1)
    whaleid("train", "toy")
    whaleid("embed", "toy")
    alone = dict(np.load(paths.features("toy")))
    whaleid("embed", "toy", processes=3)
    shared = dict(np.load(paths.features("toy")))
    assert shared["images"].tolist() == alone["images"].tolist()
    assert shared["embeddings"].shape == alone["embeddings"].shape == (2, 54, 16)
    assert shared["embeddings"] == pytest.approx(alone["embeddings"], abs=1e-5)


@pytest.mark.slow
def test_one_that_is_killed_stops_all_and_training_goes_on(toy: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    toy(epochs=3, oversample=60)
    monkeypatch.setenv("WHALEID_TRACKING", "on")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    unfinished = paths.unfinished("toy")
    run = [sys.executable, "-m", "whaleid", "train", "toy"]
    shared = os.environ | {"WHALEID_PROCESSES": "2"}
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=shared) as process:
        while not unfinished.exists():
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        children = [each for each in psutil.Process(process.pid).children(True) if "train" in each.cmdline()]
        last = max(children, key=lambda each: each.environ().get("RANK", ""))
        assert last.environ()["RANK"] == "1"
        last.send_signal(signal.SIGKILL)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert (
        "error: process 1 of 2 ended (SIGKILL) and all were stopped. Run the same command again; a training goes on"
        in said
    )
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in children)
    assert not paths.checkpoint("toy").exists()
    (left,) = [each for each in runs(Path()) if each.info.run_name == "train toy"]
    assert left.info.status in ("FAILED", "KILLED")  # by which of the two the first process learnt of it
    assert f"{unfinished}: training goes on after epoch 1." in whaleid("train", "toy", processes=2)
    assert files.read_csv(paths.history("toy"))["epoch"].tolist() == [1, 2, 3]
    assert not unfinished.exists()


@pytest.mark.slow
@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_who_started_several_stops_them_all(
    toy: Project, monkeypatch: pytest.MonkeyPatch, stop: signal.Signals, code: int
) -> None:
    toy(epochs=100, oversample=60)
    monkeypatch.setenv("WHALEID_TRACKING", "on")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = [sys.executable, "-m", "whaleid", "train", "toy"]
    shared = os.environ | {"WHALEID_PROCESSES": "2"}
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=shared) as process:
        while not paths.unfinished("toy").exists():
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        process.send_signal(stop)
        _, said = process.communicate(timeout=120)
    assert process.returncode == code
    assert said.endswith({130: "interrupted\n", 143: "terminated\n"}[code])
    assert "Traceback" not in said
    assert [each.info.status for each in runs(Path()) if each.info.run_name == "train toy"] == ["KILLED"]


@pytest.mark.parametrize(
    ("gpus", "batch", "expected"), [(0, 64, 1), (1, 64, 1), (8, 64, 2), (8, 16, 1), (8, 1024, 8), (8, None, 8)]
)
def test_as_many_processes_as_gpus_have_enough_to_do(
    gpus: int,
    batch: int | None,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("WHALEID_PROCESSES", "WHALEID_DEVICE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert launching.processes(batch) == expected
    assert (f"{expected} of {gpus} GPUs: a batch of {batch} takes no less" in capsys.readouterr().out) == (
        expected < gpus
    )
    monkeypatch.setenv("WHALEID_DEVICE", "cuda:3")
    assert launching.processes(batch) == 1
    monkeypatch.setenv("WHALEID_PROCESSES", "5")
    assert launching.processes(batch) == 5
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")  # one of several by now
    assert launching.processes(batch) == 1


@pytest.mark.parametrize("asked", ["0", "-1", "two"])
def test_a_number_of_processes_that_is_none(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHALEID_PROCESSES", asked)
    with pytest.raises(WhaleidError, match=f"^WHALEID_PROCESSES is '{asked}': set it to a number from 1"):
        launching.processes(64)


def test_one_device_is_not_for_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("WHALEID_DEVICE", "cuda:1")
    with pytest.raises(WhaleidError, match=r"^WHALEID_DEVICE=cuda:1 is one device, but 2 processes"):
        pick_device()


def test_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("WHALEID_DEVICE", "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(WhaleidError, match="4 processes were started on this host, which has 2 GPUs"):
        pick_device()


def test_a_wish_for_norms_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WHALEID_SYNC_NORMS", "maybe")
    with pytest.raises(WhaleidError, match=r"^WHALEID_SYNC_NORMS is 'maybe': set it to on or off"), joined(CPU):
        pass
