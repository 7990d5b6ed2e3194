"""Presets: one command sets `config.yaml` for drawn flukes or for real photos."""

from collections.abc import Mapping
from importlib import resources
from io import StringIO
from pathlib import Path

from ruamel.yaml import YAML

from whaleid import config
from whaleid.core.errors import WhaleidError

PATHS = ("data.root", "backbone.weights")
"""Keys that name a place: kept absolute where they lead out of the project, since experiments run in other folders."""


def known() -> dict[str, dict[str, object]]:
    """Return what each preset sets, by its name."""
    here = sorted(resources.files("whaleid.presets").iterdir(), key=lambda file: file.name)
    texts = {file.name: file.read_text(encoding="utf-8") for file in here if file.name.endswith(".yaml")}
    return {name.removesuffix(".yaml"): config.leaves(YAML(typ="safe").load(text)) for name, text in texts.items()}


def apply(name: str, path: Path, named: Mapping[str, str | float | None]) -> list[str]:
    """Set the keys of preset `name` in `path`, then those `named`; keep every other key and all comments.

    Returns:
        `key: old → new` for each key that changed. The file is written only if the result is valid.

    Raises:
        WhaleidError: no such preset; a place that is not there; no root for a preset that has none of its own.
        InputProblems: `path` would hold wrong values.
    """
    from whaleid.core import files  # and with it pandas, for which the completion of a name must not wait

    presets = known()
    if name not in presets:
        raise WhaleidError(f"There is no preset {name!r}; there are: {', '.join(presets)}.")
    chosen = presets[name] | {key: value for key, value in named.items() if value is not None}
    if "data.root" not in chosen:
        raise WhaleidError(f"Preset {name} needs the catalogue folder: whaleid preset {name} --root FOLDER")
    for key in PATHS:
        chosen[key] = _place(key, str(chosen[key]))
    config.load(path)
    yaml = YAML()
    yaml.width = 200
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(path.read_text(encoding="utf-8"))
    changes = []
    for key, value in chosen.items():
        *sections, last = key.split(".")
        section = document
        for part in sections:
            if part not in section:
                raise WhaleidError(f"Preset {name} sets {key}, but {path} has no {part}: take it from git again.")
            section = section[part]
        if section[last] != value:
            changes.append(f"{key}: {section[last]} → {value}")
            section[last] = value
    written = StringIO()
    yaml.dump(document, written)
    config.check(YAML(typ="safe").load(written.getvalue()), path)
    with files.replacing(path) as temporary:
        temporary.write_text(written.getvalue(), encoding="utf-8")
    return changes


def _place(key: str, value: str) -> str:
    if value in ("DEFAULT", "none", "data/sample"):
        return value
    place = Path(value).expanduser()
    if not place.exists():
        raise WhaleidError(f"{key}: {value} is not there.")
    # weights are no output of DVC's, so no experiment's own folder has them
    inside = key == "data.root" and place.resolve().is_relative_to(Path.cwd())
    return place.resolve().relative_to(Path.cwd()).as_posix() if inside else str(place.resolve())
