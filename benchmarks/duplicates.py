"""Speed and accuracy of duplicate detection, compared with imagededup, a numpy scan and decoding only.

    python benchmarks/duplicates.py [FOLDER] [--runs 3]

FOLDER is a catalogue folder of real photos, by default the value of WHALEID_REAL_DATA. Uses two cores. Each number is
the median of several runs, which alternate between the methods:

- hashing: photos per second of whaleid (reading, checks, SHA-256, thumbnail and pHash), of imagededup's
  `PHash().encode_images` and of decoding only, on FOLDER's labelled photos and on synthetic JPEG files of 1050 x 600;
- reduction: differing bits between the hashes of a JPEG file decoded at half its size without colours, and in full;
- search: time and memory to find all pairs within 4 bits among 10^4, 10^5 and 10^6 random hashes;
- `whaleid catalog` and `whaleid dedup` of FOLDER;
- precision and recall of groups among synthetic photos and copies of each kind.

imagededup is skipped with a message if it is not installed (`pip install imagededup`). The last line is one JSON
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

LARGE_SIZE = (1050, 600)
"""Width and height of the large photos, in pixels."""
LARGE_PHOTOS = 1500
WHALES, PHOTOS_PER_WHALE = 500, 4
"""Drawn whales for precision and recall. Photos of one whale are not duplicates, but similar."""
MAX_DISTANCE = 4
"""Maximum number of differing bits of a pair of hashes."""
MAX_SECONDS = 100.0
"""A peer is skipped if it would take longer for ten times as many hashes, assuming quadratic time."""


def compute_hashes(files: Sequence[Path]) -> NDArray[np.uint64]:
    """Hash `files` as the stage `catalog` does."""
    return perceptual_hashes(thumbnails([result for result in fingerprints(files) if isinstance(result, Fingerprint)]))


def decode(path: Path) -> None:
    """Decode a photo."""
    with Image.open(path) as image:
        image.load()


def imagededup() -> object | None:
    """Return imagededup's PHash, or None if it is not installed."""
    try:
        from imagededup.methods import PHash
    except ImportError:
        print("imagededup is not installed: pip install imagededup", file=sys.stderr)
        return None
    peer: object = PHash(verbose=False)
    return peer


def seconds(functions: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Return the median seconds of each of `functions`, which are called in turn `runs` times."""
    durations: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(runs):
        for name, function in functions.items():
            # objects of one function must not slow the garbage collection of another
            gc.collect()
            gc.disable()
            started = time.perf_counter()
            function()
            durations[name].append(time.perf_counter() - started)
            gc.enable()
    return {name: median(times) for name, times in durations.items()}


def hashing(name: str, files: Sequence[Path], runs: int) -> dict[str, float]:
    """Compare the speed of hashing `files` with decoding only and with imagededup."""
    methods: dict[str, Callable[[], object]] = {
        "whaleid": lambda: compute_hashes(files),
        "decoding": lambda: list(parallel_map(decode, files, "decoded")),
    }
    peer = imagededup()
    if peer is not None:
        methods["imagededup"] = lambda: peer.encode_images(image_dir=files[0].parent, num_enc_workers=2)  # type: ignore[attr-defined]
    durations = seconds(methods, runs)
    rates = ", ".join(f"{method} {len(files) / duration:,.0f}" for method, duration in durations.items())
    metrics = {"share_of_decoding": durations["whaleid"] / durations["decoding"]}
    if peer is not None:
        metrics["ratio"] = durations["imagededup"] / durations["whaleid"]
    text = ", ".join(f"{key.replace('_', ' ')} {value:.2f}" for key, value in metrics.items())
    print(f"{name}, photos per second: {rates}; {text}", flush=True)
    return {f"hash_{key}": value for key, value in metrics.items()}


def large_photos(folder: Path) -> list[Path]:
    """Draw photos of flukes with the size of the competition's photos."""
    files = [folder / f"{number:04d}.jpg" for number in range(LARGE_PHOTOS)]
    list(parallel_map(_large_photo, files, "large photos drawn"))
    return files


def _large_photo(path: Path) -> None:
    rng = np.random.default_rng(int(path.stem))
    image = Image.open(io.BytesIO(_flukes(int(path.stem), 1)[0].jpeg)).convert("RGB")
    grain = rng.normal(0, rng.uniform(0, 4), (*LARGE_SIZE[::-1], 1))
    pixels = np.asarray(image.resize(LARGE_SIZE, Image.Resampling.BICUBIC)) + grain
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=int(rng.integers(60, 95)))


def _flukes(whale: int, count: int) -> "list[Photo]":
    from whaleid.sample.fluke import draw_fluke
    from whaleid.sample.photograph import photograph

    fluke = draw_fluke(np.random.default_rng([5, whale]))
    return [photograph(fluke, np.random.default_rng([6, whale, number])) for number in range(count)]


def reduction(files: Sequence[Path]) -> None:
    """Print the distances between hashes of JPEG files decoded as in `catalog` (half size, no colour) and in full."""
    full = []
    for path in files:
        with Image.open(path) as image:
            full.append(thumbnail(image))
    distances = np.bincount(np.bitwise_count(compute_hashes(files) ^ perceptual_hashes(np.stack(full))))
    print(
        f"{len(files)} photos by distance between the hashes of full and reduced decoding: {distances.tolist()}",
        flush=True,
    )


def searching() -> dict[str, float]:
    """Time the search among random hashes, some of which are near each other, and compare it with the peers."""
    from whaleid.duplicates.pairs import near_hashes

    rng = np.random.default_rng(0)
    metrics: dict[str, float] = {}
    peer = imagededup()
    is_enabled = {"scan": True, "imagededup": peer is not None}
    for power in (4, 5, 6):
        count = 10**power
        hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
        near = rng.integers(0, count, count // 100)
        flips = rng.integers(0, 64, (2, len(near))).astype(np.uint64)
        hashes[: len(near)] = hashes[near] ^ (np.uint64(1) << flips[0]) ^ (np.uint64(1) << flips[1])
        started = time.perf_counter()
        pairs = near_hashes(hashes, hashes, MAX_DISTANCE)
        pairs = pairs[pairs[:, 0] < pairs[:, 1]]
        elapsed = metrics[f"search_seconds_1e{power}"] = time.perf_counter() - started
        gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        line = f"search among 1e{power}: {elapsed:.2f} s, {len(pairs):,} pairs, peak {gib:.2f} GiB"
        for name, search in (("scan", scan), ("imagededup", partial(imagededup_pairs, peer))):
            if is_enabled[name]:
                started = time.perf_counter()
                peer_pairs = search(hashes)
                duration = time.perf_counter() - started
                if peer_pairs != len(pairs):
                    raise SystemExit(f"{name} finds {peer_pairs:,} pairs, but whaleid {len(pairs):,}.")
                line += f"; {name} {duration:.2f} s, the same number of pairs"
                is_enabled[name] = duration * 100 <= MAX_SECONDS
        print(line, flush=True)
        metrics["search_gib"] = gib
    return metrics


def scan(hashes: NDArray[np.uint64]) -> int:
    """Return the number of pairs within the maximum distance, by comparing all hashes with numpy."""
    count = 0
    for row in range(0, len(hashes), 256):
        distances = np.bitwise_count(hashes[row : row + 256, None] ^ hashes[None, row:])
        i, j = np.nonzero(distances <= MAX_DISTANCE)
        count += int((i < j).sum())
    return count


def imagededup_pairs(peer: object, hashes: NDArray[np.uint64]) -> int:
    """Return the number of pairs that imagededup finds."""
    encoded = {str(row): f"{bits:016x}" for row, bits in enumerate(hashes.tolist())}
    near = peer.find_duplicates(encoding_map=encoded, max_distance_threshold=MAX_DISTANCE, num_dist_workers=2)  # type: ignore[attr-defined]
    return sum(map(len, near.values())) // 2


def stages(folder: Path, runs: int) -> dict[str, float]:
    """Time the commands `whaleid catalog` and `whaleid dedup`."""
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
    """Measure precision and recall of duplicate groups among synthetic photos with one copy each.

    All kinds of copies are equally frequent.
    """
    import pandas as pd

    from whaleid.duplicates.search import find_duplicates
    from whaleid.sample.copies import KINDS

    rows = [
        row for rows in parallel_map(partial(_copies, folder=folder), range(WHALES), "whales drawn") for row in rows
    ]
    results = [
        result for result in fingerprints([folder / name for name, _ in rows]) if isinstance(result, Fingerprint)
    ]
    photos = pd.DataFrame({"Image": [name for name, _ in rows], "Id": "", "part": "train"}).join(file_metadata(results))
    group = find_duplicates(photos, thumbnails(results), rule).manifest["group"].to_numpy()
    # each original is followed by its copy
    kind = np.array([kind for _, kind in rows])
    copies = np.flatnonzero(kind != "")
    is_correct = (group[copies] >= 0) & (group[copies] == group[copies - 1])
    members = pd.Series(group[group >= 0]).value_counts()
    predicted = int((members * (members - 1) // 2).sum())
    wrong = dict.fromkeys(KINDS, 0)
    for _, photo_rows in pd.Series(np.arange(len(rows)))[group >= 0].groupby(group[group >= 0]):
        for first, second in itertools.combinations(photo_rows, 2):
            if not (second == first + 1 and kind[second]):
                for row in {first, second}:
                    wrong[str(kind[row] or kind[row + 1])] += 1
    print(f"{len(copies):,} copies of {len(copies):,} photos of {WHALES} whales: kind, recall, precision")
    for name in KINDS:
        is_kind = kind[copies] == name
        correct = int(is_correct[is_kind].sum())
        print(f"  {name:12} {correct / is_kind.sum():.4f} {correct / max(correct + wrong[name], 1):.4f}")
    metrics = {"precision": int(is_correct.sum()) / predicted, "recall": float(is_correct.mean())}
    print(f"  {'all':12} {metrics['recall']:.4f} {metrics['precision']:.4f}", flush=True)
    return metrics


def _copies(whale: int, folder: Path) -> list[tuple[str, str]]:
    """Draw photos of a whale and a copy of each into `folder`; return (file name, kind of copy or '') pairs."""
    from whaleid.sample.copies import KINDS, make_copy

    rows = []
    for number, photo in enumerate(_flukes(whale, PHOTOS_PER_WHALE)):
        kind = KINDS[(whale * PHOTOS_PER_WHALE + number) % len(KINDS)]
        copy = make_copy(photo, kind, np.random.default_rng([7, whale, number]))
        for copy_kind, file in (("", photo), (kind, copy)):
            rows.append((f"{whale:04d}-{number}-{copy_kind or 'Original'}.jpg", copy_kind))
            (folder / rows[-1][0]).write_bytes(file.jpeg)
    return rows


def main() -> None:
    """Run the benchmark; print a table and one JSON object."""
    from whaleid import config

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    real = os.environ.get("WHALEID_REAL_DATA", ROOT.parent / "shared/data/playground100")
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path(real), help="a catalogue folder in Kaggle's layout"
    )
    parser.add_argument("--runs", type=int, default=3, help="number of runs of each measurement")
    arguments = parser.parse_args()
    limit_cores(2)
    metrics: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for part in ("large", "copies"):
            Path(temporary, part).mkdir()
        large = large_photos(Path(temporary, "large"))
        compared = [hashing("1050 x 600", large, arguments.runs)]
        if arguments.folder.is_dir():
            labelled = sorted((arguments.folder / "train").glob("*.jpg"))
            compared.append(hashing(arguments.folder.name, labelled, arguments.runs))
            metrics |= stages(arguments.folder.resolve(), arguments.runs)
        else:
            print(f"{arguments.folder} does not exist: give the folder of real photos as an argument", file=sys.stderr)
        reduction(large)
        metrics |= searching()
        metrics |= quality(Path(temporary, "copies"), config.load(ROOT / "params.yaml").dedup)
    # the less favourable result of the two sets of photos
    metrics["hash_share_of_decoding"] = max(result["hash_share_of_decoding"] for result in compared)
    if "hash_ratio" in compared[0]:
        metrics["hash_ratio"] = min(result["hash_ratio"] for result in compared)
    print(json.dumps({key: round(value, 4) for key, value in sorted(metrics.items())}))


if __name__ == "__main__":
    main()
