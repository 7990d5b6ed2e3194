"""How fast and how right duplicates are found, beside imagededup, a plain scan, and decoding alone.

    python benchmarks/duplicates.py [FOLDER] [--runs 3]

FOLDER is a catalogue folder of real photos, by default the one that WHALEID_REAL_DATA names. On two cores, each figure
the median of several runs, one after another in turn:

- hashing: photos a second of whaleid (reading, checks, SHA-256, thumbnail and pHash), of imagededup's
  `PHash().encode_images`, and of decoding alone; on FOLDER's labelled photos and on drawn JPEG files of 1050 x 600;
- how many bits the hash of a JPEG file differs by that is decoded to half its size, and without its colours;
- search: all pairs of random hashes within 4 bits, at 10^4, 10^5 and 10^6, with the memory that it took;
- `whaleid catalog` and `whaleid dedup` of FOLDER;
- precision and recall of groups among drawn photos and copies of each kind.

imagededup (`pip install imagededup`) is left out, saying so, where it is not installed. The last line is one JSON
object.
"""

import argparse
import gc
import io
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from measure import ROOT, limit_cores
from numpy.typing import NDArray
from PIL import Image

from whaleid.core.parallel import parallel_map
from whaleid.duplicates.hashing import perceptual_hashes
from whaleid.images.fingerprint import Fingerprint, file_metadata, fingerprints, thumbnail, thumbnails

if TYPE_CHECKING:
    from whaleid.config import Dedup
    from whaleid.sample.photograph import Photo

LARGE = (1050, 600)
PHOTOS = 1500
"""Large photos."""
WHALES, EACH = 500, 4
"""Drawn for precision and recall; photos of one whale are no duplicates, but more alike than those of two."""
BITS = 4
PATIENCE = 100.0
"""Seconds: a peer that would take longer with ten times as many hashes is asked no more."""


def hashes_of(files: Sequence[Path]) -> NDArray[np.uint64]:
    """Hash `files` as `catalog` does."""
    return perceptual_hashes(thumbnails([each for each in fingerprints(files) if isinstance(each, Fingerprint)]))


def decode(path: Path) -> None:
    """Decode a photo, and do nothing with it."""
    with Image.open(path) as image:
        image.load()


def imagededup() -> object | None:
    """Return imagededup's PHash, or None where it is not installed."""
    try:
        from imagededup.methods import PHash
    except ImportError:
        print("imagededup is not installed: pip install imagededup", file=sys.stderr)
        return None
    peer: object = PHash(verbose=False)
    return peer


def seconds(functions: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Return the median time of each of `functions`, called in turn."""
    durations: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(runs):
        for name, function in functions.items():
            # what one of them has loaded must not slow another one's garbage collection
            gc.collect()
            gc.disable()
            started = time.perf_counter()
            function()
            durations[name].append(time.perf_counter() - started)
            gc.enable()
    return {name: median(times) for name, times in durations.items()}


def hashing(name: str, files: Sequence[Path], runs: int) -> dict[str, float]:
    """Compare hashing `files` with decoding them, and with imagededup."""
    ways: dict[str, Callable[[], object]] = {
        "whaleid": lambda: hashes_of(files),
        "decoding": lambda: list(parallel_map(decode, files, "decoded")),
    }
    peer = imagededup()
    if peer is not None:
        ways["imagededup"] = lambda: peer.encode_images(image_dir=files[0].parent, num_enc_workers=2)  # type: ignore[attr-defined]
    durations = seconds(ways, runs)
    rates = ", ".join(f"{way} {len(files) / each:,.0f}" for way, each in durations.items())
    figures = {"share_of_decoding": durations["whaleid"] / durations["decoding"]}
    if peer is not None:
        figures["ratio"] = durations["imagededup"] / durations["whaleid"]
    text = ", ".join(f"{key.replace('_', ' ')} {value:.2f}" for key, value in figures.items())
    print(f"{name}, photos a second: {rates}; {text}", flush=True)
    return {f"hash_{key}": value for key, value in figures.items()}


def large_photos(folder: Path) -> list[Path]:
    """Draw photos of flukes at the size of the contest's own."""
    files = [folder / f"{number:04d}.jpg" for number in range(PHOTOS)]
    list(parallel_map(_large_photo, files, "large photos drawn"))
    return files


def _large_photo(path: Path) -> None:
    rng = np.random.default_rng(int(path.stem))
    image = Image.open(io.BytesIO(_flukes(int(path.stem), 1)[0].jpeg)).convert("RGB")
    grain = rng.normal(0, rng.uniform(0, 4), (*LARGE[::-1], 1))
    pixels = np.asarray(image.resize(LARGE, Image.Resampling.BICUBIC)) + grain
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=int(rng.integers(60, 95)))


def _flukes(whale: int, count: int) -> "list[Photo]":
    from whaleid.sample.fluke import draw_fluke
    from whaleid.sample.photograph import photograph

    fluke = draw_fluke(np.random.default_rng([5, whale]))
    return [photograph(fluke, np.random.default_rng([6, whale, number])) for number in range(count)]


def reduction(files: Sequence[Path]) -> None:
    """Print by how many bits hashes differ where JPEG files are decoded as `catalog` does: smaller, without colour."""
    whole = []
    for path in files:
        with Image.open(path) as image:
            whole.append(thumbnail(image))
    distances = np.bincount(np.bitwise_count(hashes_of(files) ^ perceptual_hashes(np.stack(whole))))
    print(
        f"{len(files)} photos by bits between the hash of the whole and of the half: {distances.tolist()}", flush=True
    )


def searching() -> dict[str, float]:
    """Time the search among random hashes, a few of them near each other, beside a plain scan and imagededup."""
    from whaleid.duplicates.pairs import near_hashes

    rng = np.random.default_rng(0)
    figures: dict[str, float] = {}
    peer = imagededup()
    to_run = {"scan": True, "imagededup": peer is not None}
    for power in (4, 5, 6):
        count = 10**power
        hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
        near = rng.integers(0, count, count // 100)
        flips = rng.integers(0, 64, (2, len(near))).astype(np.uint64)
        hashes[: len(near)] = hashes[near] ^ (np.uint64(1) << flips[0]) ^ (np.uint64(1) << flips[1])
        started = time.perf_counter()
        pairs = near_hashes(hashes, hashes, BITS)
        pairs = pairs[pairs[:, 0] < pairs[:, 1]]
        elapsed = figures[f"search_seconds_1e{power}"] = time.perf_counter() - started
        gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        line = f"search among 1e{power}: {elapsed:.2f} s, {len(pairs):,} pairs, {gib:.2f} GiB at most so far"
        for name, search in (("scan", scan), ("imagededup", partial(asked_of, peer))):
            if to_run[name]:
                started = time.perf_counter()
                others = search(hashes)
                took = time.perf_counter() - started
                if others != len(pairs):
                    raise SystemExit(f"{name} finds {others:,} pairs, whaleid {len(pairs):,}.")
                line += f"; {name} {took:.2f} s, the same pairs"
                to_run[name] = took * 100 <= PATIENCE
        print(line, flush=True)
        figures["search_gib"] = gib
    return figures


def scan(hashes: NDArray[np.uint64]) -> int:
    """Return how many pairs a plain numpy scan finds."""
    count = 0
    for row in range(0, len(hashes), 256):
        distances = np.bitwise_count(hashes[row : row + 256, None] ^ hashes[None, row:])
        i, j = np.nonzero(distances <= BITS)
        count += int((i < j).sum())
    return count


def asked_of(peer: object, hashes: NDArray[np.uint64]) -> int:
    """Return how many pairs imagededup finds."""
    encoded = {str(row): f"{bits:016x}" for row, bits in enumerate(hashes.tolist())}
    near = peer.find_duplicates(encoding_map=encoded, max_distance_threshold=BITS, num_dist_workers=2)  # type: ignore[attr-defined]
    return sum(map(len, near.values())) // 2


def stages(folder: Path, runs: int) -> dict[str, float]:
    """Time both stages of the pipeline as commands."""
    durations: list[float] = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as project:
            environment = os.environ | {"WHALEID_TRACKING": "off", "PYTHONPATH": str(ROOT)}
            settings = (ROOT / "params.yaml").read_text(encoding="utf-8")
            Path(project, "params.yaml").write_text(settings.replace("root: data/sample", f"root: {folder}"))
            started = time.perf_counter()
            for stage in ("catalog", "dedup"):
                command = [sys.executable, "-m", "whaleid", stage]
                subprocess.run(command, cwd=project, env=environment, check=True, stdout=subprocess.DEVNULL)
            durations.append(time.perf_counter() - started)
    print(f"catalog and dedup of {folder.name}: {median(durations):.1f} s", flush=True)
    return {"stages_seconds": median(durations)}


def quality(folder: Path, rule: "Dedup") -> dict[str, float]:
    """Measure groups among drawn photos of which each has one copy, of each kind as many."""
    import pandas as pd

    from whaleid.duplicates.search import find_duplicates
    from whaleid.sample.copies import KINDS

    rows = [
        row for rows in parallel_map(partial(_copies, folder=folder), range(WHALES), "whales drawn") for row in rows
    ]
    read = [each for each in fingerprints([folder / name for name, _ in rows]) if isinstance(each, Fingerprint)]
    photos = pd.DataFrame({"Image": [name for name, _ in rows], "Id": "", "part": "train"}).join(file_metadata(read))
    group = find_duplicates(photos, thumbnails(read), rule).manifest["group"].to_numpy()
    # an original stands before its copy
    kind = np.array([kind for _, kind in rows])
    copy = np.flatnonzero(kind != "")
    right = (group[copy] >= 0) & (group[copy] == group[copy - 1])
    members = pd.Series(group[group >= 0]).value_counts()
    claimed = int((members * (members - 1) // 2).sum())
    wrong = dict.fromkeys(KINDS, 0)
    for _, of in pd.Series(np.arange(len(rows)))[group >= 0].groupby(group[group >= 0]):
        for left, other in itertools.combinations(of, 2):
            if not (other == left + 1 and kind[other]):
                for row in {left, other}:
                    wrong[str(kind[row] or kind[row + 1])] += 1
    print(f"{len(copy):,} copies of {len(copy):,} photos of {WHALES} whales: kind, recall, precision")
    for each in KINDS:
        of = kind[copy] == each
        correct = int(right[of].sum())
        print(f"  {each:12} {correct / of.sum():.4f} {correct / max(correct + wrong[each], 1):.4f}")
    figures = {"precision": int(right.sum()) / claimed, "recall": float(right.mean())}
    print(f"  {'all':12} {figures['recall']:.4f} {figures['precision']:.4f}", flush=True)
    return figures


def _copies(whale: int, folder: Path) -> list[tuple[str, str]]:
    """Draw photos of a whale and a copy of each into `folder`; return their names and the kinds of the copies."""
    from whaleid.sample.copies import KINDS, make_copy

    rows = []
    for number, photo in enumerate(_flukes(whale, EACH)):
        kind = KINDS[(whale * EACH + number) % len(KINDS)]
        copy = make_copy(photo, kind, np.random.default_rng([7, whale, number]))
        for of, file in (("", photo), (kind, copy)):
            rows.append((f"{whale:04d}-{number}-{of or 'Original'}.jpg", of))
            (folder / rows[-1][0]).write_bytes(file.jpeg)
    return rows


def main() -> None:
    """Measure, print, and one JSON object."""
    from whaleid import config

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    real = os.environ.get("WHALEID_REAL_DATA", ROOT.parent / "shared/data/playground100")
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path(real), help="a catalogue folder in Kaggle's layout"
    )
    parser.add_argument("--runs", type=int, default=3, help="of each figure, their median counts")
    arguments = parser.parse_args()
    limit_cores(2)
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for part in ("large", "copies"):
            Path(temporary, part).mkdir()
        large = large_photos(Path(temporary, "large"))
        compared = [hashing("1050 x 600", large, arguments.runs)]
        if arguments.folder.is_dir():
            labelled = sorted((arguments.folder / "train").glob("*.jpg"))
            compared.append(hashing(arguments.folder.name, labelled, arguments.runs))
            figures |= stages(arguments.folder.resolve(), arguments.runs)
        else:
            print(f"no real photos at {arguments.folder}: name their folder", file=sys.stderr)
        reduction(large)
        figures |= searching()
        figures |= quality(Path(temporary, "copies"), config.load(ROOT / "params.yaml").dedup)
    # the less favourable of both sets of photos
    figures["hash_share_of_decoding"] = max(each["hash_share_of_decoding"] for each in compared)
    if "hash_ratio" in compared[0]:
        figures["hash_ratio"] = min(each["hash_ratio"] for each in compared)
    print(json.dumps({key: round(value, 4) for key, value in sorted(figures.items())}))


if __name__ == "__main__":
    main()
