"""A source that is a json file as COCO lays it out: images, annotations with boxes, categories."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.importing.source import Box, Entry, Source, label

IDENTITY = ("identity", "individual_id", "individual_ids", "name")
"""Keys of an annotation that may name its whale; else its category does."""
PARTS = ("images", "annotations", "categories")
IDS = ("id", "image_id", "category_id")


def images(path: Path, root: Path) -> Source:
    """Return the photos that the json file `path` names, which lie below `root`; those without annotation to identify.

    Raises:
        WhaleidError: the file is no json of that form, or names no individuals.
        InputProblems: photos of several whales, or boxes that are not four numbers.
    """
    document = _document(path)
    # by the text of the number, which may be of any kind in a stranger's file
    category = {repr(each.get("id")): str(each.get("name", "")) for each in document["categories"]}
    said = defaultdict(list)
    for annotation in document["annotations"]:
        said[repr(annotation.get("image_id"))].append(annotation)
    own = any(key in annotation for annotation in document["annotations"] for key in IDENTITY)
    if not own and len({repr(annotation.get("category_id")) for annotation in document["annotations"]}) < 2:
        raise WhaleidError(
            f"{path}: names no individuals: annotations have none of the keys {', '.join(IDENTITY)}, and all are of "
            "one category. Add the whale to each annotation as its `identity`."
        )
    entries, several, odd = [], [], []
    for image in document["images"]:
        name, annotations = str(image.get("file_name", "")), said[repr(image.get("id"))]
        whales = sorted({whale for each in annotations for whale in _whales(each, category, own)})
        try:
            boxes = [_box(each["bbox"]) for each in annotations if each.get("bbox") is not None]
        except (TypeError, ValueError, OverflowError):
            odd.append(repr(name))
            continue
        if len(whales) > 1:
            several.append(f"{name!r}: {', '.join(map(repr, whales))}")
            continue
        whale = label(whales[0] if whales else "") if annotations else ""
        entries.append(Entry(root / name, whale, f"{path}: {name!r}", max(boxes, key=_area, default=None)))
    for what, where, remedy in (
        (
            "photos of several whales",
            several,
            "A photo of a catalogue shows one whale: crop it to each, or leave it out.",
        ),
        ("photos whose bbox is not [x, y, width, height]", odd, "Give four numbers, in pixels."),
    ):
        if where:
            raise InputProblems(f"{path}: {what}", where, remedy)
    return Source(f"a COCO file: whales by {'annotation' if own else 'category'}", root, entries)


def _document(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise WhaleidError(f"{path}: is no json: {error}.") from None
    parts = {key: document.get(key, []) for key in PARTS} if isinstance(document, dict) else {}
    rows = [row for key in parts for row in (parts[key] if isinstance(parts[key], list) else [None])]
    if not parts.get("images") or not parts["annotations"] or not all(isinstance(row, dict) for row in rows):
        raise WhaleidError(f"{path}: is no COCO file: it wants lists of objects under {', '.join(map(repr, PARTS))}.")
    if any(isinstance(row.get(key), dict | list) for row in rows if row for key in IDS):
        raise WhaleidError(f"{path}: is no COCO file: {', '.join(IDS)} are numbers or text.")
    return parts


def _whales(annotation: Mapping[str, Any], category: Mapping[str, str], own: bool) -> list[str]:
    """Return the names that an annotation gives its whale: one, unless it holds a list of several."""
    if not own:
        return [category.get(repr(annotation.get("category_id")), "")]
    for key in IDENTITY:
        said = annotation.get(key)
        if said not in (None, "", []):
            return [str(each) for each in said] if isinstance(said, list) else [str(said)]
    return [""]


def _box(said: Sequence[float]) -> Box:
    x, y, width, height = map(float, said)
    return Box((x, y, x + width, y + height), True)


def _area(box: Box) -> float:
    x0, y0, x1, y1 = box.corners
    return (x1 - x0) * (y1 - y0)
