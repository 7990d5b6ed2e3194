"""A bundle as an MLflow model: what `mlflow models serve` loads and calls."""

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

startup.prepare()  # a server imports this module first of whaleid's

from whaleid.core.errors import WhaleidError  # noqa: E402
from whaleid.serving.bundle import read  # noqa: E402
from whaleid.serving.embedder import BATCH, Query, batches  # noqa: E402
from whaleid.serving.recogniser import Answer, Recogniser  # noqa: E402

ALLOWED = "WHALEID_PHOTOS"
"""Environment variable: prefixes of the addresses that the server may read photos from, separated by spaces. Without
it the server reads none: clients could otherwise read every file that the server can."""
MAX_BYTES = 50_000_000
"""Of a photo's file."""
TOO_LARGE = f"The photo's file is larger than {MAX_BYTES:,} bytes."
TIMEOUT = 10
"""Seconds to wait for a photo's server."""


class Served:
    """A recogniser as MLflow calls it, from several threads at once.

    One thread identifies the photos of all requests, up to `BATCH` at a time: a network takes less than half of the
    time for photos that it takes together.
    """

    def __init__(self, recogniser: Recogniser) -> None:
        self._recogniser = recogniser
        self._waiting: SimpleQueue[tuple[Query, Future[Answer]]] = SimpleQueue()
        Thread(target=self._run, name="whaleid", daemon=True).start()

    def predict(self, requests: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Identify the photos in the column `photo`: a row for each, in order.

        A photo is the content of its file in base64, a `data:` URI, or a `file:` or `http(s):` URI below one of those
        in `WHALEID_PHOTOS`.

        Returns:
            `names` (up to five labels, ranked), `probabilities` (0 to 1, of these), `nearest` (for each label the
            labelled photo most like the query), `same_as` (labelled photos that are duplicates) and `problem`, what is
            wrong with a photo that could not be read; then the others are empty.
        """
        answers: list[Answer] = []
        for cells in batches(requests["photo"].tolist()):  # so that few downloaded photos are held at once
            answers += self._answers(cells)
        columns = {
            "names": [[name.whale for name in answer.names] for answer in answers],
            "probabilities": [[round(name.probability, 4) for name in answer.names] for answer in answers],
            "nearest": [[name.nearest for name in answer.names] for answer in answers],
            "same_as": [[each.photo for each in answer.same] for answer in answers],
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
        """Identify waiting photos for as long as the process lives."""
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
            for one in batch:  # a photo that fails does not fail the requests of others
                self._identify([one])
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                future.set_result(answer)


def content(cell: object) -> bytes:
    """Return the photo's file that a cell of a request holds or names.

    Raises:
        WhaleidError: it is neither base64 nor an address that may be read, or the file is too large or out of reach.
    """
    if not isinstance(cell, str):
        raise WhaleidError(f"A photo is text: its file in base64, or a URI; this is {type(cell).__name__}.")
    if len(cell) > 2 * MAX_BYTES:  # base64 takes a third more than its content
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
    """Read a file, or one byte more than `MAX_BYTES` of it, from an address that may be read."""
    try:
        allowed = any(_is_below(uri, place) for place in os.environ.get(ALLOWED, "").split())
    except (OSError, ValueError, RuntimeError):  # it is no address, or links lead in a circle
        allowed = False
    if not allowed:
        raise WhaleidError(f"{uri} may not be read: {ALLOWED} of the server names the places that may.")
    try:
        if uri.lower().startswith("file:"):
            with Path(unquote(urlsplit(uri).path)).open("rb") as file:
                return file.read(MAX_BYTES + 1)
        with build_opener(_NoRedirect).open(uri, timeout=TIMEOUT) as response:
            return bytes(response.read(MAX_BYTES + 1))
    except (OSError, HTTPException, ValueError) as error:
        raise WhaleidError(f"{uri} cannot be read ({getattr(error, 'reason', None) or error}).") from None


def _is_below(uri: str, place: str) -> bool:
    """Return whether `uri` lies below the URI `place`: on the same server, or in that folder with links resolved."""
    one, other = urlsplit(uri), urlsplit(place)
    if (one.scheme.lower(), one.netloc) != (other.scheme.lower(), other.netloc):
        return False
    if one.scheme.lower() == "file":
        return Path(unquote(one.path)).resolve().is_relative_to(Path(unquote(other.path)).resolve())
    return one.path.startswith(other.path.rstrip("/") + "/") and ".." not in unquote(one.path).split("/")


class _NoRedirect(HTTPRedirectHandler):
    """Follow no redirect, which could lead anywhere."""

    def redirect_request(self, *_: object) -> None:
        """Return no further request."""


def _load_pyfunc(data_path: str) -> Served:
    """Load the bundle in `data_path`; MLflow calls this for a model with this `loader_module`."""
    return Served(Recogniser(read(Path(data_path))))
