"""What a disk that takes nothing more does to each stage and each command for people.

    python tests/faults/disk.py [--only COMMAND …] [--trained FOLDER]

Each command runs in a process of its own, in a project where all has run already, on a sliver of the drawn catalogue:

- `space`: on a disk of its own (a tmpfs, which root alone can mount: else this says that it is left out) with 0,
  16 KiB, 256 KiB, 4 MiB … of room, until the command succeeds;
- `size`: files cannot grow beyond 0, 4 KiB, 64 KiB, 1 MiB … (RLIMIT_FSIZE), until the command succeeds;
- `read-only`: that disk is mounted read-only;
- `modes`: nobody may write into the project's folders (the command gives root's powers up).

Then it has to fail with one error that names a file of that project and says what to do, without a traceback, and
every file has to be as before, and no other there, but for the memory of an unfinished training. Afterwards, with room,
the same command has to succeed. `cache` is the folder of the user's cache without room: there, commands must succeed,
and say so. Prints a row a fault and command: how often it failed and succeeded, the seconds of the slowest failure, the
first line of the last error, and what is not as promised. The last line is one JSON object.
"""

import argparse
import ctypes
import hashlib
import importlib
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from whaleid import cli  # noqa: E402

FAULTS = ("space", "size", "read-only", "modes", "cache")
SIZE = 1200
"""Mebibytes of a disk that holds the project."""
LIMIT = 300
"""Seconds for a command."""
PHOTOS = "data/sample/test"
COMMANDS: dict[str, str] = {
    "sample": "sample",
    "catalog": "catalog",
    "explore": "explore",
    "dedup": "dedup",
    "split": "split",
    "backbone": "backbone",
    "boxes": "boxes",
    "pack": "pack",
    "train": "train margin",
    "embed": "embed margin",
    "calibrate": "calibrate margin",
    "rank": "rank",
    "predict": "predict",
    "report": "report",
    "bundle": "bundle final",
    "preset": "preset real --root whales",
    "import": "import extra --to whales",
    "import new": "import extra --to others",
    "add": "add reviewed.csv --by someone --catalogue whales",
    "identify --csv": "identify extra --csv answers.csv --catalogue whales",
    "identify --json": "identify extra --json answers.json --catalogue whales",
    "identify --html": "identify extra --html answers.html --catalogue whales",
    "duplicates": f"duplicates {PHOTOS} --out copies",
}
CACHED = ("catalog", "duplicates", "identify --csv", "add", "import")
"""The commands that look into the user's cache."""


@dataclass
class Told:
    """What a command said and did."""

    code: int
    text: str
    seconds: float

    @property
    def error(self) -> str:
        """The first line of what it said was wrong."""
        return next((line for line in self.text.splitlines() if line.startswith("error:")), "")


@dataclass
class Row:
    """What came of a command under a fault."""

    failed: int = 0
    succeeded: int = 0
    seconds: float = 0.0
    error: str = ""
    broken: list[str] = field(default_factory=list)


def call(folder: Path, command: str, kept: Path, prepare: Callable[[], None] | None = None, **environment: str) -> Told:
    """Run a command of whaleid's in `folder`, in a process that need not import anything any more."""
    known = {"WHALEID_TRACKING": "off", "XDG_CACHE_HOME": str(kept)}
    begun = time.monotonic()
    sys.stdout.flush()
    read, write = os.pipe()  # a file could not grow either
    child = os.fork()
    if not child:
        os.close(read)
        os.dup2(write, 1)
        os.dup2(write, 2)
        os._exit(_command(folder, command.split(), known | environment, prepare))
    os.close(write)
    with open(read, encoding="utf-8", errors="replace") as said:  # noqa: PTH123
        text = said.read()
    _, status = os.waitpid(child, 0)
    return Told(os.waitstatus_to_exitcode(status), text, time.monotonic() - begun)


def _command(folder: Path, command: list[str], environment: dict[str, str], prepare: Callable[[], None] | None) -> int:
    """Be that process, and return its exit code; it ends as one of its own does."""
    signal.alarm(LIMIT)
    os.chdir(folder)
    os.environ.update(environment)
    sys.argv = ["whaleid", *command]
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
    code: object = 0
    try:
        if prepare:
            prepare()
        cli.main()
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    return int(str(code))


def contents(folder: Path) -> dict[str, str]:
    """Return a digest of every file and link below `folder`, and its folders."""
    return {
        path.relative_to(folder).as_posix(): _digest(path, _inode(path)) if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


def _inode(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@cache
def _digest(path: Path, inode: tuple[int, ...]) -> str:
    """Return a digest of the file `path`, computed once for as long as nobody touches it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def different(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Return what is lost, changed or new but for the memory of a training, and the locks of a catalogue."""
    said = [f"lost {name}" for name in before if name not in after]
    said += [f"changed {name}" for name, digest in after.items() if before.get(name, digest) != digest]
    new = [name for name, digest in after.items() if name not in before and digest]  # an empty folder is no harm
    return said + [f"new {name}" for name in new if not name.endswith(".unfinished.safetensors")]


@contextmanager
def disk(mebibytes: int) -> Iterator[Path]:
    """Yield an empty disk of its own, of the size given.

    Raises:
        PermissionError: it cannot be mounted here.
    """
    folder = Path(tempfile.mkdtemp(prefix="whaleid-disk-"))
    options = ["-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
        if mounted.returncode:
            raise PermissionError(mounted.stderr.strip() or "no disk can be mounted")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
    finally:
        folder.rmdir()


@contextmanager
def filled(folder: Path, left: int) -> Iterator[None]:
    """Fill the disk that `folder` is, but for `left` bytes."""
    filler = folder / "filler"
    free = os.statvfs(folder)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, free.f_bavail * free.f_frsize - left))
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nobody write to the disk that `folder` is."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)


def limited(size: int) -> Callable[[], None]:
    """Return what keeps the files of a process that is to start from growing beyond `size` bytes."""

    def prepare() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return prepare


def powerless() -> None:
    """Let modes of files count, for root as well: give all capabilities of this process up."""
    header, none = struct.pack("Ii", 0x20080522, 0), bytes(24)
    if ctypes.CDLL(None, use_errno=True).capset(header, none):
        raise OSError(ctypes.get_errno(), "capset")


@contextmanager
def write_protected(folder: Path) -> Iterator[None]:
    """Let nobody write into the folders below `folder` and itself."""
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for each in folders:
        each.chmod(0o555)
    try:
        yield
    finally:
        for each in folders:
            each.chmod(0o755)


def judge(row: Row, told: Told, before: dict[str, str], project: Path) -> bool:
    """Add to `row` what came of a command under a fault; return whether it succeeded."""
    if told.code == 0:
        row.succeeded += 1
        return True
    row.failed += 1
    row.seconds = max(row.seconds, told.seconds)
    row.error = told.error
    if not told.error or "Traceback" in told.text:
        row.broken.append(f"no plain error: {told.text.strip().splitlines()[-1:]}")
    elif told.code != 1:
        row.broken.append(f"exit code {told.code}")
    if ".partial" in told.error:
        row.broken.append(f"a file that nobody knows: {told.error}")
    row.broken += different(before, contents(project))
    return False


def spaces() -> Iterator[int]:
    """Yield more and more room."""
    yield 0
    for power in range(7):
        yield 16384 * 16**power


def tried(name: str, original: Path, place: Path, fault: str) -> Row:
    """Run the command `name` in copies of the project `original`, in `place`, under a fault as often as it takes."""
    row = Row()
    project, kept = place / "project", Path(tempfile.mkdtemp(prefix="whaleid-cache-"))
    kept.chmod(0o777)
    shutil.copytree(original, project)
    before = contents(project)
    command = COMMANDS[name]
    try:
        if fault == "space":
            for left in spaces():
                with filled(place, left):
                    told = call(project, command, kept, TMPDIR=str(kept))
                    if judge(row, told, before, project):
                        break
        elif fault == "size":
            for size in (0, 4096, 65536, 2**20, 2**24, 2**28):
                if judge(row, call(project, command, kept, limited(size)), before, project):
                    break
        elif fault == "read-only":
            with read_only(place):
                told = call(project, command, kept)
            judge(row, told, before, project)
        elif fault == "modes":
            with write_protected(project):
                judge(row, call(project, command, kept, powerless), before, project)
        elif fault == "cache":
            with disk(1) as full, filled(full, 0):
                told = call(project, command, full)
            row.succeeded = int(told.code == 0)
            row.error = "; ".join(line for line in told.text.splitlines() if str(full) in line).replace(str(full), "…")
            if told.code or not row.error:
                row.broken.append(f"it did not warn: {told.text.strip().splitlines()[-1:]}")
            return row
        if not row.failed:
            row.broken.append("the fault was not met")
        after = call(project, command, kept)
        if after.code:
            row.broken.append(f"with room: {after.text.strip().splitlines()[-1:]}")
    finally:
        shutil.rmtree(project)
        shutil.rmtree(kept)
    return row


def prepared(folder: Path) -> None:
    """Put what the commands for people read into a project where all has run."""
    from helpers.pictures import picture
    from helpers.project import keep_predictions

    keep_predictions(folder, "phash", "ensemble", "final")
    for number, (whale, place) in enumerate((("ann", "extra"), ("ann", "extra"), ("bob", "extra"), ("eve", "more"))):
        path = folder / place / whale / f"{whale}{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(number, (192, 96)).save(path)
    (folder / "reviewed.csv").write_text("photo,whale\nextra/ann/ann0.png,new\nextra/bob/bob2.png,new:bob\n")
    for command in ("import data/sample --to whales", "import more --to whales", "rank", "predict", "report"):
        told = call(folder, command, folder / "cache")
        assert told.code == 0, told.text
    shutil.rmtree(folder / "cache", ignore_errors=True)


def import_all() -> None:
    """Import what commands need, once."""
    for name in sorted((ROOT / "whaleid").rglob("*.py")):
        if name.name != "__main__.py":
            importlib.import_module(".".join(name.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))


def place(fault: str) -> AbstractContextManager[Path]:
    """Return a folder to work in: a disk of its own, where that matters."""
    if fault in ("space", "read-only"):
        return disk(SIZE)
    return tempfile.TemporaryDirectory(prefix="whaleid-faults-")  # type: ignore[return-value]


def main() -> None:
    """Run all, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS), metavar="COMMAND")
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--trained", type=Path, help="a project that conftest's build_trained built; else one is built")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # no disk stays mounted
    import_all()
    found: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory(prefix="whaleid-trained-") as temporary:
        original = Path(temporary, "project")
        if asked.trained:
            shutil.copytree(asked.trained, original)
        else:
            from helpers.project import build_trained

            original.mkdir()
            build_trained(original)
        prepared(original)
        Path(temporary).chmod(0o755)
        for fault in asked.faults:
            try:
                with place(fault) as folder:
                    Path(folder).chmod(0o755)
                    for name in asked.only:
                        if fault == "cache" and name not in CACHED:
                            continue
                        row = tried(name, original, Path(folder), fault)
                        found[f"{fault}: {name}"] = vars(row)
                        print(
                            f"{fault:10} {name:16} failed {row.failed}, succeeded {row.succeeded}, "
                            f"{row.seconds:4.1f} s  {row.error}",
                            *(f"    NOT AS PROMISED: {each}" for each in row.broken[:5]),
                            sep="\n",
                            flush=True,
                        )
            except PermissionError as error:
                print(f"{fault}: left out: {error}")
    broken = sum(bool(row["broken"]) for row in found.values())
    print(json.dumps({"tried": len(found), "not as promised": broken, "rows": found}))
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
