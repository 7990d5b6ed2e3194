"""Zip files, unpacked within bounds: only the files that a catalogue is made from."""

import shutil
import stat
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from whaleid.catalog.checks import SUFFIXES, unwritable
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.core.log import progress
from whaleid.importing.source import FOREIGN, is_hidden

UNPACKED = (*SUFFIXES, *FOREIGN, ".csv", ".zip")
MAX_FILES = 1_000_000
MAX_RATIO, SLACK = 20, 64 * 2**20
"""Zip files may unpack to so many times their size plus so many bytes: photos hardly shrink."""


def unpack(archives: Sequence[Path], folder: Path, named: bool = False, size: int | None = None) -> int:
    """Unpack photos, csv files and zip files of `archives` below `folder`; return the number of other files.

    With `named`, `train.zip` is unpacked into `train/`, whether or not its names begin so. `size`, in bytes, is that of
    the zip file which held `archives`, if any: it bounds what they may unpack to.

    Raises:
        WhaleidError: a file is no zip, damaged, encrypted, or unpacks to more than photos do or the disk holds.
        InputProblems: names that lead out of the folder or are there twice, and links.
    """
    packed = sum(archive.stat().st_size for archive in archives) if size is None else size
    left = MAX_RATIO * packed + SLACK
    others = 0
    for archive in archives:
        size, more = _unpack(archive, folder, named, left)
        left -= size
        others += more
    return others


def _unpack(archive: Path, folder: Path, named: bool, left: int) -> tuple[int, int]:
    """Unpack `archive` to `left` bytes at most; return how many it took and the number of other files."""
    try:
        with zipfile.ZipFile(archive) as packed:
            files = [each for each in packed.infolist() if not each.is_dir()]
            _check_names(archive, files)
            members = [each for each in files if _is_wanted(each.filename)]
            if named and not all(PurePosixPath(each.filename).parts[0] == archive.stem for each in members):
                folder = folder / archive.stem
            folder.mkdir(parents=True, exist_ok=True)
            size = sum(each.file_size for each in members)
            _check_size(archive, members, size, left, shutil.disk_usage(folder).free)
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
        raise WhaleidError(f"{archive}: cannot be unpacked ({error}).") from None
    return size, len(files) - len(members)


def _is_wanted(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in UNPACKED and not any(map(is_hidden, path.parts))


def _check_names(archive: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse names that lead elsewhere or are there twice, and links."""
    names = Counter(each.filename.casefold() for each in members)
    bad = []
    for each in members:
        name, path = each.filename, PurePosixPath(each.filename)
        leaves = path.is_absolute() or ".." in path.parts or "\\" in name or PureWindowsPath(name).drive
        if leaves or unwritable(name) or names[name.casefold()] > 1 or stat.S_ISLNK(each.external_attr >> 16):
            bad.append(repr(name))
    if bad:
        what = f"{archive}: names that lead out of the zip file, are there twice, or are links"
        raise InputProblems(what, bad, "Pack it anew without them.")


def _check_size(archive: Path, members: Sequence[zipfile.ZipInfo], size: int, left: int, free: int) -> None:
    """Refuse `members` of more than `left` or `free` bytes together."""
    # of other methods, zipfile unpacks a whole block into memory: a thousand times its size and more
    if any(each.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for each in members):
        raise WhaleidError(f"{archive}: is packed in a way that is not read: pack it anew with deflate, as zip does.")
    if size > left or len(members) > MAX_FILES:
        raise WhaleidError(
            f"{archive}: would unpack to more than {MAX_RATIO} times its size, or to more than {MAX_FILES:,} files; "
            "photos never do. If you trust it, unpack it yourself and give the folder."
        )
    if size > free:
        raise WhaleidError(f"{archive}: takes {size / 1e9:.1f} GB unpacked, and there are {free / 1e9:.1f} GB free.")
