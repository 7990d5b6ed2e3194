"""Read a source that is a COCO json file: images, annotations with boxes, categories."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whaleid.catalog.checks import input_problems
from whaleid.core.errors import InputProblems, WhaleidError, raise_all
from whaleid.importing.names import means_nobody
from whaleid.importing.source import (
    NO_NAME,
    Entry,
    Index,
    Rectangle,
    Source,
    find_file,
    from_bbox,
    missing_hint,
    note,
)

IDENTITY = ("identity", "individual_id", "individual_ids", "name")
"""Keys of an annotation that may name its whale. If no annotation has one of them, categories name the whales."""
PARTS = ("images", "annotations", "categories")
"""Keys of a COCO file that are read; each contains a list of objects."""
IDS = ("id", "image_id", "category_id")
"""Keys of these objects whose values are ids."""


class NotCocoError(WhaleidError):
    """A file is not COCO json, so it may be of any other kind."""


def read(path: Path, root: Path, photos: Index | None = None) -> Source:
    """Read the images that the COCO json file `path` lists, by their paths below `root`, or as in `find_file`.

    Images without annotations are queries. An image with several boxes gets the largest one. A bbox that is empty or
    not four numbers is ignored.

    Raises:
        NotCocoError: the file is not COCO json.
        WhaleidError: it does not name individuals.
        InputProblems: an image has annotations of several whales, an id belongs to nothing or to several objects.
    """
    document = _read_document(path)
    categories = {_id(category): _text(category.get("name")) for category in document["categories"]}
    identities = any(key in annotation for annotation in document["annotations"] for key in IDENTITY)
    _check_ids(path, document, categories=not identities)
    annotations = defaultdict(list)
    for annotation in document["annotations"]:
        annotations[_id(annotation, "image_id")].append(annotation)
    if not identities and len({_id(annotation, "category_id") for annotation in document["annotations"]}) < 2:
        raise WhaleidError(
            f"{path} does not name individual whales: annotations have none of the keys {', '.join(IDENTITY)}, and "
            "all have the same category. Add the whale to each annotation as its `identity`."
        )
    entries, ambiguous, other_boxes = [], [], []
    for image in document["images"]:
        name, image_annotations = str(image.get("file_name", "")), annotations[_id(image)]
        names = None if identities else categories
        whales = sorted({whale for annotation in image_annotations for whale in _whales(annotation, names)})
        if len(whales) > 1:
            ambiguous.append(f"{name!r}: {', '.join(map(repr, whales))}")
        rectangles = []
        for annotation in image_annotations:
            try:
                rectangles += [from_bbox(annotation["bbox"])] if annotation.get("bbox") is not None else []
            except (TypeError, ValueError, OverflowError):
                other_boxes.append(f"{name!r}: {annotation['bbox']}")
        label = (whales[0] or NO_NAME) if whales else ""
        largest = max(rectangles, key=_area, default=None)
        file = find_file(root, name, photos)
        entries.append(Entry(file, label, f"{path}: {name!r}{missing_hint(file, name, photos)}", largest))
    if ambiguous:
        remedy = "A photo of a catalogue shows one whale: crop the photo to each whale, or leave it out."
        raise InputProblems(f"{path}: photos of several whales", ambiguous, remedy)
    notes = note("boxes are ignored, since they are empty or not [x, y, width, height]", other_boxes)
    kind = f"a COCO file: whales by {'annotation' if identities else 'category'}"
    return Source(kind, root, entries, notes=notes)


def _read_document(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Read the lists of objects under `PARTS` and check that their ids and names are numbers or text."""
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise NotCocoError(f"{path} is not valid json: {error}. Export the file again.") from None
    parts = {key: document.get(key, []) for key in PARTS} if isinstance(document, dict) else {}
    rows = [row for part in parts.values() for row in (part if isinstance(part, list) else [None])]
    valid = all(
        isinstance(row, dict)
        and not any(isinstance(row.get(key), dict | list) for key in IDS)
        and not any(isinstance(row.get(key), dict) for key in IDENTITY)
        for row in rows
    )
    if not valid or not parts.get("images") or not parts["annotations"]:
        raise NotCocoError(
            f"{path} is not a COCO file. It needs lists of objects under {', '.join(map(repr, PARTS))}, in which the "
            f"values of {', '.join((*IDS, *IDENTITY))} are numbers or text."
        )
    return parts


def _text(value: object) -> str:
    """Return a name as text: `7` for 7 and 7.0, and nothing for null."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value).strip()


def _id(row: Mapping[str, Any], key: str = "id") -> str:
    """Return an id of `row` as text: `7` for 7, 7.0, "7" and "7.0", and nothing for null."""
    return re.sub(r"(?<=\d)\.0+$", "", _text(row.get(key)))


def _check_ids(path: Path, document: Mapping[str, list[dict[str, Any]]], categories: bool) -> None:
    """Raise InputProblems if images (or categories) have the same id, or annotations refer to a missing one."""
    problems: list[WhaleidError] = []
    for part, key in (("images", "image_id"), ("categories", "category_id"))[: 1 + categories]:
        counts = Counter(_id(row) for row in document[part])
        repeated = [f"id {number!r}: {count} {part}" for number, count in counts.items() if count > 1]
        unresolved = [
            f"annotation {row.get('id')!r}: {key} {row.get(key)!r}"
            for row in document["annotations"]
            if _id(row, key) not in counts or not _id(row, key)
        ]
        problems += input_problems(f"{path}: ids used by several {part}", repeated, "Give each a unique id.")
        remedy = f"Correct these ids, or add the missing rows to {part}."
        problems += input_problems(f"{path}: annotations of {part} that are not in the file", unresolved, remedy)
    raise_all(problems)


def _whales(annotation: Mapping[str, Any], categories: Mapping[str, str] | None) -> list[str]:
    """Return the names of an annotation's whales: of its category or, without `categories`, by the keys `IDENTITY`.

    The first key with a name counts. Without one, this is the first word for a whale without a name, or an empty text.
    """
    if categories is not None:
        return [categories[_id(annotation, "category_id")]]
    values = [annotation[key] for key in IDENTITY if annotation.get(key) not in (None, "", [])]
    names = [[*map(_text, value)] if isinstance(value, list) else [_text(value)] for value in values] or [[""]]
    return next((whales for whales in names if not all(map(means_nobody, whales))), names[0])


def _area(rectangle: Rectangle) -> float:
    x0, y0, x1, y1 = rectangle.corners
    return (x1 - x0) * (y1 - y0)
