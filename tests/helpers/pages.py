"""README.md and docs/ as a reader meets them: their headings, their links, and the commands that they print."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from helpers.project import ROOT
from markdown_it import MarkdownIt

ENDS = {"&&", "||", "|", ";", ">", ">>", "&", "(", ")"}
"""What ends a command in a shell."""


@dataclass
class Page:
    """What a page holds; lines count from 1."""

    path: Path
    headings: list[str] = field(default_factory=list)
    links: list[tuple[int, str]] = field(default_factory=list)
    typed: list[tuple[int, str]] = field(default_factory=list)  # whole lines, as one would type them
    mentioned: list[tuple[int, str]] = field(default_factory=list)  # code within sentences

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def anchors(self) -> set[str]:
        """Return what a link can lead to, named as GitHub names it."""
        names: list[str] = []
        for heading in self.headings:
            name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            names.append(f"{name}-{names.count(name)}" if name in names else name)
        return set(names)


@cache
def pages() -> list[Page]:
    """Return the README and every page of docs/."""
    return [read(path) for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))]


def read(path: Path) -> Page:
    """Read a page."""
    text = path.read_text(encoding="utf-8")
    page, at = Page(path), [0, 0]
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    for token, before in zip(tokens, [None, *tokens], strict=False):
        at = token.map or at
        if token.type == "inline":
            heading = before is not None and before.type == "heading_open"
            if heading:
                page.headings.append("".join(child.content for child in token.children or []))
            for child in token.children or []:
                if child.type in ("link_open", "image"):
                    page.links.append((at[0] + 1, str(child.attrs["href" if child.type == "link_open" else "src"])))
                elif child.type == "code_inline" and not heading:
                    page.mentioned.append((at[0] + 1, child.content))
        elif token.type == "fence" and token.info in ("console", "bash"):
            page.typed += _lines(token.content, at[0] + 2, token.info)
    return page


def words(line: str) -> list[list[str]]:
    """Split what is typed into commands, and these into words; comments fall away."""
    reader = shlex.shlex(line, posix=True, punctuation_chars=True)
    reader.commenters, reader.whitespace_split = "#", True
    commands: list[list[str]] = [[]]
    for word in reader:
        if word in ENDS:
            commands.append([])
        else:
            commands[-1].append(word)
    return commands


def _lines(content: str, first: int, kind: str) -> Iterator[tuple[int, str]]:
    """Yield each line that is typed, with the lines that go on it, and its number."""
    held, start = "", first
    for number, line in enumerate(content.splitlines(), first):
        if not held:
            if kind == "console" and not line.startswith("$ "):
                continue  # what a command answers
            start = number
        held += line.removeprefix("$ ") if not held and kind == "console" else line
        if held.endswith("\\"):
            held = held[:-1]
            continue
        yield start, held
        held = ""
