"""Shell completion: the suggestions of typer's protocol, and its installation."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.project import ensemble_params
from helpers.terminal import WHALEID, environment, run_in_process

from whaleid.config import Params

BIN = Path(sys.executable).parent


def suggestions(typed: str) -> list[str]:
    """Return the words that bash suggests for the last word of `whaleid TYPED`."""
    words = ["whaleid", *typed.split(" ")]
    result = run_in_process(
        _WHALEID_COMPLETE="complete_bash", COMP_WORDS=" ".join(words), COMP_CWORD=str(len(words) - 1)
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.split()


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("tr", ["train"]),
        ("--v", ["--verbose", "--version"]),
        ("--quiet comp", ["compare"]),
        ("train ", ["toy", "full", "threshold", "margin", "final"]),
        ("embed t", ["toy", "threshold"]),
        ("calibrate m", ["margin"]),
        ("bundle ", ["toy", "full", "threshold", "margin", "final"]),  # without phash, which has no network
        ("register f", ["full", "final"]),
        ("preset ", ["real", "sample"]),
    ],
)
def test_words_are_completed(project: Callable[..., Params], typed: str, expected: list[str]) -> None:
    project()
    assert suggestions(typed) == expected


def test_ensembles_are_completed_as_predictions_and_their_networks_as_variants(project: Callable[..., Params]) -> None:
    project(**ensemble_params())
    assert suggestions("train ") == ["toy", "full", "threshold", "margin", "final", "pairs", "final_pairs"]
    assert suggestions("bundle e") == ["ensemble"]
    assert suggestions("calibrate e") == []


@pytest.mark.parametrize("content", [None, "variants: {toy: ", "- a list", "variants: {toy: {}}"])
def test_an_invalid_params_file_gives_no_suggestions_and_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("params.yaml").write_text(content)
    assert suggestions("train ") == []
    assert suggestions("preset s") == ["sample"]


@pytest.mark.parametrize(
    ("shell", "file"), [("bash", ".bashrc"), pytest.param("zsh", ".zshrc", marks=pytest.mark.long)]
)
def test_completion_can_be_installed(tmp_path: Path, shell: str, file: str) -> None:
    def run_in_shell(option: str) -> str:
        # typer detects the shell by the name of its process, so bash is linked under that name
        executable = tmp_path / shell
        if not executable.exists():
            executable.symlink_to("/bin/bash")
        command = f"{' '.join(WHALEID)} {option}; true"
        return subprocess.run(
            [executable, "-c", command],
            capture_output=True,
            text=True,
            check=True,
            env=environment(HOME=str(tmp_path), SHELL=str(executable)),
        ).stdout

    script = run_in_shell("--show-completion")
    assert f"_WHALEID_COMPLETE=complete_{shell}" in script
    assert f"{shell} completion installed in" in run_in_shell("--install-completion")
    assert (tmp_path / file).is_file()


def test_bash_completes_with_the_installed_script(project: Callable[..., Params]) -> None:
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
    result = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, env=environment(PATH=path)
    )
    assert result.stdout == "margin\n"
