"""How fast `whaleid identify` answers: the first photo of a fresh process, and a folder of photos.

    python benchmarks/identify.py [--sizes sample,real] [--runs 5] [--photos 300]

Makes bundles of two networks that have learnt next to nothing, which changes no speed, on the drawn catalogue in a
clean clone: at the sample's size (resnet18, 48x24) and at that of the preset `real` (mobilenet_v2, 144x108). Prints the
median of the first answers, and how many photos a second follow; beside them the seconds that cores spent on both and
the load of the machine, as others may work on it. Two cores are used. The last line is one JSON object.
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
"""Of the preset `real`; at the sample's size, the second one is as the first."""


def main() -> None:
    """Measure, print a table, and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="sample,real", help="of sample and real, with a comma between")
    parser.add_argument("--runs", type=int, default=5, help="of each command")
    parser.add_argument("--photos", type=int, default=300, help="in the folder; those drawn, several times if need be")
    arguments = parser.parse_args()
    limit_cores(2)
    figures = {}
    for size in arguments.sizes.split(","):
        with tempfile.TemporaryDirectory() as temporary:
            project = Path(temporary) / "project"
            make_bundle(project, size)
            figures[size] = result = measure(project, arguments.runs, arguments.photos)
        print(
            f"{size:8} first answer {result['first']:.2f} s, then {result['photos_per_second']:.1f} photos/s; of cores "
            f"{result['first_cores']:.2f} s, then {1000 * result['photo_cores']:.0f} ms a photo; "
            f"{result['gib']:.2f} GiB; "
            f"load of the machine {result['load']:.1f}",
            flush=True,
        )
    print(json.dumps(figures))


def make_bundle(project: Path, size: str) -> None:
    """Make a clone in the folder `project` and there, at a preset's size, a bundle of two networks."""
    clone(project)
    python = [sys.executable, "-m", "whaleid"]
    run(project, *python, "preset", size, *PRESETS[size])
    yaml, path = YAML(), project / "params.yaml"
    document = yaml.load(path.read_text(encoding="utf-8"))
    document["boxes"]["steps"] = 20  # it learns for seconds
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
    """Return seconds of the first answer, photos a second after it, of cores too, and memory; and the load."""
    folder = project / "asked"
    folder.mkdir()
    drawn = sorted((project / "data/sample/test").iterdir())
    for number in range(photos):
        shutil.copy(drawn[number % len(drawn)], folder / f"{number:05}.jpg")
    before = os.getloadavg()[0]
    ones = [_identify(project, folder / "00000.jpg") for _ in range(runs)]
    alls = [_identify(project, folder) for _ in range(runs)]
    first, whole = (median(cost.seconds for cost, _ in costs) for costs in (ones, alls))
    first_cores, whole_cores = (median(spent for _, spent in costs) for costs in (ones, alls))
    return {
        "first": round(first, 2),
        "photos_per_second": round((photos - 1) / (whole - first), 1),
        "first_cores": round(first_cores, 2),
        "photo_cores": round((whole_cores - first_cores) / (photos - 1), 4),
        "gib": round(median(cost.peak_gib for cost, _ in alls), 2),
        "load": round(before, 1),
    }


def _identify(project: Path, photos: Path) -> tuple[Cost, float]:
    """Return what it cost, and the seconds that cores spent on it."""
    before = os.times()
    cost = run(project, sys.executable, "-m", "whaleid", "identify", str(photos), "--model", MODEL)
    after = os.times()
    return cost, after.children_user + after.children_system - before.children_user - before.children_system


if __name__ == "__main__":
    main()
