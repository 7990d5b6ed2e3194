"""How time and memory grow with the catalogue: the drawn one, four times as large, and sixteen times.

    python benchmarks/growth.py [--sizes 1,4,16]

For each size, the stages of a clean clone run one after another, on whole photos instead of crops, with one epoch of
one network of all whales. Prints a table of seconds and peak memory, what a photo more costs by the last two sizes, and
what a million labelled photos would then take. Two cores are used. The last line is one JSON object.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import pandas as pd
from measure import Cost, clone, limit_cores, run
from ruamel.yaml import YAML

MEASURED = {
    "pack": ["pack"],
    "epoch": ["train", "margin"],
    "embed": ["embed", "margin"],
    "calibrate": ["calibrate", "margin"],
    "predict": ["predict", "margin"],
}
BEFORE = (["sample"], ["catalog"], ["dedup"], ["split"], ["backbone"], ["boxes"])
MILLION = 1_000_000


def main() -> None:
    """Measure, print a table, and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1,4,16", help="times the drawn catalogue, two or more, ascending")
    sizes = [int(size) for size in parser.parse_args().sizes.split(",")]
    limit_cores(2)
    with tempfile.TemporaryDirectory() as temporary:
        found = [measure(Path(temporary) / f"times{size}", size) for size in sizes]
    photos = [labelled for labelled, _ in found]
    print(f"{'labelled photos':10}" + "".join(f"{count:>20,}" for count in photos) + f"{'a million':>20}")
    figures: dict[str, object] = {"photos": photos}
    for name in MEASURED:
        costs = [cost[name] for _, cost in found]
        share = (MILLION - photos[-1]) / (photos[-1] - photos[-2])
        seconds = costs[-1].seconds + share * (costs[-1].seconds - costs[-2].seconds)
        gib = costs[-1].peak_gib + share * (costs[-1].peak_gib - costs[-2].peak_gib)
        cells = [*((cost.seconds, cost.peak_gib) for cost in costs), (seconds, gib)]
        print(f"{name:15}" + "".join(f"{took:9.1f} s {peak:5.1f} GiB" for took, peak in cells))
        figures[name] = {
            "seconds": [round(cost.seconds, 2) for cost in costs],
            "gib": [round(cost.peak_gib, 2) for cost in costs],
            "million_seconds": round(seconds),
            "million_gib": round(gib, 1),
        }
    print(json.dumps(figures))


def measure(project: Path, size: int) -> tuple[int, dict[str, Cost]]:
    """Return how many labelled photos `size` times the drawn catalogue has, and what the stages cost on it."""
    clone(project)
    yaml, path = YAML(), project / "params.yaml"
    document = yaml.load(path.read_text(encoding="utf-8"))
    for kind in document["sample"]:
        document["sample"][kind] *= size
    document["pack"]["crop"] = False
    document["variants"]["margin"]["init"] = "backbone"
    document["variants"]["margin"]["epochs"] = 1
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(document, file)
    for command in BEFORE:
        run(project, "python", "-m", "whaleid", *command)
    costs = {name: run(project, "python", "-m", "whaleid", *command) for name, command in MEASURED.items()}
    labelled = len(pd.read_csv(project / "data/sample/train.csv"))
    shutil.rmtree(project)
    return labelled, costs


if __name__ == "__main__":
    main()
