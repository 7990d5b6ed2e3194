"""All code of whaleid that reads untrusted files, with small valid files as seeds.

A reader gets the bytes of a file and an empty folder. It must return a value or raise a documented error; any other
exception is a fault.
"""

import base64
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from helpers.small_bundle import PICTURES, small_bundle
from PIL import Image
from ruamel.yaml import YAML

from whaleid import config
from whaleid.catalog import layout, submission, table
from whaleid.core import arrays
from whaleid.core.errors import WhaleidError
from whaleid.detection import network as box_network
from whaleid.images.decode import decode
from whaleid.images.fingerprint import SIDE, Fingerprint, fingerprint
from whaleid.images.pack import Region, Shape, crop_region
from whaleid.importing import add, coco, csv
from whaleid.importing.archive import unpack, unpack_limits
from whaleid.importing.checks import MISSING, photo_problem
from whaleid.importing.plan import ExistingCatalogue, make_plan
from whaleid.importing.source import Entry, Source
from whaleid.model import checkpoint
from whaleid.serving import bundle, model
from whaleid.serving.embedder import Query
from whaleid.serving.recogniser import Answer, Recogniser

ROOT = Path(__file__).parents[2]
Read = Callable[[bytes, Path], object]


@dataclass(frozen=True)
class Reader:
    """A reader, its seeds, and its number of cases in a million."""

    read: Read
    seeds: Callable[[], list[bytes]]
    cases: int


def _file(content: bytes, folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def _csv(*lines: str) -> Callable[[], list[bytes]]:
    return lambda: ["\n".join([*lines, ""]).encode(), "\r\n".join(["\ufeff" + lines[0], *lines[1:]]).encode()]


def _table(content: bytes, folder: Path) -> object:
    return table.read_table(_file(content, folder, "a.csv"), ["Image", "Id"], ["aspect"])


def _catalogue(content: bytes, folder: Path, name: str) -> object:
    root = folder / "whales"
    for part, photo in (("train", "a.jpg"), ("test", "b.jpg")):
        (root / part).mkdir(parents=True, exist_ok=True)
        (root / part / photo).touch()
    _file(content, root, name)
    return layout.read(root, incomplete=True)


def _plan(source: Source) -> object:
    """Check and plan the import of a listing as `import` does, without opening the photos."""
    problems = [photo_problem(entry.file, source.root.resolve()) for entry in source.entries]
    if any(problem not in (None, MISSING) for problem in problems):
        return problems
    prints = [
        Fingerprint(f"{number:064x}", 1, "PNG", "L", 60, 40, np.empty(0, np.uint16)) for number in range(len(problems))
    ]
    return make_plan([source], prints, ExistingCatalogue())


def _csv_listing(content: bytes, folder: Path) -> object:
    return _plan(csv.read(_file(content, folder, "a.csv"), csv.Columns()))


def _coco_listing(content: bytes, folder: Path) -> object:
    return _plan(coco.read(_file(content, folder, "a.json"), folder))


def _zip(content: bytes, folder: Path) -> object:
    archive = _file(content, folder, "a.zip")
    return unpack(archive, folder / "unpacked", unpack_limits([archive]))


def _submission(content: bytes, folder: Path) -> object:
    path = _file(content, folder, "a.csv")
    results: list[object] = []
    for read in (
        lambda: submission.read_submission(path, ["a.jpg", "b.jpg"]),
        lambda: submission.read_solution(path),
        lambda: submission.check_ready(path, ["a.jpg", "b.jpg"], ["w_1", "w_2"]),
    ):
        with suppress(WhaleidError):
            results.append(read())
    return results


def _check(content: bytes, folder: Path) -> object:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return config.check(document, folder / "params.yaml")


def _image(content: bytes, folder: Path) -> object:
    photo = decode(folder / "a.jpg", content=content)
    if photo.width * photo.height > 2**22:  # the time for large photos has its own test
        return None
    return crop_region(photo, Region(), Shape(32, 16, photo.mode, 0.1))


def _fingerprint(content: bytes, folder: Path) -> object:
    return fingerprint(folder / "a.jpg", content)


def _checkpoint(content: bytes, folder: Path) -> object:
    try:
        return checkpoint.load(content, "a.safetensors")
    except WhaleidError:
        return box_network.load(content, "a.safetensors")


def _features(content: bytes, folder: Path) -> object:
    return bundle.load_features(content, "a.safetensors", ["a.jpg", "b.jpg"])


def _pictures(content: bytes, folder: Path) -> object:
    return bundle.load_pictures(content, "a.safetensors")


def _bundle_json(content: bytes, folder: Path) -> object:
    root = folder / "whales"  # a complete bundle; fuzz.clear keeps this folder for the next case
    if not root.exists():
        root.mkdir()
        bundle.write(small_bundle(), PICTURES, root)
    _file(content, root, bundle.ABOUT)
    return bundle.read(root)


def _photos(content: bytes, folder: Path) -> object:
    return bundle.read_photos(_file(content, folder, bundle.PHOTOS))


class _NoRecogniser(Recogniser):
    """A recogniser without a network, whose answers report the sizes of the photos."""

    def __init__(self) -> None:
        """Skip loading a bundle."""

    def identify(self, photos: list[Query], threshold: float | None = None) -> list[Answer]:  # type: ignore[override]
        """Return an answer without whales for each photo."""
        return [Answer(photo.name, problem=f"{len(photo.content)} bytes") for photo in photos]


def _photo_source(content: bytes, folder: Path) -> object:
    os.environ[model.ALLOWED] = f"file://{folder} file:///proc/self/fd http:///x"
    text = content.decode("latin-1")
    photos = []
    for cell in (text, "file:" + text, f"file://{folder}/{text}"):
        with suppress(WhaleidError):
            photos.append(model.content(cell))
    return photos


def _predict_cells(content: bytes, folder: Path) -> object:
    os.environ.pop(model.ALLOWED, None)
    cells: list[object] = [None, 1.5, content, *content.decode("latin-1").split("\n")]
    return _served_without_network().predict(pd.DataFrame({"photo": cells}))


@cache
def _served_without_network() -> model.ServedModel:  # cached, because its thread never ends
    return model.ServedModel(_NoRecogniser())


@cache
def _served_bundle() -> model.ServedModel:
    return model.ServedModel(Recogniser(bundle.read(ROOT / "models/final.bundle")))


def _identify(content: bytes, folder: Path) -> object:
    cell = base64.b64encode(content).decode()
    return _served_bundle().predict(pd.DataFrame({"photo": [cell, content.decode("latin-1")]}))


def _reviewed_table(content: bytes, folder: Path) -> object:
    """Read a reviewed table as `add` does, without the model."""
    reviewed = add.read_reviewed(_file(content, folder, "a.csv"))
    entries = [Entry(Path(photo), "", photo) for photo in reviewed["photo"]]
    prints = [
        Fingerprint(f"{row:064x}", 1, "JPEG", "L", 1, 1, np.zeros((SIDE, SIDE), np.uint16))
        for row in range(len(reviewed))
    ]
    known = pd.DataFrame({"Id": ["w_1", "w_2"], "sha256": ["0" * 64, "1" * 64]})
    return add.new_labels(reviewed["whale"].str.strip().tolist(), entries, prints, known)


def _photo_seeds() -> list[bytes]:
    seeds = []
    for mode in ("L", "RGB", "RGBA", "P", "1", "CMYK", "I;16"):
        for kind, options in (
            ("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("GIF", {}), ("BMP", {}), ("WEBP", {}),
            ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "jpeg"}),
        ):  # fmt: skip
            file = io.BytesIO()
            exif = Image.Exif()
            exif[0x0112] = 6
            try:
                Image.new(mode, (12, 8), 1).save(file, kind, exif=exif, **options)
            except (OSError, ValueError, KeyError):  # not every format supports every mode
                continue
            seeds.append(file.getvalue())
    return seeds


def _npy(array: object) -> bytes:
    file = io.BytesIO()
    np.save(file, array)  # type: ignore[arg-type]
    return file.getvalue()


def _zip_seeds() -> list[bytes]:
    seeds = []
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        inner, outer = io.BytesIO(), io.BytesIO()
        for file in (inner, outer):
            with zipfile.ZipFile(file, "w", kind) as archive:
                archive.writestr("train/a.jpg", b"a")
                archive.writestr("train.csv", "Image,Id\na.jpg,w_1\n")
                if file is outer:
                    archive.writestr("test.zip", inner.getvalue())
        seeds.append(outer.getvalue())
    return seeds


def _checkpoint_seeds() -> list[bytes]:
    import torch
    from safetensors.torch import save

    network = {
        "version": 1,
        "kind": "network",
        "backbone": "squeezenet1_1",
        "fine": False,
        "embedding": 2,
        "centres": 1,
    }
    network |= {"description": {"classes": ["w_1", "w_2"], "photos": [8, 8, 1], "flip": "off"}}
    boxes = {"version": 1, "kind": "boxes", "backbone": "squeezenet1_1", "fine": False, "size": 32}
    boxes |= {"turns": True, "squeezed": False}
    weights = {"classifier.weight": torch.ones(2, 2)}
    return [save(weights, {"whaleid": json.dumps(header)}) for header in (network, boxes)]


def _document() -> object:
    return YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def _bundle_seeds(name: str) -> list[bytes]:
    with tempfile.TemporaryDirectory(dir=".") as folder:
        bundle.write(small_bundle(), PICTURES, Path(folder))
        return [Path(folder, name).read_bytes()]


BOXES = ("Image,x0,y0,x1,y1,aspect", "a.jpg,0.1,0.2,0.9,0.8,1.5", "b.jpg,0,0,1,1,2")
LISTING = (
    "photo,whale,bbox,split", 'a.jpg,ann,"[1, 2, 30, 20]",train', "sub/b.jpg,bob,,test", "c\\d.png,new_whale,,query",
)  # fmt: skip
COCO = {
    "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
    "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 20], "identity": "ann"}],
    "categories": [{"id": 1, "name": "ann"}, {"id": 2, "name": "bob"}],
}
YAMLS = (
    b"threshold: auto\nseed: 1\npredictions: {a: {networks: [b], calibrated_by: c}}\ndata: {root: data}\n",
    b"threshold: &a 0.2\nseed: *a\nboxes:\n  <<: {size: 64}\nwhen: 2001-12-14 21:59:43.1 -5\n",
    b"ensemble: [margin, pairs]\nfinal: {epochs: 3}\nvariants: {margin: {rate: 0.1}}\n",  # of an earlier version
    b"!!python/object/apply:os.system ['id']\n",
    b"a: !!binary aGk=\nb: !!set {x, y}\nc: !!float .inf\nd: !!int 0x_1f\n? [k]\n: |\n  text\n",
)

READERS = {
    "table": Reader(_table, _csv("Image,Id,aspect", '"a.jpg","w_1",1', "b.jpg,007,"), 100_000),
    "train.csv": Reader(
        lambda content, folder: _catalogue(content, folder, "train.csv"), _csv("Image,Id", "a.jpg,w_1"), 20_000
    ),
    "boxes.csv": Reader(lambda content, folder: _catalogue(content, folder, "boxes.csv"), _csv(*BOXES), 20_000),
    "params.yaml": Reader(
        lambda content, folder: config.load(_file(content, folder, "params.yaml")),
        lambda: [*YAMLS, (ROOT / "params.yaml").read_bytes()],
        40_000,
    ),
    "params": Reader(_check, lambda: [json.dumps(_document()).encode()], 60_000),
    "submission": Reader(_submission, _csv("Image,Id", "a.jpg,w_1 w_2", "b.jpg,new_whale"), 120_000),
    "image": Reader(_image, _photo_seeds, 60_000),
    "fingerprint": Reader(_fingerprint, _photo_seeds, 40_000),
    "checkpoint": Reader(_checkpoint, _checkpoint_seeds, 20_000),
    "packed": Reader(
        lambda content, folder: np.array(arrays.memory_map(_file(content, folder, "a.npy"), np.uint8, 4)[:1]),
        lambda: [_npy(np.zeros((2, 3, 4, 1), np.uint8))],
        50_000,
    ),
    "features": Reader(_features, lambda: _bundle_seeds("margin.embeddings.safetensors"), 30_000),
    "pictures": Reader(_pictures, lambda: _bundle_seeds(bundle.PICTURES), 10_000),
    "bundle.json": Reader(_bundle_json, lambda: _bundle_seeds(bundle.ABOUT), 100_000),
    "photos.csv": Reader(_photos, lambda: _bundle_seeds(bundle.PHOTOS), 10_000),
    "listing": Reader(_csv_listing, _csv(*LISTING), 30_000),
    "coco": Reader(_coco_listing, lambda: [json.dumps(COCO).encode()], 100_000),
    "zip": Reader(_zip, _zip_seeds, 30_000),
    "request": Reader(
        _photo_source,
        lambda: [b"aGk=", b"data:image/png;base64,aGk=", b"file:///x/../y%00", b"http://[::1]/a"],
        200_000,
    ),
    "predict": Reader(_predict_cells, lambda: [b"aGk=\nfile:///etc/passwd\nhttp://x/"], 20_000),
    "reviewed": Reader(_reviewed_table, _csv("photo,whale", "a.jpg,w_1", "b.jpg,new:w_9", "c.jpg,"), 30_000),
    "identify": Reader(_identify, _photo_seeds, 1_000),
}
