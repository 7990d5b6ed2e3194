"""How time and memory grow with the catalogue: the drawn one, four times as large, and sixteen times.

    python benchmarks/growth.py [--sizes 1,4,16]

For each size, the stages of a clean clone run one after another, on whole photos instead of crops, with one epoch of
one network of all whales. Prints a table of seconds and peak memory, and what a million labelled photos would take: by
the line through the last two sizes or, where what is compared or held is queries times photos, of which both become
more, by the parabola through the last three. Two cores are used. The last line is one JSON object.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from measure import Cost, clone, keep_only, limit_cores, run
from ruamel.yaml import YAML

MEASURED = {
    "pack": ["pack"],
    "epoch": ["train", "margin"],
    "embed": ["embed", "margin"],
    "calibrate": ["calibrate", "margin"],
    "rank": ["rank"],
    "predict": ["predict"],
}
DEGREES = {"calibrate": (2, 2), "rank": (2, 1)}
"""Of the curves of seconds and of memory; those of other stages are lines."""
BEFORE = (["sample"], ["catalog"], ["dedup"], ["split"], ["backbone"], ["boxes"])
MILLION = 1_000_000


def main() -> None:
    """Measure, print a table, and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1,4,16", help="times the drawn catalogue, three or more, ascending")
    sizes = [int(size) for size in parser.parse_args().sizes.split(",")]
    limit_cores(2)
    with tempfile.TemporaryDirectory() as temporary:
        results = [measure(Path(temporary) / f"times{size}", size) for size in sizes]
    photos = [labelled for labelled, _ in results]
    print(f"{'labelled photos':10}" + "".join(f"{count:>20,}" for count in photos) + f"{'a million':>20}")
    figures: dict[str, object] = {"photos": [*photos, MILLION]}
    for name in MEASURED:
        costs = [cost[name] for _, cost in results]
        seconds, gib = [cost.seconds for cost in costs], [cost.peak_gib for cost in costs]
        for values, degree in zip((seconds, gib), DEGREES.get(name, (1, 1)), strict=True):
            curve = np.polynomial.Polynomial.fit(photos[-degree - 1 :], values[-degree - 1 :], degree)
            values.append(float(curve(MILLION)))
        cells = zip(seconds, gib, strict=True)
        print(f"{name:15}" + "".join(f"{took:9.1f} s {peak:5.1f} GiB" for took, peak in cells))
        figures[name] = {"seconds": [round(each, 1) for each in seconds], "gib": [round(each, 2) for each in gib]}
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
    document["variants"]["margin"]["train"]["epochs"] = 1
    document["predictions"]["final"] = {"networks": ["margin"]}
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(document, file)
    keep_only(path, "final")
    for command in BEFORE:
        run(project, "python", "-m", "whaleid", *command)
    costs = {name: run(project, "python", "-m", "whaleid", *command) for name, command in MEASURED.items()}
    labelled = len(pd.read_csv(project / "data/sample/train.csv"))
    shutil.rmtree(project)
    return labelled, costs


if __name__ == "__main__":
    main()
