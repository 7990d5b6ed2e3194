"""Speed of `whaleid identify`: the first photo of a new process, and a folder of photos.

    python benchmarks/identify.py [--sizes sample,real] [--runs 5] [--photos 300]

Builds bundles of two networks on the synthetic catalogue in a clean clone: one with the sizes of the sample (resnet18,
48x24) and one with those of the preset `real` (mobilenet_v2, 144x108). The networks are hardly trained, which does not
affect speed. Prints the median time of the first answer and the photos per second after it, the CPU seconds of both
and the load of the machine, which other processes may use. Uses two cores. The last line is one JSON object.
"""

import argparse
import copy
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

from measure import Cost, clone, limit_cores, run
from ruamel.yaml import YAML

PRESETS = {"sample": [], "real": ["--root", "data/sample", "--backbone", "mobilenet_v2", "--weights", "none"]}
MODEL = "models/final.bundle"
NETWORKS = ("margin", "pairs")
"""Networks of the preset `real`. With the sizes of the sample, both are like the first."""


def main() -> None:
    """Run the benchmark; print a table and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="sample,real", help="sample, real, or both separated by a comma")
    parser.add_argument("--runs", type=int, default=5, help="number of runs of each command")
    parser.add_argument(
        "--photos", type=int, default=300, help="number of photos in the folder; photos are repeated if necessary"
    )
    arguments = parser.parse_args()
    limit_cores(2)
    metrics = {}
    for size in arguments.sizes.split(","):
        with tempfile.TemporaryDirectory() as temporary:
            project = Path(temporary) / "project"
            make_bundle(project, size)
            metrics[size] = result = measure(project, arguments.runs, arguments.photos)
        print(
            f"{size:8} first answer {result['first']:.2f} s, then {result['photos_per_second']:.1f} photos/s; CPU time "
            f"{result['first_cores']:.2f} s, then {1000 * result['photo_cores']:.0f} ms per photo; "
            f"{result['gib']:.2f} GiB; "
            f"load of the machine {result['load']:.1f}",
            flush=True,
        )
    print(json.dumps(metrics))


def make_bundle(project: Path, size: str) -> None:
    """Clone into the folder `project` and build a bundle of two networks with the sizes of a preset."""
    clone(project)
    python = [sys.executable, "-m", "whaleid"]
    run(project, *python, "preset", size, *PRESETS[size])
    yaml, path = YAML(), project / "params.yaml"
    document = yaml.load(path.read_text(encoding="utf-8"))
    document["boxes"]["steps"] = 20  # takes seconds
    variants = {
        name: copy.deepcopy(document["variants"].get(name, document["variants"]["margin"])) for name in NETWORKS
    }
    for variant in variants.values():
        variant["init"] = "backbone"
        variant["train"] |= {"epochs": 1, "whales": 40, "photos": 4}
    document["variants"], document["predictions"] = variants, {"final": {"networks": [*NETWORKS]}}
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(document, file)
    for stage in ("sample", "catalog", "dedup", "split", "backbone", "boxes", "pack"):
        run(project, *python, stage)
    for name in NETWORKS:
        run(project, *python, "train", name)
        run(project, *python, "embed", name)
    run(project, *python, "rank")
    run(project, *python, "bundle")


def measure(project: Path, runs: int, photos: int) -> dict[str, float]:
    """Return the seconds of the first answer, photos per second after it, CPU seconds of both, memory and load."""
    folder = project / "queries"
    folder.mkdir()
    drawn = sorted((project / "data/sample/test").iterdir())
    for number in range(photos):
        shutil.copy(drawn[number % len(drawn)], folder / f"{number:05}.jpg")
    load = os.getloadavg()[0]
    single = [_identify(project, folder / "00000.jpg") for _ in range(runs)]
    batch = [_identify(project, folder) for _ in range(runs)]
    first, total = (median(cost.seconds for cost, _ in costs) for costs in (single, batch))
    first_cores, total_cores = (median(cpu_seconds for _, cpu_seconds in costs) for costs in (single, batch))
    return {
        "first": round(first, 2),
        "photos_per_second": round((photos - 1) / (total - first), 1),
        "first_cores": round(first_cores, 2),
        "photo_cores": round((total_cores - first_cores) / (photos - 1), 4),
        "gib": round(median(cost.peak_gib for cost, _ in batch), 2),
        "load": round(load, 1),
    }


def _identify(project: Path, photos: Path) -> tuple[Cost, float]:
    """Return the cost of identifying `photos`, and its CPU seconds."""
    before = os.times()
    cost = run(project, sys.executable, "-m", "whaleid", "identify", str(photos), "--model", MODEL)
    after = os.times()
    return cost, after.children_user + after.children_system - before.children_user - before.children_system


if __name__ == "__main__":
    main()
