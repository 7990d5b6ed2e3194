"""A bundle behind MLflow: what `mlflow models serve` loads and asks."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any
from urllib.error import URLError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, build_opener

import pandas as pd

from whaleid.core import startup

startup.shorten_spins()  # this module is the first of whaleid's that a server imports

from whaleid.core.errors import WhaleidError  # noqa: E402
from whaleid.serving.bundle import read  # noqa: E402
from whaleid.serving.recogniser import BATCH, Answer, Photo, Recogniser, batches  # noqa: E402

PHOTO = "photo"
"""The column that is asked with: a photo's file in base64, or where it is."""
ALLOWED = "WHALEID_PHOTOS"
"""In the environment: how addresses of photos must begin that the server may read, several with spaces between. None
is read without: who may ask the server could else read what the server can."""
LARGEST = 50_000_000
"""Bytes of a photo's file."""
SECONDS = 10
"""For which a photo's server is waited."""


class Served:
    """A recogniser as MLflow asks it: in several threads at once.

    One thread answers them all, up to `BATCH` photos of whoever waits at a time: together they take a network less than
    half of the time that they take one by one.
    """

    def __init__(self, recogniser: Recogniser) -> None:
        self._recogniser = recogniser
        self._waiting: SimpleQueue[tuple[Photo, Future[Answer]]] = SimpleQueue()
        Thread(target=self._answer, name="whaleid", daemon=True).start()

    def predict(self, asked: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Answer a table with a column `photo`, a row each, in the same order.

        A photo is the content of its file in base64, a `data:` URI, or a `file:` or `http(s):` URI below one of those
        that `WHALEID_PHOTOS` names.

        Returns:
            `names` (whales, up to five, ranked), `probabilities` (0 to 1, theirs), `nearest` (of each whale the
            labelled photo most like the query), `same_as` (labelled photos that are the same picture) and `problem`,
            which says what is wrong with a photo that could not be read: then the others are empty.
        """
        found: list[dict[str, object]] = []
        for some in batches(asked[PHOTO].tolist()):  # so that what is fetched from elsewhere is not held all at once
            found += map(_row, self._answers(some))
        return pd.DataFrame(found, columns=["names", "probabilities", "nearest", "same_as", "problem"])

    def _answers(self, cells: Sequence[object]) -> list[Answer]:
        found: list[Future[Answer]] = []
        for number, cell in enumerate(cells):
            answer: Future[Answer] = Future()
            found.append(answer)
            try:
                self._waiting.put((Photo(f"photo {number + 1}", content(cell)), answer))
            except WhaleidError as error:
                answer.set_result(Answer("", problem=str(error)))
        return [answer.result() for answer in found]

    def _answer(self) -> None:
        """Answer whoever waits, for as long as the process lives."""
        while True:
            batch = [self._waiting.get()]
            with suppress(Empty):
                while len(batch) < BATCH:
                    batch.append(self._waiting.get_nowait())
            self._settle(batch)

    def _settle(self, batch: Sequence[tuple[Photo, Future[Answer]]]) -> None:
        try:
            answers = self._recogniser.identify([photo for photo, _ in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            for alone in batch:  # whoever is at fault fails alone
                self._settle([alone])
        else:
            for (_, answer), found in zip(batch, answers, strict=True):
                answer.set_result(found)


def _row(answer: Answer) -> dict[str, object]:
    return {
        "names": [name.whale for name in answer.names],
        "probabilities": [round(name.probability, 4) for name in answer.names],
        "nearest": [name.nearest for name in answer.names],
        "same_as": [each.photo for each in answer.same],
        "problem": answer.problem,
    }


def content(cell: object) -> bytes:
    """Return the photo's file that a cell of a request holds or points to.

    Raises:
        WhaleidError: it is neither base64 nor an address that may be read, the file is too large, or out of reach.
    """
    if not isinstance(cell, str):
        raise WhaleidError(f"A photo is text: its file in base64, or a URI; this is {type(cell).__name__}.")
    kind = cell[:8].lower()
    if kind.startswith(("file:", "http:", "https:")):
        return _fetched(cell)
    if len(cell) > 2 * LARGEST:
        raise WhaleidError(f"The photo's file is larger than {LARGEST:,} bytes.")
    try:
        return base64.b64decode(cell.partition(",")[2] if kind.startswith("data:") else cell, validate=True)
    except (binascii.Error, ValueError):
        raise WhaleidError("This is neither base64 nor a data:, file: or http(s): URI.") from None


def _fetched(uri: str) -> bytes:
    allowed = os.environ.get(ALLOWED, "").split()
    try:
        may = any(_below(uri, place) for place in allowed)
    except (OSError, ValueError, RuntimeError):  # no address at all, or links in a circle
        may = False
    if not may:
        raise WhaleidError(f"{uri} may not be read: {ALLOWED} of the server names the places that may.")
    try:
        if uri.lower().startswith("file:"):
            with Path(unquote(urlsplit(uri).path)).open("rb") as file:
                read = file.read(LARGEST + 1)
        else:
            with build_opener(_NoRedirect).open(uri, timeout=SECONDS) as answer:
                read = answer.read(LARGEST + 1)
    except (OSError, URLError, HTTPException, ValueError) as error:
        raise WhaleidError(f"{uri} cannot be read ({getattr(error, 'reason', None) or error}).") from None
    if len(read) > LARGEST:
        raise WhaleidError(f"{uri} is larger than {LARGEST:,} bytes.")
    return bytes(read)


def _below(uri: str, place: str) -> bool:
    """Tell whether `uri` lies below the URI `place`: on the same server, or in that folder once links are followed."""
    one, other = urlsplit(uri), urlsplit(place)
    if (one.scheme.lower(), one.netloc) != (other.scheme.lower(), other.netloc):
        return False
    if one.scheme.lower() == "file":
        return Path(unquote(one.path)).resolve().is_relative_to(Path(unquote(other.path)).resolve())
    return one.path.startswith(other.path.rstrip("/") + "/") and ".." not in unquote(one.path).split("/")


class _NoRedirect(HTTPRedirectHandler):
    """Follow no redirect: it could lead anywhere."""

    def redirect_request(self, *_: object) -> None:
        """Return no request to make instead."""


def _load_pyfunc(data_path: str) -> Served:
    """Load the bundle in `data_path`, as MLflow calls it for a model whose `loader_module` this is."""
    return Served(Recogniser(read(Path(data_path))))
