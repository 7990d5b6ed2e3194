"""Parse README.md and docs/: their headings, links and commands."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from helpers.project import ROOT
from markdown_it import MarkdownIt

SEPARATORS = {"&&", "||", "|", ";", ">", ">>", "&", "(", ")"}
"""Tokens that separate commands in a shell."""


@dataclass
class Page:
    """The parsed content of a page; line numbers start at 1."""

    path: Path
    headings: list[str] = field(default_factory=list)
    links: list[tuple[int, str]] = field(default_factory=list)
    commands: list[tuple[int, str]] = field(default_factory=list)  # (line number, line) of console and bash blocks
    inline_code: list[tuple[int, str]] = field(default_factory=list)  # (line number, code) in sentences

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def anchors(self) -> set[str]:
        """Return the anchors of the headings, as GitHub generates them."""
        names: list[str] = []
        for heading in self.headings:
            name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            names.append(f"{name}-{names.count(name)}" if name in names else name)
        return set(names)


@cache
def pages() -> list[Page]:
    """Return the README and all pages of docs/."""
    return [read(path) for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))]


def read(path: Path) -> Page:
    """Parse a page."""
    text = path.read_text(encoding="utf-8")
    page, at = Page(path), [0, 0]
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    for token, previous in zip(tokens, [None, *tokens], strict=False):
        at = token.map or at
        if token.type == "inline":
            heading = previous is not None and previous.type == "heading_open"
            if heading:
                page.headings.append("".join(child.content for child in token.children or []))
            for child in token.children or []:
                if child.type in ("link_open", "image"):
                    page.links.append((at[0] + 1, str(child.attrs["href" if child.type == "link_open" else "src"])))
                elif child.type == "code_inline" and not heading:
                    page.inline_code.append((at[0] + 1, child.content))
        elif token.type == "fence" and token.info in ("console", "bash"):
            page.commands += _lines(token.content, at[0] + 2, token.info)
    return page


def split_commands(line: str) -> list[list[str]]:
    """Split a shell line into commands, and each command into words; comments are removed."""
    reader = shlex.shlex(line, posix=True, punctuation_chars=True)
    reader.commenters, reader.whitespace_split = "#", True
    commands: list[list[str]] = [[]]
    for word in reader:
        if word in SEPARATORS:
            commands.append([])
        else:
            commands[-1].append(word)
    return commands


def _lines(content: str, first: int, kind: str) -> Iterator[tuple[int, str]]:
    """Yield the number of each command line and its text, joined with its continuation lines."""
    joined, start = "", first
    for number, line in enumerate(content.splitlines(), first):
        if not joined:
            if kind == "console" and not line.startswith("$ "):
                continue  # output of a command
            start = number
        joined += line.removeprefix("$ ") if not joined and kind == "console" else line
        if joined.endswith("\\"):
            joined = joined[:-1]
            continue
        yield start, joined
        joined = ""
