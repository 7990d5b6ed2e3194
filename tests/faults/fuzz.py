"""Fuzz every reader of `readers.py`: python tests/faults/fuzz.py [--cases 1000000] [--only NAME …]

If atheris is installed (pip install atheris), libFuzzer generates the cases, guided by the coverage of whaleid's code;
otherwise seeds are mutated at random. Each reader runs in a separate process. A case is a fault if the reader raises an
undocumented exception, takes more than a second of CPU time, writes outside its folder, starts a process, or accesses
the network. A process that uses more memory than `MAX_MIB` is a fault as well. Prints one line per reader, then one
JSON object. Exits with 1 after a fault, and keeps its input.
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
MAX_MIB = 1536
"""Maximum resident memory of a reader's process, in MiB. Torch, pandas and instrumented code need 800; `identify` loads
a model as well."""
SECONDS = 1.0
"""Maximum CPU time of a case."""
MAX_BYTES = 20_000
"""Maximum size of a case, in bytes."""
WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
MODIFYING_EVENTS = {
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.chmod",
    "os.truncate",
}
FORBIDDEN_EVENTS = {
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "socket.connect",
    "shutil.copyfile",
}
FORBIDDEN_EVENTS |= {"pickle.find_class", "socket.getaddrinfo", "socket.bind"}
TOTAL_CASES = 1_000_000
"""Sum of the cases of all readers for which `Reader.cases` is given."""
PIECES = (b"\xff", b"\0", b'"', b"\n", b",", b"../", b"{", b"[", b"NaN", b"1e999")
"""Byte strings with a meaning in some format, for mutations."""


class Fault(BaseException):
    """A forbidden action of a reader; a BaseException, so that no reader catches it."""


def main() -> None:
    """Fuzz the requested readers, several in parallel, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=TOTAL_CASES, help="approximate total over all readers")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--at-once", type=int, default=2, help="number of readers in parallel")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--blind", action="store_true", help="mutate seeds at random, without atheris")
    parser.add_argument("--together", action="store_true", help="in one process, without atheris: starts faster")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run_child(arguments.child, arguments.cases, arguments.seed, arguments.blind)
        return
    from faults.readers import READERS

    if unknown := sorted({*arguments.only} - {*READERS}):
        parser.error(f"no such reader: {', '.join(unknown)}; choose from: {', '.join(READERS)}")
    share = arguments.cases / TOTAL_CASES
    cases_by_reader = {name: max(10, round(reader.cases * share)) for name, reader in READERS.items()}
    if not (ROOT / "models/final.bundle/bundle.json").exists():
        cases_by_reader.pop("identify")
        print("identify: skipped, there is no models/final.bundle: run `dvc repro` to build it", file=sys.stderr)
    cases_by_reader = {
        name: cases for name, cases in cases_by_reader.items() if not arguments.only or name in arguments.only
    }
    if arguments.together:
        run_in_one_process(cases_by_reader, arguments.seed)
        return
    blind = arguments.blind or not atheris_available()
    reports = {}
    with ThreadPoolExecutor(arguments.at_once) as pool:
        results = pool.map(lambda name: run_reader(name, cases_by_reader[name], arguments.seed, blind), cases_by_reader)
        for name, report in zip(cases_by_reader, results, strict=True):
            reports[name] = report
            figures = f"{report['cases']:>9,} cases  {report['seconds']:>6.0f} s  {report['mib']:>5} MiB"
            print(f"{name:12} {figures}  {report['fault']}", flush=True)
    faults = [name for name, report in reports.items() if report["fault"]]
    total = sum(int(str(report["cases"])) for report in reports.values())
    print(json.dumps({"engine": "blind" if blind else "atheris", "cases": total, "faults": faults, "readers": reports}))
    sys.exit(bool(faults))


def atheris_available() -> bool:
    """Return whether atheris is installed."""
    return subprocess.run([sys.executable, "-c", "import atheris"], capture_output=True, check=False).returncode == 0


def run_reader(name: str, cases: int, seed: int, blind: bool) -> dict[str, object]:
    """Fuzz a reader in a separate process; return its `cases`, `seconds`, `mib` and `fault` (empty if none)."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=_shared_memory()) as folder:
        command = [sys.executable, __file__, "--child", name, "--cases", str(cases), "--seed", str(seed)]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        process = subprocess.run(
            [*command, *(["--blind"] if blind else [])],
            cwd=folder, env=environment, capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        seconds = time.monotonic() - started
        output = process.stdout + process.stderr
        executed = re.search(r"(?:number_of_executed_units:\s*|CASES )(\d+)", output)
        peak = re.search(r"(?:peak_rss_mb:\s*|PEAK )(\d+)", output)
        mib = int(peak.group(1)) if peak else 0
        fault = ""
        if process.returncode or not executed:
            for path in Path(folder).glob("*"):
                if path.name.startswith(("crash", "timeout", "oom", "slow")):
                    shutil.copy(path, Path(tempfile.gettempdir()) / f"{name}-{path.name}")
            lines = [line for line in output.splitlines() if line.strip() and not line.startswith(("stat::", "#"))]
            fault = "\n".join([f"exit {process.returncode}; {tempfile.gettempdir()}/{name}-*", *lines[-30:]])
        elif mib > MAX_MIB:
            fault = f"{mib} MiB"
    return {
        "cases": int(executed.group(1)) if executed else 0,
        "seconds": round(seconds, 1),
        "mib": mib,
        "fault": fault,
    }


def run_child(name: str, cases: int, seed: int, blind: bool) -> None:
    """Run `cases` cases of one reader in this process; raise an exception at the first fault."""
    if blind:
        from faults.readers import READERS
    else:
        import atheris

        with atheris.instrument_imports(include=["whaleid"]):
            from faults.readers import READERS
    run_case, seeds = prepare(name, READERS)
    if blind:
        mutate(run_case, seeds, cases, seed)
        print("CASES", cases)
        print("PEAK", peak_mib())
        return
    corpus = Path("corpus")
    corpus.mkdir()
    for number, content in enumerate(seeds):
        (corpus / str(number)).write_bytes(content)
    # libFuzzer's timeout is wall time, which a busy machine extends; `run_case` limits CPU time
    options = [f"-runs={cases}", f"-seed={seed}", f"-max_len={MAX_BYTES}", "-timeout=300", f"-rss_limit_mb={MAX_MIB}"]
    atheris.Setup([sys.argv[0], *options, "-print_final_stats=1", str(corpus)], run_case)
    atheris.Fuzz()


def prepare(name: str, readers: "dict[str, Reader]") -> tuple[Callable[[bytes], None], list[bytes]]:
    """Return a function that runs one case of a reader in a separate folder, and the reader's seeds."""
    from whaleid.core.errors import WhaleidError

    reader = readers[name]
    work = Path(tempfile.mkdtemp(dir=".")).resolve()
    seeds = reader.seeds()
    for content in seeds:  # load modules and codecs before the audit hook forbids it
        with suppress(WhaleidError, FileNotFoundError):
            reader.read(content, work)
        clear(work)
    hook = AuditHook(str(work))
    sys.addaudithook(hook)

    def run_case(content: bytes) -> None:
        hook.on = True
        started = time.process_time()
        try:
            reader.read(content, work)
        except (WhaleidError, FileNotFoundError):
            pass
        finally:
            hook.on = False
        if hook.violation:
            raise Fault(hook.violation)
        if (spent := time.process_time() - started) > SECONDS:
            raise Fault(f"{spent:.1f} s")
        clear(work)

    return run_case, seeds


def run_in_one_process(cases_by_reader: dict[str, int], seed: int) -> None:
    """Run the cases of all readers in this process, one reader at a time; raise an exception at the first fault."""
    from faults.readers import READERS

    with tempfile.TemporaryDirectory(dir=_shared_memory()) as folder:
        os.chdir(folder)
        for name, cases in cases_by_reader.items():
            try:
                mutate(*prepare(name, READERS), cases, seed)
            except BaseException:
                path = shutil.copy("crash", Path(tempfile.gettempdir()) / f"{name}-crash")
                print(f"{name}: the input is kept in {path}", file=sys.stderr)
                raise
        os.chdir(ROOT)
    print(json.dumps({"engine": "blind", "cases": sum(cases_by_reader.values()), "faults": [], "mib": peak_mib()}))
    sys.exit(peak_mib() > MAX_MIB)


def peak_mib() -> int:
    """Return the peak resident memory of this process in MiB; `getrusage` would include that of its parent."""
    match = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert match
    return int(match[1]) // 1024


def mutate(run_case: Callable[[bytes], None], seeds: list[bytes], cases: int, seed: int) -> None:
    """Run cases made by mutating seeds at random: byte runs are replaced, doubled or deleted."""
    rng = random.Random(seed)
    for _ in range(cases):
        content = bytearray(rng.choice(seeds))
        for _ in range(rng.choice((1, 1, 2, 4, 16))):
            start = rng.randrange(len(content) + 1)
            end = min(len(content), start + rng.choice((0, 1, 1, 2, 4, 64)))
            old = bytes(content[start:end])
            content[start:end] = rng.choice((b"", rng.randbytes(len(old)), 2 * old, *PIECES))
        try:
            run_case(bytes(content[:MAX_BYTES]))
        except BaseException:
            Path("crash").write_bytes(content)
            raise


class AuditHook:
    """An audit hook of Python that records what a reader must not do: `violation`, empty if there is none."""

    def __init__(self, folder: str) -> None:
        self.folder, self.on, self.violation = folder, False, ""

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        """Check one audit event."""
        if not self.on:
            return
        written = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITE_FLAGS
        if written or event in MODIFYING_EVENTS:
            for path in arguments[: 2 if event in ("os.rename", "os.link") else 1]:
                if isinstance(path, str | bytes) and not self.inside(os.fsdecode(path)):
                    self.violation = f"{event} {path!r}"
        elif event in FORBIDDEN_EVENTS:
            self.violation = f"{event} {arguments!r}"[:500]

    def inside(self, path: str) -> bool:
        """Return whether `path` is inside the folder."""
        return os.path.realpath(path).startswith(self.folder + os.sep) or os.path.realpath(path) == self.folder


def clear(folder: Path) -> None:
    """Remove the files of a case."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            if entry.name != "whales":  # the photos of a catalogue, which its reader needs in every case
                shutil.rmtree(entry.path)
        else:
            Path(entry.path).unlink()


def _shared_memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # for the test helpers
    main()
