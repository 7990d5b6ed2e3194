"""How long queries take among many photos: compared with all, and with those in their neighbourhood.

    python benchmarks/neighbours.py [--photos 10000 100000 1000000] [--queries 512] [--rounds 3]

Embeddings are drawn: five photos a whale on average, few with many, around centres of 64 dimensions, turned into 512;
cosines are 0.6 between photos of a whale on average and about 0.1 at most between its photos and most others'. Queries
are further photos of such whales, half of them, and of other whales. Medians of rounds, one after the other; building
is timed once. Two cores are used. The last line is one JSON object.
"""

import argparse
import json
import resource
import time
from statistics import median

import numpy as np
import numpy.typing as npt
from measure import limit_cores

from whaleid.identification.neighbours import Neighbours
from whaleid.identification.similarity import Gallery, gallery, nearest_scores

DIMENSIONS, INNER = 512, 64
ALIKE = 0.6


def drawn(photos: int, queries: int) -> tuple[Gallery, npt.NDArray[np.float32]]:
    """Return a gallery and queries (1, Q, 512) as described above."""
    random = np.random.default_rng(0)
    whales = photos // 5
    weights = random.lognormal(0.0, 1.0, whales)
    of = np.sort(np.concatenate([np.arange(whales), random.choice(whales, photos - whales, p=weights / weights.sum())]))
    centres = random.standard_normal((whales, INNER), dtype=np.float32)
    others = random.standard_normal((queries - queries // 2, INNER), dtype=np.float32)
    outwards = random.standard_normal((INNER, DIMENSIONS), dtype=np.float32)
    known = random.choice(of, queries // 2)

    def seen(around: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        spread = np.float32((1 / ALIKE - 1) ** 0.5)
        rows = (around + spread * random.standard_normal(around.shape, dtype=np.float32)) @ outwards
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows[None]

    names = np.char.zfill(of.astype(str), 8)
    return gallery(seen(centres[of]), names), seen(np.concatenate([centres[known], others]))


def measure(photos: int, queries: int, rounds: int) -> dict[str, float]:
    """Return the figures for so many photos."""
    among, asked = drawn(photos, queries)
    started = time.perf_counter()
    near = Neighbours(among)
    built = time.perf_counter() - started
    seconds: dict[str, list[float]] = {"exact": [], "approximate": []}
    for _ in range(rounds):
        started = time.perf_counter()
        exact = np.concatenate([nearest_scores(asked[:, at : at + 256], among) for at in range(0, queries, 256)])
        between = time.perf_counter()
        found = near.scores(asked)
        seconds["exact"].append(between - started)
        seconds["approximate"].append(time.perf_counter() - between)
    known = queries // 2
    each = {f"{name}_ms": 1000 * median(values) / queries for name, values in seconds.items()}
    return {
        **each,
        "ratio": median(a / b for a, b in zip(*seconds.values(), strict=True)),
        "built_seconds": built,
        "recall": near.recall(asked),
        "same_first_whale": float((exact.argmax(axis=1) == found.argmax(axis=1))[:known].mean()),
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> None:
    """Measure, print a table, and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    limit_cores(2)
    figures: dict[str, dict[str, float]] = {}
    for photos in sorted(given.photos):
        found = measure(photos, given.queries, given.rounds)
        figures[str(photos)] = {name: float(f"{value:.4g}") for name, value in found.items()}
        print(f"{photos:,} photos:", ", ".join(f"{name} {value:g}" for name, value in figures[str(photos)].items()))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
