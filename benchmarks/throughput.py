"""How fast training is, beside a plain PyTorch loop and beside what the hardware could do.

    python benchmarks/throughput.py [--backbone mobilenet_v2] [--width 144] [--height 108] [--batch 64] [--rounds 3]

On photos of the drawn catalogue, turn by turn so that a busy machine slows all alike, medians of photos a second:

- a plain loop: torchvision's ImageFolder, a DataLoader (with and without workers; the faster counts), transforms of the
  same kinds, default layout, float32, with the same network, size and batch;
- whaleid's own training (`cpu_ratio` to the plain loop), as every CPU computes, from photos that the stage `pack` has
  read; of both, the second epoch counts;
- the same step on photos that are ready in memory, neither loaded nor changed (`step_share` of it is reached);
- one process with two threads and twice the batch, beside two gloo processes with one thread each (`ddp_ratio`), and
  how far their losses lie apart, which batch norms of each process's own make so;
- where there is a GPU: whaleid's training and that step (`gpu_share`), what it is of the chip's own bfloat16 rate,
  which a large matrix product shows, and how many times a CPU's training it is.

Two cores are used. The last line is one JSON object.
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
from whaleid.images.crop import WHOLE
from whaleid.images.pack import Region, Shape, pack
from whaleid.model.device import pick_device, precision
from whaleid.model.distributed import ALONE, ProcessGroup, join_process_group
from whaleid.model.losses import build
from whaleid.model.network import Network, standardise
from whaleid.training.engine import train
from whaleid.training.loader import LabelledPhotos

EMBEDDING = 256
EPOCHS = 3
"""Of the runs whose losses are compared."""
EPOCHS_FILE = "epochs.json"
"""What they leave."""


def settings(batch_size: int, epochs: int) -> Training:
    """Return how the default variant `full` is trained, with another batch size and number of epochs."""
    full = load(ROOT / "params.yaml").variants["full"].train
    return full.model_copy(update={"batch_size": batch_size, "epochs": epochs})


def network(backbone: str, classes: int) -> Network:
    """Return the same network each time."""
    torch.manual_seed(0)
    return Network(backbone, EMBEDDING, classes)


def whaleid(
    photos: LabelledPhotos, backbone: str, training: Training, processes: ProcessGroup = ALONE
) -> list[dict[str, float]]:
    """Train, and return the figures of each epoch."""
    trained = network(backbone, int(photos.classes.max()) + 1)
    *_, last = train(trained, photos, photos.subset(slice(0)), training, 0, processes=processes)
    return [epoch.learning | epoch.speed for epoch in last.epochs]


def plain(folder: Path, backbone: str, width: int, height: int, batch: int, workers: int) -> float:
    """Return the photos a second of the second epoch of a loop as a tutorial has it."""
    change = transforms.Compose(
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
    photos = datasets.ImageFolder(folder, change)
    loader = DataLoader(
        photos, batch, shuffle=True, num_workers=workers, drop_last=True, persistent_workers=workers > 0
    )
    learner = network(backbone, len(photos.classes)).train()
    optimiser = torch.optim.AdamW(learner.parameters(), lr=0.001)
    for _ in range(2):
        started, count = time.perf_counter(), 0
        for inputs, targets in loader:
            loss = torch.nn.functional.cross_entropy(16 * learner.classifier(learner(inputs)), targets)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            count += len(targets)
            loss.item()
    return count / (time.perf_counter() - started)


def ready(
    packed: np.ndarray,
    backbone: str,
    classes: int,
    training: Training,
    device: torch.device,
    steps: int,
) -> float:
    """Return the photos a second of training's step on one batch that is standardised on `device` already."""
    learner = network(backbone, classes).to(device).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(learner.parameters(), lr=0.001, fused=True)
    loss_of = build(training.loss, learner.classifier)
    inputs = standardise(torch.from_numpy(np.resize(packed, (training.batch_size, *packed.shape[1:]))).to(device))
    targets = torch.arange(training.batch_size, device=device) % classes
    model = torch.compile(learner, dynamic=False) if training.compile else learner

    def step() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision(device) == torch.bfloat16):
            embeddings = model(inputs)
        loss: Tensor = loss_of(embeddings, targets, 1.0)
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
    """Return the floating-point operations of a step, a photo: forwards, and twice that backwards."""
    with FlopCounterMode(display=False) as counter:
        network(backbone, 2).eval()(standardise(torch.from_numpy(packed[:1])))
    return 3.0 * float(counter.get_total_flops())


def bfloat16_rate(device: torch.device) -> float:
    """Return the operations a second of a large matrix product."""
    one = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
    for _ in range(3):
        one @ one
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    for _ in range(20):
        one @ one
    torch.cuda.synchronize(device)
    return float(20 * 2 * 8192**3) / (time.perf_counter() - started)


def share(folder: Path, backbone: str, batch: int) -> None:
    """Train as one of the processes that torchrun started, or alone; the first writes its epochs into `folder`."""
    packed, classes = np.load(folder / "packed.npy", mmap_mode="r"), np.load(folder / "classes.npy")
    with join_process_group() as processes:
        # so small a rate that rounding stays rounding
        training = settings(batch, EPOCHS).model_copy(update={"lr": 1e-6})
        photos = LabelledPhotos(packed, np.arange(len(classes)), classes)
        figures = whaleid(photos, backbone, training, processes)
        if processes.is_first:
            (folder / EPOCHS_FILE).write_text(json.dumps(figures))


def shared(folder: Path, arguments: argparse.Namespace, processes: int, threads: int) -> pd.DataFrame:
    """Return the epochs of training in another process, or in several."""
    script = [str(Path(__file__)), "--share", str(folder), "--backbone", arguments.backbone]
    start = [sys.executable]
    if processes > 1:
        start += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "WHALEID_DEVICE": "cpu"}
    run = [*start, *script, f"--batch={arguments.batch}"]
    subprocess.run(run, env=environment, check=True, stdout=sys.stderr)
    return pd.DataFrame(json.loads((folder / EPOCHS_FILE).read_text()))


def main() -> None:
    """Measure, print a table, and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--width", type=int, default=144)
    parser.add_argument("--height", type=int, default=108)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is taken")
    parser.add_argument("--share", type=Path, help=argparse.SUPPRESS)  # of processes that this one starts
    arguments = parser.parse_args()
    limit_cores(2)
    if arguments.share:
        share(arguments.share, arguments.backbone, arguments.batch)
        return
    with tempfile.TemporaryDirectory() as temporary:
        project = Path(temporary) / "project"
        clone(project)
        run(project, "python", "-m", "whaleid", "sample")
        catalogue = project / "data/sample"
        rows = pd.read_csv(catalogue / "train.csv", dtype=str).sort_values("Image", ignore_index=True)
        folder = Path(temporary) / "folders"
        for image, whale in rows.itertuples(index=False):
            place = folder / whale / image
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(catalogue / "train" / image)
        photos = [catalogue / "train" / image for image in rows["Image"]]
        shape = Shape(arguments.width, arguments.height, stretch=True)
        packed = np.stack(list(pack(photos, [Region(WHOLE)] * len(photos), shape)))
        classes = rows["Id"].astype("category").cat.codes.to_numpy(dtype=np.int64)
        np.save(Path(temporary) / "packed.npy", packed)
        np.save(Path(temporary) / "classes.npy", classes)
        figures = measure(arguments, Path(temporary), folder, packed, classes)
    for name, value in figures.items():
        print(f"{name:28} {value:12,.4g}")
    print(json.dumps(figures))


def measure(
    arguments: argparse.Namespace, temporary: Path, folder: Path, packed: np.ndarray, classes: np.ndarray
) -> dict[str, float]:
    """Return all figures."""
    cpu, photos = torch.device("cpu"), LabelledPhotos(packed, np.arange(len(classes)), classes)
    two = settings(arguments.batch, 2)  # epochs, of which the second counts: the step beside it is warm too
    several = int(classes.max()) + 1
    steps = len(classes) // arguments.batch
    pace: dict[str, list[float]] = {name: [] for name in ("plain", "plain_workers", "whaleid", "ready")}
    for _ in range(arguments.rounds):
        for workers, name in ((0, "plain"), (2, "plain_workers")):
            pace[name].append(
                plain(folder, arguments.backbone, arguments.width, arguments.height, arguments.batch, workers)
            )
        epochs = whaleid(photos, arguments.backbone, two)
        pace["whaleid"].append(epochs[1]["photos_per_second"])
        pace["ready"].append(ready(packed, arguments.backbone, several, two, cpu, steps))
    figures = {f"cpu_{name}_photos_per_second": median(values) for name, values in pace.items()}
    best = max(("plain", "plain_workers"), key=lambda name: median(pace[name]))
    figures["cpu_ratio"] = median(a / b for a, b in zip(pace["whaleid"], pace[best], strict=True))
    figures["step_share"] = median(a / b for a, b in zip(pace["whaleid"], pace["ready"], strict=True))

    doubled = argparse.Namespace(**{**vars(arguments), "batch": 2 * arguments.batch})
    alone, together = [], []
    for _ in range(arguments.rounds):
        alone.append(shared(temporary, doubled, 1, 2))
        together.append(shared(temporary, doubled, 2, 1))
    ratios = [
        median(b["photos_per_second"]) / median(a["photos_per_second"]) for a, b in zip(alone, together, strict=True)
    ]
    figures["one_process_photos_per_second"] = median(median(each["photos_per_second"]) for each in alone)
    figures["two_processes_photos_per_second"] = median(median(each["photos_per_second"]) for each in together)
    figures["ddp_ratio"] = median(ratios)
    losses = alone[0]["loss"]
    figures["ddp_loss_apart"] = float(((together[0]["loss"] - losses) / losses).abs().max())
    threads = shared(temporary, doubled, 1, 1)["loss"]
    figures["threads_loss_apart"] = float(((threads - losses) / losses).abs().max())
    if torch.cuda.is_available():
        figures |= on_gpu(arguments, packed, photos, two, figures["cpu_whaleid_photos_per_second"])
    return {name: float(f"{value:.4g}") for name, value in figures.items()}


def on_gpu(
    arguments: argparse.Namespace, packed: np.ndarray, photos: LabelledPhotos, two: Training, cpu: float
) -> dict[str, float]:
    """Return the figures of a GPU."""
    device = pick_device()
    several, longer = int(photos.classes.max()) + 1, two.model_copy(update={"oversample": 64})
    pace, ceiling, busy = [], [], []
    for _ in range(arguments.rounds):
        look = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=200"]
        with subprocess.Popen(look, stdout=subprocess.PIPE, text=True) as watcher:
            epochs = whaleid(photos, arguments.backbone, longer, ProcessGroup(device))
            watcher.terminate()
            busy += [float(line) for line in watcher.communicate()[0].splitlines()]
        pace.append(epochs[1]["photos_per_second"])
        ceiling.append(ready(packed, arguments.backbone, several, two, device, 300))
    return {
        "gpu_utilisation_percent": median(busy),
        "gpu_whaleid_photos_per_second": median(pace),
        "gpu_ready_photos_per_second": median(ceiling),
        "gpu_share": median(a / b for a, b in zip(pace, ceiling, strict=True)),
        "gpu_share_of_bfloat16_rate": median(ceiling) * flops(arguments.backbone, packed) / bfloat16_rate(device),
        "gpu_over_cpu": median(pace) / cpu,
    }


if __name__ == "__main__":
    main()
