"""Time and memory of the stages for growing catalogues: the synthetic catalogue, four and sixteen times as large.

    python benchmarks/growth.py [--sizes 1,4,16]

For each size, the stages run one after another in a clean clone, on uncropped photos, with one network trained on all
whales for one epoch. Prints a table of seconds and peak memory, extrapolated to a million labelled photos: with the
line through the last two sizes or, if the cost is proportional to queries times photos, with the parabola through the
last three. Uses two cores. The last line is one JSON object.
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
"""Degrees of the polynomials that extrapolate seconds and memory, by stage; 1 for other stages."""
SETUP = (["sample"], ["catalog"], ["dedup"], ["split"], ["backbone"], ["boxes"])
MILLION = 1_000_000


def main() -> None:
    """Run the benchmark; print a table and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sizes", default="1,4,16", help="multiples of the synthetic catalogue's size; at least three, ascending"
    )
    sizes = [int(size) for size in parser.parse_args().sizes.split(",")]
    limit_cores(2)
    with tempfile.TemporaryDirectory() as temporary:
        results = [measure(Path(temporary) / f"times{size}", size) for size in sizes]
    photos = [labelled for labelled, _ in results]
    print(f"{'labelled photos':10}" + "".join(f"{count:>20,}" for count in photos) + f"{'a million':>20}")
    metrics: dict[str, object] = {"photos": [*photos, MILLION]}
    for name in MEASURED:
        costs = [cost[name] for _, cost in results]
        seconds, gib = [cost.seconds for cost in costs], [cost.peak_gib for cost in costs]
        for values, degree in zip((seconds, gib), DEGREES.get(name, (1, 1)), strict=True):
            curve = np.polynomial.Polynomial.fit(photos[-degree - 1 :], values[-degree - 1 :], degree)
            values.append(float(curve(MILLION)))
        cells = zip(seconds, gib, strict=True)
        print(f"{name:15}" + "".join(f"{duration:9.1f} s {peak:5.1f} GiB" for duration, peak in cells))
        metrics[name] = {"seconds": [round(value, 1) for value in seconds], "gib": [round(value, 2) for value in gib]}
    print(json.dumps(metrics))


def measure(project: Path, size: int) -> tuple[int, dict[str, Cost]]:
    """Return the number of labelled photos in `size` times the synthetic catalogue, and the cost of each stage."""
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
    for command in SETUP:
        run(project, "python", "-m", "whaleid", *command)
    costs = {name: run(project, "python", "-m", "whaleid", *command) for name, command in MEASURED.items()}
    labelled = len(pd.read_csv(project / "data/sample/train.csv"))
    shutil.rmtree(project)
    return labelled, costs


if __name__ == "__main__":
    main()
