"""Photos as files, each read and decoded once, and only if it changed since it was read last."""

from collections.abc import Sequence
from pathlib import Path

from whaleid.core.parallel import parallel_map
from whaleid.images import cache
from whaleid.images.decode import FORMATS
from whaleid.images.fingerprint import Fingerprint, fingerprint

CATALOGUE = ("JPEG", "PNG")
"""Formats by Pillow's names: what the suffixes of a catalogue's photos promise."""
KEPT = 1000
"""Photos that are read before what they are is kept: a scan that is interrupted goes on there."""


def scan(files: Sequence[Path], formats: Sequence[str] = FORMATS) -> list[Fingerprint | str]:
    """Return the fingerprint of each of `files`, or what is wrong with it, in their order; other `formats` are wrong.

    Raises:
        WhaleidError: a worker was killed.
    """
    found: dict[Path, Fingerprint | str] = {}
    with cache.opened() as kept:
        at = {}
        for path in files:
            try:
                at[path] = cache.seen(path)
            except OSError as error:
                found[path] = f"{path}: cannot be read ({error.strerror})"
                continue
            known = kept.unchanged(at[path])
            if known is not None:
                found[path] = known
        new = [path for path in files if path not in found]
        fresh: list[tuple[cache.Seen, Fingerprint]] = []
        for path, read in zip(new, parallel_map(fingerprint, new, "photos read"), strict=True):
            found[path] = read
            if isinstance(read, Fingerprint):
                fresh.append((at[path], read))
            if len(fresh) == KEPT:
                kept.keep(fresh)
                fresh.clear()
        kept.keep(fresh)
    return [_of_format(path, found[path], formats) for path in files]


def _of_format(path: Path, read: Fingerprint | str, formats: Sequence[str]) -> Fingerprint | str:
    if isinstance(read, str) or read.format in formats:
        return read
    return f"{path}: a {read.format} image; photos of a catalogue are {' or '.join(formats)}"
