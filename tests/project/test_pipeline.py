"""The real pipeline, stage by stage, on a sliver of the drawn catalogue."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.closure import ROOT
from helpers.project import PREDICTIONS, copy_repository, run_stage, write_params
from helpers.repository import differing_files, digests
from pydantic import BaseModel
from ruamel.yaml import YAML

from whaleid.cli import submissions
from whaleid.config import Params, load
from whaleid.core import files, paths
from whaleid.core.errors import WhaleidError

pytestmark = pytest.mark.slow
PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
VARIANTS = ("toy", "margin", "final")
SHARED = ("sample", "catalog", "dedup", "explore", "split", "backbone", "boxes", "pack")
TRAINED = (*SHARED, "train", "embed", "calibrate")
LAST = ("rank", "predict", "report", "bundle")


class Watched:
    """Stands for a part of the parameters and notes each value that is read from it."""

    def __init__(self, values: object, place: str, read: set[str], whole: frozenset[str]) -> None:
        self._values, self._place, self._read = values, place, read
        self._whole = whole  # the sections that are read whole

    def _give(self, value: object, name: str) -> object:
        place = f"{self._place}.{name}".lstrip(".")
        if isinstance(value, dict | BaseModel) and name not in self._whole:
            return Watched(value, place, self._read, self._whole)
        self._read.add(place)
        return value

    def __getattr__(self, name: str) -> object:
        if name == "model_dump":
            return self._dump
        if isinstance(self._values, Mapping):
            assert name in ("items", "values", "keys"), name
            if name == "keys":
                return self._values.keys
            pairs = [(key, self[key]) for key in self._values]
            return lambda: pairs if name == "items" else [value for _, value in pairs]
        if callable(getattr(type(self._values), name, None)):  # what a method reads is noted as well
            return partial(getattr(type(self._values), name), self)
        return self._give(getattr(self._values, name), name)

    def _dump(self, exclude: frozenset[str] = frozenset()) -> dict[str, object]:
        assert isinstance(self._values, BaseModel)
        values = self._values.model_dump(exclude=set(exclude))
        self._read.update(f"{self._place}.{key}" for key in values)
        return values

    def __getitem__(self, key: str) -> object:
        assert isinstance(self._values, Mapping)
        return self._give(self._values[key], key)

    def __iter__(self) -> Iterator[str]:
        assert isinstance(self._values, Mapping)
        return iter(self._values)


WHOLE = {"bundle": frozenset({"dedup", "pack", "embed"})}
"""Sections that a stage takes as they are."""
IMPLIED = {"rank": {"variants.*.scores": "calibrations"}, "bundle": {"variants.*.embed": "features"}}
"""Parameters that a stage reads and does not declare, as each of their changes changes a folder that it depends on."""


def run(params: Params, *names: str) -> list[str]:
    """Run stages, all items of one after another; return what parameters each read that `dvc.yaml` does not declare."""
    undeclared = []
    for name in names:
        block = PIPELINE[name]
        for item in params.variants if "foreach" in block else [None]:
            read: set[str] = set()
            arguments: list[object] = [Watched(params, "", read, WHOLE.get(name, frozenset()))]
            arguments += [item] if item else ["final"] if name == "bundle" else []
            arguments += [lambda epoch, figures: None] if name == "train" else []
            run_stage(name, *arguments)
            declared = [each.replace("${key}", str(item)) for each in block.get("do", block).get("params", [])]
            declared += IMPLIED.get(name, {})
            undeclared += [
                f"{name}: {key}"
                for key in sorted(read)
                if not any(fnmatch(key, each) or key.startswith(f"{each}.") for each in declared)
            ]
    return undeclared


@pytest.fixture
def done(reproduced: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Go where everything has run; it is shared, and stays as it is."""
    monkeypatch.chdir(reproduced)
    return load(paths.PARAMS)


@pytest.fixture
def ran(reproduced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Go to a folder of the test's own where everything has run."""
    monkeypatch.chdir(copy_repository(reproduced, tmp_path / "project"))
    return load(paths.PARAMS)


def figures(prediction: str) -> dict[str, float]:
    return json.loads((Path("reports/figures") / f"{prediction}.json").read_text())


def test_everything_from_nothing_to_submissions(done: Params) -> None:
    assert tuple(done.predictions) == PREDICTIONS
    truth = pd.read_csv("data/sample/solution.csv")
    for prediction in PREDICTIONS:
        submission = Path("submissions") / f"{prediction}.csv"
        rows = pd.read_csv(submission)
        assert rows["Image"].tolist() == sorted(truth["Image"])
        assert all(len(set(labels.split())) == 5 for labels in rows["Id"])
        submissions.submit(submission)
        graded = submissions.grade(submission, Path("data/sample/solution.csv"))
        assert figures(prediction)["solution_map5"] == pytest.approx(graded, abs=1e-6)
    assert sorted(path.stem for path in Path("reports/pages").iterdir()) == sorted(PREDICTIONS)
    assert len(pd.read_csv(paths.history("toy"))) == 12
    assert {path.name for path in paths.EXPLORE.iterdir()} >= {"summary.csv", "photos_per_whale.png", "sheet.png"}


def test_what_learns_all_is_not_validated_and_says_so(done: Params) -> None:
    assert [name for name in PREDICTIONS if "map5" not in figures(name)] == ["final"]
    assert figures("final")["threshold"] == figures("margin")["threshold_auto"]
    headline = json.loads(Path("reports/metrics.json").read_text())
    assert headline["map5"].splitlines()[-1] == "final unvalidated"
    assert [line.split()[0] for line in headline["map5"].splitlines()] == [
        "phash",
        "toy",
        "margin",
        "ensemble",
        "final",
    ]
    assert json.loads(Path("calibrations/final/decision.json").read_text()) == {"validated": False}


def test_a_catalogue_of_labelled_photos_alone(ran: Params) -> None:
    """From the same networks, as they learn from labelled photos."""
    labelled = Path("data/sample")
    shutil.rmtree(labelled / "test")
    for name in ("solution.csv", "sample_submission.csv", "boxes.csv"):
        (labelled / name).unlink()
    run(ran, "catalog", "dedup", "explore", "split", "boxes", "pack", "embed", "calibrate", *LAST)
    for prediction in PREDICTIONS:
        assert (Path("submissions") / f"{prediction}.csv").read_text() == "Image,Id\n"
        measured = figures(prediction)
        assert not [key for key in measured if key.startswith("solution")]
        if prediction == "final":
            continue
        # no copies are expected
        assert measured["map5"] == measured["map5_no_duplicates"]
        assert 0 < measured["map5_low"] <= measured["map5"] <= measured["map5_high"] <= 1
    assert len(files.read_csv(paths.LEAKS)) == 0
    assert len(files.read_csv(paths.GROUPS)) > 0
    with pytest.raises(WhaleidError, match="has no photos to identify"):
        submissions.submit(Path("submissions/final.csv"))


def test_what_each_way_to_train_learns(ran: Params) -> None:
    """`full` has a class for new_whale; `threshold` has none, and keeps the hidden layers of `full`."""
    write_params(Path(), {"backbone": {"name": "squeezenet1_1"}})
    params = load(paths.PARAMS)  # with all variants that there are
    found = {}
    for variant in ("full", "threshold"):
        run_stage("train", params, variant, lambda epoch, figures: None)
        run_stage("embed", params, variant)
    for variant in params.variants:
        with np.load(paths.features(variant)) as features:
            found[variant] = dict(features)
    classes = {variant: features["classes"].tolist() for variant, features in found.items()}
    assert "new_whale" in classes["full"]
    assert classes["threshold"] == [label for label in classes["full"] if label != "new_whale"]
    assert len(classes["toy"]) == 4
    # and what learns validation's photos too knows whales that it holds out whole
    assert set(classes["final"]) > set(classes["margin"])
    assert np.array_equal(found["full"]["embeddings"], found["threshold"]["embeddings"])
    assert found["full"]["centres"].shape != found["threshold"]["centres"].shape


def test_the_same_inputs_give_the_same_bytes(reproduced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here in one process; there by `dvc repro`, where each stage has a process of its own, and tracked."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(reproduced / paths.PARAMS, paths.PARAMS)
    # a stage reads no parameter that DVC does not watch: where one changed, DVC would take old outputs for fresh
    assert run(load(paths.PARAMS), *TRAINED, *LAST) == []
    for name, implied in IMPLIED.items():
        assert set(implied.values()) <= set(PIPELINE[name]["deps"])
    assert differing_files(digests(tmp_path), digests(reproduced)) == []
    for folder in (tmp_path, reproduced):
        place = str(folder).encode()
        assert [name for name in digests(folder) if place in (folder / name).read_bytes()] == []
    # and what is written is what DVC keeps
    outputs = []
    for block in PIPELINE.values():
        body = block.get("do", block)
        for each in [*body.get("outs", []), *body.get("metrics", [])]:
            (place,) = each if isinstance(each, dict) else [each]
            outputs += [tmp_path / place.replace("${key}", variant) for variant in VARIANTS]
    assert [place for place in outputs if not place.exists()] == []
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    others = [path for path in written if not any(path.is_relative_to(place) for place in outputs)]
    assert {path.relative_to(tmp_path).parts[0] for path in others} == {"params.yaml"}


def test_a_threshold_moves_new_whale_and_nothing_else(ran: Params) -> None:
    def answers(threshold: float) -> dict[str, list[list[str]]]:
        run_stage("predict", ran.model_copy(update={"threshold": threshold}))
        found = {}
        for name in PREDICTIONS[1:]:  # phash has none
            assert figures(name)["threshold"] == threshold
            found[name] = [labels.split() for labels in pd.read_csv(Path("submissions") / f"{name}.csv")["Id"]]
        return found

    always, never = answers(1.0), answers(0.0)
    for name in ("toy", "ensemble", "final"):
        assert {labels[0] for labels in always[name]} == {"new_whale"}
        assert [labels[1:] for labels in always[name]] == [labels[:4] for labels in never[name]]
    assert not any("new_whale" in labels for labels in never["toy"])


def test_a_checkpoint_that_does_not_fit_the_photos(ran: Params) -> None:
    wider = ran.model_copy(update={"pack": ran.pack.model_copy(update={"width": 64})})
    run_stage("pack", wider)
    with pytest.raises(WhaleidError, match=r"checkpoints/toy\.safetensors was trained on photos of \(24, 48, 1\)"):
        run_stage("embed", wider, "toy")


def known_answers(params: Params) -> float:
    """Train `toy` and return the share of its validation photos of known whales whose class is nearest to them."""
    run_stage("train", params, "toy", lambda epoch, figures: None)
    run_stage("embed", params, "toy")
    split = files.read_csv(paths.SPLIT)
    known = split[split["role"] == "known"]
    with np.load(paths.features("toy")) as found:
        row = {image: number for number, image in enumerate(found["images"].tolist())}
        cosines = found["embeddings"][0, [row[image] for image in known["Image"]]] @ found["centres"][0, :, 0].T
        return float((found["classes"][cosines.argmax(axis=1)] == known["Id"].to_numpy()).mean())


@pytest.mark.long
def test_shuffled_labels_fall_to_chance(project: Callable[..., Params]) -> None:
    """The network sees flukes, not file names or the order of rows: with labels dealt out anew it knows nothing."""
    train = {"whales": "all", "photos": "all", "augment": True, "epochs": 10, "batch_size": 16, "lr": 0.003}
    params = project(
        sample={"frequent": 12, "occasional": 1, "single": 1, "queries": 20},
        pack={"width": 64, "height": 32},
        split={"known": 1.0, "further": 0.2},
        variants={"toy": {"train": train}},
    )
    for name in ("sample", "catalog", "dedup", "split", "backbone", "boxes", "pack"):
        run_stage(name, params)
    learnt = known_answers(params)
    table = files.read_csv(paths.SPLIT)
    training = table["part"] == "train"
    table.loc[training, "Id"] = np.random.default_rng(0).permutation(table.loc[training, "Id"])
    files.write_csv(table, paths.SPLIT)
    shuffled = known_answers(params)
    # 36 photos of 13 whales: one in 13 by guessing, and eight or more of them hardly ever
    assert learnt >= 0.25
    assert shuffled <= 0.2
