"""Run each stage and each command for people on a disk that cannot be written to.

    python tests/faults/disk.py [--only COMMAND …] [--trained FOLDER]

Each command runs in a separate process, in a small project whose pipeline has already run, under these faults:

- `space`: a separate disk with 0, 16 KiB, 256 KiB, 4 MiB … of free space, until the command succeeds. The disk is a
  tmpfs, which only root can mount; otherwise the fault is skipped with a message;
- `size`: files cannot grow above 0, 4 KiB, 64 KiB, 1 MiB … (RLIMIT_FSIZE), until the command succeeds;
- `read-only`: the separate disk is mounted read-only;
- `modes`: the project's folders are write-protected (the command drops root's capabilities);
- `cache`: the disk of the user's cache folder is full. Here commands must succeed with a warning.

Under the other faults, a command must fail with one error that names a file of the project and a remedy, without a
traceback. All files must be unchanged and no file added, except the state of an unfinished training. Afterwards,
without the fault, the same command must succeed. Prints one row per fault and command: the numbers of failures and
successes, the seconds of the slowest failure, the first line of the last error, and unexpected results. The last line
is one JSON object.
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
DISK_MIB = 1200
"""Size in MiB of the disk that contains the project."""
TIMEOUT = 300
"""Maximum time of a command, in seconds."""
QUERIES = "data/sample/test"
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
    "duplicates": f"duplicates {QUERIES} --out copies",
}
CACHED = ("catalog", "duplicates", "identify --csv", "add", "import")
"""The commands that use the user's cache."""


@dataclass
class Result:
    """The exit code, output and duration of a command."""

    code: int
    text: str
    seconds: float

    @property
    def error(self) -> str:
        """The first line of its error message, or an empty string."""
        return next((line for line in self.text.splitlines() if line.startswith("error:")), "")


@dataclass
class Row:
    """The results of one command under one fault."""

    failed: int = 0
    succeeded: int = 0
    seconds: float = 0.0
    error: str = ""
    broken: list[str] = field(default_factory=list)


def call(
    folder: Path, command: str, cache_folder: Path, prepare: Callable[[], None] | None = None, **environment: str
) -> Result:
    """Run a whaleid command in `folder`, in a forked process that calls `prepare` first."""
    defaults = {"WHALEID_TRACKING": "off", "XDG_CACHE_HOME": str(cache_folder)}
    started = time.monotonic()
    sys.stdout.flush()
    read, write = os.pipe()  # output to a file would fall under the limit on file sizes
    child = os.fork()
    if not child:
        os.close(read)
        os.dup2(write, 1)
        os.dup2(write, 2)
        os._exit(_command(folder, command.split(), defaults | environment, prepare))
    os.close(write)
    with open(read, encoding="utf-8", errors="replace") as output:  # noqa: PTH123
        text = output.read()
    _, status = os.waitpid(child, 0)
    return Result(os.waitstatus_to_exitcode(status), text, time.monotonic() - started)


def _command(folder: Path, command: list[str], environment: dict[str, str], prepare: Callable[[], None] | None) -> int:
    """Run a command in the forked process and return the exit code that a separate process would have."""
    signal.alarm(TIMEOUT)
    os.chdir(folder)
    os.environ.update(environment)
    sys.argv = ["whaleid", *command]
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
    code: object = 0
    try:
        if prepare:
            prepare()
        cli.main()
    except SystemExit as caught:
        code = caught.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    return int(str(code))


def contents(folder: Path) -> dict[str, str]:
    """Map every file and link below `folder` to its digest, and every folder to an empty string."""
    return {
        path.relative_to(folder).as_posix(): _digest(path, _inode(path)) if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


def _inode(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@cache
def _digest(path: Path, inode: tuple[int, ...]) -> str:
    """Compute the digest of the file `path`, cached while its inode data are unchanged."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """List lost, changed and new files; new empty folders and the state of an unfinished training are allowed."""
    names = [f"lost {name}" for name in before if name not in after]
    names += [f"changed {name}" for name, digest in after.items() if before.get(name, digest) != digest]
    new = [name for name, digest in after.items() if name not in before and digest]
    return names + [f"new {name}" for name in new if not name.endswith(".unfinished.safetensors")]


@contextmanager
def disk(mebibytes: int) -> Iterator[Path]:
    """Mount an empty disk of this size and yield its folder.

    Raises:
        PermissionError: no disk can be mounted here.
    """
    folder = Path(tempfile.mkdtemp(prefix="whaleid-disk-"))
    options = ["-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)]
    try:
        process = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
        if process.returncode:
            raise PermissionError(process.stderr.strip() or "no disk can be mounted")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
    finally:
        folder.rmdir()


@contextmanager
def fill(folder: Path, free: int) -> Iterator[None]:
    """Fill the disk mounted at `folder` until `free` bytes are free."""
    filler = folder / "filler"
    status = os.statvfs(folder)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, status.f_bavail * status.f_frsize - free))
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Remount the disk mounted at `folder` read-only until the block ends."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)


def limit_file_size(size: int) -> Callable[[], None]:
    """Return a function that limits the files of its process to `size` bytes."""

    def prepare() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return prepare


def drop_capabilities() -> None:
    """Drop all capabilities of this process, so that file modes apply to root as well."""
    header, none = struct.pack("Ii", 0x20080522, 0), bytes(24)
    if ctypes.CDLL(None, use_errno=True).capset(header, none):
        raise OSError(ctypes.get_errno(), "capset")


@contextmanager
def write_protected(folder: Path) -> Iterator[None]:
    """Make `folder` and all folders below it unwritable until the block ends."""
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    try:
        yield
    finally:
        for path in folders:
            path.chmod(0o755)


def check(row: Row, result: Result, before: dict[str, str], project: Path) -> bool:
    """Add the result of a command under a fault to `row`, and return whether the command succeeded."""
    if result.code == 0:
        row.succeeded += 1
        return True
    row.failed += 1
    row.seconds = max(row.seconds, result.seconds)
    row.error = result.error
    if not result.error or "Traceback" in result.text:
        row.broken.append(f"no plain error: {result.text.strip().splitlines()[-1:]}")
    elif result.code != 1:
        row.broken.append(f"exit code {result.code}")
    if ".partial" in result.error:
        row.broken.append(f"a temporary file in the error: {result.error}")
    row.broken += differences(before, contents(project))
    return False


def free_spaces() -> Iterator[int]:
    """Yield increasing numbers of free bytes."""
    yield 0
    for power in range(7):
        yield 16384 * 16**power


def run_under_fault(name: str, original: Path, work_folder: Path, fault: str) -> Row:
    """Run the command `name` in a copy of `original` under a fault, at increasing limits until it succeeds."""
    row = Row()
    project, cache_folder = work_folder / "project", Path(tempfile.mkdtemp(prefix="whaleid-cache-"))
    cache_folder.chmod(0o777)
    shutil.copytree(original, project)
    before = contents(project)
    command = COMMANDS[name]
    try:
        if fault == "space":
            for free in free_spaces():
                with fill(work_folder, free):
                    result = call(project, command, cache_folder, TMPDIR=str(cache_folder))
                    if check(row, result, before, project):
                        break
        elif fault == "size":
            for size in (0, 4096, 65536, 2**20, 2**24, 2**28):
                if check(row, call(project, command, cache_folder, limit_file_size(size)), before, project):
                    break
        elif fault == "read-only":
            with read_only(work_folder):
                result = call(project, command, cache_folder)
            check(row, result, before, project)
        elif fault == "modes":
            with write_protected(project):
                check(row, call(project, command, cache_folder, drop_capabilities), before, project)
        elif fault == "cache":
            with disk(1) as full, fill(full, 0):
                result = call(project, command, full)
            row.succeeded = int(result.code == 0)
            row.error = "; ".join(line for line in result.text.splitlines() if str(full) in line).replace(
                str(full), "…"
            )
            if result.code or not row.error:
                row.broken.append(f"it did not warn: {result.text.strip().splitlines()[-1:]}")
            return row
        if not row.failed:
            row.broken.append("the fault did not occur")
        result = call(project, command, cache_folder)
        if result.code:
            row.broken.append(f"without the fault: {result.text.strip().splitlines()[-1:]}")
    finally:
        shutil.rmtree(project)
        shutil.rmtree(cache_folder)
    return row


def prepare_project(folder: Path) -> None:
    """Add the inputs of the commands for people to a project whose pipeline has run."""
    from helpers.pictures import picture
    from helpers.project import keep_predictions

    keep_predictions(folder, "phash", "ensemble", "final")
    for number, (whale, source) in enumerate((("ann", "extra"), ("ann", "extra"), ("bob", "extra"), ("eve", "more"))):
        path = folder / source / whale / f"{whale}{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(number, (192, 96)).save(path)
    (folder / "reviewed.csv").write_text("photo,whale\nextra/ann/ann0.png,new\nextra/bob/bob2.png,new:bob\n")
    for command in ("import data/sample --to whales", "import more --to whales", "rank", "predict", "report"):
        result = call(folder, command, folder / "cache")
        assert result.code == 0, result.text
    shutil.rmtree(folder / "cache", ignore_errors=True)


def import_all() -> None:
    """Import all of whaleid once, so that forked commands start fast."""
    for path in sorted((ROOT / "whaleid").rglob("*.py")):
        if path.name != "__main__.py":
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))


def work_folder(fault: str) -> AbstractContextManager[Path]:
    """Return a temporary folder, on a separate disk if the fault needs one."""
    if fault in ("space", "read-only"):
        return disk(DISK_MIB)
    return tempfile.TemporaryDirectory(prefix="whaleid-faults-")  # type: ignore[return-value]


def main() -> None:
    """Run the requested commands under the requested faults and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS), metavar="COMMAND")
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument(
        "--trained", type=Path, help="a project made by helpers.project.make_trained (default: make one)"
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that disks are unmounted
    import_all()
    rows: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory(prefix="whaleid-trained-") as temporary:
        original = Path(temporary, "project")
        if arguments.trained:
            shutil.copytree(arguments.trained, original)
        else:
            from helpers.project import make_trained

            original.mkdir()
            make_trained(original)
        prepare_project(original)
        Path(temporary).chmod(0o755)
        for fault in arguments.faults:
            try:
                with work_folder(fault) as folder:
                    Path(folder).chmod(0o755)
                    for name in arguments.only:
                        if fault == "cache" and name not in CACHED:
                            continue
                        row = run_under_fault(name, original, Path(folder), fault)
                        rows[f"{fault}: {name}"] = vars(row)
                        print(
                            f"{fault:10} {name:16} failed {row.failed}, succeeded {row.succeeded}, "
                            f"{row.seconds:4.1f} s  {row.error}",
                            *(f"    UNEXPECTED: {problem}" for problem in row.broken[:5]),
                            sep="\n",
                            flush=True,
                        )
            except PermissionError as error:
                print(f"{fault}: skipped: {error}")
    broken = sum(bool(row["broken"]) for row in rows.values())
    print(json.dumps({"tried": len(rows), "unexpected": broken, "rows": rows}))
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
