"""Fuzz every reader of `readers.py`: python tests/faults/fuzz.py [--cases 1000000] [--only NAME …]

Cases are made by libFuzzer, guided by the coverage of whaleid's code, where atheris is installed (pip install atheris),
else by blind changes of the seeds. Each reader runs in a process of its own. A case is a fault if it ends with anything
but a value or an error that is documented, takes more than a second of the processor, opens a file to write, or makes
one, outside of its folder, starts a process, or reaches for the network; so is a reader whose process takes more memory
than `MEMORY`. Prints a line a reader and, last, one JSON object. Exits with 1 after a fault; its input is kept.
"""

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faults.readers import Reader

ROOT = Path(__file__).parents[2]
MEMORY = 1536
"""MiB of resident memory that a reader's process may take; 800 are torch, pandas and code that tells its coverage, and
`identify` has a model in it."""
SECONDS = 1.0
LONGEST = 20_000
"""Bytes of a case."""
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.truncate"}
BANNED = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "shutil.copyfile"}
BANNED |= {"pickle.find_class", "socket.getaddrinfo", "socket.bind"}
TOTAL = 1_000_000
PIECES = (b"\xff", b"\0", b'"', b"\n", b",", b"../", b"{", b"[", b"NaN", b"1e999")
"""Bytes that mean something to some reader."""


class Fault(BaseException):
    """Not to be taken for an error of a reader's."""


def main() -> None:
    """Run the readers asked for, some at a time, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=TOTAL, help="of all readers together, about")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--at-once", type=int, default=2, help="readers side by side")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--blind", action="store_true", help="do without atheris")
    parser.add_argument("--together", action="store_true", help="in one process, blindly: starts sooner")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.child:
        child(said.child, said.cases, said.seed, said.blind)
        return
    from faults.readers import READERS

    if unknown := sorted({*said.only} - {*READERS}):
        parser.error(f"no such reader: {', '.join(unknown)}; there are: {', '.join(READERS)}")
    share = said.cases / TOTAL
    wanted = {name: max(10, round(reader.cases * share)) for name, reader in READERS.items()}
    if not (ROOT / "models/final.bundle/bundle.json").exists():
        wanted.pop("identify")
        print("identify: left out, for there is no models/final.bundle: `dvc repro` makes it", file=sys.stderr)
    wanted = {name: cases for name, cases in wanted.items() if not said.only or name in said.only}
    if said.together:
        together(wanted, said.seed)
        return
    blind = said.blind or not guided()
    found = {}
    with ThreadPoolExecutor(said.at_once) as pool:
        results = pool.map(lambda name: watched(name, wanted[name], said.seed, blind), wanted)
        for name, each in zip(wanted, results, strict=True):
            found[name] = each
            figures = f"{each['cases']:>9,} cases  {each['seconds']:>6.0f} s  {each['mib']:>5} MiB"
            print(f"{name:12} {figures}  {each['fault']}", flush=True)
    faults = [name for name, each in found.items() if each["fault"]]
    total = sum(int(str(each["cases"])) for each in found.values())
    print(json.dumps({"engine": "blind" if blind else "atheris", "cases": total, "faults": faults, "readers": found}))
    sys.exit(bool(faults))


def guided() -> bool:
    """Tell whether atheris is here."""
    return subprocess.run([sys.executable, "-c", "import atheris"], capture_output=True, check=False).returncode == 0


def watched(name: str, cases: int, seed: int, blind: bool) -> dict[str, object]:
    """Run a reader in a process of its own; return its cases, seconds, memory and, where there is one, fault."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        command = [sys.executable, __file__, "--child", name, "--cases", str(cases), "--seed", str(seed)]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        ended = subprocess.run(
            [*command, *(["--blind"] if blind else [])],
            cwd=folder, env=environment, capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        seconds = time.monotonic() - started
        said = ended.stdout + ended.stderr
        done = re.search(r"(?:number_of_executed_units:\s*|CASES )(\d+)", said)
        peak = re.search(r"(?:peak_rss_mb:\s*|PEAK )(\d+)", said)
        mib = int(peak.group(1)) if peak else 0
        fault = ""
        if ended.returncode or not done:
            kept = [
                path for path in Path(folder).glob("*") if path.name.startswith(("crash", "timeout", "oom", "slow"))
            ]
            for path in kept:
                shutil.copy(path, Path(tempfile.gettempdir()) / f"{name}-{path.name}")
            last = [line for line in said.splitlines() if line.strip() and not line.startswith(("stat::", "#"))]
            fault = "\n".join([f"exit {ended.returncode}; {tempfile.gettempdir()}/{name}-*", *last[-30:]])
        elif mib > MEMORY:
            fault = f"{mib} MiB"
    return {"cases": int(done.group(1)) if done else 0, "seconds": round(seconds, 1), "mib": mib, "fault": fault}


def child(name: str, cases: int, seed: int, blind: bool) -> None:
    """Give one reader `cases`; end with an exception where one is a fault."""
    if blind:
        from faults.readers import READERS
    else:
        import atheris

        with atheris.instrument_imports(include=["whaleid"]):
            from faults.readers import READERS
    one, seeds = prepared(name, READERS)
    if blind:
        blindly(one, seeds, cases, seed)
        print("CASES", cases)
        print("PEAK", peak())
        return
    corpus = Path("corpus")
    corpus.mkdir()
    for number, content in enumerate(seeds):
        (corpus / str(number)).write_bytes(content)
    # what counts is the time of the processor; on a busy machine a case may have to wait long for it
    options = [f"-runs={cases}", f"-seed={seed}", f"-max_len={LONGEST}", "-timeout=300", f"-rss_limit_mb={MEMORY}"]
    atheris.Setup([sys.argv[0], *options, "-print_final_stats=1", str(corpus)], one)
    atheris.Fuzz()


def prepared(name: str, readers: "dict[str, Reader]") -> tuple[Callable[[bytes], None], list[bytes]]:
    """Return what gives a reader one case, in a folder of its own, and the reader's seeds."""
    from whaleid.core.errors import WhaleidError

    reader = readers[name]
    work = Path(tempfile.mkdtemp(dir=".")).resolve()
    seeds = reader.seeds()
    for content in seeds:  # what is read for the first time loads modules and codecs
        with suppress(WhaleidError, FileNotFoundError):
            reader.read(content, work)
        empty(work)
    guard = Guard(str(work))
    sys.addaudithook(guard)

    def one(content: bytes) -> None:
        guard.on = True
        started = time.process_time()
        try:
            reader.read(content, work)
        except (WhaleidError, FileNotFoundError):
            pass
        finally:
            guard.on = False
        if guard.said:
            raise Fault(guard.said)
        if (spent := time.process_time() - started) > SECONDS:
            raise Fault(f"{spent:.1f} s")
        empty(work)

    return one, seeds


def together(wanted: dict[str, int], seed: int) -> None:
    """Give the readers their cases one after the other, in this process; end with an exception where one is a fault."""
    from faults.readers import READERS

    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        os.chdir(folder)
        for name, cases in wanted.items():
            try:
                blindly(*prepared(name, READERS), cases, seed)
            except BaseException:
                kept = shutil.copy("crash", Path(tempfile.gettempdir()) / f"{name}-crash")
                print(f"{name}: its input is kept in {kept}", file=sys.stderr)
                raise
        os.chdir(ROOT)
    print(json.dumps({"engine": "blind", "cases": sum(wanted.values()), "faults": [], "mib": peak()}))
    sys.exit(peak() > MEMORY)


def peak() -> int:
    """Return the most memory (MiB) that this process has had; `getrusage` would tell that of who started it."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert found
    return int(found[1]) // 1024


def blindly(one: Callable[[bytes], None], seeds: list[bytes], cases: int, seed: int) -> None:
    """Change seeds at random: bytes and runs of them are set, doubled, cut out or exchanged."""
    drawn = random.Random(seed)
    for _ in range(cases):
        content = bytearray(drawn.choice(seeds))
        for _ in range(drawn.choice((1, 1, 2, 4, 16))):
            start = drawn.randrange(len(content) + 1)
            end = min(len(content), start + drawn.choice((0, 1, 1, 2, 4, 64)))
            old = bytes(content[start:end])
            content[start:end] = drawn.choice((b"", drawn.randbytes(len(old)), 2 * old, *PIECES))
        try:
            one(bytes(content[:LONGEST]))
        except BaseException:
            Path("crash").write_bytes(content)
            raise


class Guard:
    """Sees what Python asks of the system, and notes what no reader may."""

    def __init__(self, folder: str) -> None:
        self.folder, self.on, self.said = folder, False, ""

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        """Take an event."""
        if not self.on:
            return
        written = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES
        if written or event in CHANGES:
            for path in arguments[: 2 if event in ("os.rename", "os.link") else 1]:
                if isinstance(path, str | bytes) and not self.inside(os.fsdecode(path)):
                    self.said = f"{event} {path!r}"
        elif event in BANNED:
            self.said = f"{event} {arguments!r}"[:500]

    def inside(self, path: str) -> bool:
        """Tell whether `path` lies in the folder."""
        return os.path.realpath(path).startswith(self.folder + os.sep) or os.path.realpath(path) == self.folder


def empty(folder: Path) -> None:
    """Remove what a case left."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            if entry.name != "whales":  # photos that a catalogue's reader needs each time
                shutil.rmtree(entry.path)
        else:
            Path(entry.path).unlink()


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests' own modules
    main()
