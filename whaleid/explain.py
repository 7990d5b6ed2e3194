"""What the keys of `params.yaml` mean, by the types that check them: for the terminal and for docs/parameters.md."""

import difflib
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from whaleid.config import Params
from whaleid.core.errors import WhaleidError

NAMED = {"variants": "VARIANT", "predictions": "PREDICTION"}
"""The sections that users name the entries of, and what stands for such a name in a key."""
WIDTH = 100
"""Of the lines that tell what one key means."""
NUMBERS = {"integer": "whole number", "number": "number"}

Values = Mapping[str, object]
"""What a file sets, by key: `pack.width`, `variants.margin.train.lr`."""
Names = Mapping[str, Sequence[str]]
"""The names of the entries of each section of `NAMED`."""
Found = Sequence[tuple["Key", Sequence[str]]]
"""Keys, each with the names of the entries that are meant: none where it is in no section of `NAMED`."""


@dataclass(frozen=True)
class Key:
    """A key of `params.yaml`; `takes` is its range or its choices, `unit` is empty where it has none."""

    name: str
    meaning: str
    takes: str
    unit: str = ""

    @property
    def section(self) -> str:
        """The part of the file that it stands in; empty at the top."""
        return self.name.partition(".")[0] if "." in self.name else ""

    def of(self, entry: str) -> str:
        """Return its name for one entry of its section, such as one variant."""
        return self.name.replace(f".{NAMED.get(self.section, '')}.", f".{entry}.")


def every_key() -> list[Key]:
    """Return every key, in the order of the types."""
    schema = Params.model_json_schema()
    return list(_keys(schema, schema["$defs"], ""))


def sections() -> dict[str, str]:
    """Return what each part of the file is about."""
    said = {}
    for name, field in Params.model_fields.items():
        inner = [field.annotation, *getattr(field.annotation, "__args__", ())]
        (about,) = [inspect.getdoc(each) for each in inner if hasattr(each, "model_fields")] or [None]
        if about:
            said[name] = about
    return said


def names(values: Values) -> dict[str, list[str]]:
    """Return the names of the variants and predictions that a file has."""
    return {
        section: list(dict.fromkeys(name.split(".")[1] for name in values if name.startswith(f"{section}.")))
        for section in NAMED
    }


def find(asked: str | None, names: Names) -> Found:
    """Return the key that `asked` names, or those of the section that it names; all for None.

    A variant's keys may be asked of one (`variants.margin.train.lr`) or of all (`variants.train.lr`).

    Raises:
        WhaleidError: there is no such key; near ones are named.
    """
    known = every_key()
    name, meant = asked or "", dict(names)
    section, _, inner = name.partition(".")
    if section in NAMED and inner:
        first, _, rest = inner.partition(".")
        if first in names[section]:
            name, meant[section] = f"{section}.{NAMED[section]}.{rest}".rstrip("."), [first]
        elif first != NAMED[section]:
            name = f"{section}.{NAMED[section]}.{inner}"
    found = [key for key in known if not name or f"{key.name}.".startswith(f"{name}.")]
    if asked is not None and not (asked and found):
        every = [each for key in known for each in (key.name, *map(key.of, names.get(key.section, ())))]
        near = _near(asked, [*sections(), *every])
        raise WhaleidError(
            f"params.yaml has no key {asked!r}{f'; did you mean {near}?' if near else '.'} `whaleid explain` shows all."
        )
    return [(key, meant.get(key.section, [])) for key in found]


def shown(value: object) -> str:
    """Return a value as it is typed."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{', '.join(map(shown, value))}]" if isinstance(value, list) else str(value)


def block(key: Key, variants: Sequence[str], now: Values, presets: Mapping[str, Values]) -> str:
    """Return all that is known of one key: what it means and takes, and what each file sets."""
    files = {"params.yaml": now, **{f"preset {name}": of for name, of in presets.items()}}
    said = {"takes": key.takes, "unit": key.unit}
    said |= {
        name: _alike({each: shown(of[at]) for each, at in _places(key, variants) if at in of})
        for name, of in files.items()
    }
    wrapped = textwrap.wrap(key.meaning, WIDTH, initial_indent="  ", subsequent_indent="  ")
    return "\n".join([_named(key, variants), *wrapped, *(f"  {name:14} {text}" for name, text in said.items() if text)])


def table(found: Found, now: Values, presets: Mapping[str, Values]) -> Table:
    """Return a table with a row a key, as wide as the terminal."""
    rows = Table(box=None, pad_edge=False, header_style="bold")
    rows.add_column("key", no_wrap=True)
    for name, most in (("value", 20), ("takes", 20), ("meaning", None)):
        rows.add_column(name, max_width=most)
    for key, variants in found:
        value = _alike({each: _value(at, now, presets) for each, at in _places(key, variants)})
        rows.add_row(_named(key, variants), value, key.takes + (f" ({key.unit})" if key.unit else ""), key.meaning)
    return rows


def markdown(now: Values, presets: Mapping[str, Values], names: Names) -> str:
    """Return docs/parameters.md: a table a section, and one of what the variants set."""
    about = {"": "", **sections()}
    lines = [
        "# Parameters",
        "",
        "Every key of `params.yaml`, written by `whaleid explain --markdown` from the types that check the file.",
        "`whaleid explain KEY` shows one of them and its value in your project; `whaleid check` checks them all.",
        "In brackets stands what a preset sets, where that is another value. `dvc exp run -S KEY=VALUE` tries a value.",
    ]
    every = every_key()
    for section, said in about.items():
        own = [key for key in every if key.section == section]
        lines += ["", f"## {section or 'At the top'}", "", *([said, ""] if said else [])]
        with_values = section not in NAMED
        head = ["key", "meaning", "takes", "unit", *(["value"] if with_values else [])]
        rows = [
            [f"`{key.name}`", key.meaning, key.takes, key.unit, *([_value(key.name, now, presets)] * with_values)]
            for key in own
        ]
        lines += _table(head, rows)
        if not with_values:
            entries = names[section]
            sets = [[f"`{key.name}`", *(_value(key.of(name), now, presets) for name in entries)] for key in own]
            lines += ["", f"What each of the {section} sets:", "", *_table(["key", *entries], sets)]
    return "\n".join(lines) + "\n"


def _named(key: Key, variants: Sequence[str]) -> str:
    return key.of(variants[0]) if len(variants) == 1 else key.name


def _places(key: Key, variants: Sequence[str]) -> list[tuple[str, str]]:
    """Return where a key stands in a file: once, or, of a variant's, once for each, with its name."""
    return [(variant, key.of(variant)) for variant in variants] or [("", key.name)]


def _alike(values: Mapping[str, str]) -> str:
    """Return what all have in common, or the values with whose each is."""
    if len(set(values.values())) == 1:
        return next(iter(values.values()))
    return ", ".join(f"{name} {value}" for name, value in values.items() if value)


def _value(name: str, now: Values, presets: Mapping[str, Values]) -> str:
    """Return the value of a key now and, in brackets, what presets set instead."""
    others = [f"{each}: {shown(of[name])}" for each, of in presets.items() if name in of and of[name] != now.get(name)]
    if name not in now:
        return ", ".join(others)
    return shown(now[name]) + (f" ({', '.join(others)})" if others else "")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (head, ["---"] * len(head), *rows)]
    return ["| " + " | ".join(row) + " |" for row in cells]


def _keys(part: dict[str, Any], parts: dict[str, Any], prefix: str) -> Iterator[Key]:
    """Walk pydantic's schema of the types."""
    for name, field in part["properties"].items():
        inner, path = field, f"{prefix}{name}"
        if "additionalProperties" in field:
            inner, path = field["additionalProperties"], f"{path}.{NAMED[name]}"
        if "$ref" in inner:
            yield from _keys(parts[inner["$ref"].rpartition("/")[2]], parts, f"{path}.")
        else:
            kinds = [kind for kind in field.get("anyOf", [field]) if kind.get("type") != "null"]
            units = [kind["unit"] for kind in kinds if "unit" in kind]
            yield Key(path, field.get("description", ""), ", or ".join(map(_takes, kinds)), *units)


def _takes(kind: dict[str, Any]) -> str:
    """Return the range or the choices of a kind of value."""
    if "const" in kind:
        return str(kind["const"])
    if "enum" in kind:
        return " or ".join([*filter(None, [", ".join(kind["enum"][:-1])]), kind["enum"][-1]])
    if kind["type"] == "array":
        return f"list of {kind.get('minItems', 0)} or more: {', '.join(kind['items'].get('enum', ['text']))}"
    if kind["type"] in NUMBERS:
        low = f"above {kind['exclusiveMinimum']}, up" if "exclusiveMinimum" in kind else f"from {kind['minimum']}"
        return f"{NUMBERS[kind['type']]} {low}" + (f" to {kind['maximum']}" if "maximum" in kind else "")
    return {"boolean": "true or false", "string": "text"}[kind["type"]]


def _near(asked: str, names: Sequence[str]) -> str:
    """Return up to three names like `asked`, or whose last part is."""
    last = {name: name.rpartition(".")[2] for name in names}
    near = [name for name in names if last[name] == asked]
    # whose last part is right may lack one before it
    alike = [name for name in names if last[name] == asked.rpartition(".")[2]]
    near += difflib.get_close_matches(asked, alike or names, 3)
    near += [name for name in names if last[name] in difflib.get_close_matches(asked, set(last.values()), 1)]
    return " or ".join(list(dict.fromkeys(near))[:3])
