"""Models in MLflow's registry: bundles that can be served, and which of them is the champion."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

import whaleid
from whaleid import tracking
from whaleid.core import files
from whaleid.core.errors import WhaleidError
from whaleid.core.switches import switched_on
from whaleid.serving import bundle
from whaleid.serving.bundle import ABOUT, About

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature
    from mlflow.tracking import MlflowClient

NAME = "whaleid"
CHAMPION, CHALLENGER = "champion", "challenger"
SCHEME = "models:/"
REQUIREMENTS = (
    *("faiss-cpu", "numpy", "pandas", "pillow", "pydantic", "ruamel.yaml", "scipy", "threadpoolctl"),
    *("torch", "torchvision", "tqdm"),
)
"""What the served code imports; the code itself travels with the model."""


@dataclass(frozen=True)
class Version:
    """A model in the registry."""

    number: str
    variant: str
    map5: float | None
    """On validation; of `final`, which learnt validation's photos, that of the variant that calibrated it."""
    validation: str
    """A digest of the photos that `map5` was measured on."""
    digest: str
    """Of the bundle."""
    alias: str
    """The one that it was registered under."""
    why: str
    """Why it has its alias."""


def standing(about: About, champion: Version | None) -> tuple[str, str]:
    """Return the alias that the bundle with `about` deserves beside the `champion` there is, and why."""
    if champion is None:
        return CHAMPION, "the first to be registered"
    other, own = f"version {champion.number} ({champion.variant})", about.figures.get("map5")
    if own is None or champion.map5 is None:
        return CHALLENGER, f"there is no MAP@5 on validation to hold against that of {other}"
    if about.validation != champion.validation:
        return CHAMPION, f"validation has changed since {other} was measured: the newer one leads"
    said = f"MAP@5 {own:.4f} on validation, where {other} has {champion.map5:.4f}"
    return (CHAMPION if own >= champion.map5 else CHALLENGER), said


def champion() -> Version | None:
    """Return the model that is champion; None where there is no such model, no store yet, or tracking is off.

    Raises:
        WhaleidError: the store cannot be reached or read.
    """
    _, database = tracking.store()
    if not switched_on("WHALEID_TRACKING", default="on") or (database is not None and not database.exists()):
        return None
    with _client() as client:
        return _read(_by_alias(client, CHAMPION))


def register(run: tracking.Run, folder: Path, alias: str | None) -> Version:
    """Log the bundle `folder` as a model that MLflow can serve, and register it under an alias.

    Without an `alias`, it is the one that `standing` finds. A bundle that is in the registry stays the version it is.

    Raises:
        WhaleidError: tracking is off, the bundle cannot be used, or the store cannot be reached, read or written.
    """
    if not isinstance(run, tracking.MlflowRun):
        raise WhaleidError("A model is registered with MLflow, but tracking is off: unset WHALEID_TRACKING.")
    about = bundle.about(folder)
    with tracking.mendable(run.uri):
        there = _read(_by_alias(run.client, CHAMPION))
        if there is not None and there.digest == about.digest and alias in (None, CHAMPION):
            return there
        made = _of(run.client, about) or _logged(run, folder, about)
        # that took a while, and others may have registered theirs: only one at a time asks who is champion, and answers
        with tracking.alone(tracking.store()[1]):
            found = _read(_version(run, made, about, alias))
    assert found is not None
    return found


def _version(run: tracking.MlflowRun, made: ModelVersion | str, about: About, alias: str | None) -> ModelVersion:
    """Give an alias to a version, or to the one that is made of a logged model, `made` by its id."""
    deserved, why = standing(about, _read(_by_alias(run.client, CHAMPION)))
    if alias not in (None, deserved):
        why = f"asked for; by itself it is a {deserved}: {why}"
    tags = {
        "whaleid.variant": about.variant,
        "whaleid.digest": about.digest,
        "whaleid.validation": about.validation,
        "whaleid.alias": alias or deserved,
        "whaleid.why": why,
        **({"whaleid.map5": str(about.figures["map5"])} if "map5" in about.figures else {}),
    }
    said = f"{about.variant}: {why}"
    if isinstance(made, str):
        model = made
        _ensure(run.client)
        made = tracking.once(
            lambda: run.client.create_model_version(
                NAME, f"models:/{model}", run.id, tags=tags, description=said, model_id=model
            ),
            lambda: _of(run.client, about),
        )
    else:
        for key, value in tags.items():
            run.client.set_model_version_tag(NAME, made.version, key, value)
        run.client.update_model_version(NAME, made.version, said)
    run.client.set_registered_model_alias(NAME, alias or deserved, made.version)
    return run.client.get_model_version(NAME, made.version)


def fetched(uri: str) -> Path:
    """Return the bundle of a registered model, `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    It is kept in the user's cache folder, so that it is fetched once.

    Raises:
        WhaleidError: there is no such model, it holds no bundle, or the store cannot be reached or read.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    name, alias = uri.removeprefix(SCHEME).partition("@")[::2]
    name, number = (name, "") if alias else name.partition("/")[::2]
    with _client() as client:
        try:
            found = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
        except MlflowException as error:
            raise WhaleidError(
                f"There is no model {uri} in {tracking.store()[0]} ({error.message.splitlines()[0]}). `whaleid "
                f"register` registers one: {SCHEME}{NAME}@{CHAMPION}, or {SCHEME}{NAME}/1 by its version."
            ) from None
        digest = found.tags.get("whaleid.digest")
        if digest is None:
            raise WhaleidError(f"{uri} holds no bundle of whaleid: it was not registered by `whaleid register`.")
        place = Path(platformdirs.user_cache_dir("whaleid")) / "bundles" / digest[:16]
        if not place.exists():
            with files.replacing_folder(place) as temporary:
                download_artifacts(artifact_uri=f"{SCHEME}{name}/{found.version}", dst_path=str(temporary))
    return next(place.rglob(ABOUT)).parent


@contextmanager
def _client() -> Iterator[MlflowClient]:
    """Yield a client of the store, which is not made where there is none."""
    tracking.import_mlflow()
    import mlflow
    from mlflow.tracking import MlflowClient

    uri, database = tracking.store()
    if database is not None and not database.exists():
        raise WhaleidError(f"There is no MLflow store {database} yet: `dvc repro` and `whaleid register` make it.")
    mlflow.set_tracking_uri(uri)
    with tracking.mendable(uri), tracking.impatience():
        yield MlflowClient(uri)


def _by_alias(client: MlflowClient, alias: str) -> ModelVersion | None:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(NAME, alias)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None  # no such model, or none with that alias


def _of(client: MlflowClient, about: About) -> ModelVersion | None:
    """Return the newest version of the bundle with `about`, as of a registration that was interrupted."""
    found = client.search_model_versions(f"name = '{NAME}' and tags.`whaleid.digest` = '{about.digest}'")
    return max(found, key=lambda each: int(each.version), default=None)


def _read(found: ModelVersion | None) -> Version | None:
    if found is None:
        return None
    tags = found.tags
    map5 = float(tags["whaleid.map5"]) if "whaleid.map5" in tags else None
    said = [tags.get(f"whaleid.{key}", "") for key in ("validation", "digest", "alias", "why")]
    return Version(str(found.version), tags.get("whaleid.variant", ""), map5, *said)


def _ensure(client: MlflowClient) -> None:
    """Make the registered model, if there is none."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(NAME, description="Names the whale on a photo of a humpback's fluke.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _logged(run: tracking.MlflowRun, folder: Path, about: About) -> str:
    """Log the bundle as a model of `run`, and return the model's id."""
    import mlflow
    import pandas as pd

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(run.uri)
    mlflow.set_experiment(experiment_id=run.experiment)
    # a picture of the catalogue itself: MLflow asks the model once with it, and so sees that it can be served
    example = {"photo": [base64.b64encode(next(iter(bundle.pictures(folder).values()))).decode("ascii")]}
    distributions = [*REQUIREMENTS, *(["timm"] if about.timm else [])]
    with mlflow.start_run(run_id=run.id):
        logged = mlflow.pyfunc.log_model(
            name=NAME,
            loader_module="whaleid.serving.model",
            data_path=str(folder),
            code_paths=[str(Path(whaleid.__file__).parent)],
            signature=_signature(),
            input_example=pd.DataFrame(example),
            pip_requirements=[f"{each}=={installed(each).partition('+')[0]}" for each in distributions],
            metadata={"variant": about.variant, "digest": about.digest},
        )
    return str(logged.model_id)


def _signature() -> ModelSignature:
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Array, ColSpec, DataType, Schema

    texts, numbers = Array(DataType.string), Array(DataType.double)
    columns: dict[str, Any] = {"names": texts, "probabilities": numbers, "nearest": texts, "same_as": texts}
    answered = [ColSpec(kind, name) for name, kind in columns.items()]
    return ModelSignature(
        Schema([ColSpec(DataType.string, "photo")]), Schema([*answered, ColSpec(DataType.string, "problem")])
    )
