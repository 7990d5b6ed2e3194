"""Run the pipeline on a catalogue of 100,000 photos, and compare the memory of each stage with a bound.

    python tests/faults/load.py [--photos 100000] [--keep DIR]

The catalogue resembles that of Kaggle's competition: 80 % of the photos are labelled, 38 % of these are `new_whale`,
and about half of the named whales have a single photo. Ten photos are derived from each synthetic one, with random
flips, perspective, light and noise, so that the duplicate rule does not match them. Copies of 2 % of the labelled
photos are added as duplicates, half of them to the queries.

Each stage from `catalog` to `bundle` runs in a separate process, followed by `identify` with that bundle. One small
network is trained on about two thousand photos; its accuracy is irrelevant here. Prints a table and, as the last line,
one JSON object. Exits with 1 if a stage exceeds its memory bound or a page exceeds `MAX_PAGE_MIB`.
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
MEMORY_BOUNDS = {
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
"""Maximum memory in GiB of a stage's process and its children together. Memory-mapped files are excluded, as the system
can evict them."""
MAX_PAGE_MIB = 30
"""Maximum size of an HTML page, in MiB."""
PREREQUISITES = {"pack": ["backbone", "boxes"], f"embed {VARIANT}": [f"train {VARIANT}"]}
"""Commands that run before a stage without being measured."""
LABELLED_SHARE, NEW_WHALE_SHARE, PHOTOS_PER_WHALE, COPY_SHARE = 0.8, 0.38, 3.1, 0.02
"""Share of labelled photos; shares of `new_whale` and of copies among these; mean number of photos per named whale."""
PHOTOS_PER_SHOT, SHOTS_PER_FLUKE = 10, 4
"""Number of photos derived from one synthetic photo, and of synthetic photos per fluke."""
QUERY_COUNT = 200
"""Number of photos for `identify`."""


def main() -> int:
    """Run the measurement and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, help="keep the project in this folder; an existing catalogue is reused")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        figures = measure(arguments.keep or Path(temporary), arguments.photos)
    print(json.dumps(figures))
    return int(bool(figures["exceeded"]))


def measure(project: Path, photos: int) -> dict[str, object]:
    """Run all stages on `photos` photos in the folder `project`; return figures, and which bounds were `exceeded`."""
    project.mkdir(parents=True, exist_ok=True)
    if not (project / "data/photos").exists():
        partial_folder = project / "data/partial"
        shutil.rmtree(partial_folder, ignore_errors=True)
        make_catalogue(partial_folder, photos)
        partial_folder.rename(project / "data/photos")
    set_parameters(project)
    queries = project / "queries"
    queries.mkdir(exist_ok=True)
    for path in sorted((project / "data/photos/test").iterdir())[:QUERY_COUNT]:
        shutil.copy(path, queries / path.name)
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ["XDG_CACHE_HOME"] = str(project / "cache")
    costs: dict[str, Cost] = {}
    print(f"{'stage':20}{'seconds':>10}{'resident':>12}{'own':>12}{'bound':>12}")
    for stage, bound in MEMORY_BOUNDS.items():
        for prerequisite in PREREQUISITES.get(stage, []):
            whaleid(project, *prerequisite.split())
        options = ["queries", "--html", "queries.html"] if stage == "identify" else []
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
    exceeded = [stage for stage, cost in costs.items() if cost.own_gib > MEMORY_BOUNDS[stage]]
    return {
        "photos": photos,
        "whales": int(split["Id"].nunique()),
        "duplicates": len(groups) - groups["group"].nunique(),
        "seconds": {stage: round(cost.seconds, 1) for stage, cost in costs.items()},
        "resident_gib": {stage: round(cost.peak_gib, 2) for stage, cost in costs.items()},
        "own_gib": {stage: round(cost.own_gib, 2) for stage, cost in costs.items()},
        "pages_mib": {page: round(size, 1) for page, size in pages.items()},
        "exceeded": exceeded + [page for page, size in pages.items() if size > MAX_PAGE_MIB],
    }


def whaleid(project: Path, *command: str) -> Cost:
    """Run a whaleid command and measure it."""
    return run(project, sys.executable, "-m", "whaleid", *command)


def set_parameters(project: Path) -> None:
    """Write the project's parameters, changed to these photos and a small network."""
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


def make_catalogue(folder: Path, photos: int) -> None:
    """Write a catalogue of `photos` photos to `folder`."""
    rng = np.random.default_rng(0)
    named = round(photos * LABELLED_SHARE * (1 - NEW_WHALE_SHARE))
    counts = np.minimum(rng.zipf(1.9, round(named / PHOTOS_PER_WHALE)), 70)
    whales = np.repeat(np.arange(len(counts)), counts)[:named]
    unnamed = len(counts) + np.arange(round(photos * LABELLED_SHARE * NEW_WHALE_SHARE))
    queries = rng.integers(0, len(counts) + len(unnamed), round(photos * (1 - LABELLED_SHARE)))
    whale = np.concatenate([whales, unnamed, queries])  # by photo
    labelled = len(whales) + len(unnamed)
    labels = [f"w_{number:07x}" for number in whales.tolist()] + [NEW_WHALE] * len(unnamed)
    parts = ["train"] * labelled + ["test"] * len(queries)
    for part in ("train", "test"):
        (folder / part).mkdir(parents=True)
    # grouped by fluke, so that each fluke is drawn once
    flukes = max(1, round(photos / (PHOTOS_PER_SHOT * SHOTS_PER_FLUKE)))
    by_fluke = [np.flatnonzero(whale % flukes == fluke) for fluke in range(flukes)]
    jobs = [[(int(row), int(whale[row] // flukes), parts[row]) for row in rows] for rows in by_fluke]
    with ProcessPoolExecutor(cores()) as pool:
        for _ in pool.map(partial(_draw, folder), range(flukes), jobs, chunksize=8):
            pass
    copied = rng.choice(labelled, round(COPY_SHARE * labelled), replace=False).tolist()
    rows = [(_name(row), label) for row, label in enumerate(labels)]
    for number, row in enumerate(copied):
        name, part = _name(photos + number), ("train", "test")[number % 2]
        with Image.open(folder / "train" / _name(row)) as photo:
            photo.save(folder / part / name, quality=60)
        rows += [(name, labels[row])] if part == "train" else []
    pd.DataFrame(sorted(rows), columns=["Image", "Id"]).to_csv(folder / "train.csv", index=False)


def _name(row: int) -> str:
    return f"{row * 2654435761 % 2**32:08x}.jpg"


def _draw(folder: Path, fluke: int, rows: list[tuple[int, int, str]]) -> None:
    """Write the photos `rows` (number, index of the whale among those of this fluke, part) of one synthetic fluke."""
    drawn = draw_fluke(np.random.default_rng([1, fluke]))
    shots = [photograph(drawn, np.random.default_rng([2, fluke, shot])).jpeg for shot in range(SHOTS_PER_FLUKE)]
    images = [Image.open(io.BytesIO(shot)).convert("L") for shot in shots]
    for index, (row, whale, part) in enumerate(rows):
        image = images[index % SHOTS_PER_FLUKE]
        distort(image, whale % 2 == 1, np.random.default_rng([3, row])).save(folder / part / _name(row), quality=80)


def distort(image: Image.Image, mirrored: bool, rng: np.random.Generator) -> Image.Image:
    """Distort `image`: move its corners by up to a quarter of its sides, change its brightness and add noise."""
    width, height = image.size
    corners = np.array([(0, 0), (0, 1), (1, 1), (1, 0)], dtype=float)
    if mirrored:
        corners[:, 0] = 1 - corners[:, 0]
    target_corners = (corners + rng.uniform(-0.25, 0.25, corners.shape)) * (width, height)
    quad = tuple(target_corners.ravel().tolist())
    grey = np.asarray(
        image.transform((160, round(160 * height / width)), Image.Transform.QUAD, quad, Image.Resampling.BILINEAR)
    )
    brightness = rng.uniform(0.7, 1.1)
    noisy = grey * brightness + rng.normal(0, 6, grey.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


if __name__ == "__main__":
    sys.exit(main())
