"""Ablation study: the MAP@5 of the preset's recipe with one change at a time, on the same folds.

    python benchmarks/ablation.py FOLDER --epochs 16 --whales 0.25 --unknown-share 0.114 [--backbone mobilenet_v2]
        [--weights FILE]

Clones the project into a temporary folder, applies the preset `real` for the catalogue FOLDER and queues an experiment
(`dvc exp run --queue`) for each change and fold. The results are read from MLflow. A budget smaller than the preset's
(`--whales`, `--epochs`, `--width`, `--height`) takes less time. All trainings process about the same number of photos.
No other parameter is tuned for a change: losses have the recipe's scale and margin. Folds are random splits of the
same photos and overlap. There is one training per change and fold. Prints a Markdown table and, as its last line, one
JSON object.
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
"""The variant and the prediction that are measured."""
RECIPE = "the recipe"
SCORE_PREFIX = "map5_no_duplicates_"
METRICS = ("map5_no_duplicates", "map5_known", "map5_unknown", "map5")


@dataclass(frozen=True)
class Change:
    """One change of the recipe: its name and the parameters that it sets."""

    name: str
    settings: tuple[str, ...] = ()  # KEY=VALUE, as for `dvc exp run -S`
    min_photos: int = 1
    oversample: int = 1
    per_whale: int = 1
    new_whale: bool = False

    def overrides(self, counts: "pd.Series[int]", epochs: int) -> list[str]:
        """Return all parameters to set, as `KEY=VALUE`.

        The number of epochs is chosen so that the training processes about as many photos as the recipe does in
        `epochs`. `counts` is the number of training photos of each label.
        """
        whales = counts.drop(NEW_WHALE, errors="ignore")
        sampled = whales[whales >= self.min_photos].clip(lower=self.oversample)
        photos_per_epoch = int((sampled + -sampled % self.per_whale).sum())
        if self.new_whale:
            photos_per_epoch += int(counts.get(NEW_WHALE, 0))
        train = {
            "min_photos": self.min_photos,
            "oversample": self.oversample,
            "per_whale": self.per_whale,
            "new_whale": str(self.new_whale).lower(),
            "epochs": max(1, round(epochs * whales.sum() / photos_per_epoch)),
        }
        return [*self.settings, *(f"variants.{VARIANT}.train.{key}={value}" for key, value in train.items())]


def variant_change(name: str, *settings: str, **sampling: Any) -> Change:
    """Return a change of parameters of the variant."""
    return Change(name, tuple(f"variants.{VARIANT}.{setting}" for setting in settings), **sampling)


CHANGES = (
    Change(RECIPE),
    Change("photos not cropped", ("pack.crop=false",)),
    Change("crops keep their proportions", ("pack.stretch=false",)),
    Change("in colour", ("pack.grey=false",)),
    Change("boxes without a margin", ("pack.margin=0.0",)),
    Change("upside-down photos rotated", ("pack.turn=true",)),
    Change("last stride kept", ("backbone.fine=false",)),
    variant_change("first layers trained too", "train.layers=all"),
    variant_change("weight decay 0.05", "train.weight_decay=0.05"),
    variant_change("no augmentation", "train.augment=false"),
    variant_change("a mirrored fluke is the same whale", "train.flip=augment"),
    variant_change("no mirrored flukes", "train.flip=off"),
    variant_change("whales with a single photo excluded", min_photos=2),
    variant_change("rare whales twice an epoch", oversample=2),
    variant_change("four photos of a whale in a batch", per_whale=4),
    variant_change("new_whale as a class", new_whale=True),
    variant_change("softmax", "train.loss.kind=softmax", "train.loss.scale=16.0", "train.loss.margin=0.0"),
    variant_change("ArcFace", "train.loss.kind=arcface"),
    variant_change("sub-centre ArcFace", "train.loss.kind=arcface", "train.loss.centres=3"),
    variant_change("triplet, batch-hard", "train.loss.kind=triplet", per_whale=4),
    variant_change("embeddings of whole crops", "embed.zoom=1.0"),
    variant_change("embeddings averaged over rotations by ±4°", "embed.tilt=4.0"),
)


def subsample(catalogue: Path, share: float, destination: Path) -> None:
    """Copy a `share` of the whales (with all their photos), the `new_whale` photos and the queries of a catalogue."""
    generator = np.random.default_rng(0)
    train = pd.read_csv(catalogue / "train.csv", keep_default_na=False, dtype=str)
    whales = np.unique(train.loc[train["Id"] != NEW_WHALE, "Id"])
    kept = set(generator.permutation(whales)[: round(share * len(whales))])
    is_sampled = generator.random(len(train)) < share
    train = train[train["Id"].isin(kept) | ((train["Id"] == NEW_WHALE) & is_sampled)]
    queries = sorted(path.name for path in (catalogue / "test").iterdir())
    selected = [query for query, number in zip(queries, generator.random(len(queries)), strict=True) if number < share]
    images_by_part: dict[str, list[str]] = {"train": train["Image"].tolist(), "test": selected}
    for part, images in images_by_part.items():
        (destination / part).mkdir(parents=True)
        for image in images:
            shutil.copyfile(catalogue / part / image, destination / part / image)
    train.to_csv(destination / "train.csv", index=False)
    if (catalogue / "boxes.csv").exists():
        boxes = pd.read_csv(catalogue / "boxes.csv", dtype={"Image": str})
        boxes[boxes["Image"].isin({*images_by_part["train"], *images_by_part["test"]})].to_csv(
            destination / "boxes.csv", index=False
        )


def read_metrics(store: Path, experiment: str) -> dict[str, float]:
    """Return the metrics that calibration and prediction of the variant logged to MLflow; empty if they failed."""
    filter_string = f"tags.`dvc.experiment` = '{experiment}' and tags.`whaleid.variant` = '{VARIANT}'"
    return {
        key: value
        for mlflow_run in runs(store, filter_string)
        for key, value in mlflow_run.data.metrics.items()
        if key.startswith(("map5", "top"))
    }


def format_mean(values: list[float]) -> str:
    """Format the mean of `values` and, if there are several, their standard deviation."""
    return f"{mean(values):+.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def table(results: dict[str, list[dict[str, float]]]) -> list[str]:
    """Return the lines of a Markdown table: metrics of the recipe, and mean differences of each change over folds.

    `results` maps the name of a change to its metrics on each fold.
    """
    recipe = results[RECIPE]
    lines = [f"| MAP@5 on {len(recipe)} folds | " + " | ".join(METRICS) + " |", "|---" * (1 + len(METRICS)) + "|"]
    for name, folds in results.items():
        cells = []
        for metric in METRICS:
            if name == RECIPE:
                cells.append(format_mean([fold[metric] for fold in folds]).removeprefix("+"))
            elif all(metric in fold for fold in folds):
                cells.append(
                    format_mean([fold[metric] - base[metric] for fold, base in zip(folds, recipe, strict=True)])
                )
            else:
                cells.append("failed")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for score in (
        key.removeprefix(SCORE_PREFIX)
        for key in recipe[0]
        if key.startswith(SCORE_PREFIX) and key != f"{SCORE_PREFIX}all"
    ):
        cells = [
            format_mean([fold[f"{metric}_{score}"] - fold[metric] for fold in recipe])
            if all(f"{metric}_{score}" in fold for fold in recipe)
            else ""
            for metric in METRICS
        ]
        lines.append(f"| scores: {score.replace('_', ' ')} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    """Queue and run the experiments, read their results and print them."""
    parser = photo_parser(__doc__)
    parser.add_argument("--folds", default="0,1,2", help="validation splits, separated by commas")
    parser.add_argument(
        "--epochs", type=int, required=True, help="epochs of the recipe; changes process as many photos"
    )
    parser.add_argument("--whales", type=float, default=1.0, help="share of the whales to use")
    parser.add_argument("--width", type=int, help="width of the packed photos; default: that of the preset")
    parser.add_argument("--height", type=int, help="height of the packed photos; default: that of the preset")
    parser.add_argument(
        "--only", nargs="+", default=[""], help="run only changes with one of these texts in their names"
    )
    arguments = parser.parse_args()
    limit_cores(2)
    size = {"pack.width": arguments.width, "pack.height": arguments.height}
    common = [f"{key}={value}" for key, value in size.items() if value]
    folds = arguments.folds.split(",")
    changes = [
        change for change in CHANGES if change.name == RECIPE or any(part in change.name for part in arguments.only)
    ]
    if len(changes) == 1:
        names = ", ".join(change.name for change in CHANGES)
        parser.error(f"--only {' '.join(arguments.only)}: no such change. Available: {names}")
    with tempfile.TemporaryDirectory() as temporary:
        project = Path(temporary) / "project"
        if arguments.whales < 1:
            subsample(arguments.folder, arguments.whales, Path(temporary) / "catalogue")
            arguments.folder = Path(temporary) / "catalogue"
        clone_for_photos(project, arguments)
        keep_only(project / "params.yaml", VARIANT)
        run(project, "git", "commit", "-qam", "Preset real")
        run(project, "dvc", "repro", "split")
        split = pd.read_csv(project / "data/split.csv", keep_default_na=False)
        counts = split.loc[split["part"] == "train", "Id"].value_counts()
        experiments = {
            (number, fold): f"change-{number}-fold-{fold}" for number in range(len(changes)) for fold in folds
        }
        for (number, fold), name in experiments.items():
            settings = [f"split.fold={fold}", *common, *changes[number].overrides(counts, arguments.epochs)]
            flags = [flag for setting in settings for flag in ("-S", setting)]
            run(project, "dvc", "exp", "run", "--queue", "--name", name, *flags, "predict")
        run(project, "dvc", "exp", "run", "--run-all", "--jobs", "1")
        results = {
            change.name: [read_metrics(project / "mlflow.db", experiments[number, fold]) for fold in folds]
            for number, change in enumerate(changes)
        }
        if not all(metric in fold for fold in results[RECIPE] for metric in METRICS):
            sys.exit("The recipe itself failed. See the output above.")
        print("\n".join(table(results)))
        print(json.dumps(results), flush=True)


if __name__ == "__main__":
    main()
