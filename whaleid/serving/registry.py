"""Bundles in the MLflow model registry, where the alias `champion` marks the best one."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
from pydantic import BaseModel

import whaleid
from whaleid.core import files, store
from whaleid.core.errors import WhaleidError, first_line
from whaleid.core.locks import locked
from whaleid.serving import about as description
from whaleid.serving.about import ABOUT, About

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

NAME = "whaleid"
"""Name of the registered model."""
CHAMPION, CHALLENGER = "champion", "challenger"
TAG = "whaleid."
"""Prefix of the tags of model versions."""
REQUIREMENTS = (
    *("faiss-cpu", "imagehash", "joblib", "numpy", "pandas", "pillow", "pydantic", "ruamel.yaml", "safetensors"),
    *("scikit-learn", "scipy", "threadpoolctl", "torch", "torchvision", "tqdm"),
)
"""Distributions that the served code imports. The code itself is part of the model."""


class Version(BaseModel, frozen=True):
    """A version of the registered model. All fields except `number` are stored as tags, with the prefix `TAG`."""

    number: str
    variant: str = ""
    map5: float | None = None  # on validation; for `final`, of the prediction that calibrates it
    validation: str = ""  # as in `About`: versions with the same digest are comparable
    digest: str = ""  # digest of the bundle
    alias: str = ""  # alias at registration
    why: str = ""  # reason for the alias


def choose_alias(about: About, champion: Version | None) -> tuple[str, str]:
    """Compare the bundle of `about` with the current `champion`; return its alias and the reason."""
    if champion is None:
        return CHAMPION, "the first version"
    other, map5 = f"version {champion.number} ({champion.variant})", about.figures.get("map5")
    if map5 is None or champion.map5 is None:
        return CHALLENGER, f"no MAP@5 on validation to compare with {other}"
    if about.validation != champion.validation:
        return CHAMPION, f"validation has changed since {other}, so the newer version is preferred"
    reason = f"MAP@5 {map5:.4f} on validation; {other} has {champion.map5:.4f}"
    return (CHAMPION if map5 >= champion.map5 else CHALLENGER), reason


def champion() -> Version | None:
    """Return the champion; None if there is none, the store does not exist yet, or tracking is off.

    Raises:
        WhaleidError: the store cannot be reached or read.
    """
    _, database = store.address()
    if not store.enabled() or (database is not None and not database.exists()):
        return None
    with _client() as client:
        return _champion(client)


def register(run_id: str, folder: Path, alias: str | None) -> Version:
    """Log the bundle in `folder` as a model of an MLflow run, and register it.

    A bundle that is already registered keeps its version. If `alias` is None, `choose_alias` determines it.

    Raises:
        WhaleidError: the bundle cannot be used, or the store cannot be reached, read or written.
    """
    about = description.read(folder)
    with _client(patient=True) as client:
        current = _champion(client)
        if current is not None and current.digest == about.digest and alias in (None, CHAMPION):
            return current
        number = _newest_version(client, about.digest) or _create_version(client, run_id, folder, about)
        # other processes may register versions at the same time: compare with the champion under a lock
        with store.lock(store.address()[1]):
            chosen, reason = choose_alias(about, _champion(client))
            if alias not in (None, chosen):
                reason = f"alias set by the user; by its figures it is a {chosen}: {reason}"
            version = Version(
                number=str(number),
                variant=about.variant,
                map5=about.figures.get("map5"),
                validation=about.validation,
                digest=about.digest,
                alias=alias or chosen,
                why=reason,
            )
            for key, value in version.model_dump(exclude={"number"}, exclude_none=True).items():
                client.set_model_version_tag(NAME, version.number, f"{TAG}{key}", value)
            client.update_model_version(NAME, version.number, f"{about.variant}: {reason}")
            client.set_registered_model_alias(NAME, version.alias, version.number)
    return version


def download(uri: str) -> Path:
    """Download the bundle of a registered model to the user's cache folder, unless it is already there.

    `uri` is `models:/NAME@ALIAS` or `models:/NAME/VERSION`. Returns the folder of the bundle.

    Raises:
        WhaleidError: the model does not exist or does not contain a bundle, or the store cannot be reached or read.
    """
    with _client() as client:
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        name, _, alias = uri.removeprefix("models:/").partition("@")
        name, _, number = name.partition("/")
        try:
            version = (
                client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
            )
        except MlflowException as error:
            raise WhaleidError(
                f"There is no model {uri} in {store.address()[0]} ({first_line(error)}). Run `whaleid register` to "
                f"register one, then use models:/{NAME}@{CHAMPION}, or models:/{NAME}/1 for a version."
            ) from None
        digest = _from_tags(version).digest
        if not digest:
            raise WhaleidError(f"{uri} does not contain a bundle. Choose a model that `whaleid register` registered.")
        cached = Path(platformdirs.user_cache_dir("whaleid")) / "bundles" / digest[:16]
        if not cached.exists():
            with locked(cached.with_suffix(".lock")):
                if not cached.exists():  # another process may have downloaded it in the meantime
                    with files.replacing_folder(cached) as temporary:
                        download_artifacts(f"models:/{version.name}/{version.version}", dst_path=str(temporary))
    return next(cached.rglob(ABOUT)).parent


@contextmanager
def _client(patient: bool = False) -> Iterator[MlflowClient]:
    """Yield a client of the store, which must exist. If not `patient`, a server has only seconds to answer."""
    uri, database = store.address()
    if database is not None and not database.exists():
        raise WhaleidError(
            f"The MLflow store {database} does not exist. Change to the project's folder, or run `dvc repro` in it."
        )
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    mlflow.set_tracking_uri(uri)
    with store.translate_errors(uri, MlflowException), nullcontext() if patient else store.brief_retries():
        yield MlflowClient(uri)


def _champion(client: MlflowClient) -> Version | None:
    models = client.search_registered_models(f"name = '{NAME}'")
    number = models[0].aliases.get(CHAMPION) if models else None
    if not number:
        return None
    version = _from_tags(client.get_model_version(NAME, number))
    if version.alias == CHAMPION:
        return version
    return version.model_copy(update={"alias": CHAMPION, "why": "set as champion in MLflow"})


def _from_tags(version: ModelVersion) -> Version:
    tags = {key.removeprefix(TAG): value for key, value in version.tags.items() if key.startswith(TAG)}
    return Version.model_validate(tags | {"number": str(version.version)})


def _newest_version(client: MlflowClient, digest: str) -> int:
    """Return the newest version of the bundle with `digest`, even if its registration was interrupted; 0 if none."""
    versions = client.search_model_versions(f"name = '{NAME}' and tags.`{TAG}digest` = '{digest}'")
    return max((int(version.version) for version in versions), default=0)


def _create_version(client: MlflowClient, run_id: str, folder: Path, about: About) -> int:
    """Log a bundle and register it with the tag that `_newest_version` searches; return the number of the version."""
    from mlflow.exceptions import MlflowException

    model_id = _log_model(client, run_id, folder, about)
    try:
        client.create_registered_model(NAME, description="Identifies humpback whales from photos of their flukes.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = {f"{TAG}digest": about.digest}
    version = client.create_model_version(NAME, f"models:/{model_id}", run_id, tags=tags, model_id=model_id)
    return int(version.version)


def _log_model(client: MlflowClient, run_id: str, folder: Path, about: About) -> str:
    """Log the bundle as a model of a run; return the id of the model."""
    import mlflow
    import pandas as pd
    from mlflow.models import infer_signature

    from whaleid.serving import bundle

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.set_experiment(experiment_id=client.get_run(run_id).info.experiment_id)
    # MLflow calls the model with this example, which verifies that it can be served
    photo = base64.b64encode(next(iter(bundle.pictures(folder).values()))).decode("ascii")
    requests = pd.DataFrame({"photo": [photo]})
    answer = {"names": ["w"], "probabilities": [0.5], "nearest": ["a.jpg"], "same_as": ["a.jpg"], "problem": ""}
    distributions = [*REQUIREMENTS, *(["timm"] if about.timm else [])]
    with mlflow.start_run(run_id=run_id):
        model = mlflow.pyfunc.log_model(
            name=NAME,
            loader_module="whaleid.serving.model",
            data_path=str(folder),
            code_paths=[str(Path(whaleid.__file__).parent)],
            signature=infer_signature(requests, pd.DataFrame([answer])),
            input_example=requests,
            pip_requirements=[f"{name}=={installed_version(name).partition('+')[0]}" for name in distributions],
            metadata={"variant": about.variant, "digest": about.digest},
        )
    return str(model.model_id)
