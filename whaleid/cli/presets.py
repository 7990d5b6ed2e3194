"""Presets: parts of `params.yaml` that replace the same parts of a project's file."""

from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from whaleid import config
from whaleid.core.errors import WhaleidError


def overlays() -> dict[str, CommentedMap]:
    """Return the part of `params.yaml` that each preset sets, by the preset's name."""
    files = sorted(resources.files("whaleid.presets").iterdir(), key=lambda file: file.name)
    texts = {file.name: file.read_text(encoding="utf-8") for file in files if file.name.endswith(".yaml")}
    # as ruamel keeps it for writing: an entry that is added looks as it does in the preset
    return {name.removesuffix(".yaml"): YAML().load(text) for name, text in texts.items()}


def apply(name: str, path: Path, options: Mapping[str, str | float | None]) -> list[str]:
    """Set the keys of preset `name` in `path`, and the `options` that are not None; keep all else, and comments.

    Variants and predictions that the file lacks are added. Those that only other presets have are removed, unless
    they were changed.

    Returns:
        `key: old → new` for each key that changed. The file is written only if the result is valid.

    Raises:
        WhaleidError: there is no such preset or path; the preset needs a catalogue folder and `options` has none;
            the file lacks a variant or prediction that the preset changes.
        InputProblems: the result has wrong values.
    """
    from whaleid.core import files  # imports pandas, which the completion of names does without

    presets = overlays()
    if name not in presets:
        raise WhaleidError(f"There is no preset {name!r}; there are: {', '.join(presets)}.")
    overlay = presets.pop(name)
    for key, value in options.items():
        section, _, last = key.partition(".")
        if value is not None:
            overlay.setdefault(section, {})[last] = value
    if "data" not in overlay:
        raise WhaleidError(f"Preset {name} needs the catalogue folder: whaleid preset {name} --root FOLDER")
    for section, key in (("data", "root"), ("backbone", "weights")):
        overlay[section][key] = _location(f"{section}.{key}", str(overlay[section][key]))
    config.load(path)
    yaml = YAML()
    yaml.width = 10_000  # no line is broken
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(path.read_text(encoding="utf-8"))
    changes = [*_remove(document, overlay, presets.values()), *_merge(document, overlay)]
    text = StringIO()
    yaml.dump(document, text)
    config.check(config.parse(text.getvalue()), path)
    with files.replacing(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
    return changes


def _remove(document: CommentedMap, overlay: CommentedMap, others: Iterable[CommentedMap]) -> Iterator[str]:
    """Remove the variants and predictions that only other presets have, as they have them; yield their keys."""
    for other in others:
        for section in config.NAMED:
            for entry, settings in other[section].items():
                if entry not in overlay[section] and document[section].get(entry) == settings:
                    del document[section][entry]
                    yield f"{section}.{entry}: removed"


def _merge(document: CommentedMap, overlay: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Set the keys of `overlay` in `document`; yield each change."""
    for key, value in overlay.items():
        name = f"{prefix}{key}"
        if not isinstance(value, Mapping):
            if document.get(key) != value:
                yield f"{name}: {document.get(key)} → {value}"
                document[key] = value
        elif key in document:
            yield from _merge(document[key], value, f"{name}.")
        else:
            fields = config.NAMED[prefix.rstrip(".")].model_fields
            if not value.keys() >= {field for field, about in fields.items() if about.is_required()}:
                raise WhaleidError(f"The preset changes {name}, which params.yaml lacks: restore it from git.")
            yield f"{name}: added"
            document.insert(len(document) - 1, key, value)  # before the last entry, which a comment follows


def _location(key: str, value: str) -> str:
    """Return a path as experiments find it, which run in other folders: absolute if it leads out of the project."""
    if value in ("DEFAULT", "none", "data/sample"):
        return value
    path = Path(value).expanduser()
    if not path.exists():
        raise WhaleidError(f"{key}: {value} does not exist.")
    # weights are no output of DVC's, so an experiment's folder has none
    inside = key == "data.root" and path.resolve().is_relative_to(Path.cwd())
    return path.resolve().relative_to(Path.cwd()).as_posix() if inside else str(path.resolve())
