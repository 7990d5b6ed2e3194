"""A catalogue of 100,000 photos through the pipeline: seconds and memory of each stage, under a bound of its own.

    python tests/faults/load.py [--photos 100000] [--keep DIR]

The catalogue has the shape of Kaggle's contest: of five photos four are labelled, 38 % of these `new_whale`, and of the
named whales about half have a single photo. Its photos are made from a tenth as many drawn flukes, each seen from
several sides: mirrored, in perspective, in other light and with noise, so that they are no duplicates by the rule. Of
the labelled ones, 2 % are saved a second time, and as many among the queries: these are duplicates.

Every stage is a process of its own, from `catalog` to `bundle`, and `identify` with that bundle at last. One small
network learns from some two thousand photos: how well it does is no matter here. Prints a table, and one JSON
object as its last line; exits with 1 where a stage took more memory than its bound, or a page is larger than its own.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from measure import Cost, run  # noqa: E402

from whaleid.core.labels import NEW_WHALE  # noqa: E402
from whaleid.core.parallel import cores  # noqa: E402
from whaleid.sample.fluke import draw_fluke  # noqa: E402
from whaleid.sample.photograph import photograph  # noqa: E402

VARIANT = "margin"
BOUNDS = {
    "catalog": 2.0,
    "dedup": 2.0,
    "split": 2.0,
    "explore": 2.0,
    "pack": 2.0,
    f"embed {VARIANT}": 2.0,
    f"calibrate {VARIANT}": 2.0,
    "rank": 2.0,
    "predict": 2.0,
    "report": 2.0,
    "bundle": 2.0,
    "identify": 2.0,
}
"""GiB of memory that the process and its children have together, files that are mapped not counted: of these the
system lets go when memory is short."""
PAGE = 30
"""MiB, of any page that is written."""
BEFORE = {"pack": ["backbone", "boxes"], f"embed {VARIANT}": [f"train {VARIANT}"]}
"""What runs unmeasured before a stage, as it needs it."""
LABELLED, NOBODY, EACH, COPIED = 0.8, 0.38, 3.1, 0.02
"""Shares: of all photos, those with a label; of these, `new_whale`; photos a named whale; copies."""
SEEN, SHOTS = 10, 4
"""Photos that are made of a drawn one, and drawn ones of a fluke."""
ASKED = 200
"""Photos that are identified."""


def main() -> int:
    """Run all; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, help="work in this folder, which stays; a catalogue that it has is used")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        figures = measure(arguments.keep or Path(temporary), arguments.photos)
    print(json.dumps(figures))
    return int(bool(figures["beyond"]))


def measure(project: Path, photos: int) -> dict[str, object]:
    """Run all stages on `photos` photos in the folder `project`; return the figures, and what went beyond bounds."""
    project.mkdir(parents=True, exist_ok=True)
    if not (project / "data/photos").exists():
        partial_folder = project / "data/partial"
        shutil.rmtree(partial_folder, ignore_errors=True)
        make(partial_folder, photos)
        partial_folder.rename(project / "data/photos")
    set_parameters(project)
    asked = project / "asked"
    asked.mkdir(exist_ok=True)
    for path in sorted((project / "data/photos/test").iterdir())[:ASKED]:
        shutil.copy(path, asked / path.name)
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ["XDG_CACHE_HOME"] = str(project / "cache")
    costs: dict[str, Cost] = {}
    print(f"{'stage':20}{'seconds':>10}{'resident':>12}{'own':>12}{'bound':>12}")
    for stage, bound in BOUNDS.items():
        for needed in BEFORE.get(stage, []):
            whaleid(project, *needed.split())
        options = ["asked", "--html", "asked.html"] if stage == "identify" else []
        costs[stage] = cost = whaleid(project, *stage.split(), *options)
        print(
            f"{stage:20}{cost.seconds:10.0f}{cost.peak_gib:8.2f} GiB{cost.own_gib:8.2f} GiB{bound:8.1f} GiB", flush=True
        )
    pages = {
        str(path.relative_to(project)): path.stat().st_size / 2**20
        for path in sorted(project.rglob("*.html"))
        if "mlartifacts" not in path.parts
    }
    for page, size in pages.items():
        print(f"{page}: {size:.1f} MiB")
    groups = pd.read_csv(project / "data/dedup/groups.csv")
    split = pd.read_csv(project / "data/split.csv", keep_default_na=False)
    beyond = [stage for stage, cost in costs.items() if cost.own_gib > BOUNDS[stage]]
    return {
        "photos": photos,
        "whales": int(split["Id"].nunique()),
        "duplicates": len(groups) - groups["group"].nunique(),
        "seconds": {stage: round(cost.seconds, 1) for stage, cost in costs.items()},
        "resident_gib": {stage: round(cost.peak_gib, 2) for stage, cost in costs.items()},
        "own_gib": {stage: round(cost.own_gib, 2) for stage, cost in costs.items()},
        "pages_mib": {page: round(size, 1) for page, size in pages.items()},
        "beyond": beyond + [page for page, size in pages.items() if size > PAGE],
    }


def whaleid(project: Path, *command: str) -> Cost:
    """Run a command of whaleid's."""
    return run(project, sys.executable, "-m", "whaleid", *command)


def set_parameters(project: Path) -> None:
    """Write the parameters: those of the project, for these photos and a small network."""
    yaml = YAML()
    document = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    document["data"]["root"] = "data/photos"
    document["pack"]["crop"] = False
    document["backbone"]["name"] = "mobilenet_v3_small"
    variant = document["variants"][VARIANT] | {"init": "backbone"}
    variant["train"] |= {"epochs": 3, "whales": 300, "photos": 8}
    document["variants"] = {VARIANT: variant}
    document["predictions"] = {"final": {"networks": [VARIANT]}}
    with (project / "params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(document, file)


def make(folder: Path, photos: int) -> None:
    """Make a catalogue of `photos` photos."""
    rng = np.random.default_rng(0)
    named = round(photos * LABELLED * (1 - NOBODY))
    counts = np.minimum(rng.zipf(1.9, round(named / EACH)), 70)
    whales = np.repeat(np.arange(len(counts)), counts)[:named]
    nobody = len(counts) + np.arange(round(photos * LABELLED * NOBODY))
    queries = rng.integers(0, len(counts) + len(nobody), round(photos * (1 - LABELLED)))
    whale = np.concatenate([whales, nobody, queries])
    labelled = len(whales) + len(nobody)
    labels = [f"w_{each:07x}" for each in whales.tolist()] + [NEW_WHALE] * len(nobody)
    parts = ["train"] * labelled + ["test"] * len(queries)
    for part in ("train", "test"):
        (folder / part).mkdir(parents=True)
    # photos of a fluke side by side, so that each is drawn once
    flukes = max(1, round(photos / (SEEN * SHOTS)))
    by_fluke = [np.flatnonzero(whale % flukes == fluke) for fluke in range(flukes)]
    jobs = [[(int(row), int(whale[row] // flukes), parts[row]) for row in rows] for rows in by_fluke]
    with ProcessPoolExecutor(cores()) as pool:
        for _ in pool.map(partial(_draw, folder), range(flukes), jobs, chunksize=8):
            pass
    twice = rng.choice(labelled, round(COPIED * labelled), replace=False).tolist()
    rows = [(_name(row), label) for row, label in enumerate(labels)]
    for number, row in enumerate(twice):
        name, part = _name(photos + number), ("train", "test")[number % 2]
        with Image.open(folder / "train" / _name(row)) as photo:
            photo.save(folder / part / name, quality=60)
        rows += [(name, labels[row])] if part == "train" else []
    pd.DataFrame(sorted(rows), columns=["Image", "Id"]).to_csv(folder / "train.csv", index=False)


def _name(row: int) -> str:
    return f"{row * 2654435761 % 2**32:08x}.jpg"


def _draw(folder: Path, fluke: int, rows: list[tuple[int, int, str]]) -> None:
    """Write the photos `rows` (number, which whale of this fluke, part) of one drawn fluke."""
    drawn = draw_fluke(np.random.default_rng([1, fluke]))
    shots = [photograph(drawn, np.random.default_rng([2, fluke, shot])).jpeg for shot in range(SHOTS)]
    pictures = [Image.open(io.BytesIO(shot)).convert("L") for shot in shots]
    for place, (row, whale, part) in enumerate(rows):
        picture = pictures[place % SHOTS]
        changed(picture, whale % 2 == 1, np.random.default_rng([3, row])).save(folder / part / _name(row), quality=80)


def changed(picture: Image.Image, mirrored: bool, rng: np.random.Generator) -> Image.Image:
    """Return `picture` from another side: its corners moved by up to a quarter of its sides, in other light, noisy."""
    width, height = picture.size
    corners = np.array([(0, 0), (0, 1), (1, 1), (1, 0)], dtype=float)
    if mirrored:
        corners[:, 0] = 1 - corners[:, 0]
    moved = (corners + rng.uniform(-0.25, 0.25, corners.shape)) * (width, height)
    quad = tuple(moved.ravel().tolist())
    grey = np.asarray(
        picture.transform((160, round(160 * height / width)), Image.Transform.QUAD, quad, Image.Resampling.BILINEAR)
    )
    light = rng.uniform(0.7, 1.1)
    noisy = grey * light + rng.normal(0, 6, grey.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


if __name__ == "__main__":
    sys.exit(main())
