"""Two fresh clones leave the same bytes, whatever machine-side thing differs between them.

A: two clones run the whole pipeline at a sliver's size. The second differs in all that should not matter: another
folder (deeper, with blanks and umlauts), another order of the photos on disk, folders listed in a shuffled order,
PYTHONHASHSEED, time zone, locale (Turkish, whose lower case of I is no i, where it can be made), and umask.

B: every stage runs again on what the first clone has, on one core and with another number of threads: so it shows which
stages depend on that by themselves, not by what they read. Those that train may, no others.

    python tests/faults/same.py [--only VARIATION]
"""

import argparse
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests' own modules

from helpers import repository
from helpers.project import init_repository

SHUFFLED = '''"""Folders are listed in a random order in this process."""

import os
import random



class Entries:
    def __init__(self, found):
        self._left = iter(found)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._left)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        self._left = iter(())


def shuffled(found):
    found = list(found)
    random.Random(len(found)).shuffle(found)
    return found


listdir, scandir = os.listdir, os.scandir
os.listdir = lambda *arguments: shuffled(listdir(*arguments))
os.scandir = lambda *arguments: Entries(shuffled(scandir(*arguments)))
'''
TRAINING = ("boxes", "train")
"""How the names of stages begin that train a network."""
OTHER_NAME, OTHER_UMASK = Path("deep er/ünter/Wale İ/clone"), 0o077
THREADS = {
    "one core": (["taskset", "-c", "0"], {}),
    "one core, two threads": (["taskset", "-c", "0"], {"OMP_NUM_THREADS": "2"}),
    "one thread": ([], {"OMP_NUM_THREADS": "1"}),
    "four threads": ([], {"OMP_NUM_THREADS": "4"}),
    "two threads": ([], {"OMP_NUM_THREADS": "2"}),
}


def fresh(folder: Path) -> None:
    """Make a repository in which nothing has run."""
    folder.mkdir(parents=True)
    init_repository(folder)


def locale(home: Path) -> dict[str, str]:
    """Make the Turkish locale, if this system can, and return what chooses it; else C, which knows no umlauts."""
    made = home / "locales" / "tr_TR.UTF-8"
    made.parent.mkdir()
    if shutil.which("localedef"):
        subprocess.run(["localedef", "-i", "tr_TR", "-f", "UTF-8", str(made)], check=False)
    if made.exists():
        return {"LC_ALL": "tr_TR.UTF-8", "LOCPATH": str(made.parent)}
    return {"LC_ALL": "C"}


def rearrange(catalogue: Path) -> None:
    """Create all photos anew, in another order."""
    for part in ("train", "test"):
        aside = catalogue / f"{part}.aside"
        (catalogue / part).rename(aside)
        (catalogue / part).mkdir()
        names = sorted(path.name for path in aside.iterdir())
        random.Random(1).shuffle(names)
        for name in names:
            shutil.copyfile(aside / name, catalogue / part / name)
        shutil.rmtree(aside)


def repro(folder: Path, environment: dict[str, str], *further: str, umask: int = 0o022) -> None:
    subprocess.run(["dvc", "repro", "--quiet", *further], cwd=folder, env=environment, umask=umask, check=True)


def other(home: Path) -> dict[str, str]:
    """Return an environment that differs in what should not matter."""
    patches = home / "patches"
    patches.mkdir()
    (patches / "sitecustomize.py").write_text(SHUFFLED, encoding="utf-8")
    differs = {"PYTHONHASHSEED": "4242", "TZ": "Pacific/Kiritimati", "PYTHONPATH": str(patches), **locale(home)}
    return repository.environment(home / "other cache", **differs)


def elsewhere(home: Path) -> tuple[Path, dict[str, str]]:
    """Run all in a clone that differs in what should not matter; return it and its environment."""
    folder, environment = home / OTHER_NAME, other(home)
    fresh(folder)
    repro(folder, environment, "sample", umask=OTHER_UMASK)
    rearrange(folder / "data/sample")
    repro(folder, environment, umask=OTHER_UMASK)
    return folder, environment


def by_stage(folder: Path, environment: dict[str, str], before: list[str], stages: list[str]) -> dict[str, list[str]]:
    """Run each stage, or those named, again on what is there; return, by stage, the files that come out otherwise.

    What a stage changes is put back before the next one runs.
    """
    locked = yaml.safe_load((folder / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    wrong = {}
    expected = repository.digests(folder)
    whole = folder.with_name(f"{folder.name}.whole")
    shutil.copytree(folder, whole)
    for name, stage in locked.items():
        if stages and name not in stages:
            continue
        _, _, *command = shlex.split(stage["cmd"])
        for out in stage.get("outs", []):
            path = folder / out["path"]
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        subprocess.run(
            [*before, "python", "-m", *command],
            cwd=folder,
            env=environment | {"WHALEID_TRACKING": "off"},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        found = repository.digests(folder)
        if changed := repository.differing_files(expected, found):
            print(f"{name}: other bytes", flush=True)
            wrong[name] = changed
            for path in changed:
                shutil.copy2(whole / path, folder / path) if path in expected else (folder / path).unlink()
    shutil.rmtree(whole)
    return wrong


def main(home: Path, only: str | None, stages: list[str]) -> dict[str, Any]:
    one = home / "one"
    environment = repository.environment(home / "cache", PYTHONHASHSEED="0")
    fresh(one)
    repro(one, environment)
    expected = repository.digests(one)
    figures: dict[str, Any] = {"files": len(expected), "cores": len(os.sched_getaffinity(0))}
    print(f"one clone: {len(expected)} files", flush=True)
    if only in (None, "elsewhere"):
        another, settings = elsewhere(home)
        figures["locale"] = settings["LC_ALL"]
        figures["different_elsewhere"] = repository.differing_files(expected, repository.digests(another))
        print(f"another clone: {figures['different_elsewhere'] or 'the same'}", flush=True)
    by_threads = figures["different_by_threads"] = {}
    for name, (before, threads) in THREADS.items():
        if only in (None, name):
            wrong = by_stage(one, environment | threads, before, stages)
            by_threads[name] = wrong
            print(f"{name}: {wrong or 'the same'}", flush=True)
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["elsewhere", *THREADS])
    parser.add_argument("--stages", nargs="*", default=[], help="of part B, these alone")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = main(Path(folder), asked.only, asked.stages)
    print(json.dumps(figures))
    assert not figures.get("different_elsewhere")
    wrong = {stage for found in figures["different_by_threads"].values() for stage in found}
    assert all(stage.startswith(TRAINING) for stage in wrong), wrong
