"""Photos of the trained project to identify."""

from pathlib import Path

from whaleid.serving.embedder import Embedded, Query
from whaleid.serving.recogniser import Recogniser


def queries(part: str, count: int | None = None) -> list[Query]:
    """Return the first photos of a part of the catalogue, `train` or `test`."""
    return [Query(path.name, path.read_bytes()) for path in sorted(Path("data/sample", part).iterdir())[:count]]


def embed(recogniser: Recogniser, *photos: Query) -> list[Embedded]:
    """Return the embeddings of photos that can be read."""
    return recogniser.embedder.embed([each for each in recogniser.embedder.read(photos) if not isinstance(each, str)])
