"""Presets: sets of values that `whaleid preset` writes into a project's `params.yaml`."""

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
    """Return the part of `params.yaml` that each preset sets, by name of the preset."""
    files = sorted(resources.files("whaleid.presets").iterdir(), key=lambda file: file.name)
    texts = {file.name: file.read_text(encoding="utf-8") for file in files if file.name.endswith(".yaml")}
    # the round-trip parser keeps the style, so that entries are added to a file as the preset writes them
    return {name.removesuffix(".yaml"): YAML().load(text) for name, text in texts.items()}


def apply(name: str, path: Path, options: Mapping[str, str | float | None]) -> list[str]:
    """Write the values of preset `name`, and of the `options` that are not None, into the file `path`.

    Other values and comments are kept. Variants and predictions that the file lacks are added. Those that only other
    presets define are removed, unless they were changed. The file is written only if the result is valid.

    Args:
        name: the preset.
        path: the project's `params.yaml`.
        options: values by dotted key, such as `data.root`.

    Returns:
        `key: old → new` for each key that changed; `key: added` and `key: removed` for variants and predictions.

    Raises:
        WhaleidError: there is no such preset or path; the preset needs a catalogue folder and `options` has none;
            the file lacks a variant or prediction that the preset only changes in part.
        InputProblems: the result has wrong values.
    """
    from whaleid.core import files  # imports pandas, which would slow down the shell completion of preset names

    presets = overlays()
    if name not in presets:
        raise WhaleidError(f"There is no preset {name!r}. Available: {', '.join(presets)}.")
    overlay = presets.pop(name)
    for key, value in options.items():
        section, _, field = key.partition(".")
        if value is not None:
            overlay.setdefault(section, {})[field] = value
    if "data" not in overlay:
        raise WhaleidError(f"Preset {name} needs the catalogue folder: run `whaleid preset {name} --root FOLDER`.")
    for section, key in (("data", "root"), ("backbone", "weights")):
        overlay[section][key] = _location(f"{section}.{key}", str(overlay[section][key]))
    config.load(path)
    yaml = YAML()
    yaml.width = 10_000  # do not wrap long lines
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(path.read_text(encoding="utf-8"))
    changes = [*_remove(document, overlay, presets.values()), *_merge(document, overlay)]
    text = StringIO()
    yaml.dump(document, text)
    config.check(config.parse(text.getvalue()), path)
    with files.replacing(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
    return changes


def _remove(document: CommentedMap, overlay: CommentedMap, other_overlays: Iterable[CommentedMap]) -> Iterator[str]:
    """Remove unchanged variants and predictions that only other presets define. Yield one line per removal."""
    for other in other_overlays:
        for section in config.NAMED:
            for entry, value in other[section].items():
                if entry not in overlay[section] and document[section].get(entry) == value:
                    del document[section][entry]
                    yield f"{section}.{entry}: removed"


def _merge(document: CommentedMap, overlay: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Write the values of `overlay` into `document`. Yield one line per change."""
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
            if not value.keys() >= {field for field, info in fields.items() if info.is_required()}:
                raise WhaleidError(
                    f"The preset changes {name}, which is not in params.yaml: copy it from an earlier version "
                    "(`git log -p`)."
                )
            yield f"{name}: added"
            # not after the last entry, to which ruamel attaches the comment of the next section
            document.insert(len(document) - 1, key, value)


def _location(key: str, value: str) -> str:
    """Return a path that also works in experiments, which run in other folders: absolute if outside the project."""
    if value in ("DEFAULT", "none", "data/sample"):
        return value
    path = Path(value).expanduser()
    if not path.exists():
        raise WhaleidError(
            f"{key}: {value} does not exist. Correct the path. Relative paths start from the current folder."
        )
    # DVC does not track the file of weights, so it is missing in the folder of an experiment
    inside = key == "data.root" and path.resolve().is_relative_to(Path.cwd())
    return path.resolve().relative_to(Path.cwd()).as_posix() if inside else str(path.resolve())
