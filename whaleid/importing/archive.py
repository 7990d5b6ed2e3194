"""Unpack zip files within limits: only the files that a catalogue is made from."""

import shutil
import stat
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from whaleid.catalog.checks import has_unsafe_characters
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.core.formats import HEAD, IMAGES, RAW, VIDEOS, is_hidden
from whaleid.core.log import logger, progress
from whaleid.importing.source import SPREADSHEETS, note

UNPACKED_SUFFIXES = (*IMAGES, *RAW, *VIDEOS, *SPREADSHEETS, ".csv", ".tsv", ".txt", ".json", ".zip")
"""Suffixes of the files that are unpacked."""
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED, UTF8 = 0x1, 0x800
"""Flags of a member: its content is encrypted, its name is UTF-8. Without the latter, zipfile decodes code page 437."""
MAX_FILES = 1_000_000
"""Maximum number of files that the zip files of a source may contain."""
MAX_RATIO, SLACK = 20, 64 * 2**20
"""Zip files may unpack to `MAX_RATIO` times their size plus `SLACK` bytes, because photos hardly compress."""


class Limits(NamedTuple):
    """What the zip files of a source may still unpack to."""

    size: int  # bytes
    files: int


def unpack_limits(archives: Sequence[Path]) -> Limits:
    """Return what `archives`, with the zip files in them, may unpack to."""
    return Limits(MAX_RATIO * sum(archive.stat().st_size for archive in archives) + SLACK, MAX_FILES)


def unpack(archive: Path, folder: Path, limits: Limits, title: str = "", is_part: bool = False) -> tuple[int, Limits]:
    """Unpack the photos, csv files and zip files in `archive` into `folder`, within `limits`.

    Errors begin with `title`, by default the path. If the archive `is_part` of a source, it contains no zip files, and
    `train.zip` is unpacked into `train/`, whether or not the names in it begin with `train/`.

    Returns:
        The number of other files, which are skipped, and the limits for further zip files.

    Raises:
        WhaleidError: the file is not a zip file, is damaged or encrypted, or exceeds the limits or the free disk space.
        InputProblems: names lead out of the folder or are repeated, members are links, or a part contains zip files.
    """
    title = title or str(archive)
    try:
        with zipfile.ZipFile(archive) as packed:
            files = [member for member in packed.infolist() if not member.is_dir()]
            _decode_names(title, files)
            files = [member for member in files if not any(is_hidden(part) for part in _parts(member) if part != "..")]
            if any(member.flag_bits & ENCRYPTED for member in files):
                raise WhaleidError(f"{title} is encrypted. Unpack it yourself and import the folder.")
            members = [member for member in files if _is_unpacked(packed, member)]
            _check_names(title, members)
            if is_part:
                _refuse_zips(title, members)
                if not all(PurePosixPath(member.filename).parts[0] == archive.stem for member in members):
                    folder = folder / archive.stem
            folder.mkdir(parents=True, exist_ok=True)
            size = sum(member.file_size for member in members)
            _check_size(title, members, size, limits, shutil.disk_usage(folder).free)
            for member in progress(members, "files unpacked", len(members)):
                path = folder / member.filename
                path.parent.mkdir(parents=True, exist_ok=True)
                # zipfile reads at most `file_size` bytes; if the archive contains more, the checksum fails
                with packed.open(member) as source, path.open("xb") as target:
                    shutil.copyfileobj(source, target)
    except WhaleidError:
        raise
    # damaged files make zipfile raise many types of exceptions; names that clash or are too long are an OSError
    except Exception as error:
        remedy = "Download it again, or unpack it yourself and import the folder."
        raise WhaleidError(f"{title} cannot be unpacked ({error}). {remedy}") from None
    return len(files) - len(members), Limits(limits.size - size, limits.files - len(members))


def zip_files(paths: Iterable[Path]) -> list[Path]:
    """Return the `paths` of zip files, which are recognised by their suffix."""
    return [path for path in paths if path.suffix.lower() == ".zip" and path.is_file()]


def _decode_names(title: str, members: Sequence[zipfile.ZipInfo]) -> None:
    """Decode names in UTF-8 without the flag that says so, as macOS and others write them. Warn of other encodings."""
    unsure = []
    for member in members:
        if not member.flag_bits & UTF8:
            try:
                member.filename = member.filename.encode("cp437").decode("utf-8")
            except UnicodeError:
                unsure.append(repr(member.filename))
    text = "names are not in UTF-8; if letters are wrong here, unpack the file yourself and import the folder"
    for line in note(text, unsure):
        logger.warning(f"{title}: {line}")


def _parts(member: zipfile.ZipInfo) -> tuple[str, ...]:
    """Return the folders and the name of a member, divided by slashes or backslashes."""
    return PurePosixPath(member.filename.replace("\\", "/")).parts


def _is_unpacked(packed: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    """Return whether a member is a table, a zip file, or a photo by its suffix or its content."""
    suffix = PurePosixPath(member.filename).suffix.lower()
    if suffix in UNPACKED_SUFFIXES or member.compress_type not in METHODS:  # which is an error
        return True
    with packed.open(member) as file:
        return HEAD.match(file.read(16)) is not None


def _check_names(title: str, members: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse links, and names that lead out of the folder, are repeated, or contain backslashes or control codes."""
    if backslashes := [repr(member.filename) for member in members if "\\" in member.filename]:
        remedy = "Unpack it on Windows and import the folder."
        raise InputProblems(f"{title}: names with backslashes instead of slashes", backslashes, remedy)
    counts = Counter(member.filename for member in members)
    bad = []
    for member in members:
        name, path = member.filename, PurePosixPath(member.filename)
        is_outside = path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive
        is_repeated, is_link = counts[name] > 1, stat.S_ISLNK(member.external_attr >> 16)
        if is_outside or is_repeated or is_link or has_unsafe_characters(name):
            bad.append(repr(name))
    if bad:
        kinds = "links, repeated names, and names that lead out of the zip file or contain control characters"
        raise InputProblems(f"{title}: {kinds}", bad, "Pack the zip file again without these files.")


def _refuse_zips(title: str, members: Sequence[zipfile.ZipInfo]) -> None:
    if nested := [repr(member.filename) for member in members if member.filename.lower().endswith(".zip")]:
        remedy = "Zip files in a zip file may not contain others: unpack them yourself and import the folder."
        raise InputProblems(f"{title}: zip files that are nested too deeply", nested, remedy)


def _check_size(title: str, members: Sequence[zipfile.ZipInfo], size: int, limits: Limits, free: int) -> None:
    """Refuse other compression methods, and `members` that exceed `limits` or `free`, the free space in bytes."""
    # with other methods, zipfile unpacks a whole block into memory, which may be 1,000 times its compressed size
    if any(member.compress_type not in METHODS for member in members):
        raise WhaleidError(
            f"{title} is compressed with a method that is not supported. Pack it again with the usual one, deflate."
        )
    if size > limits.size or len(members) > limits.files:
        raise WhaleidError(
            f"{title} would unpack to more than {MAX_RATIO} times its size or more than {MAX_FILES:,} files, which is "
            "unusual for photos. If you trust the file, unpack it yourself and import the folder."
        )
    if size > free:
        raise WhaleidError(
            f"{title} needs {size / 1e9:.1f} GB to unpack, but only {free / 1e9:.1f} GB are free: free some space."
        )
