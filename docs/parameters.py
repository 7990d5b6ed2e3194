"""Write every key of `params.yaml` into docs/reference.md, from the types that check the file.

Run in the project's folder: python docs/parameters.py
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from whaleid import config
from whaleid.cli import presets
from whaleid.config import NAMED, Params

REFERENCE = Path("docs/reference.md")
START, END = "<!-- parameters, by `python docs/parameters.py` -->", "<!-- /parameters -->"
ENTRY = {section: kind.__name__.upper() for section, kind in NAMED.items()}
"""What stands for the name of an entry: VARIANT, PREDICTION."""


class Key(NamedTuple):
    """A key, such as `variants.VARIANT.train.lr`."""

    name: str
    meaning: str
    values: str
    """Its range or its choices."""


def keys(schema: Mapping[str, Any], prefix: str = "", part: Mapping[str, Any] | None = None) -> Iterator[Key]:
    """Yield every key of a JSON schema of pydantic's, or of a part of it."""
    for name, field in (part or schema)["properties"].items():
        path = f"{prefix}{name}"
        if "additionalProperties" in field:
            field, path = field["additionalProperties"], f"{path}.{ENTRY[name]}"
        if "$ref" in field:
            yield from keys(schema, f"{path}.", schema["$defs"][field["$ref"].rpartition("/")[2]])
        else:
            kinds = [kind for kind in field.get("anyOf", [field]) if kind.get("type") != "null"]
            yield Key(path, field["description"], ", or ".join(map(values, kinds)))


def values(kind: Mapping[str, Any]) -> str:
    """Return the range or the choices of a kind of value."""
    if "const" in kind:
        return str(kind["const"])
    if "enum" in kind:
        return f"{', '.join(kind['enum'][:-1])} or {kind['enum'][-1]}"
    if kind["type"] == "array":
        return f"list of {kind.get('minItems', 0)} or more: {', '.join(kind['items'].get('enum', ['text']))}"
    if kind["type"] in ("integer", "number"):
        low = f"above {kind['exclusiveMinimum']}, up" if "exclusiveMinimum" in kind else f"from {kind['minimum']}"
        high = f" to {kind['maximum']}" if "maximum" in kind else ""
        return f"{'whole ' * (kind['type'] == 'integer')}number {low}{high}"
    return {"boolean": "true or false", "string": "text"}[kind["type"]]


def as_yaml(value: object) -> str:
    """Return a value as it stands in the file."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{', '.join(map(as_yaml, value))}]" if isinstance(value, list) else str(value)


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table whose first row is its head."""
    for row in (rows[0], ["---"] * len(rows[0]), *rows[1:]):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def tables() -> str:
    """Return a table for each section, and one of what each variant and prediction sets."""
    document = config.parse(Path("params.yaml").read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    sets = {"": config.leaves(document)} | {name: config.leaves(part) for name, part in presets.overlays().items()}

    def value(key: str) -> str:
        now = sets[""].get(key)
        others = [f"{name}: {as_yaml(of[key])}" for name, of in sets.items() if of.get(key, now) != now]
        return ("" if now is None else as_yaml(now)) + (f" ({', '.join(others)})" if others else "")

    lines: list[str] = []
    every = [*keys(Params.model_json_schema())]
    for section in ["", *(name for name in document if isinstance(document[name], dict))]:
        own = [key for key in every if key.name.rpartition(".")[0].partition(".")[0] == section]
        kind = NAMED.get(section, Params.model_fields[section].annotation if section else None)
        lines += ["", f"### {section or 'At the top'}", "", *([str(inspect.getdoc(kind)), ""] if section else [])]
        if section in NAMED:
            lines += table([["key", "meaning", "takes"], *([f"`{key.name}`", *key[1:]] for key in own)])
            entry, names = ENTRY[section], [*document[section]]
            lines += ["", f"What each of the {section} sets:", ""]
            rows = [[f"`{key.name}`", *(value(key.name.replace(entry, name, 1)) for name in names)] for key in own]
            lines += table([["key", *names], *rows])
        else:
            rows = [[f"`{key.name}`", *key[1:], value(key.name)] for key in own]
            lines += table([["key", "meaning", "takes", "value"], *rows])
    return "\n".join(lines) + "\n\n"


def page(reference: str) -> str:
    """Return the text of docs/reference.md with the tables of now between `START` and `END`."""
    before, _, rest = reference.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{tables()}{END}{after}"


if __name__ == "__main__":
    REFERENCE.write_text(page(REFERENCE.read_text(encoding="utf-8")), encoding="utf-8")
