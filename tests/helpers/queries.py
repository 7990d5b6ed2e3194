"""Queries from the trained project."""

from pathlib import Path

from whaleid.serving.embedder import EmbeddedPhoto, Query
from whaleid.serving.recogniser import Recogniser


def queries(part: str, count: int | None = None) -> list[Query]:
    """Return the first `count` photos of a part of the catalogue, `train` or `test`, as queries."""
    return [Query(path.name, path.read_bytes()) for path in sorted(Path("data/sample", part).iterdir())[:count]]


def embed(recogniser: Recogniser, *photos: Query) -> list[EmbeddedPhoto]:
    """Embed the photos that can be read."""
    decoded = recogniser.embedder.read(photos)
    return recogniser.embedder.embed([photo for photo in decoded if not isinstance(photo, str)])
