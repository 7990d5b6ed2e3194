"""Commands on a Dask cluster write the same bytes, and errors of the cluster are clear."""

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
from distributed import LocalCluster
from helpers.pictures import picture

from whaleid.cli import photos
from whaleid.config import Params, load
from whaleid.core import parallel, paths
from whaleid.core.errors import WhaleidError
from whaleid.core.files import write_csv
from whaleid.core.parallel import DASK, parallel_map
from whaleid.images.previews import read_previews
from whaleid.serving import identify
from whaleid.stages import catalog, pack


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Start a scheduler with two workers; yield the address of the scheduler."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster,
    ):
        yield cluster.scheduler_address


def contents(*folders: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for folder in folders for path in Path(folder).rglob("*") if path.is_file()}


@pytest.fixture
def whales(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Change to a project with 40 photos and return its parameters. All paths are relative."""
    monkeypatch.chdir(tmp_path)
    root = Path("whales")
    for part in ("train", "test"):
        (root / part).mkdir(parents=True)
    for seed in range(40):
        picture(seed // 2, (96 + seed % 3, 64)).convert("RGB").save(root / ("train", "test")[seed % 2] / f"{seed}.jpg")
    rows = [(f"{seed}.jpg", f"w{seed % 5}") for seed in range(0, 40, 2)]
    pd.DataFrame(rows, columns=["Image", "Id"]).to_csv(root / "train.csv", index=False)
    columns = ["Image", "x0", "y0", "x1", "y1", "aspect", "source", "turned"]
    write_csv(pd.DataFrame([("2.jpg", 0.2, 0.2, 0.8, 0.8, 1.5, "given", 1)], columns=columns), paths.FLUKES)
    settings = load(Path(__file__).parents[2] / "params.yaml")
    return settings.model_copy(update={"data": settings.data.model_copy(update={"root": str(root)})})


def test_stages_and_duplicates_write_the_same_bytes(
    whales: Params, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("whales/train/bad.txt").write_text("not a photo")
    outputs = []
    for address in ("", scheduler):
        monkeypatch.setenv(DASK, address)
        catalog.run(whales)
        pack.run(whales)
        photos.duplicates(Path("whales/test"), against=Path("whales/train"), out=Path("duplicates"))
        images = sorted(Path("whales/test").iterdir())
        previews = read_previews({image.name: image for image in images})
        outputs.append(contents("data", "duplicates") | previews)
    assert outputs[0] == outputs[1]
    assert {"data/thumbnails.npy", "data/pack/photos.npy", "duplicates/leaks.csv"} < outputs[0].keys()
    # an error on a worker is raised unchanged
    Path("whales/test/1.jpg").write_bytes(b"not a photo")
    with pytest.raises(WhaleidError, match=r"whales/test/1\.jpg: not an image in a known format"):
        pack.run(whales)


@pytest.mark.slow
def test_identify_prints_and_writes_the_same(
    trained: Path, scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(trained)
    queries, catalogue = tmp_path / "queries", tmp_path / "whales"
    shutil.copytree("data/sample/test", queries)
    (queries / "broken.jpg").write_bytes(b"not a photo")
    (catalogue / "train").mkdir(parents=True)
    shutil.copy(min(Path("data/sample/test").iterdir()), catalogue / "train/added.jpg")
    (catalogue / "train.csv").write_text("Image,Id\nadded.jpg,w_added\n")
    outputs = []
    for address in ("", scheduler):
        monkeypatch.setenv(DASK, address)
        out = tmp_path / f"out{len(outputs)}"
        files = [out / f"a.{kind}" for kind in ("csv", "json", "html")]
        assert identify.run([queries], Path("models/final.bundle"), catalogue, None, *files) == 1
        outputs.append((capsys.readouterr().out, [path.read_bytes() for path in files]))
    assert outputs[0] == outputs[1]
    assert "w_added" in outputs[0][0]
    # if a photo is replaced by another of the same name, workers discard the cached one
    shutil.copy(max(Path("data/sample/test").iterdir()), catalogue / "train/added.jpg")
    printed = []
    for address in (scheduler, ""):
        monkeypatch.setenv(DASK, address)
        identify.run([queries], Path("models/final.bundle"), catalogue, None, None, None, None)
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] != outputs[0][0]


def _kill(item: int, at: int) -> int:
    if item == at:
        os._exit(1)
    return item


def test_results_are_in_order_and_a_killed_worker_raises_a_clear_error(
    scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DASK, scheduler)
    assert list(parallel_map(partial(_kill, at=-1), range(100), "numbers")) == list(range(100))
    assert np.array_equal(list(parallel_map(np.square, np.arange(3), "numbers")), [0, 1, 4])
    with pytest.raises(WhaleidError, match="WHALEID_DASK: workers were killed"):
        list(parallel_map(partial(_kill, at=50), range(100), "numbers"))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense"])
def test_a_scheduler_that_does_not_answer_raises_a_clear_error(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "TIMEOUT", 0.5)
    monkeypatch.setenv(DASK, address)
    with pytest.raises(WhaleidError, match=f"WHALEID_DASK: no Dask scheduler answers at {address} "):
        list(parallel_map(abs, range(100), "numbers"))


def test_without_dask_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    monkeypatch.setenv(DASK, "tcp://127.0.0.1:1")
    with pytest.raises(WhaleidError, match=r"pip install 'whaleid\[dask\]'"):
        list(parallel_map(abs, range(100), "numbers"))
