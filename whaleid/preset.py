"""Presets: one command sets `params.yaml` for drawn flukes or for real photos."""

from collections.abc import Mapping
from importlib import resources
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from whaleid import config
from whaleid.core.errors import WhaleidError

PATHS = ("data.root", "backbone.weights")
"""Keys that name a place: kept absolute where they lead out of the project, since experiments run in other folders."""


def known() -> dict[str, dict[str, Any]]:
    """Return what each preset sets, by its name: a part of `params.yaml`."""
    here = sorted(resources.files("whaleid.presets").iterdir(), key=lambda file: file.name)
    texts = {file.name: file.read_text(encoding="utf-8") for file in here if file.name.endswith(".yaml")}
    # with the styles of the files, in which entries are added
    return {name.removesuffix(".yaml"): YAML().load(text) for name, text in texts.items()}


def apply(name: str, path: Path, named: Mapping[str, str | float | None]) -> list[str]:
    """Set the keys of preset `name` in `path`, then those `named`; keep every other key and all comments.

    Variants and predictions of the preset that the file lacks are added. Those of other presets are removed, unless
    they were changed.

    Returns:
        `key: old → new` for each key that changed. The file is written only if the result is valid.

    Raises:
        WhaleidError: no such preset; a place that is not there; no root for a preset that has none of its own; `path`
            lacks a variant or prediction that the preset only changes.
        InputProblems: `path` would hold wrong values.
    """
    from whaleid.core import files  # and with it pandas, for which the completion of a name must not wait

    presets = known()
    if name not in presets:
        raise WhaleidError(f"There is no preset {name!r}; there are: {', '.join(presets)}.")
    chosen = presets[name]
    values = config.leaves(chosen) | {key: value for key, value in named.items() if value is not None}
    if "data.root" not in values:
        raise WhaleidError(f"Preset {name} needs the catalogue folder: whaleid preset {name} --root FOLDER")
    for key in PATHS:
        values[key] = _place(key, str(values[key]))
    config.load(path)
    yaml = YAML()
    yaml.width = 10_000  # no line is broken
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(path.read_text(encoding="utf-8"))
    changes = []
    for section in config.NAMED:
        entries = document[section]
        others = {entry: value for preset in presets.values() for entry, value in preset[section].items()}
        for entry in sorted((others.keys() - chosen[section].keys()) & entries.keys()):
            if entries[entry] == others[entry]:  # else the user has changed it, or made it
                changes.append(f"{section}.{entry}: removed")
                del entries[entry]
        for entry, settings in chosen[section].items():
            if entry not in entries:
                if not _whole(section, settings):
                    raise WhaleidError(
                        f"Preset {name} changes {section}.{entry}, but {path} has none: take it from git again."
                    )
                changes.append(f"{section}.{entry}: added")
                entries.insert(len(entries) - 1, entry, settings)  # behind the last one, comments are of what follows
    for key, value in values.items():
        *sections, last = key.split(".")
        place = document
        for part in sections:
            place = place[part]
        if place.get(last) != value:  # what may be left out may not be there
            changes.append(f"{key}: {place.get(last)} → {value}")
            place[last] = value
    written = StringIO()
    yaml.dump(document, written)
    config.check(YAML(typ="safe").load(written.getvalue()), path)
    with files.replacing(path) as temporary:
        temporary.write_text(written.getvalue(), encoding="utf-8")
    return changes


def _whole(section: str, settings: Mapping[str, object]) -> bool:
    """Return whether `settings` are all of a variant or prediction, and not only what a preset changes of it."""
    fields = config.NAMED[section].model_fields
    return {key for key, field in fields.items() if field.is_required()} <= settings.keys()


def _place(key: str, value: str) -> str:
    if value in ("DEFAULT", "none", "data/sample"):
        return value
    place = Path(value).expanduser()
    if not place.exists():
        raise WhaleidError(f"{key}: {value} is not there.")
    # weights are no output of DVC's, so no experiment's own folder has them
    inside = key == "data.root" and place.resolve().is_relative_to(Path.cwd())
    return place.resolve().relative_to(Path.cwd()).as_posix() if inside else str(place.resolve())
