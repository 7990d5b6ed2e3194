"""The real pipeline, stage by stage, on a sliver of the drawn catalogue."""

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from closure import ROOT
from conftest import STEPS, stage, write_params
from pydantic import BaseModel
from ruamel.yaml import YAML

from whaleid.config import Params, load
from whaleid.core import files, paths
from whaleid.core.errors import WhaleidError
from whaleid.detection import learning
from whaleid.stages.grading import ready, score

pytestmark = pytest.mark.slow
PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
VARIANTS = ("toy", "full", "threshold", "margin", "pairs")
SHARED = ("sample", "catalog", "dedup", "explore", "split", "backbone", "boxes", "pack")


def network_stages(params: Params, *variants: str) -> Iterator[tuple[str, str]]:
    """Run the stages of each variant in turn; yield what has run."""
    for variant in variants:
        stage("train", params, variant, lambda epoch, figures: None)
        yield "train", variant
        for name in ("embed", "calibrate", "predict"):
            stage(name, params, variant)
            yield name, variant


def ensemble_stages(params: Params) -> None:
    stage("calibrate", params, paths.ENSEMBLE)
    stage("predict", params, paths.ENSEMBLE)
    for network in params.networks_of(paths.FINAL):
        stage("train", params, network, lambda epoch, figures: None)
        stage("embed", params, network)
    stage("predict", params, paths.FINAL)


def run_all(params: Params, *stages: str) -> None:
    for name in stages:
        stage(name, params)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "STEPS", STEPS)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run everything once."""
    folder = tmp_path_factory.mktemp("done")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setattr(learning, "STEPS", STEPS)
        write_params(Path(), {})
        params = load(paths.PARAMS)
        run_all(params, *SHARED)
        list(network_stages(params, *VARIANTS))
        ensemble_stages(params)
        stage("predict", params, "phash")
    return folder


@pytest.fixture
def ran(done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Go to a folder of the test's own where everything has run."""
    shutil.copytree(done, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return load(paths.PARAMS)


def test_everything_from_nothing_to_submissions(ran: Params) -> None:
    truth = pd.read_csv("data/sample/solution.csv")
    for variant in ("phash", *VARIANTS, paths.ENSEMBLE, paths.FINAL):
        rows = pd.read_csv(paths.submission(variant))
        assert rows["Image"].tolist() == sorted(truth["Image"])
        assert all(len(set(labels.split())) == 5 for labels in rows["Id"])
        assert ready(paths.submission(variant)) == 30
        measured = json.loads(paths.metrics(variant).read_text())
        graded = score(paths.submission(variant), Path("data/sample/solution.csv"))
        assert measured["solution_map5"] == pytest.approx(graded, abs=1e-6)
    assert len(pd.read_csv(paths.history("full"))) == 2
    assert {path.name for path in paths.EXPLORE.iterdir()} >= {"summary.csv", "photos_per_whale.png", "sheet.png"}


def test_a_catalogue_of_labelled_photos_alone(project: Callable[..., Params]) -> None:
    params = project(neighbours="approximate")
    run_all(params, "sample")
    labelled = Path("data/sample")
    shutil.rmtree(labelled / "test")
    for name in ("solution.csv", "sample_submission.csv", "boxes.csv"):
        (labelled / name).unlink(missing_ok=True)
    run_all(params, *(name for name in SHARED if name != "sample"))
    list(network_stages(params, *VARIANTS))
    ensemble_stages(params)
    stage("predict", params, "phash")
    for variant in ("phash", *VARIANTS, paths.ENSEMBLE, paths.FINAL):
        assert paths.submission(variant).read_text() == "Image,Id\n"
        assert "0 queries to come were answered." in (paths.report(variant) / "report.html").read_text()
    for variant in ("phash", *VARIANTS, paths.ENSEMBLE):
        measured = json.loads(paths.metrics(variant).read_text())
        # no copies are expected
        assert measured["map5"] == measured["map5_no_duplicates"]
        assert 0 < measured["map5_low"] <= measured["map5"] <= measured["map5_high"] <= 1
    assert len(files.read_csv(paths.LEAKS)) == 0
    assert len(files.read_csv(paths.GROUPS)) > 0
    with pytest.raises(WhaleidError, match="no photos to identify, so there is nothing to hand in"):
        ready(paths.submission(paths.FINAL))


def test_full_learns_new_whale_as_a_class_and_threshold_does_not(ran: Params) -> None:
    classes = {}
    for variant in VARIANTS:
        with np.load(paths.features(variant)) as found:
            classes[variant] = found["classes"].tolist()
    assert "new_whale" in classes["full"]
    assert classes["threshold"] == [label for label in classes["full"] if label != "new_whale"]
    assert len(classes["toy"]) == 4


def test_threshold_keeps_the_hidden_layers_of_full(ran: Params) -> None:
    with np.load(paths.features("full")) as full, np.load(paths.features("threshold")) as threshold:
        assert np.array_equal(full["embeddings"], threshold["embeddings"])
        assert full["centres"].shape != threshold["centres"].shape


def test_the_same_inputs_give_the_same_bytes(ran: Params, tmp_path: Path) -> None:
    def outputs() -> dict[str, bytes]:
        return {
            path.relative_to(tmp_path).as_posix(): path.read_bytes()
            for folder in ("data", "models", "features", "reports", "submissions")
            for path in sorted((tmp_path / folder).rglob("*"))
            if path.is_file()
        }

    first = outputs()
    assert not [name for name, data in first.items() if str(tmp_path).encode() in data]
    run_all(ran, *SHARED)
    list(network_stages(ran, *VARIANTS))
    ensemble_stages(ran)
    stage("predict", ran, "phash")
    second = outputs()
    assert [name for name in first if first[name] != second.get(name)] == []
    assert first.keys() == second.keys()


def test_a_threshold_moves_new_whale_and_nothing_else(ran: Params) -> None:
    def answers(threshold: float) -> list[list[str]]:
        stage("predict", ran.model_copy(update={"threshold": threshold}), "full")
        assert json.loads(paths.metrics("full").read_text())["threshold"] == threshold
        return [labels.split() for labels in pd.read_csv(paths.submission("full"))["Id"]]

    always, never = answers(1.0), answers(0.0)
    assert {labels[0] for labels in always} == {"new_whale"}
    assert not any("new_whale" in labels for labels in never)
    assert [labels[1:] for labels in always] == [labels[:4] for labels in never]


WHOLE = frozenset({"dedup", "pack"})
"""Sections that a bundle has in it."""


class Watched:
    """Stands for a part of the parameters and notes each value that is read from it."""

    def __init__(self, values: object, place: str, read: set[str], replaced: frozenset[str] = frozenset()) -> None:
        self._values, self._place, self._read = values, place, read
        self._replaced = replaced  # by the stage: what is read of them is none of the file's

    def _give(self, value: object, place: str) -> object:
        if isinstance(value, dict | BaseModel):
            return Watched(value, place, self._read)
        self._read.add(place)
        return value

    def __getattr__(self, name: str) -> object:
        place = f"{self._place}.{name}".lstrip(".")
        if name in ("model_dump", "model_copy"):
            return self._dump if name == "model_dump" else self._copy
        if name in self._replaced:
            return getattr(self._values, name)
        method = getattr(type(self._values), name, None)
        if isinstance(self._values, BaseModel) and callable(method):  # what it reads is noted as well
            return partial(method, self)
        return self._give(getattr(self._values, name), place)

    def _dump(self, exclude: frozenset[str] = frozenset()) -> dict[str, object]:
        assert isinstance(self._values, BaseModel)
        values = self._values.model_dump(exclude=set(exclude))
        self._read.update(f"{self._place}.{key}" for key in values if key not in self._replaced)
        return values

    def _copy(self, update: dict[str, object]) -> object:
        assert isinstance(self._values, BaseModel)
        return Watched(self._values.model_copy(update=update), self._place, self._read, frozenset(update))

    def __getitem__(self, key: str) -> object:
        assert isinstance(self._values, dict)
        return self._give(self._values[key], f"{self._place}.{key}")

    def __iter__(self) -> Iterator[str]:
        assert isinstance(self._values, dict)
        return iter(self._values)


def test_a_stage_reads_no_parameter_that_dvc_does_not_watch(ran: Params) -> None:
    """Where a stage read more, DVC would take its outputs for fresh after that parameter changed."""
    undeclared = []
    for name, stages in PIPELINE.items():
        declared = stages.get("do", stages).get("params", [])
        base = name.split("-")[0]
        assert base != "bundle" or set(declared) >= WHOLE
        # `train@V`, `train-final@V`, or `predict-phash`: one by its name
        keys = {"${variants}": VARIANTS, "${ensemble}": ran.ensemble}.get(stages.get("foreach"), [""])
        for key in keys:
            variant = "/".join(part for part in (name.partition("-")[2], key) if part) or None
            read: set[str] = set()
            watching = Watched(ran, "", read, WHOLE if base == "bundle" else frozenset())
            arguments: list[object] = [watching] if variant is None else [watching, variant]
            if base == "train":
                arguments.append(lambda epoch, figures: None)
            stage(base, *arguments)
            named = {"${key}": key, "${item}": key, **{f"${{ensemble[{n}]}}": m for n, m in enumerate(ran.ensemble)}}
            watched = []
            for each in declared:
                for placeholder, value in named.items():
                    each = each.replace(placeholder, value)
                watched.append(each)
            undeclared += [f"{name}: {key}" for key in read if not any(f"{key}.".startswith(f"{w}.") for w in watched)]
    assert undeclared == []


def test_a_checkpoint_that_does_not_fit_the_photos(ran: Params) -> None:
    wider = ran.model_copy(update={"pack": ran.pack.model_copy(update={"width": 64})})
    stage("pack", wider)
    with pytest.raises(Exception, match=r"models/toy\.pt was trained on photos of \(24, 48, 1\)"):
        stage("embed", wider, "toy")


def known_answers(params: Params) -> float:
    """Train `full` and return how many of its validation photos of known whales it names right, first."""
    list(network_stages(params, "toy", "full"))
    return float(json.loads(paths.metrics("full").read_text())["top1"])


def test_shuffled_labels_fall_to_chance(project: Callable[..., Params]) -> None:
    """The network sees flukes, not file names or the order of rows: with labels dealt out anew it knows nothing."""
    params = project(
        threshold=0.0,
        sample={"frequent": 12, "occasional": 1, "single": 1, "queries": 20},
        pack={"width": 96, "height": 48},
        split={"known": 1.0},
        variants={"toy": {"whales": 12, "epochs": 8}, "full": {"epochs": 8}},
    )
    run_all(params, "sample", "catalog", "dedup", "split", "backbone", "boxes", "pack")
    learnt = known_answers(params)
    table = files.read_csv(paths.SPLIT)
    train = table["part"] == "train"
    table.loc[train, "Id"] = np.random.default_rng(0).permutation(table.loc[train, "Id"])
    files.write_csv(table, paths.SPLIT)
    shuffled = known_answers(params)
    assert learnt >= 0.5
    assert shuffled <= 0.25
