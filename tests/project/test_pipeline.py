"""The default pipeline, stage by stage, on a small part of the synthetic catalogue."""

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


class RecordingParams:
    """A proxy for a section of the parameters that records each key that is read."""

    def __init__(self, values: object, key: str, read: set[str], whole_sections: frozenset[str]) -> None:
        self._values, self._key, self._read = values, key, read
        self._whole_sections = whole_sections  # recorded as one key

    def _record(self, value: object, name: str) -> object:
        key = f"{self._key}.{name}".lstrip(".")
        if isinstance(value, dict | BaseModel) and name not in self._whole_sections:
            return RecordingParams(value, key, self._read, self._whole_sections)
        self._read.add(key)
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
        if callable(getattr(type(self._values), name, None)):  # record what a method reads
            return partial(getattr(type(self._values), name), self)
        return self._record(getattr(self._values, name), name)

    def _dump(self, exclude: frozenset[str] = frozenset()) -> dict[str, object]:
        assert isinstance(self._values, BaseModel)
        values = self._values.model_dump(exclude=set(exclude))
        self._read.update(f"{self._key}.{name}" for name in values)
        return values

    def __getitem__(self, key: str) -> object:
        assert isinstance(self._values, Mapping)
        return self._record(self._values[key], key)

    def __iter__(self) -> Iterator[str]:
        assert isinstance(self._values, Mapping)
        return iter(self._values)


WHOLE_SECTIONS = {"bundle": frozenset({"dedup", "pack", "embed"})}
"""Sections that a stage uses as a whole."""
IMPLIED = {"rank": {"variants.*.scores": "calibrations"}, "bundle": {"variants.*.embed": "features"}}
"""Parameters that a stage reads without declaring them, because a change of them changes the dependency named here."""


def run(params: Params, *names: str) -> list[str]:
    """Run stages with all their items; return the parameters that each read but `dvc.yaml` does not declare."""
    undeclared = []
    for name in names:
        block = PIPELINE[name]
        for item in params.variants if "foreach" in block else [None]:
            read: set[str] = set()
            arguments: list[object] = [RecordingParams(params, "", read, WHOLE_SECTIONS.get(name, frozenset()))]
            arguments += [item] if item else ["final"] if name == "bundle" else []
            arguments += [lambda epoch, figures: None] if name == "train" else []
            run_stage(name, *arguments)
            declared = [entry.replace("${key}", str(item)) for entry in block.get("do", block).get("params", [])]
            declared += IMPLIED.get(name, {})
            undeclared += [
                f"{name}: {key}"
                for key in sorted(read)
                if not any(fnmatch(key, entry) or key.startswith(f"{entry}.") for entry in declared)
            ]
    return undeclared


@pytest.fixture
def shared_project(reproduced: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The parameters of the project where everything has run; the tests share its folder and must not change it."""
    monkeypatch.chdir(reproduced)
    return load(paths.PARAMS)


@pytest.fixture
def copied_project(reproduced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The parameters of a copy of that project, which the test may change."""
    monkeypatch.chdir(copy_repository(reproduced, tmp_path / "project"))
    return load(paths.PARAMS)


def figures(prediction: str) -> dict[str, float]:
    return json.loads((Path("reports/figures") / f"{prediction}.json").read_text())


def test_the_pipeline_writes_submissions_figures_and_pages(shared_project: Params) -> None:
    assert tuple(shared_project.predictions) == PREDICTIONS
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


def test_predictions_trained_on_all_photos_are_marked_as_unvalidated(shared_project: Params) -> None:
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


def test_a_catalogue_without_queries(copied_project: Params) -> None:
    """Networks need not be trained again, as they are trained on labelled photos only."""
    labelled = Path("data/sample")
    shutil.rmtree(labelled / "test")
    for name in ("solution.csv", "sample_submission.csv", "boxes.csv"):
        (labelled / name).unlink()
    run(copied_project, "catalog", "dedup", "explore", "split", "boxes", "pack", "embed", "calibrate", *LAST)
    for prediction in PREDICTIONS:
        assert (Path("submissions") / f"{prediction}.csv").read_text() == "Image,Id\n"
        measured = figures(prediction)
        assert not [key for key in measured if key.startswith("solution")]
        if prediction == "final":
            continue
        # without queries, no copies are expected
        assert measured["map5"] == measured["map5_no_duplicates"]
        assert 0 < measured["map5_low"] <= measured["map5"] <= measured["map5_high"] <= 1
    assert len(files.read_csv(paths.LEAKS)) == 0
    assert len(files.read_csv(paths.GROUPS)) > 0
    with pytest.raises(WhaleidError, match="The catalogue has no queries"):
        submissions.submit(Path("submissions/final.csv"))


def test_the_classes_of_each_variant(copied_project: Params) -> None:
    """`full` has a class for new_whale; `threshold` does not, and keeps the hidden layers of `full`."""
    write_params(Path(), {"backbone": {"name": "squeezenet1_1"}})
    params = load(paths.PARAMS)  # with all variants
    features = {}
    for variant in ("full", "threshold"):
        run_stage("train", params, variant, lambda epoch, figures: None)
        run_stage("embed", params, variant)
    for variant in params.variants:
        with np.load(paths.features(variant)) as file:
            features[variant] = dict(file)
    classes = {variant: arrays["classes"].tolist() for variant, arrays in features.items()}
    assert "new_whale" in classes["full"]
    assert classes["threshold"] == [label for label in classes["full"] if label != "new_whale"]
    assert len(classes["toy"]) == 4
    # final is trained on all photos, so it knows the whales that are held out from margin
    assert set(classes["final"]) > set(classes["margin"])
    assert np.array_equal(features["full"]["embeddings"], features["threshold"]["embeddings"])
    assert features["full"]["centres"].shape != features["threshold"]["centres"].shape


def test_the_same_inputs_give_the_same_bytes(reproduced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare stages run here in one process with `dvc repro`, where each stage has its own process and is tracked."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(reproduced / paths.PARAMS, paths.PARAMS)
    # all parameters that a stage reads are declared; otherwise DVC would consider stale outputs current
    assert run(load(paths.PARAMS), *TRAINED, *LAST) == []
    for name, implied in IMPLIED.items():
        assert set(implied.values()) <= set(PIPELINE[name]["deps"])
    assert differing_files(digests(tmp_path), digests(reproduced)) == []
    for folder in (tmp_path, reproduced):
        absolute_path = str(folder).encode()
        assert [name for name in digests(folder) if absolute_path in (folder / name).read_bytes()] == []
    # the files written are exactly the declared outputs
    outputs = []
    for block in PIPELINE.values():
        body = block.get("do", block)
        for entry in [*body.get("outs", []), *body.get("metrics", [])]:
            (path,) = entry if isinstance(entry, dict) else [entry]
            outputs += [tmp_path / path.replace("${key}", variant) for variant in VARIANTS]
    assert [path for path in outputs if not path.exists()] == []
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    others = [path for path in written if not any(path.is_relative_to(output) for output in outputs)]
    assert {path.relative_to(tmp_path).parts[0] for path in others} == {"params.yaml"}


def test_a_threshold_only_moves_new_whale(copied_project: Params) -> None:
    def answers(threshold: float) -> dict[str, list[list[str]]]:
        run_stage("predict", copied_project.model_copy(update={"threshold": threshold}))
        labels_by_prediction = {}
        for name in PREDICTIONS[1:]:  # phash has no threshold
            assert figures(name)["threshold"] == threshold
            labels_by_prediction[name] = [
                labels.split() for labels in pd.read_csv(Path("submissions") / f"{name}.csv")["Id"]
            ]
        return labels_by_prediction

    always, never = answers(1.0), answers(0.0)
    for name in ("toy", "ensemble", "final"):
        assert {labels[0] for labels in always[name]} == {"new_whale"}
        assert [labels[1:] for labels in always[name]] == [labels[:4] for labels in never[name]]
    assert not any("new_whale" in labels for labels in never["toy"])


def test_a_checkpoint_for_photos_of_another_size(copied_project: Params) -> None:
    wider = copied_project.model_copy(update={"pack": copied_project.pack.model_copy(update={"width": 64})})
    run_stage("pack", wider)
    with pytest.raises(WhaleidError, match=r"checkpoints/toy\.safetensors was trained on photos of \(24, 48, 1\)"):
        run_stage("embed", wider, "toy")


def known_accuracy(params: Params) -> float:
    """Train `toy` and return its top-1 accuracy on validation photos of known whales."""
    run_stage("train", params, "toy", lambda epoch, figures: None)
    run_stage("embed", params, "toy")
    split = files.read_csv(paths.SPLIT)
    known = split[split["role"] == "known"]
    with np.load(paths.features("toy")) as features:
        row = {image: number for number, image in enumerate(features["images"].tolist())}
        cosines = features["embeddings"][0, [row[image] for image in known["Image"]]] @ features["centres"][0, :, 0].T
        return float((features["classes"][cosines.argmax(axis=1)] == known["Id"].to_numpy()).mean())


@pytest.mark.long
def test_accuracy_with_shuffled_labels_is_chance(project: Callable[..., Params]) -> None:
    """With shuffled labels, accuracy falls to chance: the network uses neither file names nor the order of rows."""
    train = {"whales": "all", "photos": "all", "augment": True, "epochs": 10, "batch_size": 16, "lr": 0.003}
    params = project(
        sample={"frequent": 12, "occasional": 1, "single": 1, "queries": 20},
        pack={"width": 64, "height": 32},
        split={"known": 1.0, "further": 0.2},
        variants={"toy": {"train": train}},
    )
    for name in ("sample", "catalog", "dedup", "split", "backbone", "boxes", "pack"):
        run_stage(name, params)
    accuracy = known_accuracy(params)
    table = files.read_csv(paths.SPLIT)
    training = table["part"] == "train"
    table.loc[training, "Id"] = np.random.default_rng(0).permutation(table.loc[training, "Id"])
    files.write_csv(table, paths.SPLIT)
    shuffled = known_accuracy(params)
    # 36 photos of 13 whales: chance is 1/13, and eight or more correct by chance are very unlikely
    assert accuracy >= 0.25
    assert shuffled <= 0.2
