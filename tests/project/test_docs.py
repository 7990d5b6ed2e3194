"""README and docs name what exists: files, headings, commands, options, stages, outputs, keys, variables, errors."""

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
"""What typer's own copy of click raises for a wrong command line."""
PARAMS = (ROOT / "params.yaml").read_text(encoding="utf-8")
SET = config.leaves(config.parse(PARAMS)) | config.leaves(presets.overlays()["real"])
"""What params.yaml sets, and what it sets for real photos, by key."""
STAGES: Any = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
VARIANTS = {key.split(".")[1] for key in SET if key.startswith("variants.")}
TARGETS = {*STAGES, *(f"{stage}@{name}" for stage, of in STAGES.items() if "foreach" in of for name in VARIANTS)}
OUTPUT = re.compile(r"(checkpoints|features|calibrations|rankings|submissions|models|reports|data)/[^ ]*")
COMMIT = re.compile("[0-9a-f]{7}")
"""As in the names of runs: `dvc repro 49a6c14`."""
OTHERS = re.compile(r"data/whales(\.dvc)?|models/[\w-]+\.(bundle|unfinished\.safetensors)")
"""Places beside those of dvc.yaml: a catalogue of one's own, bundles by hand, and a training that is not done."""


def refusal(arguments: list[str], whole: bool) -> str:
    """Return what is wrong with a command line by its parser alone: nothing is run; empty if it is right.

    `whole` asks for every argument that the command needs.
    """
    try:
        _, rest, _ = COMMANDS.make_parser(COMMANDS.context_class(COMMANDS)).parse_args(arguments)
        if not rest:
            return ""
        command = COMMANDS.commands.get(rest[0])
        if command is None:
            return f"no command {rest[0]!r}"
        given, rest, _ = command.make_parser(command.context_class(command)).parse_args(rest[1:])
    except USAGE as error:
        return str(error)
    if rest:
        return f"too many arguments: {rest}"
    missing = [each.name for each in command.params if each.required and not given.get(each.name)]
    return f"arguments are missing: {missing}" if whole and missing else ""


def command_lines(page: Page) -> Iterator[tuple[int, list[str], bool]]:
    """Yield the arguments of each `whaleid …` that the page prints: line, arguments, whether as one would type it."""
    for whole, lines in ((True, page.commands), (False, page.inline_code)):
        for number, line in lines:
            for command in split_commands(line) if re.search(r"\bwhaleid\b", line) and (whole or " " in line) else ():
                starts = [at for at, word in enumerate(command) if word == "whaleid"]
                if not starts or not (starts[0] == 0 or command[starts[0] - 1] == "-m" or "=" in command[0]):
                    continue
                yield number, command[starts[0] + 1 :], whole


def test_links_lead_to_files_and_headings() -> None:
    anchors = {page.path: page.anchors for page in pages()}
    links = [(page, number, link) for page in pages() for number, link in page.links]
    wrong = []
    for source, number, link in links:
        place, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", place):
            continue
        path = (source.path.parent / place).resolve() if place else source.path
        if not path.is_relative_to(ROOT) or not path.exists() or (anchor and anchor not in anchors.get(path, ())):
            wrong.append(f"{source.name}:{number}: {link}")
    assert wrong == []


def test_printed_commands_are_commands() -> None:
    wrong = [
        f"{page.name}:{number}: whaleid {' '.join(arguments)}: {said}"
        for page in pages()
        for number, arguments, whole in command_lines(page)
        if (said := refusal(arguments, whole))
    ]
    assert wrong == []


def test_commands_are_read_from_pages() -> None:
    found = [(page.name, arguments[:3], whole) for page in pages() for _, arguments, whole in command_lines(page)]
    assert ("README.md", ["preset", "real", "--root"], True) in found
    assert ("docs/scaling.md", ["train", "margin"], True) in found
    assert ("docs/duplicates.md", ["duplicates", "NEW", "--against"], True) in found
    assert ("docs/how-it-works.md", ["score", "SUBMISSION", "SOLUTION"], False) in found


@pytest.mark.parametrize(
    ("arguments", "whole", "said"),
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
def test_a_command_line_that_is_wrong_is_seen(arguments: list[str], whole: bool, said: str) -> None:
    assert refusal(arguments, whole) == said


def targets(command: list[str]) -> list[str]:
    """Return the stages that a command of DVC's names, without the options and their values."""
    if command[:2] not in (["dvc", "repro"], ["dvc", "commit"]) and command[:3] != ["dvc", "exp", "run"]:
        return []
    rest = command[3 if command[1] == "exp" else 2 :]
    valued = ("-S", "--set-param", "-n", "--name")
    return [
        word
        for word, before in zip(rest, ["", *rest], strict=False)
        if not word.startswith("-") and before not in valued
    ]


def test_printed_targets_are_stages() -> None:
    wrong = [
        f"{page.name}:{number}: {target}"
        for page in pages()
        for number, line in [*page.commands, *page.inline_code]
        if "dvc " in line
        for command in split_commands(line)
        for target in targets(command)
        if target not in TARGETS and not COMMIT.fullmatch(target)
    ]
    assert wrong == []


def outputs() -> list[re.Pattern[str]]:
    """Return what the outputs of the stages are called."""
    each = [
        out for stage in STAGES.values() for kind in ("outs", "metrics") for out in stage.get("do", stage).get(kind, ())
    ]
    names = [out if isinstance(out, str) else next(iter(out)) for out in each]
    return [re.compile(re.escape(name).replace(re.escape("${key}"), "(V|VARIANT|[a-z][a-z_]*)")) for name in names]


def is_output(place: str) -> bool:
    """Return whether stages write a file or folder: it is an output, within one, or a folder that holds some."""
    parts = place.rstrip("/").split("/")
    heads = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
    known = outputs()
    within = any(output.fullmatch(head) for output in known for head in heads)
    return within or any(output.pattern.startswith(f"{heads[-1]}/") for output in known)


def test_printed_outputs_are_written_by_a_stage() -> None:
    wrong = [
        f"{page.name}:{number}: {place}"
        for page in pages()
        for number, place in page.inline_code
        if OUTPUT.fullmatch(place) and not OTHERS.fullmatch(place) and not is_output(place)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("place", "written"),
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
def test_a_place_that_no_stage_writes_is_seen(place: str, written: bool) -> None:
    assert is_output(place) == written


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("dvc repro -f backbone", ["backbone"]),
        ("dvc exp run -n lower -S threshold=0.2 -S split.fold=0,1 calibrate@margin", ["calibrate@margin"]),
        ("dvc exp run --queue -S split.fold=0,1 && dvc queue start --jobs 2", []),
        ("dvc repro predict@margin", ["predict@margin"]),
    ],
)
def test_targets_are_read_from_commands(line: str, named: list[str]) -> None:
    assert [target for command in split_commands(line) for target in targets(command)] == named
    assert "calibrate@margin" in TARGETS
    assert "predict@margin" not in TARGETS


def test_printed_keys_variables_and_scripts_are_there() -> None:
    text = "\n".join(page.path.read_text(encoding="utf-8") for page in pages())
    keys = re.findall(r"-S\s+'?([a-z_.]+)=", text)
    assert [key for key in keys if key not in SET] == []
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
    """Return every text in the code of whaleid, `…` standing for what is filled in."""
    nodes = [
        node for file in ROOT.glob("whaleid/**/*.py") for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    ]
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
            texts.add("".join(parts).replace("`", ""))
    return texts


OF_OTHERS = {
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
"""Errors of DVC, the system, torch and Python."""


def test_explained_errors_are_those_of_the_program() -> None:
    section = (ROOT / "docs/reference.md").read_text(encoding="utf-8").partition("## Errors")[2]
    explained = re.findall(r"^\| `(.+?)` \| .{20,} \|$", section, flags=re.MULTILINE)
    assert len(explained) == len(set(explained)) > 20
    own = [error for error in explained if error not in OF_OTHERS]
    assert [error for error in own if not any(error in message for message in messages())] == []
