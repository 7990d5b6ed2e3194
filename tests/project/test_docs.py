"""Names in README and docs exist: files, headings, commands, options, stages, outputs, keys, variables, errors."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import typer
from helpers.pages import Page, pages, split_commands
from helpers.project import ROOT
from ruamel.yaml import YAML

from whaleid import config
from whaleid.cli import presets
from whaleid.cli.app import app

COMMANDS: Any = typer.main.get_command(app)
USAGE: Any = typer.BadParameter.__base__
"""The exception of typer's bundled click for an invalid command line."""
PARAMS = (ROOT / "params.yaml").read_text(encoding="utf-8")
PARAMETERS = config.leaves(config.parse(PARAMS)) | config.leaves(presets.overlays()["real"])
"""Values by key, of params.yaml and of the preset `real`."""
STAGES: Any = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
VARIANTS = {key.split(".")[1] for key in PARAMETERS if key.startswith("variants.")}
TARGETS = {*STAGES, *(f"{stage}@{name}" for stage, of in STAGES.items() if "foreach" in of for name in VARIANTS)}
OUTPUT = re.compile(r"(checkpoints|features|calibrations|rankings|submissions|models|reports|data)/[^ ]*")
COMMIT = re.compile("[0-9a-f]{7}")
"""A short commit hash, as in the names of runs: `dvc repro 49a6c14`."""
OTHER_PATHS = re.compile(r"data/whales(\.dvc)?|models/[\w-]+\.(bundle|unfinished\.safetensors)")
"""Paths that are not outputs in dvc.yaml: a user's catalogue, other bundles and unfinished trainings."""


def parse_error(arguments: list[str], complete: bool) -> str:
    """Parse a command line without running it, and return the error, or an empty string if it is valid.

    If `complete`, required arguments must be present.
    """
    try:
        _, remaining, _ = COMMANDS.make_parser(COMMANDS.context_class(COMMANDS)).parse_args(arguments)
        if not remaining:
            return ""
        command = COMMANDS.commands.get(remaining[0])
        if command is None:
            return f"no command {remaining[0]!r}"
        values, remaining, _ = command.make_parser(command.context_class(command)).parse_args(remaining[1:])
    except USAGE as error:
        return str(error)
    if remaining:
        return f"too many arguments: {remaining}"
    missing = [parameter.name for parameter in command.params if parameter.required and not values.get(parameter.name)]
    return f"arguments are missing: {missing}" if complete and missing else ""


def command_lines(page: Page) -> Iterator[tuple[int, list[str], bool]]:
    """Yield each `whaleid …` of a page: its line number, its arguments, and whether it is a complete command."""
    for complete, lines in ((True, page.commands), (False, page.inline_code)):
        for number, line in lines:
            for command in (
                split_commands(line) if re.search(r"\bwhaleid\b", line) and (complete or " " in line) else ()
            ):
                starts = [index for index, word in enumerate(command) if word == "whaleid"]
                if not starts or not (starts[0] == 0 or command[starts[0] - 1] == "-m" or "=" in command[0]):
                    continue
                yield number, command[starts[0] + 1 :], complete


def test_links_lead_to_files_and_headings() -> None:
    anchors = {page.path: page.anchors for page in pages()}
    links = [(page, number, link) for page in pages() for number, link in page.links]
    broken = []
    for source, number, link in links:
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        path = (source.path.parent / target).resolve() if target else source.path
        if not path.is_relative_to(ROOT) or not path.exists() or (anchor and anchor not in anchors.get(path, ())):
            broken.append(f"{source.name}:{number}: {link}")
    assert broken == []


def test_printed_commands_are_valid() -> None:
    broken = [
        f"{page.name}:{number}: whaleid {' '.join(arguments)}: {message}"
        for page in pages()
        for number, arguments, complete in command_lines(page)
        if (message := parse_error(arguments, complete))
    ]
    assert broken == []


def test_commands_are_read_from_pages() -> None:
    commands = [
        (page.name, arguments[:3], complete) for page in pages() for _, arguments, complete in command_lines(page)
    ]
    assert ("README.md", ["preset", "real", "--root"], True) in commands
    assert ("docs/scaling.md", ["train", "margin"], True) in commands
    assert ("docs/duplicates.md", ["duplicates", "NEW", "--against"], True) in commands
    assert ("docs/how-it-works.md", ["score", "SUBMISSION", "SOLUTION"], False) in commands


@pytest.mark.parametrize(
    ("arguments", "complete", "message"),
    [
        (["preset", "real", "--root", "x"], True, ""),
        (["preset"], True, "arguments are missing: ['name']"),
        (["preset"], False, ""),
        (["preset", "real", "sample"], True, "too many arguments: ['sample']"),
        (["preset", "real", "--rot", "x"], True, "No such option: --rot"),
        (["preset", "real", "--root"], True, "Option '--root' requires an argument."),
        (["presets"], False, "no command 'presets'"),
        (["--no-such", "preset"], False, "No such option: --no-such"),
        (["--help"], True, ""),
    ],
)
def test_invalid_command_lines_are_detected(arguments: list[str], complete: bool, message: str) -> None:
    assert parse_error(arguments, complete) == message


def targets(command: list[str]) -> list[str]:
    """Return the targets of a DVC command, without options and their values."""
    if command[:2] not in (["dvc", "repro"], ["dvc", "commit"]) and command[:3] != ["dvc", "exp", "run"]:
        return []
    remaining = command[3 if command[1] == "exp" else 2 :]
    options_with_value = ("-S", "--set-param", "-n", "--name")
    return [
        word
        for word, before in zip(remaining, ["", *remaining], strict=False)
        if not word.startswith("-") and before not in options_with_value
    ]


def test_printed_targets_are_stages() -> None:
    broken = [
        f"{page.name}:{number}: {target}"
        for page in pages()
        for number, line in [*page.commands, *page.inline_code]
        if "dvc " in line
        for command in split_commands(line)
        for target in targets(command)
        if target not in TARGETS and not COMMIT.fullmatch(target)
    ]
    assert broken == []


def outputs() -> list[re.Pattern[str]]:
    """Return patterns of the paths of all stage outputs."""
    outs = [
        out for stage in STAGES.values() for kind in ("outs", "metrics") for out in stage.get("do", stage).get(kind, ())
    ]
    names = [out if isinstance(out, str) else next(iter(out)) for out in outs]
    return [re.compile(re.escape(name).replace(re.escape("${key}"), "(V|VARIANT|[a-z][a-z_]*)")) for name in names]


def is_output(path: str) -> bool:
    """Return whether `path` is a stage output, inside one, or a folder that contains outputs."""
    parts = path.rstrip("/").split("/")
    heads = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
    patterns = outputs()
    inside = any(pattern.fullmatch(head) for pattern in patterns for head in heads)
    return inside or any(pattern.pattern.startswith(f"{heads[-1]}/") for pattern in patterns)


def test_printed_outputs_are_written_by_a_stage() -> None:
    broken = [
        f"{page.name}:{number}: {path}"
        for page in pages()
        for number, path in page.inline_code
        if OUTPUT.fullmatch(path) and not OTHER_PATHS.fullmatch(path) and not is_output(path)
    ]
    assert broken == []


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("reports/pages/margin.html", True),
        ("reports/", True),
        ("data/dedup/leaks.csv", True),
        ("checkpoints/V.safetensors", True),
        ("checkpoints/margin.safetensors", True),
        ("reports/metrics.json", True),
        ("reports/margin/metrics.json", False),
        ("models/margin.safetensors", False),
        ("reports/<variant>/report/report.html", False),
    ],
)
def test_paths_that_no_stage_writes_are_detected(path: str, written: bool) -> None:
    assert is_output(path) == written


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("dvc repro -f backbone", ["backbone"]),
        ("dvc exp run -n lower -S threshold=0.2 -S split.fold=0,1 calibrate@margin", ["calibrate@margin"]),
        ("dvc exp run --queue -S split.fold=0,1 && dvc queue start --jobs 2", []),
        ("dvc repro predict@margin", ["predict@margin"]),
    ],
)
def test_targets_are_read_from_commands(line: str, expected: list[str]) -> None:
    assert [target for command in split_commands(line) for target in targets(command)] == expected
    assert "calibrate@margin" in TARGETS
    assert "predict@margin" not in TARGETS


def test_printed_keys_variables_and_scripts_exist() -> None:
    text = "\n".join(page.path.read_text(encoding="utf-8") for page in pages())
    keys = re.findall(r"-S\s+'?([a-z_.]+)=", text)
    assert [key for key in keys if key not in PARAMETERS] == []
    code = "".join(
        path.read_text(encoding="utf-8") for path in [*ROOT.glob("whaleid/**/*.py"), *ROOT.glob("tests/**/*.py")]
    )
    assert not [name for name in re.findall(r"\bWHALEID_[A-Z_]+", text) if f'"{name}"' not in code]
    assert not [name for name in re.findall(r"benchmarks/\w+\.py", text) if not (ROOT / name).exists()]


def test_every_page_is_linked_from_the_readme() -> None:
    readme, *others = pages()
    assert {page.name for page in others} <= {link.partition("#")[0] for _, link in readme.links}


@cache
def messages() -> set[str]:
    """Return all strings in whaleid's code, with `…` for each value inserted in an f-string."""
    nodes = [
        node for file in ROOT.glob("whaleid/**/*.py") for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    ]
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
            texts.add("".join(parts).replace("`", ""))
    return texts


EXTERNAL_ERRORS = {
    "you are not inside of a DVC repository",
    "'…/dvc.yaml' does not exist",
    "Unable to acquire lock. Most likely another DVC process is running or was terminated abruptly.",
    "is busy, it is being blocked by:",
    "Unable to read RWLock-file",
    "Killed",
    "No space left on device",
    "OutOfMemoryError",
    "No module named whaleid",
}
"""Errors of DVC, the operating system, torch and Python."""


def test_explained_errors_exist_in_the_program() -> None:
    section = (ROOT / "docs/reference.md").read_text(encoding="utf-8").partition("## Errors")[2]
    explained = re.findall(r"^\| `(.+?)` \| .{20,} \|$", section, flags=re.MULTILINE)
    assert len(explained) == len(set(explained)) > 20
    raised_here = [error for error in explained if error not in EXTERNAL_ERRORS]
    assert [error for error in raised_here if not any(error in message for message in messages())] == []
