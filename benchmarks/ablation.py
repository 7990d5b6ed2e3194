"""What each part of the recipe gives: the recipe with one thing changed, on the same folds, a table of MAP@5.

    python benchmarks/ablation.py FOLDER --epochs 16 --whales 0.25 --unknown-share 0.114 [--backbone mobilenet_v2]
        [--weights FILE]

Clones the project into a temporary folder, applies the preset `real` for the catalogue FOLDER and queues an experiment
(`dvc exp run --queue`) for each change and fold; the results are read back from MLflow. A budget smaller than the
preset's (`--whales`, `--epochs`, `--width`, `--height`) shows differences sooner; all trainings show about as many
photos. Nothing else is tuned for a change: losses have the recipe's scale and margin. Folds are draws of the same
photos and overlap. It takes one training a change and fold. Prints a Markdown table and, as its last line, one JSON
object.
"""

import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pandas as pd
from measure import clone_for_photos, keep_only, limit_cores, photo_parser, run, runs

from whaleid.core.labels import NEW_WHALE

VARIANT = "margin"
"""And the prediction of that name."""
RECIPE = "the recipe"
SCORE = "map5_no_duplicates_"
FIGURES = ("map5_no_duplicates", "map5_known", "map5_unknown", "map5")


@dataclass(frozen=True)
class Change:
    """One thing done otherwise: what it is called, and the parameters that it sets."""

    name: str
    sets: tuple[str, ...] = ()
    min_photos: int = 1
    oversample: int = 1
    per_whale: int = 1
    new_whale: bool = False

    def of(self, photos: "pd.Series[int]", epochs: int) -> list[str]:
        """Return all that it sets: also so many epochs that about as many photos are shown as by the recipe.

        `photos` are those that there are to learn of each label, `epochs` those of the recipe.
        """
        named = photos.drop(NEW_WHALE, errors="ignore")
        counts = named[named >= self.min_photos].clip(lower=self.oversample)
        photos_per_epoch = int((counts + -counts % self.per_whale).sum())
        if self.new_whale:
            photos_per_epoch += int(photos.get(NEW_WHALE, 0))
        own = {
            "min_photos": self.min_photos,
            "oversample": self.oversample,
            "per_whale": self.per_whale,
            "new_whale": str(self.new_whale).lower(),
            "epochs": max(1, round(epochs * named.sum() / photos_per_epoch)),
        }
        return [*self.sets, *(f"variants.{VARIANT}.train.{key}={value}" for key, value in own.items())]


def of_variant(name: str, *sets: str, **sampling: Any) -> Change:
    """Return a change of the variant's own parameters."""
    return Change(name, tuple(f"variants.{VARIANT}.{key}" for key in sets), **sampling)


CHANGES = (
    Change(RECIPE),
    Change("photos not cropped", ("pack.crop=false",)),
    Change("crops keep their proportions", ("pack.stretch=false",)),
    Change("in colour", ("pack.grey=false",)),
    Change("boxes without a margin", ("pack.margin=0.0",)),
    Change("upside-down photos turned", ("pack.turn=true",)),
    Change("last stride kept", ("backbone.fine=false",)),
    of_variant("first layers learnt as well", "train.layers=all"),
    of_variant("weight decay 0.05", "train.weight_decay=0.05"),
    of_variant("no augmentation", "train.augment=false"),
    of_variant("a mirrored fluke is the same whale", "train.flip=augment"),
    of_variant("no mirrored flukes", "train.flip=off"),
    of_variant("single-photo whales not learnt", min_photos=2),
    of_variant("rare whales shown twice an epoch", oversample=2),
    of_variant("four photos of a whale together", per_whale=4),
    of_variant("new_whale a class", new_whale=True),
    of_variant("softmax", "train.loss.kind=softmax", "train.loss.scale=16.0", "train.loss.margin=0.0"),
    of_variant("ArcFace", "train.loss.kind=arcface"),
    of_variant("sub-centre ArcFace", "train.loss.kind=arcface", "train.loss.centres=3"),
    of_variant("triplet, batch-hard", "train.loss.kind=triplet", per_whale=4),
    of_variant("embeddings of whole crops", "embed.zoom=1.0"),
    of_variant("embeddings averaged over a turn of 4° to either side", "embed.tilt=4.0"),
)


def fewer(catalogue: Path, share: float, destination: Path) -> None:
    """Copy a `share` of a catalogue: of the whales with all their photos, of the `new_whale` photos, of the queries."""
    noise = np.random.default_rng(0)
    train = pd.read_csv(catalogue / "train.csv", keep_default_na=False, dtype=str)
    whales = np.unique(train.loc[train["Id"] != NEW_WHALE, "Id"])
    kept = set(noise.permutation(whales)[: round(share * len(whales))])
    at_random = noise.random(len(train)) < share
    train = train[train["Id"].isin(kept) | ((train["Id"] == NEW_WHALE) & at_random)]
    queries = sorted(path.name for path in (catalogue / "test").iterdir())
    selected = [query for query, drawn in zip(queries, noise.random(len(queries)), strict=True) if drawn < share]
    chosen: dict[str, list[str]] = {"train": train["Image"].tolist(), "test": selected}
    for part, images in chosen.items():
        (destination / part).mkdir(parents=True)
        for image in images:
            shutil.copyfile(catalogue / part / image, destination / part / image)
    train.to_csv(destination / "train.csv", index=False)
    if (catalogue / "boxes.csv").exists():
        boxes = pd.read_csv(catalogue / "boxes.csv", dtype={"Image": str})
        boxes[boxes["Image"].isin({*chosen["train"], *chosen["test"]})].to_csv(destination / "boxes.csv", index=False)


def results(store: Path, experiment: str) -> dict[str, float]:
    """Return the figures that the variant's calibration and prediction left in the MLflow store, if they did."""
    filter_string = f"tags.`dvc.experiment` = '{experiment}' and tags.`whaleid.variant` = '{VARIANT}'"
    return {
        key: value
        for tracked in runs(store, filter_string)
        for key, value in tracked.data.metrics.items()
        if key.startswith(("map5", "top"))
    }


def spread(values: list[float]) -> str:
    """Return the mean of `values` with their standard deviation, where there are several."""
    return f"{mean(values):+.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def table(results: dict[str, list[dict[str, float]]]) -> list[str]:
    """Return the lines of a table: figures of the recipe, and by how much each change differs fold by fold."""
    recipe = results[RECIPE]
    lines = [f"| MAP@5 on {len(recipe)} folds | " + " | ".join(FIGURES) + " |", "|---" * (1 + len(FIGURES)) + "|"]
    for name, folds in results.items():
        cells = []
        for figure in FIGURES:
            if name == RECIPE:
                cells.append(spread([fold[figure] for fold in folds]).removeprefix("+"))
            elif all(figure in fold for fold in folds):
                cells.append(spread([fold[figure] - base[figure] for fold, base in zip(folds, recipe, strict=True)]))
            else:
                cells.append("failed")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for score in (key.removeprefix(SCORE) for key in recipe[0] if key.startswith(SCORE) and key != f"{SCORE}all"):
        cells = [
            spread([fold[f"{figure}_{score}"] - fold[figure] for fold in recipe])
            if all(f"{figure}_{score}" in fold for fold in recipe)
            else ""
            for figure in FIGURES
        ]
        lines.append(f"| scores: {score.replace('_', ' ')} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    """Queue, run, read back, print."""
    parser = photo_parser(__doc__)
    parser.add_argument("--folds", default="0,1,2", help="draws of validation")
    parser.add_argument("--epochs", type=int, required=True, help="of the recipe; the others show as many photos")
    parser.add_argument("--whales", type=float, default=1.0, help="the share of the whales that takes part")
    parser.add_argument("--width", type=int, help="of the photos; the preset's otherwise")
    parser.add_argument("--height", type=int)
    parser.add_argument("--only", nargs="+", default=[""], help="changes whose names hold one of these")
    arguments = parser.parse_args()
    limit_cores(2)
    size = {"pack.width": arguments.width, "pack.height": arguments.height}
    common = [f"{key}={value}" for key, value in size.items() if value]
    folds = arguments.folds.split(",")
    changes = [
        change for change in CHANGES if change.name == RECIPE or any(part in change.name for part in arguments.only)
    ]
    if len(changes) == 1:
        parser.error(
            f"--only {' '.join(arguments.only)}: there is no such change among {', '.join(c.name for c in CHANGES)}"
        )
    with tempfile.TemporaryDirectory() as temporary:
        project = Path(temporary) / "project"
        if arguments.whales < 1:
            fewer(arguments.folder, arguments.whales, Path(temporary) / "catalogue")
            arguments.folder = Path(temporary) / "catalogue"
        clone_for_photos(project, arguments)
        keep_only(project / "params.yaml", VARIANT)
        run(project, "git", "commit", "-qam", "Preset real")
        run(project, "dvc", "repro", "split")
        split = pd.read_csv(project / "data/split.csv", keep_default_na=False)
        photos = split.loc[split["part"] == "train", "Id"].value_counts()
        experiments = {
            (number, fold): f"change-{number}-fold-{fold}" for number in range(len(changes)) for fold in folds
        }
        for (number, fold), name in experiments.items():
            sets = [f"split.fold={fold}", *common, *changes[number].of(photos, arguments.epochs)]
            flags = [flag for each in sets for flag in ("-S", each)]
            run(project, "dvc", "exp", "run", "--queue", "--name", name, *flags, "predict")
        run(project, "dvc", "exp", "run", "--run-all", "--jobs", "1")
        results = {
            change.name: [results(project / "mlflow.db", experiments[number, fold]) for fold in folds]
            for number, change in enumerate(changes)
        }
        if not all(figure in fold for fold in results[RECIPE] for figure in FIGURES):
            sys.exit("the recipe itself failed: see what was printed above")
        print("\n".join(table(results)))
        print(json.dumps(results), flush=True)


if __name__ == "__main__":
    main()
