"""The model registry: aliases, download, and a model served by MLflow."""

import base64
import json
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.queries import queries
from helpers.servers import model_server
from helpers.small_bundle import small_bundle
from mlflow.tracking import MlflowClient

from whaleid import config, tracking
from whaleid.cli import models
from whaleid.config import Params
from whaleid.core import paths
from whaleid.core.errors import WhaleidError
from whaleid.serving import about, export, registry
from whaleid.serving.recogniser import Recogniser
from whaleid.serving.registry import Version

MODEL = Path("models/final.bundle")
FIRST = Version(number="1", variant="final", map5=0.7, validation="photos")
UNMEASURED = Version(number="1", variant="final")


@pytest.mark.parametrize(
    ("map5", "validation", "champion", "alias", "why"),
    [
        (0.8, "photos", None, "champion", "the first version"),
        (0.8, "photos", FIRST, "champion", "MAP@5 0.8000 on validation; version 1 (final) has 0.7000"),
        (0.7, "photos", FIRST, "champion", "MAP@5 0.7000 on validation; version 1 (final) has 0.7000"),
        (0.6, "photos", FIRST, "challenger", "MAP@5 0.6000 on validation; version 1 (final) has 0.7000"),
        (0.6, "others", FIRST, "champion", "validation has changed since version 1 (final)"),
        (None, "photos", FIRST, "challenger", "no MAP@5 on validation to compare with version 1"),
        (0.6, "photos", UNMEASURED, "challenger", "no MAP@5 on validation to compare with version 1"),
    ],
)
def test_the_better_version_is_champion(
    map5: float | None, validation: str, champion: Version | None, alias: str, why: str
) -> None:
    figures = {} if map5 is None else {"map5": map5}
    measured = small_bundle().about.model_copy(update={"figures": figures, "validation": validation})
    chosen, reason = registry.choose_alias(measured, champion)
    assert (chosen, reason[: len(why)]) == (alias, why)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Configure a store in a temporary folder; it does not exist yet."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/store.db")
    monkeypatch.delenv("WHALEID_TRACKING", raising=False)
    return tmp_path / "store.db"


def register(folder: Path, alias: str | None = None) -> Version:
    with tracking.run("register", ["final"]) as run:
        return registry.register(run.ids["final"], folder, alias)


@pytest.mark.slow
def test_a_model_served_by_mlflow_answers_like_identify(
    store: Path, recogniser: Recogniser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = register(MODEL)
    assert (first.number, first.alias, first.why) == ("1", "champion", "the first version")
    assert registry.champion() == first
    assert register(MODEL) == first  # a bundle that is already registered keeps its version

    lower = tmp_path / "lower.bundle"
    export.write(config.load(paths.PARAMS), "final", lower, threshold=0.0)
    second = register(lower)
    assert (second.number, second.alias) == ("2", "challenger")
    assert second.why.startswith(f"MAP@5 {second.map5:.4f} on validation; version 1 (final) has")
    third = register(lower, "champion")
    assert third.number == "2"  # a bundle that is already registered keeps its version
    assert third.why == f"alias set by the user; by its figures it is a challenger: {second.why}"
    assert register(MODEL, "stable").alias == "stable"
    assert register(lower) == third

    # a user changes the champion and the tags of a version in MLflow
    client = MlflowClient(f"sqlite:///{store}")
    client.set_model_version_tag("whaleid", "1", "map5", "n/a")
    client.set_registered_model_alias("whaleid", "champion", "1")
    for champion in (registry.champion(), register(MODEL)):
        assert champion is not None
        assert (champion.number, champion.alias, champion.why) == ("1", "champion", "set as champion in MLflow")
    client.set_registered_model_alias("whaleid", "champion", "2")

    assert about.read(registry.download("models:/whaleid@champion")).digest == about.read(lower).digest
    assert about.read(registry.download("models:/whaleid/1")).digest == about.read(MODEL).digest
    monkeypatch.setattr(registry, "locked", None)  # a read-only cache: nothing is locked
    assert about.read(registry.download("models:/whaleid/1")).digest == about.read(MODEL).digest
    for uri in ("models:/whaleid@none", "models:/whaleid/9", "models:/other/1"):
        with pytest.raises(WhaleidError, match=rf"There is no model {uri} in sqlite:.*whaleid register"):
            registry.download(uri)

    photos = queries("test", 3)
    cells = [base64.b64encode(photo.content).decode() for photo in photos]
    cells += [f"data:image/jpeg;base64,{cells[0]}", Path("data/sample/test", photos[0].name).resolve().as_uri()]
    cells += [Path("data/sample/train.csv").resolve().as_uri(), "no base64!", ""]
    with model_server("models:/whaleid/1", WHALEID_PHOTOS=Path("data/sample/test").resolve().as_uri()) as address:
        body = json.dumps({"dataframe_split": {"columns": ["photo"], "data": [[cell] for cell in cells]}})
        request = urllib.request.Request(f"{address}/invocations", body.encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            rows = json.load(response)["predictions"]
    for row, answer in zip(rows[:5], recogniser.identify([*photos, photos[0], photos[0]]), strict=True):
        assert row["names"] == [candidate.whale for candidate in answer.names]
        assert row["probabilities"] == pytest.approx([candidate.probability for candidate in answer.names], abs=2e-4)
        assert row["nearest"] == [candidate.nearest for candidate in answer.names]
        assert row["same_as"] == [duplicate.photo for duplicate in answer.same]
        assert row["problem"] == ""
    outside, neither, empty = (row["problem"] for row in rows[5:])
    assert outside.endswith("may not be read. Add its folder to WHALEID_PHOTOS on the server.")
    assert neither == "This is neither base64 nor a data:, file: or http(s): URI."
    assert empty.endswith("an empty file")
    assert [row["names"] for row in rows[5:]] == [[]] * 3


def test_a_missing_store_is_not_created(store: Path) -> None:
    assert registry.champion() is None
    with pytest.raises(WhaleidError, match=r"The MLflow store .* does not exist\. Change to the project's folder"):
        registry.download("models:/whaleid@champion")
    assert not store.exists()


def test_without_tracking_nothing_is_registered(
    project: Callable[..., Params], store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    store.touch()
    monkeypatch.setenv("WHALEID_TRACKING", "off")
    assert registry.champion() is None
    with pytest.raises(WhaleidError, match="tracking is off: unset WHALEID_TRACKING"):
        models.register()
