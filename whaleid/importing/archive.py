"""Zip files, unpacked within bounds: only the files that a catalogue is made from."""

import shutil
import stat
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from whaleid.catalog.checks import SUFFIXES, has_unsafe_characters
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.core.log import progress
from whaleid.importing.source import FOREIGN, is_hidden

UNPACKED = (*SUFFIXES, *FOREIGN, ".csv", ".zip")
MAX_FILES = 1_000_000
MAX_RATIO, SLACK = 20, 64 * 2**20
"""Zip files may unpack to so many times their size plus so many bytes: photos hardly shrink."""


class Limits(NamedTuple):
    """What zip files may still unpack to, all together."""

    size: int  # bytes
    files: int


def unpack_limits(archives: Sequence[Path]) -> Limits:
    """Return what `archives` may unpack to, with the zip files in them."""
    return Limits(MAX_RATIO * sum(archive.stat().st_size for archive in archives) + SLACK, MAX_FILES)


def unpack(archive: Path, folder: Path, left: Limits, title: str = "", part: bool = False) -> tuple[int, Limits]:
    """Unpack photos, csv files and zip files of `archive` below `folder`, within what is `left`.

    `title` names it in errors. A `part` of a source holds no zip file, and `train.zip` is unpacked into `train/`,
    whether or not its names begin so.

    Returns:
        The number of other files, and what is left then.

    Raises:
        WhaleidError: it is no zip, damaged, encrypted, or unpacks to more than what is left or the disk holds.
        InputProblems: names that lead out of the folder or are there twice, links, and zip files in a part.
    """
    title = title or str(archive)
    try:
        with zipfile.ZipFile(archive) as packed:
            files = [each for each in packed.infolist() if not each.is_dir()]
            _check_names(title, files)
            members = [each for each in files if _is_wanted(each.filename)]
            if part:
                _refuse_zips(title, members)
                if not all(PurePosixPath(each.filename).parts[0] == archive.stem for each in members):
                    folder = folder / archive.stem
            folder.mkdir(parents=True, exist_ok=True)
            size = sum(each.file_size for each in members)
            _check_size(title, members, size, left, shutil.disk_usage(folder).free)
            for each in progress(members, "files unpacked", len(members)):
                path = folder / each.filename
                path.parent.mkdir(parents=True, exist_ok=True)
                # reads `file_size` bytes at most; if the archive holds more, the checksum fails
                with packed.open(each) as source, path.open("xb") as target:
                    shutil.copyfileobj(source, target)
    except WhaleidError:
        raise
    # damaged files make zipfile raise nearly anything; clashing or overlong names are errors of the system
    except Exception as error:
        raise WhaleidError(f"{title}: cannot be unpacked ({error}).") from None
    return len(files) - len(members), Limits(left.size - size, left.files - len(members))


def zip_files(paths: Iterable[Path]) -> list[Path]:
    """Return which of `paths` are zip files, by their names."""
    return [path for path in paths if path.suffix.lower() == ".zip" and path.is_file()]


def _is_wanted(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in UNPACKED and not any(map(is_hidden, path.parts))


def _check_names(title: str, members: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse names that lead elsewhere or are there twice, and links."""
    names = Counter(each.filename.casefold() for each in members)
    bad = []
    for each in members:
        name, path = each.filename, PurePosixPath(each.filename)
        leaves = path.is_absolute() or ".." in path.parts or "\\" in name or PureWindowsPath(name).drive
        if (
            leaves
            or has_unsafe_characters(name)
            or names[name.casefold()] > 1
            or stat.S_ISLNK(each.external_attr >> 16)
        ):
            bad.append(repr(name))
    if bad:
        what = f"{title}: names that lead out of the zip file, are there twice, or are links"
        raise InputProblems(what, bad, "Pack it anew without them.")


def _refuse_zips(title: str, members: Sequence[zipfile.ZipInfo]) -> None:
    if inner := [repr(each.filename) for each in members if each.filename.lower().endswith(".zip")]:
        raise InputProblems(f"{title}: zip files that are too deep inside", inner, "Unpack them yourself.")


def _check_size(title: str, members: Sequence[zipfile.ZipInfo], size: int, left: Limits, free: int) -> None:
    """Refuse `members` of more than what is `left`, or of more than `free` bytes together."""
    # of other methods, zipfile unpacks a whole block into memory: a thousand times its size and more
    if any(each.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for each in members):
        raise WhaleidError(f"{title}: is packed in a way that is not read: pack it anew with deflate, as zip does.")
    if size > left.size or len(members) > left.files:
        raise WhaleidError(
            f"{title}: would unpack to more than {MAX_RATIO} times its size, or to more than {MAX_FILES:,} files; "
            "photos never do. If you trust it, unpack it yourself and give the folder."
        )
    if size > free:
        raise WhaleidError(f"{title}: takes {size / 1e9:.1f} GB unpacked, and there are {free / 1e9:.1f} GB free.")
