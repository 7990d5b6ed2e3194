"""Generate the tables of parameters in docs/reference.md from the types in whaleid/config.py.

Run in the project's folder: `python docs/parameters.py`.
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
"""Placeholder for the name of an entry, by section: VARIANT, PREDICTION."""


class Key(NamedTuple):
    """A key of `params.yaml`, such as `variants.VARIANT.train.lr`."""

    name: str
    meaning: str
    values: str
    """The range or the choices of its value, in words."""


def keys(schema: Mapping[str, Any], prefix: str = "", part: Mapping[str, Any] | None = None) -> Iterator[Key]:
    """Yield all keys of a pydantic JSON schema, or of a `part` of it whose keys begin with `prefix`."""
    for name, field in (part or schema)["properties"].items():
        path = f"{prefix}{name}"
        if "additionalProperties" in field:
            field, path = field["additionalProperties"], f"{path}.{ENTRY[name]}"
        if "$ref" in field:
            yield from keys(schema, f"{path}.", schema["$defs"][field["$ref"].rpartition("/")[2]])
        else:
            types = [option for option in field.get("anyOf", [field]) if option.get("type") != "null"]
            yield Key(path, field["description"], ", or ".join(map(values, types)))


def values(field: Mapping[str, Any]) -> str:
    """Return the range or the choices of a field of a JSON schema, in words."""
    if "const" in field:
        return str(field["const"])
    if "enum" in field:
        return f"{', '.join(field['enum'][:-1])} or {field['enum'][-1]}"
    if field["type"] == "array":
        return f"list of {field.get('minItems', 0)} or more: {', '.join(field['items'].get('enum', ['text']))}"
    if field["type"] in ("integer", "number"):
        low = f"above {field['exclusiveMinimum']}, up" if "exclusiveMinimum" in field else f"from {field['minimum']}"
        high = f" to {field['maximum']}" if "maximum" in field else ""
        return f"{'whole ' * (field['type'] == 'integer')}number {low}{high}"
    return {"boolean": "true or false", "string": "text"}[field["type"]]


def as_yaml(value: object) -> str:
    """Return a value as it is written in `params.yaml`."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{', '.join(map(as_yaml, value))}]" if isinstance(value, list) else str(value)


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table. The first row is the header."""
    for row in (rows[0], ["---"] * len(rows[0]), *rows[1:]):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def tables() -> str:
    """Return one table per section, and for variants and predictions another one with the values of each entry."""
    document = config.parse(Path("params.yaml").read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    current = config.leaves(document)
    overlays = {name: config.leaves(overlay) for name, overlay in presets.overlays().items()}

    def cell(key: str) -> str:
        value = current.get(key)
        changes = [
            f"{name}: {as_yaml(preset[key])}" for name, preset in overlays.items() if preset.get(key, value) != value
        ]
        return ("" if value is None else as_yaml(value)) + (f" ({', '.join(changes)})" if changes else "")

    lines: list[str] = []
    all_keys = [*keys(Params.model_json_schema())]
    for section in ["", *(name for name in document if isinstance(document[name], dict))]:
        section_keys = [key for key in all_keys if key.name.rpartition(".")[0].partition(".")[0] == section]
        model = NAMED.get(section, Params.model_fields[section].annotation if section else None)
        lines += ["", f"### {section or 'Top level'}", "", *([str(inspect.getdoc(model)), ""] if section else [])]
        if section in NAMED:
            lines += table(
                [["key", "meaning", "allowed values"], *([f"`{key.name}`", *key[1:]] for key in section_keys)]
            )
            entry, names = ENTRY[section], [*document[section]]
            lines += ["", f"Values by {entry.lower()}:", ""]
            rows = [
                [f"`{key.name}`", *(cell(key.name.replace(entry, name, 1)) for name in names)] for key in section_keys
            ]
            lines += table([["key", *names], *rows])
        else:
            rows = [[f"`{key.name}`", *key[1:], cell(key.name)] for key in section_keys]
            lines += table([["key", "meaning", "allowed values", "value"], *rows])
    return "\n".join(lines) + "\n\n"


def page(reference: str) -> str:
    """Return the text of docs/reference.md with current tables between `START` and `END`."""
    before, _, remainder = reference.partition(START)
    _, _, after = remainder.partition(END)
    return f"{before}{START}\n{tables()}{END}{after}"


if __name__ == "__main__":
    REFERENCE.write_text(page(REFERENCE.read_text(encoding="utf-8")), encoding="utf-8")
