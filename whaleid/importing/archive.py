"""Zip files from strangers, unpacked within bounds: of what is in them, only what a catalogue is made from."""

import shutil
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from whaleid.catalog.checks import SUFFIXES, unwritable
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.core.log import progress
from whaleid.importing.source import FOREIGN, hidden

WANTED = (*SUFFIXES, *FOREIGN, ".csv", ".zip")
FILES = 1_000_000
RATIO, SLACK = 20, 64 * 2**20
"""What is in a zip file may have so many times its size, and so many bytes more: photos hardly shrink."""


@dataclass
class Budget:
    """What may still be unpacked."""

    archive: Path
    size: int
    files: int

    def take(self, members: Sequence[zipfile.ZipInfo]) -> None:
        """Count these in.

        Raises:
            WhaleidError: they are too many, or too large.
        """
        self.size -= sum(each.file_size for each in members)
        self.files -= len(members)
        if self.size < 0 or self.files < 0:
            raise WhaleidError(
                f"{self.archive}: would unpack to more than {RATIO} times its size, or to more than {FILES:,} files; "
                "photos never do. If you trust it, unpack it yourself and give the folder."
            )


def unpack(archive: Path, folder: Path, named: bool = False) -> int:
    """Unpack photos, csv files and zip files of `archive` below `folder`; return how many other files there are.

    What a zip file within holds goes beside it, of `train.zip` into `train/`, be it that its names begin so or not;
    with `named`, so does what `archive` itself holds.

    Raises:
        WhaleidError: the file is no zip, damaged, encrypted, or unpacks to more than photos ever do or the disk holds.
        InputProblems: names that lead out of the folder or are there twice, and links.
    """
    budget = Budget(archive, RATIO * archive.stat().st_size + SLACK, FILES)
    inner, others = _unpacked(archive, str(archive), folder, named, budget)
    for packed in inner:
        said = f"{archive}, {packed.relative_to(folder)}"
        deeper, more = _unpacked(packed, said, packed.parent, True, budget)
        if deeper:
            raise WhaleidError(f"{said}: holds zip files again: unpack it yourself, and give the folder.")
        packed.unlink()
        others += more
    return others


def _unpacked(archive: Path, said: str, folder: Path, named: bool, budget: Budget) -> tuple[list[Path], int]:
    """Unpack into `folder`, or one therein that is named as the file; return the zip files in it and others' number."""
    with _opened(archive, said) as packed:
        there = [each for each in packed.infolist() if not each.is_dir()]
        _check_names(said, there)
        members = [each for each in there if _wanted(each.filename)]
        # of others, zipfile unpacks a whole block into memory: a thousand times its size and more
        if any(each.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for each in members):
            raise WhaleidError(f"{said}: is packed in a way that is not read: pack it anew with deflate, as zip does.")
        budget.take(members)
        if named and not all(PurePosixPath(each.filename).parts[0] == archive.stem for each in members):
            folder = folder / archive.stem
        folder.mkdir(parents=True, exist_ok=True)
        size, free = sum(each.file_size for each in members), shutil.disk_usage(folder).free
        if size > free:
            raise WhaleidError(f"{said}: takes {size / 1e9:.1f} GB unpacked, and there are {free / 1e9:.1f} GB free.")
        for each in progress(members, "files unpacked", len(members)):
            path = folder / each.filename
            path.parent.mkdir(parents=True, exist_ok=True)
            # no more than `file_size` bytes are read, whatever there are: those too many fail the checksum
            with packed.open(each) as source, path.open("xb") as target:
                shutil.copyfileobj(source, target)
    zips = [folder / each.filename for each in members if each.filename.lower().endswith(".zip")]
    return zips, len(there) - len(members)


@contextmanager
def _opened(archive: Path, said: str) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(archive) as packed:
            yield packed
    except WhaleidError:
        raise
    # by the bytes that it meets, zipfile raises nearly anything; of names that clash or are too long, the system does
    except Exception as error:
        raise WhaleidError(f"{said}: cannot be unpacked ({error}).") from None


def _wanted(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in WANTED and not any(map(hidden, path.parts))


def _check_names(said: str, members: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse what would be written elsewhere, over another file, or as a link."""
    names = Counter(each.filename.casefold() for each in members)
    bad = []
    for each in members:
        path = PurePosixPath(each.filename)
        out = path.is_absolute() or ".." in path.parts or "\\" in each.filename
        out |= bool(PureWindowsPath(each.filename).drive)
        if out or unwritable(each.filename) or names[each.filename.casefold()] > 1:
            bad.append(repr(each.filename))
        elif stat.S_ISLNK(each.external_attr >> 16):
            bad.append(f"{each.filename!r} is a link")
    if bad:
        raise InputProblems(
            f"{said}: names that lead out of the zip file, are there twice, or are links",
            bad,
            "Pack it anew without them.",
        )
