"""A bundle as an MLflow model, for `mlflow models serve`."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, build_opener

import pandas as pd

from whaleid.core import startup

startup.prepare()  # before the other imports: a server imports this module first

from whaleid.core.errors import WhaleidError  # noqa: E402
from whaleid.serving.bundle import read  # noqa: E402
from whaleid.serving.embedder import BATCH, Query, batches  # noqa: E402
from whaleid.serving.recogniser import Answer, Recogniser  # noqa: E402

ALLOWED = "WHALEID_PHOTOS"
"""Environment variable: the URIs below which the server may read photos, separated by spaces. By default the server
reads no URIs, because clients could otherwise read every file that the server can."""
MAX_BYTES = 50_000_000
"""Maximum size of a photo's file."""
TOO_LARGE = f"The photo's file is larger than {MAX_BYTES:,} bytes."
TIMEOUT = 10
"""Seconds to wait for the server of a photo."""


class ServedModel:
    """The model that MLflow serves. Thread-safe.

    One thread identifies the photos of all requests in batches of up to `BATCH`: a network takes less than half of the
    time per photo in a batch.
    """

    def __init__(self, recogniser: Recogniser) -> None:
        self._recogniser = recogniser
        self._waiting: SimpleQueue[tuple[Query, Future[Answer]]] = SimpleQueue()
        Thread(target=self._run, name="whaleid", daemon=True).start()

    def predict(self, requests: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Identify the photos in the column `photo` of `requests`.

        A photo is the content of its file in base64, a `data:` URI, or a `file:` or `http(s):` URI below one of the
        URIs in `WHALEID_PHOTOS`.

        Returns:
            One row per photo, in order, with the columns `names` (up to five labels, ranked), `probabilities` (0 to 1,
            of the labels), `nearest` (the most similar photo of each label), `same_as` (labelled photos that are
            duplicates) and `problem` (why a photo could not be read; the other columns are then empty).
        """
        answers: list[Answer] = []
        for cells in batches(requests["photo"].tolist()):  # limits the downloaded photos in memory
            answers += self._answers(cells)
        columns = {
            "names": [[candidate.whale for candidate in answer.names] for answer in answers],
            "probabilities": [[round(candidate.probability, 4) for candidate in answer.names] for answer in answers],
            "nearest": [[candidate.nearest for candidate in answer.names] for answer in answers],
            "same_as": [[duplicate.photo for duplicate in answer.same] for answer in answers],
            "problem": [answer.problem for answer in answers],
        }
        return pd.DataFrame(columns)

    def _answers(self, cells: Sequence[object]) -> list[Answer]:
        futures: list[Future[Answer]] = []
        for number, cell in enumerate(cells, start=1):
            future: Future[Answer] = Future()
            futures.append(future)
            try:
                self._waiting.put((Query(f"photo {number}", content(cell)), future))
            except WhaleidError as error:
                future.set_result(Answer("", problem=str(error)))
        return [future.result() for future in futures]

    def _run(self) -> None:
        """Identify waiting photos in batches, in an endless loop."""
        while True:
            batch = [self._waiting.get()]
            with suppress(Empty):
                while len(batch) < BATCH:
                    batch.append(self._waiting.get_nowait())
            self._identify(batch)

    def _identify(self, batch: Sequence[tuple[Query, Future[Answer]]]) -> None:
        try:
            answers = self._recogniser.identify([photo for photo, _ in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            for item in batch:  # a photo that fails must not fail other requests
                self._identify([item])
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                future.set_result(answer)


def content(cell: object) -> bytes:
    """Return the content of the photo in a cell of a request: a file in base64, or a URI.

    Raises:
        WhaleidError: the cell is neither base64 nor an allowed URI, or the file cannot be read or is too large.
    """
    if not isinstance(cell, str):
        raise WhaleidError(f"A photo must be text: its file in base64, or a URI; this is {type(cell).__name__}.")
    if len(cell) > 2 * MAX_BYTES:  # base64 is longer than its content by a third
        raise WhaleidError(TOO_LARGE)
    scheme = cell[:8].lower()
    if scheme.startswith(("file:", "http:", "https:")):
        data = _read(cell)
    else:
        try:
            data = base64.b64decode(cell.partition(",")[2] if scheme.startswith("data:") else cell, validate=True)
        except ValueError:
            raise WhaleidError("This is neither base64 nor a data:, file: or http(s): URI.") from None
    if len(data) > MAX_BYTES:
        raise WhaleidError(TOO_LARGE)
    return data


def _read(uri: str) -> bytes:
    """Read a file from an allowed URI, at most `MAX_BYTES` + 1 bytes."""
    try:
        allowed = any(_is_below(uri, root) for root in os.environ.get(ALLOWED, "").split())
    except (OSError, ValueError, RuntimeError):  # invalid URI, or a cycle of symbolic links
        allowed = False
    if not allowed:
        raise WhaleidError(f"{uri} may not be read. Add its folder to {ALLOWED} on the server.")
    try:
        if uri.lower().startswith("file:"):
            with Path(unquote(urlsplit(uri).path)).open("rb") as file:
                return file.read(MAX_BYTES + 1)
        with build_opener(_NoRedirect).open(uri, timeout=TIMEOUT) as response:
            return bytes(response.read(MAX_BYTES + 1))
    except (OSError, HTTPException, ValueError) as error:
        raise WhaleidError(f"{uri} cannot be read ({getattr(error, 'reason', None) or error}).") from None


def _is_below(uri: str, root: str) -> bool:
    """Return whether `uri` is below the URI `root`, on the same server. Symbolic links in files are resolved."""
    photo, folder = urlsplit(uri), urlsplit(root)
    if (photo.scheme.lower(), photo.netloc) != (folder.scheme.lower(), folder.netloc):
        return False
    if photo.scheme.lower() == "file":
        return Path(unquote(photo.path)).resolve().is_relative_to(Path(unquote(folder.path)).resolve())
    return photo.path.startswith(folder.path.rstrip("/") + "/") and ".." not in unquote(photo.path).split("/")


class _NoRedirect(HTTPRedirectHandler):
    """Refuse redirects, which could lead to a URI that is not allowed."""

    def redirect_request(self, *_: object) -> None:
        """Return None: the redirect is not followed."""


def _load_pyfunc(data_path: str) -> ServedModel:
    """Load the bundle in the folder `data_path`. MLflow calls this function of the model's `loader_module`."""
    return ServedModel(Recogniser(read(Path(data_path))))
