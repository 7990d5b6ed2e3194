"""Read a source that is a COCO json file: images, annotations with boxes, categories."""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.importing.source import Entry, Rectangle, Source, from_bbox, to_label

IDENTITY = ("identity", "individual_id", "individual_ids", "name")
"""Keys of an annotation that may name its whale. If no annotation has one of them, categories name the whales."""
PARTS = ("images", "annotations", "categories")
"""Keys of a COCO file that are read; each contains a list of objects."""
IDS = ("id", "image_id", "category_id")
"""Keys of these objects whose values are ids."""


def read(path: Path, root: Path) -> Source:
    """Read the images that the COCO json file `path` lists; file names are relative to `root`.

    Images without annotations are queries. An image with several boxes gets the largest.

    Raises:
        WhaleidError: the file is not COCO json, or does not name individuals.
        InputProblems: an image has annotations of several whales, or a bbox is not four numbers.
    """
    document = _read_document(path)
    # repr keeps ids apart that are equal as keys of a dictionary: 1, 1.0 and true
    categories = {repr(category.get("id")): str(category.get("name", "")) for category in document["categories"]}
    annotations = defaultdict(list)
    for annotation in document["annotations"]:
        annotations[repr(annotation.get("image_id"))].append(annotation)
    identities = any(key in annotation for annotation in document["annotations"] for key in IDENTITY)
    if not identities and len({repr(annotation.get("category_id")) for annotation in document["annotations"]}) < 2:
        raise WhaleidError(
            f"{path}: does not name individual whales: annotations have none of the keys {', '.join(IDENTITY)}, and "
            "all have the same category. Add the whale to each annotation as its `identity`."
        )
    entries, ambiguous, bad_boxes = [], [], []
    for image in document["images"]:
        name, image_annotations = str(image.get("file_name", "")), annotations[repr(image.get("id"))]
        names = None if identities else categories
        whales = sorted({whale for annotation in image_annotations for whale in _whales(annotation, names)})
        if len(whales) > 1:
            ambiguous.append(f"{name!r}: {', '.join(map(repr, whales))}")
        try:
            rectangles = [
                from_bbox(annotation["bbox"]) for annotation in image_annotations if annotation.get("bbox") is not None
            ]
        except (TypeError, ValueError, OverflowError):
            bad_boxes.append(repr(name))
            continue
        label = to_label(whales[0]) if whales else ""
        entries.append(Entry(root / name, label, f"{path}: {name!r}", max(rectangles, key=_area, default=None)))
    if ambiguous:
        remedy = "A photo of a catalogue shows one whale: crop the photo to each whale, or leave it out."
        raise InputProblems(f"{path}: photos of several whales", ambiguous, remedy)
    if bad_boxes:
        problem = f"{path}: photos whose bbox is not [x, y, width, height]"
        raise InputProblems(problem, bad_boxes, "Give four numbers, in pixels.")
    return Source(f"a COCO file: whales by {'annotation' if identities else 'category'}", root, entries)


def _read_document(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Read the lists of objects under `PARTS` and check that their ids are numbers or text."""
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise WhaleidError(f"{path}: is not valid json: {error}. Export the file again.") from None
    parts = {key: document.get(key, []) for key in PARTS} if isinstance(document, dict) else {}
    rows = [row for part in parts.values() for row in (part if isinstance(part, list) else [None])]
    valid = all(isinstance(row, dict) and not any(isinstance(row.get(key), dict | list) for key in IDS) for row in rows)
    if not valid or not parts.get("images") or not parts["annotations"]:
        raise WhaleidError(
            f"{path}: is not a COCO file. It needs lists of objects under {', '.join(map(repr, PARTS))}, in which the "
            f"values of {', '.join(IDS)} are numbers or text."
        )
    return parts


def _whales(annotation: Mapping[str, Any], categories: Mapping[str, str] | None) -> list[str]:
    """Return the names of an annotation's whales: the name of its category or, without `categories`, its `IDENTITY`."""
    if categories is not None:
        return [categories.get(repr(annotation.get("category_id")), "")]
    name = next((annotation[key] for key in IDENTITY if annotation.get(key) not in (None, "", [])), "")
    return [*map(str, name)] if isinstance(name, list) else [str(name)]


def _area(rectangle: Rectangle) -> float:
    x0, y0, x1, y1 = rectangle.corners
    return (x1 - x0) * (y1 - y0)
