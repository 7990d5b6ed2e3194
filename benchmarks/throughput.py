"""Training speed, compared with a plain PyTorch loop and with the limit of the hardware.

    python benchmarks/throughput.py [--backbone mobilenet_v2] [--width 144] [--height 108] [--batch 64] [--rounds 3]

Measures photos per second on the synthetic catalogue. The methods alternate, so that a busy machine slows all of them
equally. Results are medians:

- a plain loop: torchvision's ImageFolder, a DataLoader (the faster of 0 and 2 workers), similar transforms, default
  memory layout, float32, with the same network, photo size and batch size;
- whaleid's training on the CPU, from packed photos, and its ratio to the plain loop (`cpu_ratio`); the second epoch of
  both counts;
- the training step alone, on photos in memory without loading or augmentation, and the share of its speed that training
  reaches (`step_share`);
- two gloo processes with one thread each, compared with one process with two threads (`ddp_ratio`), both with twice the
  batch size, and the difference of their losses, which is caused by batch norms per process;
- on a GPU: training relative to the training step (`gpu_share`), the step relative to the bfloat16 rate of a large
  matrix product, and training relative to the CPU.

Uses two cores. The last line is one JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch
from measure import ROOT, clone, limit_cores, run
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode
from torchvision import datasets, transforms

from whaleid.config import Training, load
from whaleid.images.crop import FULL_BOX
from whaleid.images.pack import Region, Shape, pack
from whaleid.model.device import pick_device, precision
from whaleid.model.distributed import SINGLE_PROCESS, ProcessGroup, join_process_group
from whaleid.model.losses import build
from whaleid.model.network import Network, standardise
from whaleid.training.engine import train
from whaleid.training.loader import LabelledPhotos

EMBEDDING = 256
EPOCHS = 3
"""Number of epochs of the runs whose losses are compared."""
EPOCHS_FILE = "epochs.json"
"""File in which these runs save their metrics."""


def settings(batch_size: int, epochs: int) -> Training:
    """Return the training settings of the default variant `full`, with another batch size and number of epochs."""
    full = load(ROOT / "params.yaml").variants["full"].train
    return full.model_copy(update={"batch_size": batch_size, "epochs": epochs})


def new_network(backbone: str, classes: int) -> Network:
    """Return a network with weights from a fixed seed."""
    torch.manual_seed(0)
    return Network(backbone, EMBEDDING, classes)


def train_whaleid(
    photos: LabelledPhotos, backbone: str, training: Training, processes: ProcessGroup = SINGLE_PROCESS
) -> list[dict[str, float]]:
    """Train; return the metrics of each epoch."""
    network = new_network(backbone, int(photos.classes.max()) + 1)
    *_, last = train(network, photos, photos.subset(slice(0)), training, 0, processes=processes)
    return [epoch.learning | epoch.speed for epoch in last.epochs]


def plain_loop(folder: Path, backbone: str, width: int, height: int, batch: int, workers: int) -> float:
    """Return the photos per second of a plain PyTorch training loop, in its second epoch."""
    transform = transforms.Compose(
        [
            transforms.Grayscale(),
            transforms.Resize((height, width)),
            transforms.RandomAffine(8, (0.08, 0.08), (0.85, 1.15), (-8, 8)),
            transforms.ColorJitter(brightness=0.3),
            transforms.ToTensor(),
            transforms.Normalize(0.5, 0.25),
            transforms.RandomErasing(0.4, (0.01, 0.16)),
        ]
    )
    photos = datasets.ImageFolder(folder, transform)
    loader = DataLoader(
        photos, batch, shuffle=True, num_workers=workers, drop_last=True, persistent_workers=workers > 0
    )
    network = new_network(backbone, len(photos.classes)).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.001)
    for _ in range(2):
        started, count = time.perf_counter(), 0
        for inputs, targets in loader:
            loss = torch.nn.functional.cross_entropy(16 * network.classifier(network(inputs)), targets)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            count += len(targets)
            loss.item()
    return count / (time.perf_counter() - started)


def training_step(
    packed: np.ndarray,
    backbone: str,
    classes: int,
    training: Training,
    device: torch.device,
    steps: int,
) -> float:
    """Return the photos per second of the training step on one batch, standardised on `device` beforehand."""
    network = new_network(backbone, classes).to(device).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.001, fused=True)
    loss_function = build(training.loss, network.classifier)
    inputs = standardise(torch.from_numpy(np.resize(packed, (training.batch_size, *packed.shape[1:]))).to(device))
    targets = torch.arange(training.batch_size, device=device) % classes
    model = torch.compile(network, dynamic=False) if training.compile else network

    def step() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision(device) == torch.bfloat16):
            embeddings = model(inputs)
        loss: Tensor = loss_function(embeddings, targets, 1.0)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return loss.detach()

    for _ in range(3):
        step().item()
    started = time.perf_counter()
    for _ in range(steps):
        loss = step()
    loss.item()
    return training.batch_size * steps / (time.perf_counter() - started)


def flops(backbone: str, packed: np.ndarray) -> float:
    """Return the floating-point operations of a training step per photo; the backward pass counts twice the forward."""
    with FlopCounterMode(display=False) as counter:
        new_network(backbone, 2).eval()(standardise(torch.from_numpy(packed[:1])))
    return 3.0 * float(counter.get_total_flops())


def bfloat16_rate(device: torch.device) -> float:
    """Return the floating-point operations per second of a large bfloat16 matrix product."""
    matrix = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
    for _ in range(3):
        matrix @ matrix
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    for _ in range(20):
        matrix @ matrix
    torch.cuda.synchronize(device)
    return float(20 * 2 * 8192**3) / (time.perf_counter() - started)


def worker(folder: Path, backbone: str, batch_size: int) -> None:
    """Train in this process, alone or in torchrun's group; the first process writes its epochs into `folder`."""
    packed, classes = np.load(folder / "packed.npy", mmap_mode="r"), np.load(folder / "classes.npy")
    with join_process_group() as processes:
        # a learning rate so small that rounding errors do not grow
        training = settings(batch_size, EPOCHS).model_copy(update={"lr": 1e-6})
        photos = LabelledPhotos(packed, np.arange(len(classes)), classes)
        metrics = train_whaleid(photos, backbone, training, processes)
        if processes.is_first:
            (folder / EPOCHS_FILE).write_text(json.dumps(metrics))


def run_workers(folder: Path, arguments: argparse.Namespace, processes: int, threads: int) -> pd.DataFrame:
    """Train in new processes with `threads` threads each; return the metrics of the epochs, one row per epoch."""
    script = [str(Path(__file__)), "--worker", str(folder), "--backbone", arguments.backbone]
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "WHALEID_DEVICE": "cpu"}
    command += [*script, f"--batch={arguments.batch}"]
    subprocess.run(command, env=environment, check=True, stdout=sys.stderr)
    return pd.DataFrame(json.loads((folder / EPOCHS_FILE).read_text()))


def main() -> None:
    """Run the benchmark; print a table and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--width", type=int, default=144)
    parser.add_argument("--height", type=int, default=108)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3, help="number of measurements; their median counts")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)  # set by run_workers
    arguments = parser.parse_args()
    limit_cores(2)
    if arguments.worker:
        worker(arguments.worker, arguments.backbone, arguments.batch)
        return
    with tempfile.TemporaryDirectory() as temporary:
        project = Path(temporary) / "project"
        clone(project)
        run(project, "python", "-m", "whaleid", "sample")
        catalogue = project / "data/sample"
        rows = pd.read_csv(catalogue / "train.csv", dtype=str).sort_values("Image", ignore_index=True)
        folder = Path(temporary) / "folders"
        for image, whale in rows.itertuples(index=False):
            link = folder / whale / image
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(catalogue / "train" / image)
        photos = [catalogue / "train" / image for image in rows["Image"]]
        shape = Shape(arguments.width, arguments.height, stretch=True)
        packed = np.stack(list(pack(photos, [Region(FULL_BOX)] * len(photos), shape)))
        classes = rows["Id"].astype("category").cat.codes.to_numpy(dtype=np.int64)
        np.save(Path(temporary) / "packed.npy", packed)
        np.save(Path(temporary) / "classes.npy", classes)
        metrics = measure(arguments, Path(temporary), folder, packed, classes)
    for name, value in metrics.items():
        print(f"{name:28} {value:12,.4g}")
    print(json.dumps(metrics))


def measure(
    arguments: argparse.Namespace, temporary: Path, folder: Path, packed: np.ndarray, classes: np.ndarray
) -> dict[str, float]:
    """Run all measurements; return the results by name."""
    cpu, photos = torch.device("cpu"), LabelledPhotos(packed, np.arange(len(classes)), classes)
    training = settings(arguments.batch, 2)  # two epochs: the first one is warm-up
    class_count = int(classes.max()) + 1
    steps = len(classes) // arguments.batch
    speeds: dict[str, list[float]] = {name: [] for name in ("plain", "plain_workers", "whaleid", "ready")}
    for _ in range(arguments.rounds):
        for workers, name in ((0, "plain"), (2, "plain_workers")):
            speeds[name].append(
                plain_loop(folder, arguments.backbone, arguments.width, arguments.height, arguments.batch, workers)
            )
        epochs = train_whaleid(photos, arguments.backbone, training)
        speeds["whaleid"].append(epochs[1]["photos_per_second"])
        speeds["ready"].append(training_step(packed, arguments.backbone, class_count, training, cpu, steps))
    metrics = {f"cpu_{name}_photos_per_second": median(values) for name, values in speeds.items()}
    best = max(("plain", "plain_workers"), key=lambda name: median(speeds[name]))
    metrics["cpu_ratio"] = median(a / b for a, b in zip(speeds["whaleid"], speeds[best], strict=True))
    metrics["step_share"] = median(a / b for a, b in zip(speeds["whaleid"], speeds["ready"], strict=True))

    doubled = argparse.Namespace(**{**vars(arguments), "batch": 2 * arguments.batch})
    single, distributed = [], []
    for _ in range(arguments.rounds):
        single.append(run_workers(temporary, doubled, 1, 2))
        distributed.append(run_workers(temporary, doubled, 2, 1))
    ratios = [
        median(b["photos_per_second"]) / median(a["photos_per_second"])
        for a, b in zip(single, distributed, strict=True)
    ]
    metrics["one_process_photos_per_second"] = median(median(epochs["photos_per_second"]) for epochs in single)
    metrics["two_processes_photos_per_second"] = median(median(epochs["photos_per_second"]) for epochs in distributed)
    metrics["ddp_ratio"] = median(ratios)
    losses = single[0]["loss"]
    metrics["ddp_loss_apart"] = float(((distributed[0]["loss"] - losses) / losses).abs().max())
    one_thread_losses = run_workers(temporary, doubled, 1, 1)["loss"]
    metrics["threads_loss_apart"] = float(((one_thread_losses - losses) / losses).abs().max())
    if torch.cuda.is_available():
        metrics |= gpu_results(arguments, packed, photos, training, metrics["cpu_whaleid_photos_per_second"])
    return {name: float(f"{value:.4g}") for name, value in metrics.items()}


def gpu_results(
    arguments: argparse.Namespace, packed: np.ndarray, photos: LabelledPhotos, training: Training, cpu: float
) -> dict[str, float]:
    """Return the results on a GPU; `cpu` is the speed of training on the CPU, in photos per second."""
    device = pick_device()
    class_count, longer = int(photos.classes.max()) + 1, training.model_copy(update={"oversample": 64})
    speeds, limits, utilisation = [], [], []
    for _ in range(arguments.rounds):
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=200"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
            epochs = train_whaleid(photos, arguments.backbone, longer, ProcessGroup(device))
            watcher.terminate()
            utilisation += [float(line) for line in watcher.communicate()[0].splitlines()]
        speeds.append(epochs[1]["photos_per_second"])
        limits.append(training_step(packed, arguments.backbone, class_count, training, device, 300))
    return {
        "gpu_utilisation_percent": median(utilisation),
        "gpu_whaleid_photos_per_second": median(speeds),
        "gpu_ready_photos_per_second": median(limits),
        "gpu_share": median(a / b for a, b in zip(speeds, limits, strict=True)),
        "gpu_share_of_bfloat16_rate": median(limits) * flops(arguments.backbone, packed) / bfloat16_rate(device),
        "gpu_over_cpu": median(speeds) / cpu,
    }


if __name__ == "__main__":
    main()
