"""How commands end: the code, and what is said of it. (Training that is stopped: `tests/stages/test_train.py`.)"""

import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from helpers.pictures import picture
from helpers.terminal import WHALEID, environment, whaleid

from whaleid.cli.app import CODES
from whaleid.cli.options import PARTLY
from whaleid.config import Params


def test_each_is_told_in_the_help_and_in_the_documents() -> None:
    told = whaleid("--help").stdout
    table = (Path(__file__).parents[2] / "docs/reference.md").read_text(encoding="utf-8")
    assert list(CODES) == [0, 1, 2, 3, 130, 143]
    for code, means in CODES.items():
        assert f"  {code:<20}{means}" in told
        assert f"| {code} | {means}" in table


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["check"], 0, ""),
        (["train", "toyy"], 1, "error: 'toyy' is no variant in params.yaml"),
        (["duplicates", "nowhere"], 1, "error: nowhere is no folder.\n"),
        (["traim"], 2, "No such command 'traim'"),
        (["train"], 2, "Missing argument 'variant'"),
        (["train", "toy", "full"], 2, "unexpected extra argument"),
        (["predict", "toy"], 2, "unexpected extra argument"),
        (["bundle", "phash"], 1, "error: 'phash' is no prediction with a network in params.yaml"),
        (["duplicates", ".", "--max-distance", "many"], 2, "Invalid value for '--max-distance'"),
        (["score", "nowhere.csv", "nowhere.csv"], 2, "file 'nowhere.csv' does not exist"),
        (["--quiet", "--verbose", "check"], 2, "use --quiet or --verbose, not both"),
    ],
)
def test_a_command_ends_as_told(project: Callable[..., Params], words: list[str], code: int, said: str) -> None:
    project()
    done = whaleid(*words)
    assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (code, True, False)
    assert (done.stderr == "") == (code == 0)


def test_photos_that_cannot_be_read_are_told_of(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    picture(1).save(folder / "a.png")
    assert whaleid("duplicates", "photos", cwd=tmp_path).returncode == 0
    (folder / "b.png").write_bytes(b"no photo")
    done = whaleid("duplicates", "photos", cwd=tmp_path)
    assert done.returncode == PARTLY == 3
    assert done.stderr == "duplicates/unreadable.csv says which images could not be read, and why\n"


@pytest.mark.parametrize(
    ("stop", "code", "said"), [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, "terminated\n")]
)
def test_a_stage_that_is_stopped_ends_with_one_word(
    project: Callable[..., Params], stop: signal.Signals, code: int, said: str
) -> None:
    project(sample={"frequent": 64, "occasional": 50, "single": 140, "new_whale": 110, "queries": 1000})
    # who runs these tests in the background of a shell has Ctrl-C ignored, and so would what they start
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*WHALEID, "sample"], **pipes, text=True, env=environment(), preexec_fn=heard) as process:
        while not any(Path("data").glob(".sample.partial/*/*")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(stop)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (code, "", said)
    assert [*Path("data").iterdir()] == []


@pytest.mark.parametrize("words", ["--help", "compare", "check"])
def test_a_reader_that_goes_away_hears_and_sees_nothing_more(project: Callable[..., Params], words: str) -> None:
    project()
    Path("reports/figures").mkdir(parents=True)
    Path("reports/figures/full.json").write_text('{"map5": 0.7}')
    # not even the first line is read: whatever is written, be it at the very end, finds nobody
    command = f"{' '.join(WHALEID)} {words} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, env=environment(PYTHONUNBUFFERED="")
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
