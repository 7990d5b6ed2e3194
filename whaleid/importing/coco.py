"""A source that is a COCO json file: images, annotations with boxes, categories."""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.importing.source import Entry, Rectangle, Source, from_bbox, label

IDENTITY = ("identity", "individual_id", "individual_ids", "name")
"""Keys of an annotation that may name its whale; without them, its category does."""
PARTS = ("images", "annotations", "categories")
IDS = ("id", "image_id", "category_id")


def read(path: Path, root: Path) -> Source:
    """Read the photos below `root` that the json file `path` lists; those without annotation are to be identified.

    Raises:
        WhaleidError: the file is no COCO json, or names no individuals.
        InputProblems: photos of several whales, or boxes that are not four numbers.
    """
    document = _document(path)
    # ids are compared as text: a file may mix numbers and strings
    categories = {repr(each.get("id")): str(each.get("name", "")) for each in document["categories"]}
    annotations = defaultdict(list)
    for annotation in document["annotations"]:
        annotations[repr(annotation.get("image_id"))].append(annotation)
    identities = any(key in annotation for annotation in document["annotations"] for key in IDENTITY)
    if not identities and len({repr(annotation.get("category_id")) for annotation in document["annotations"]}) < 2:
        raise WhaleidError(
            f"{path}: names no individuals: annotations have none of the keys {', '.join(IDENTITY)}, and all are of "
            "one category. Add the whale to each annotation as its `identity`."
        )
    entries, several, bad_boxes = [], [], []
    for image in document["images"]:
        name, own = str(image.get("file_name", "")), annotations[repr(image.get("id"))]
        whales = sorted({whale for each in own for whale in _whales(each, None if identities else categories)})
        if len(whales) > 1:
            several.append(f"{name!r}: {', '.join(map(repr, whales))}")
        try:
            rectangles = [from_bbox(each["bbox"]) for each in own if each.get("bbox") is not None]
        except (TypeError, ValueError, OverflowError):
            bad_boxes.append(repr(name))
            continue
        whale = label(whales[0]) if whales else ""
        entries.append(Entry(root / name, whale, f"{path}: {name!r}", max(rectangles, key=_area, default=None)))
    if several:
        remedy = "A photo of a catalogue shows one whale: crop it to each, or leave it out."
        raise InputProblems(f"{path}: photos of several whales", several, remedy)
    if bad_boxes:
        what = f"{path}: photos whose bbox is not [x, y, width, height]"
        raise InputProblems(what, bad_boxes, "Give four numbers, in pixels.")
    return Source(f"a COCO file: whales by {'annotation' if identities else 'category'}", root, entries)


def _document(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Read the lists of objects under `PARTS`, whose ids are numbers or text."""
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise WhaleidError(f"{path}: is no json: {error}.") from None
    parts = {key: document.get(key, []) for key in PARTS} if isinstance(document, dict) else {}
    rows = [row for part in parts.values() for row in (part if isinstance(part, list) else [None])]
    right = all(isinstance(row, dict) and not any(isinstance(row.get(key), dict | list) for key in IDS) for row in rows)
    if not right or not parts.get("images") or not parts["annotations"]:
        raise WhaleidError(
            f"{path}: is no COCO file: it needs lists of objects under {', '.join(map(repr, PARTS))}, whose "
            f"{', '.join(IDS)} are numbers or text."
        )
    return parts


def _whales(annotation: Mapping[str, Any], categories: Mapping[str, str] | None) -> list[str]:
    """Return the names that an annotation gives its whale: by its category or, without `categories`, by `IDENTITY`."""
    if categories is not None:
        return [categories.get(repr(annotation.get("category_id")), "")]
    name = next((annotation[key] for key in IDENTITY if annotation.get(key) not in (None, "", [])), "")
    return [*map(str, name)] if isinstance(name, list) else [str(name)]


def _area(rectangle: Rectangle) -> float:
    x0, y0, x1, y1 = rectangle.corners
    return (x1 - x0) * (y1 - y0)
