"""What a shell gets when Tab is pressed, by typer's protocol; what installs that."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.project import ensemble_params
from helpers.terminal import WHALEID, environment, run_in_process

from whaleid.config import Params

BIN = Path(sys.executable).parent


def completed(typed: str) -> list[str]:
    """Return what bash is offered for the last word of `whaleid` and what was `typed`."""
    words = ["whaleid", *typed.split(" ")]
    done = run_in_process(_WHALEID_COMPLETE="complete_bash", COMP_WORDS=" ".join(words), COMP_CWORD=str(len(words) - 1))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("tr", ["train"]),
        ("--v", ["--verbose", "--version"]),
        ("--quiet comp", ["compare"]),
        ("train ", ["toy", "full", "threshold", "margin", "final"]),
        ("embed t", ["toy", "threshold"]),
        ("calibrate m", ["margin"]),
        ("bundle ", ["toy", "full", "threshold", "margin", "final"]),  # not phash, which has no network
        ("register f", ["full", "final"]),
        ("preset ", ["real", "sample"]),
    ],
)
def test_words_are_completed(project: Callable[..., Params], typed: str, offered: list[str]) -> None:
    project()
    assert completed(typed) == offered


def test_an_ensemble_is_completed_as_a_prediction_its_networks_as_variants(project: Callable[..., Params]) -> None:
    project(**ensemble_params())
    assert completed("train ") == ["toy", "full", "threshold", "margin", "final", "pairs", "final_pairs"]
    assert completed("bundle e") == ["ensemble"]
    assert completed("calibrate e") == []


@pytest.mark.parametrize("content", [None, "variants: {toy: ", "- a list", "variants: {toy: {}}"])
def test_a_project_that_cannot_be_read_offers_nothing_and_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("params.yaml").write_text(content)
    assert completed("train ") == []
    assert completed("preset s") == ["sample"]


@pytest.mark.parametrize(
    ("shell", "file"), [("bash", ".bashrc"), pytest.param("zsh", ".zshrc", marks=pytest.mark.long)]
)
def test_a_shell_can_be_taught(tmp_path: Path, shell: str, file: str) -> None:
    def type_there(option: str) -> str:
        # typer sees which shell runs it by the name of the process: bash under that name
        named = tmp_path / shell
        if not named.exists():
            named.symlink_to("/bin/bash")
        command = f"{' '.join(WHALEID)} {option}; true"
        return subprocess.run(
            [named, "-c", command],
            capture_output=True,
            text=True,
            check=True,
            env=environment(HOME=str(tmp_path), SHELL=str(named)),
        ).stdout

    shown = type_there("--show-completion")
    assert f"_WHALEID_COMPLETE=complete_{shell}" in shown
    assert f"{shell} completion installed in" in type_there("--install-completion")
    assert (tmp_path / file).is_file()


def test_bash_completes_with_what_it_was_taught(project: Callable[..., Params]) -> None:
    project()
    script = "\n".join(
        [
            'eval "$(whaleid --show-completion)"',
            "COMP_WORDS=(whaleid train ma) COMP_CWORD=2",
            "_whaleid_completion whaleid",
            'echo "${COMPREPLY[@]}"',
        ]
    )
    path = f"{BIN}:{environment()['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, env=environment(PATH=path)
    )
    assert done.stdout == "margin\n"
