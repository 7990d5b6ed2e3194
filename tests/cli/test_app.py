"""The commands as people type them: what they print, and how they end."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from helpers.pictures import picture
from helpers.project import ROOT
from helpers.terminal import WHALEID, environment, run_in_process, run_in_subprocess
from ruamel.yaml import YAML

from whaleid.cli.app import ENVIRONMENT, EXIT_CODES
from whaleid.config import Params

VARIANTS = "Available: toy, full, threshold, margin, final.\n"
NO_CATALOG = "error: data/catalog.csv does not exist. Run `dvc repro` to create it and all files that it depends on.\n"


def test_the_help_names_commands_codes_and_the_environment() -> None:
    printed = run_in_process("--help").stdout
    documents = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    pipeline = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for name in [*pipeline, "score", "submit", "preset", "compare", "import"]:
        assert f" {name} " in printed
    for code, meaning in EXIT_CODES.items():
        assert f"  {code:<20}{meaning}" in printed
        assert f"| {code} | {meaning}" in documents
    read = {
        name
        for file in (ROOT / "whaleid").rglob("*.py")
        for name in re.findall(r'"(WHALEID_[A-Z_]+)"', file.read_text(encoding="utf-8"))
    }
    assert {name for name in ENVIRONMENT if name.startswith("WHALEID_")} == read
    for name, meaning in ENVIRONMENT.items():
        assert f"  {name:20}{meaning} " in printed
        assert f"| `{name}` |" in documents


def test_the_help_imports_nothing_heavy() -> None:
    code = "import sys, whaleid.cli; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    for name in ("'torch'", "'mlflow'", "'dvc'", "'pandas'", "'numpy'", "'pydantic'", "'rich'"):
        assert name not in loaded


def test_the_version_has_one_place() -> None:
    import tomllib

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert run_in_process("--version").stdout == f"whaleid {declared}\n"
    command = ["git", "grep", "-lF", f'"{declared}"', "--", "whaleid/*.py", "*.toml"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == "pyproject.toml\n"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("check", 0, ""),
        ("train toyy", 1, f"error: 'toyy' is not a variant in params.yaml. {VARIANTS}"),
        # it is ranked, but neither trained nor bundled
        ("calibrate phash", 1, f"error: 'phash' is not a variant in params.yaml. {VARIANTS}"),
        *(
            (f"{name} phash", 1, f"error: 'phash' is not a prediction with a network in params.yaml. {VARIANTS}")
            for name in ("bundle", "register")
        ),
        ("rank", 1, NO_CATALOG),
        ("duplicates nowhere", 1, "error: nowhere is no folder.\n"),
        ("traim", 2, "No such command 'traim'"),
        ("train", 2, "Missing argument 'variant'"),
        ("train toy full", 2, "unexpected extra argument"),
        *((f"{stage} toy", 2, "unexpected extra argument") for stage in ("rank", "predict", "report")),
        ("duplicates . --max-distance many", 2, "Invalid value for '--max-distance'"),
        ("score nowhere.csv nowhere.csv", 2, "file 'nowhere.csv' does not exist"),
        ("--quiet --verbose check", 2, "use --quiet or --verbose, not both"),
    ],
)
def test_how_a_command_ends(project: Callable[..., Params], words: str, code: int, message: str) -> None:
    project()
    ended = run_in_process(*words.split())
    assert ended.returncode == code
    assert message in ended.stderr if message else not ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_process_ends_as_the_program_does(project: Callable[..., Params]) -> None:
    project()
    ended = run_in_subprocess("--quiet", "dedup")
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", NO_CATALOG)


def test_unreadable_photos_have_an_exit_code_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    picture(1).save("photos/a.png")
    assert run_in_process("duplicates", "photos").returncode == 0
    Path("photos/b.png").write_bytes(b"no photo")
    ended = run_in_process("duplicates", "photos")
    assert ended.returncode == 3
    assert ended.stderr == "duplicates/unreadable.csv lists the images that could not be read, and why\n"


def test_score(tmp_path: Path) -> None:
    solution, submission = tmp_path / "solution.csv", tmp_path / "submission.csv"
    solution.write_text("Image,Id\na.jpg,w_1\nb.jpg,new_whale\nc.jpg,w_2\n")
    submission.write_text("Image,Id\nb.jpg,w_1 new_whale\na.jpg,w_1 w_2 w_3\nc.jpg,w_3 w_3 w_4 w_2\n")
    # 1, 1/2, and the third distinct label
    assert run_in_process("score", str(submission), str(solution)).stdout == "0.61111\n"
    submission.write_text("Image,Id\nb.jpg,w_1\nb.jpg,w_1\nd.jpg,w_1\n")
    ended = run_in_process("score", str(submission), str(solution))
    assert ended.returncode == 1
    for message in ("line 3: 'b.jpg' is repeated", "line 4: 'd.jpg' is not asked for", "'a.jpg' is missing"):
        assert message in ended.stderr


def test_compare(project: Callable[..., Params]) -> None:
    project()
    ended = run_in_process("compare")
    assert ended.returncode == 1
    assert ended.stderr == (
        "error: There are no figures to compare in reports/figures/PREDICTION.json for phash, toy, full, threshold, "
        "margin, final. Run `dvc repro`.\n"
    )
    Path("reports/figures").mkdir(parents=True)
    for name, map5 in (("full", 0.7), ("phash", 0.4)):
        Path("reports/figures", f"{name}.json").write_text(f'{{"map5": {map5}}}', encoding="utf-8")
    printed = run_in_process("compare").stdout
    assert re.search(r"^ *phash +0\.400 +-$", printed, re.MULTILINE)
    assert re.search(r"^ *full +0\.700\* +-$", printed, re.MULTILINE)
    assert "Without figures: toy, threshold, margin, final.\n" in printed


def test_a_disk_that_fills_up_leaves_the_last_whole_output(project: Callable[..., Params]) -> None:
    project()
    Path("data").mkdir()
    Path("data/sample").write_text("whole")
    command = f"ulimit -f 1; exec {' '.join(WHALEID)} sample"  # no file may grow beyond a block
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, env=environment())
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: File too large: data/sample.")
    assert "Outputs are written completely or not at all" in ended.stderr
    assert [(path.name, path.read_text()) for path in Path("data").iterdir()] == [("sample", "whole")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stop", "code", "message"), [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, "terminated\n")]
)
def test_a_stage_that_is_stopped_prints_one_word(
    project: Callable[..., Params], stop: signal.Signals, code: int, message: str
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
    assert (process.returncode, out, err) == (code, "", message)
    assert [*Path("data").iterdir()] == []


@pytest.mark.parametrize("words", ["--help", "compare"])
def test_a_reader_that_goes_away_sees_nothing_more(project: Callable[..., Params], words: str) -> None:
    project()
    Path("reports/figures").mkdir(parents=True)
    Path("reports/figures/full.json").write_text('{"map5": 0.7}')
    # not even the first line is read: whatever is written, even at the very end, has no reader
    command = f"{' '.join(WHALEID)} {words} | true; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, env=environment(PYTHONUNBUFFERED="")
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "")
