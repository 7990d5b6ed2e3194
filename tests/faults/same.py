"""Compare the outputs of two fresh clones, byte for byte, under different conditions.

A: two clones run the whole pipeline, with few photos. The second clone differs in everything that must not affect
results: the folder (deeper, with spaces and umlauts), the order of the photos on disk, a shuffled order of directory
listings, PYTHONHASHSEED, the time zone, the locale (Turkish, where the lower case of I is not i, if available) and the
umask.

B: every stage runs again on the first clone's files, on one core and with other numbers of threads. As its inputs are
unchanged, this shows which stages depend on threads themselves. Only stages that train a network may.

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

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the test helpers

from helpers import repository
from helpers.project import init_repository

SHUFFLED_LISTINGS = '''"""List folders in a random order in this process."""

import os
import random



class Entries:
    def __init__(self, entries):
        self._entries = iter(entries)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._entries)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        self._entries = iter(())


def shuffled(entries):
    entries = list(entries)
    random.Random(len(entries)).shuffle(entries)
    return entries


listdir, scandir = os.listdir, os.scandir
os.listdir = lambda *arguments: shuffled(listdir(*arguments))
os.scandir = lambda *arguments: Entries(shuffled(scandir(*arguments)))
'''
TRAINING = ("boxes", "train")
"""Prefixes of the names of the stages that train a network."""
OTHER_NAME, OTHER_UMASK = Path("deep er/ünter/Wale İ/clone"), 0o077
THREADS = {
    "one core": (["taskset", "-c", "0"], {}),
    "one core, two threads": (["taskset", "-c", "0"], {"OMP_NUM_THREADS": "2"}),
    "one thread": ([], {"OMP_NUM_THREADS": "1"}),
    "four threads": ([], {"OMP_NUM_THREADS": "4"}),
    "two threads": ([], {"OMP_NUM_THREADS": "2"}),
}


def init_fresh_repository(folder: Path) -> None:
    """Create a repository whose pipeline has not run."""
    folder.mkdir(parents=True)
    init_repository(folder)


def turkish_locale(home: Path) -> dict[str, str]:
    """Compile the Turkish locale, if possible, and return the variables that select it; otherwise those of locale C."""
    compiled = home / "locales" / "tr_TR.UTF-8"
    compiled.parent.mkdir()
    if shutil.which("localedef"):
        subprocess.run(["localedef", "-i", "tr_TR", "-f", "UTF-8", str(compiled)], check=False)
    if compiled.exists():
        return {"LC_ALL": "tr_TR.UTF-8", "LOCPATH": str(compiled.parent)}
    return {"LC_ALL": "C"}


def recreate_in_other_order(catalogue: Path) -> None:
    """Create all photos of a catalogue again, in another order."""
    for part in ("train", "test"):
        aside = catalogue / f"{part}.aside"
        (catalogue / part).rename(aside)
        (catalogue / part).mkdir()
        photos = sorted(path.name for path in aside.iterdir())
        random.Random(1).shuffle(photos)
        for name in photos:
            shutil.copyfile(aside / name, catalogue / part / name)
        shutil.rmtree(aside)


def repro(folder: Path, environment: dict[str, str], *further: str, umask: int = 0o022) -> None:
    subprocess.run(["dvc", "repro", "--quiet", *further], cwd=folder, env=environment, umask=umask, check=True)


def other_environment(home: Path) -> dict[str, str]:
    """Return an environment that differs in variables that must not affect results."""
    patches = home / "patches"
    patches.mkdir()
    (patches / "sitecustomize.py").write_text(SHUFFLED_LISTINGS, encoding="utf-8")
    differs = {"PYTHONHASHSEED": "4242", "TZ": "Pacific/Kiritimati", "PYTHONPATH": str(patches), **turkish_locale(home)}
    return repository.environment(home / "other cache", **differs)


def run_elsewhere(home: Path) -> tuple[Path, dict[str, str]]:
    """Run the pipeline in a clone that differs in what must not affect results; return its folder and environment."""
    folder, environment = home / OTHER_NAME, other_environment(home)
    init_fresh_repository(folder)
    repro(folder, environment, "sample", umask=OTHER_UMASK)
    recreate_in_other_order(folder / "data/sample")
    repro(folder, environment, umask=OTHER_UMASK)
    return folder, environment


def rerun_stages(
    folder: Path, environment: dict[str, str], prefix: list[str], stages: list[str]
) -> dict[str, list[str]]:
    """Run all stages (or only `stages`) again on the same inputs; map each stage to the files that differ.

    Files that differ are restored before the next stage runs.
    """
    locked = yaml.safe_load((folder / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    differing = {}
    expected = repository.digests(folder)
    reference = folder.with_name(f"{folder.name}.reference")
    shutil.copytree(folder, reference)
    for name, stage in locked.items():
        if stages and name not in stages:
            continue
        _, _, *command = shlex.split(stage["cmd"])
        for out in stage.get("outs", []):
            path = folder / out["path"]
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        subprocess.run(
            [*prefix, "python", "-m", *command],
            cwd=folder,
            env=environment | {"WHALEID_TRACKING": "off"},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        if changed := repository.differing_files(expected, repository.digests(folder)):
            print(f"{name}: {len(changed)} files differ", flush=True)
            differing[name] = changed
            for path in changed:
                shutil.copy2(reference / path, folder / path) if path in expected else (folder / path).unlink()
    shutil.rmtree(reference)
    return differing


def main(home: Path, only: str | None, stages: list[str]) -> dict[str, Any]:
    reference = home / "one"
    environment = repository.environment(home / "cache", PYTHONHASHSEED="0")
    init_fresh_repository(reference)
    repro(reference, environment)
    expected = repository.digests(reference)
    figures: dict[str, Any] = {"files": len(expected), "cores": len(os.sched_getaffinity(0))}
    print(f"one clone: {len(expected)} files", flush=True)
    if only in (None, "elsewhere"):
        clone, settings = run_elsewhere(home)
        figures["locale"] = settings["LC_ALL"]
        figures["different_elsewhere"] = repository.differing_files(expected, repository.digests(clone))
        print(f"another clone: {figures['different_elsewhere'] or 'the same'}", flush=True)
    by_threads = figures["different_by_threads"] = {}
    for name, (prefix, threads) in THREADS.items():
        if only in (None, name):
            differing = rerun_stages(reference, environment | threads, prefix, stages)
            by_threads[name] = differing
            print(f"{name}: {differing or 'the same'}", flush=True)
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["elsewhere", *THREADS])
    parser.add_argument("--stages", nargs="*", default=[], help="run only these stages in part B")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = main(Path(folder), arguments.only, arguments.stages)
    print(json.dumps(figures))
    assert not figures.get("different_elsewhere")
    differing = {stage for by_stage in figures["different_by_threads"].values() for stage in by_stage}
    assert all(stage.startswith(TRAINING) for stage in differing), differing
