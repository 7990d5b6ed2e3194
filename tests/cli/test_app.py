"""The command line: help, exit codes, errors and signals."""

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
NO_CATALOG = (
    "error: data/catalog.csv does not exist. If the pipeline creates it, run `dvc repro`. Otherwise correct the path.\n"
)


def test_help_lists_commands_exit_codes_and_environment_variables() -> None:
    output = run_in_process("--help").stdout
    reference = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    pipeline = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for name in [*pipeline, "score", "submit", "preset", "compare", "import"]:
        assert f" {name} " in output
    for code, meaning in EXIT_CODES.items():
        assert f"  {code:<20}{meaning}" in output
        assert f"| {code} | {meaning}" in reference
    variables = {
        name
        for file in (ROOT / "whaleid").rglob("*.py")
        for name in re.findall(r'"(WHALEID_[A-Z_]+)"', file.read_text(encoding="utf-8"))
    }
    assert {name for name in ENVIRONMENT if name.startswith("WHALEID_")} == variables
    for name, meaning in ENVIRONMENT.items():
        assert f"  {name:20}{meaning} " in output
        assert f"| `{name}` |" in reference


def test_help_imports_no_heavy_packages() -> None:
    code = "import sys, whaleid.cli; print(sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    for name in ("'torch'", "'mlflow'", "'dvc'", "'pandas'", "'numpy'", "'pydantic'", "'rich'"):
        assert name not in modules


def test_the_version_is_declared_once() -> None:
    import tomllib

    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert run_in_process("--version").stdout == f"whaleid {version}\n"
    command = ["git", "grep", "-lF", f'"{version}"', "--", "whaleid/*.py", "*.toml"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == "pyproject.toml\n"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        ("check", 0, ""),
        ("train toyy", 1, f"error: 'toyy' is not a variant in params.yaml. {VARIANTS}"),
        # phash is a prediction, but has no network to train or bundle
        ("calibrate phash", 1, f"error: 'phash' is not a variant in params.yaml. {VARIANTS}"),
        *(
            (f"{name} phash", 1, f"error: 'phash' is not a prediction with a network in params.yaml. {VARIANTS}")
            for name in ("bundle", "register")
        ),
        ("rank", 1, NO_CATALOG),
        ("duplicates nowhere", 1, "error: nowhere is not a folder. Correct the path.\n"),
        ("traim", 2, "No such command 'traim'"),
        ("train", 2, "Missing argument 'variant'"),
        ("train toy full", 2, "unexpected extra argument"),
        *((f"{stage} toy", 2, "unexpected extra argument") for stage in ("rank", "predict", "report")),
        ("duplicates . --max-distance many", 2, "Invalid value for '--max-distance'"),
        ("score nowhere.csv nowhere.csv", 2, "file 'nowhere.csv' does not exist"),
        ("--quiet --verbose check", 2, "use --quiet or --verbose, not both"),
    ],
)
def test_exit_codes_and_errors(project: Callable[..., Params], arguments: str, exit_code: int, message: str) -> None:
    project()
    result = run_in_process(*arguments.split())
    assert result.returncode == exit_code
    assert message in result.stderr if message else not result.stderr
    assert "Traceback" not in result.stderr


def test_a_subprocess_has_the_same_exit_code_and_output(project: Callable[..., Params]) -> None:
    project()
    result = run_in_subprocess("--quiet", "dedup")
    assert (result.returncode, result.stdout, result.stderr) == (1, "", NO_CATALOG)


def test_exit_code_if_photos_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    picture(1).save("photos/a.png")
    assert run_in_process("duplicates", "photos").returncode == 0
    Path("photos/b.png").write_bytes(b"not a photo")
    result = run_in_process("duplicates", "photos")
    assert result.returncode == 3
    assert result.stderr == "duplicates/unreadable.csv lists the images that could not be read, and why\n"


def test_score(tmp_path: Path) -> None:
    solution, submission = tmp_path / "solution.csv", tmp_path / "submission.csv"
    solution.write_text("Image,Id\na.jpg,w_1\nb.jpg,new_whale\nc.jpg,w_2\n")
    submission.write_text("Image,Id\nb.jpg,w_1 new_whale\na.jpg,w_1 w_2 w_3\nc.jpg,w_3 w_3 w_4 w_2\n")
    # 1 for rank 1, 1/2 for rank 2, 1/3 for the third distinct label
    assert run_in_process("score", str(submission), str(solution)).stdout == "0.61111\n"
    submission.write_text("Image,Id\nb.jpg,w_1\nb.jpg,w_1\nd.jpg,w_1\n")
    result = run_in_process("score", str(submission), str(solution))
    assert result.returncode == 1
    for message in ("line 3: 'b.jpg' is repeated", "line 4: 'd.jpg' is not in the solution", "'a.jpg' is missing"):
        assert message in result.stderr


def test_compare(project: Callable[..., Params]) -> None:
    project()
    result = run_in_process("compare")
    assert result.returncode == 1
    assert result.stderr == (
        "error: There are no figures to compare in reports/figures/PREDICTION.json for phash, toy, full, threshold, "
        "margin, final. Run `dvc repro`.\n"
    )
    Path("reports/figures").mkdir(parents=True)
    for name, map5 in (("full", 0.7), ("phash", 0.4)):
        Path("reports/figures", f"{name}.json").write_text(f'{{"map5": {map5}}}', encoding="utf-8")
    output = run_in_process("compare").stdout
    assert re.search(r"^ *phash +0\.400 +-$", output, re.MULTILINE)
    assert re.search(r"^ *full +0\.700\* +-$", output, re.MULTILINE)
    assert "Without figures: toy, threshold, margin, final.\n" in output


def test_a_full_disk_leaves_the_previous_output_unchanged(project: Callable[..., Params]) -> None:
    project()
    Path("data").mkdir()
    Path("data/sample").write_text("previous")
    command = f"ulimit -f 1; exec {' '.join(WHALEID)} sample"  # limits files to one block
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, env=environment())
    assert result.returncode == 1
    assert result.stderr.startswith("error: File too large: data/sample.")
    assert "Outputs are written completely or not at all" in result.stderr
    assert [(path.name, path.read_text()) for path in Path("data").iterdir()] == [("sample", "previous")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "exit_code", "message"), [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, "terminated\n")]
)
def test_a_stopped_stage_prints_one_word(
    project: Callable[..., Params], number: signal.Signals, exit_code: int, message: str
) -> None:
    project(sample={"frequent": 64, "occasional": 50, "single": 140, "new_whale": 110, "queries": 1000})
    # a shell's background job ignores SIGINT, and its child processes inherit this
    reset_sigint = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(
        [*WHALEID, "sample"], **pipes, text=True, env=environment(), preexec_fn=reset_sigint
    ) as process:
        while not any(Path("data").glob(".sample.partial/*/*")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (exit_code, "", message)
    assert [*Path("data").iterdir()] == []


@pytest.mark.parametrize("arguments", ["--help", "compare"])
def test_a_broken_pipe_prints_no_error(project: Callable[..., Params], arguments: str) -> None:
    project()
    Path("reports/figures").mkdir(parents=True)
    Path("reports/figures/full.json").write_text('{"map5": 0.7}')
    # `true` reads nothing, so every write fails, even the last flush
    command = f"{' '.join(WHALEID)} {arguments} | true; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, env=environment(PYTHONUNBUFFERED="")
    )
    assert (result.returncode, result.stdout, result.stderr) == (1, "", "")
