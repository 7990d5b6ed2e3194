"""Attacks by untrusted files: each is refused and has no effect."""

import io
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
import typer
from helpers.pictures import picture
from hypothesis import given, settings, strategies
from PIL import Image

from whaleid import config
from whaleid.catalog import checks, layout
from whaleid.catalog.table import read_table
from whaleid.cli import errors, photos
from whaleid.core import arrays
from whaleid.core.errors import WhaleidError
from whaleid.core.labels import NEW_WHALE
from whaleid.detection import network as box_network
from whaleid.identification.ranking import LABELS, PROBABILITIES
from whaleid.images.decode import decode
from whaleid.images.fingerprint import fingerprint
from whaleid.images.listing import spreadsheet_safe
from whaleid.importing import add, coco, csv, importer
from whaleid.importing.archive import unpack, unpack_limits
from whaleid.model import checkpoint, pretrained
from whaleid.report import pages, prediction
from whaleid.report.sheets import Cell, Sheet, Strip
from whaleid.serving import additions, bundle, identify, model
from whaleid.serving.embedder import Query
from whaleid.serving.recogniser import Answer, Candidate, Duplicate

FORMULAS = ["=cmd|'/C_calc'!A0", "+1", "-2", "@SUM(A1)", "\uff1d1"]
MARKUP = '<script>alert(1)</script>"onmouseover="alert(1)\'<img/src=x/onerror=alert(1)>'
ESCAPES = ["a\x1b]0;owned\x07.jpg", "a\x9b2J.jpg", "a\u202egpj.exe.jpg", "a\tb.jpg", "a\r\nb.jpg", "a\u2028b.jpg"]


class CallsFunction:
    """An object that calls `function` when it is unpickled."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def jpeg(**options: object) -> bytes:
    file = io.BytesIO()
    picture(1).save(file, "JPEG", **options)
    return file.getvalue()


# decompression bombs


def png_with_size(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def jpeg_with_size(width: int, height: int) -> bytes:
    content = bytearray(jpeg())
    offset = content.index(b"\xff\xc0") + 5
    content[offset : offset + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def tiff_with_tiles(side: int) -> bytes:
    tags = [(256, 3, 16), (257, 3, 16), (258, 3, 8), (259, 3, 5), (262, 3, 1), (277, 3, 1)]
    tags += [(322, 4, side), (323, 4, side), (324, 4, 8), (325, 4, 7)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    data = b"\x80\x0b\x60\x50\x38\x24\x16\0"
    return b"II*\0" + struct.pack("<I", 16) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def jpeg_with_scans(count: int) -> bytes:
    content = jpeg(progressive=True)
    start = content.index(b"\xff\xda")
    second = content.index(b"\xff\xc4", start)
    return content[:start] + content[start:second] * count + content[second:]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (png_with_size(60_000, 60_000), "over the 100,000,000 pixels allowed"),
        (png_with_size(10_001, 10_000), "10001 x 10000 pixels, over the 100,000,000 allowed"),
        (png_with_size(3_145_736, 1), "3145736 x 1 pixels, over the 30,000 allowed per side"),
        (jpeg_with_size(65_500, 65_500), "over the 100,000,000 pixels allowed"),
        (b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;", "over the 100,000,000 pixels allowed"),
        (tiff_with_tiles(30_000), "tiles of 30000 x 30000 pixels, over the 25,000,000 allowed: save it as JPEG"),
        (jpeg_with_scans(2_000), "scans, over the 100 allowed: save the photo again"),
    ],
)
def test_small_files_that_need_much_work_are_refused(content: bytes, message: str) -> None:
    for read in (decode, fingerprint):
        with pytest.raises(WhaleidError, match=message):
            read(Path("a.jpg"), content=content)
    assert len(content) < 250_000


def test_ordinary_progressive_photos_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(progressive=True))
    assert decode(tmp_path / "a.jpg").size == (96, 64)
    assert decode(tmp_path / "a.jpg", 16).size == (24, 16)


@pytest.mark.parametrize(
    ("kind", "message"),
    [(zipfile.ZIP_DEFLATED, "more than 20 times its size"), (zipfile.ZIP_BZIP2, "a method that is not supported")],
)
def test_zip_bombs_are_refused(tmp_path: Path, kind: int, message: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", kind) as archive, archive.open("train/a.jpg", "w") as file:
        for _ in range(80):
            file.write(bytes(2**20))
    with pytest.raises(WhaleidError, match=message):
        unpack(tmp_path / "a.zip", tmp_path / "out", unpack_limits([tmp_path / "a.zip"]))
    assert not [*tmp_path.rglob("*.jpg")]


@pytest.mark.parametrize("names", [["./a.jpg", "a.jpg"], ["a.jpg/b.jpg", "a.jpg"], [f"{'n' * 300}.jpg"]])
def test_conflicting_and_long_names_in_zip_files_are_refused(tmp_path: Path, names: list[str]) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in names:
            archive.writestr(name, b"a")
    with pytest.raises(WhaleidError, match=r"a\.zip cannot be unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "out", unpack_limits([tmp_path / "a.zip"]))


def test_compressed_arrays_are_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", embeddings=np.zeros((1, 1000, 1000), np.float32))
    assert (tmp_path / "a.npz").stat().st_size < 10_000
    with pytest.raises(WhaleidError, match="it is compressed, or contains overlapping members"):
        arrays.read(tmp_path / "a.npz", {"embeddings": "f"})


def test_an_array_larger_than_its_file_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((1, 2, 2, 1), np.uint8))
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content.replace(b"(1, 2, 2, 1)", b"(9999999, 2, 2, 1)").replace(b" " * 6, b"", 1))
    with pytest.raises(WhaleidError, match=r"a\.npy cannot be used"):
        arrays.memory_map(tmp_path / "a.npy", np.uint8, 4)


# code in data


def test_objects_in_arrays_are_not_unpickled(tmp_path: Path) -> None:
    objects = np.array([CallsFunction(os.mkdir, str(tmp_path / "ran"))], dtype=object)
    np.savez(tmp_path / "a.npz", embeddings=objects)
    np.save(tmp_path / "a.npy", objects)
    with pytest.raises(WhaleidError, match="allow_pickle=False"):
        arrays.read(tmp_path / "a.npz", {"embeddings": "f"})
    with pytest.raises(WhaleidError, match=r"a\.npy cannot be used"):
        arrays.memory_map(tmp_path / "a.npy", np.uint8, 1)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_of_weights_does_not_run(tmp_path: Path, zipped: bool) -> None:
    file = io.BytesIO()
    torch.save(
        {"backbone": CallsFunction(os.mkdir, str(tmp_path / "ran"))}, file, _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(WhaleidError, match=r"a\.pt cannot be read: it is truncated, or contains more than tensors"):
        pretrained.from_file(file.getvalue(), "a.pt")
    assert not (tmp_path / "ran").exists()


ANY_VALUE = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers()
    | strategies.floats()
    | strategies.text(max_size=4),
    lambda inner: (
        strategies.lists(inner, max_size=3) | strategies.dictionaries(strategies.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
NETWORK = {"version": 1, "kind": "network", "backbone": "squeezenet1_1", "fine": False, "embedding": 2, "centres": 1}
NETWORK |= {"description": {"classes": ["a"], "photos": [8, 8, 1], "flip": "off"}}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(key=strategies.sampled_from([*NETWORK, "more"]), value=ANY_VALUE)
def test_checkpoints_without_weights_are_refused_for_any_header(key: str, value: object) -> None:
    weights = {"classifier.weight": torch.ones(2, 1)}
    for header in (NETWORK | {key: value}, value):
        data = safetensors.torch.save(weights, {"whaleid": json.dumps(header)})
        for load in (checkpoint.load, box_network.load):
            with pytest.raises(WhaleidError):
                load(data, "a.safetensors")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!!python/object/apply:os.mkdir [ran]", "could not determine a constructor"),
        ("!!python/name:os.system", "could not determine a constructor"),
        ("a: 2001-13-45", "month must be in 1..12"),
        ("a: !!int x", "is not valid YAML"),
        ("[" * 5000, "is not valid YAML"),
        ("a: &a [*a]\nseed: *a", "seed: must be a valid integer"),
    ],
)
def test_yaml_with_more_than_plain_values_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(text)
    with pytest.raises(WhaleidError, match=message):
        config.load(Path("params.yaml"))
    assert [*tmp_path.iterdir()] == [tmp_path / "params.yaml"]


def test_nested_aliases_are_not_expanded_in_errors(tmp_path: Path) -> None:
    document = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
    (tmp_path / "params.yaml").write_text(document + "seed: *a29\n")
    with pytest.raises(WhaleidError) as error:
        config.load(tmp_path / "params.yaml")
    assert len(str(error.value)) < 5000


@settings(max_examples=300, deadline=None, derandomize=True)
@given(document=strategies.dictionaries(strategies.sampled_from([*config.Params.model_fields, "x"]), ANY_VALUE))
def test_any_invalid_document_is_an_error(document: dict[str, object]) -> None:
    with pytest.raises(WhaleidError):
        config.check(document, Path("params.yaml"))


# paths


@pytest.fixture
def whales(tmp_path: Path) -> Path:
    root = tmp_path / "whales"
    (root / "train").mkdir(parents=True)
    picture(1).save(root / "train/a.jpg")
    picture(2).save(tmp_path / "secret.jpg")
    return root


@pytest.mark.parametrize("name", ["../secret.jpg", "../../secret.jpg", "/etc/passwd", "..\\secret.jpg", ".."])
def test_paths_in_a_catalogues_table_are_refused(whales: Path, name: str) -> None:
    (whales / "train.csv").write_text(f"Image,Id\na.jpg,w_1\n{name},w_2\n")
    message = r"train\.csv: names that are not plain file names \(1\):\n  line 3:"
    with pytest.raises(WhaleidError, match=message):
        layout.read(whales)

    class CatalogueStub:
        bundle = type("Bundle", (), {"photos": {"Image": np.array([])}})

    with pytest.raises(WhaleidError, match=message):  # identify and add read only this table
        additions.extend(CatalogueStub(), whales)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd.jpg", f"{'n' * 300}/a.jpg", "a\0.jpg", "\ud800.jpg"])
def test_paths_outside_the_folder_in_coco_json_are_refused(whales: Path, tmp_path: Path, name: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    document = {"images": [{"id": 1, "file_name": name}], "annotations": [{"image_id": 1, "identity": "ann"}]}
    (source / "a.json").write_text(json.dumps(document))
    with pytest.raises(WhaleidError, match=r"not inside|do not exist|cannot be used"):
        importer.run(str(source / "a.json"), tmp_path / "to", importer.Options())
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize(
    "change", [{"images": [{"id": [1]}]}, {"annotations": [{"image_id": {}}]}, {"categories": [{"id": []}]}]
)
def test_ids_that_are_not_numbers_or_text_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    document = {"images": [{"id": 1}], "annotations": [{"image_id": 1, "identity": "a"}], "categories": []} | change
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.raises(WhaleidError, match=r"values of id, image_id, category_id, .* are numbers or text"):
        coco.read(tmp_path / "a.json", tmp_path)


@pytest.mark.parametrize("box", [f"[{'9' * 400}, 0, 1, 1]", "[" * 5000, "{}", "true", "[1e999]"])
def test_boxes_that_are_not_numbers_are_left_out(tmp_path: Path, box: str) -> None:
    (tmp_path / "a.csv").write_text(f'photo,whale,bbox\na.jpg,ann,"{box}"\n')
    source = csv.read(tmp_path / "a.csv", csv.Columns())
    assert source.entries[0].rectangle is None
    assert source.notes[0].startswith(
        "1 boxes are ignored, since they are empty or not [x, y, width, height]: line 2: "
    )


@settings(max_examples=100, deadline=None, derandomize=True)
@given(cell=strategies.text("0123456789.eE_+- \u0661\uff11naif", max_size=6))
def test_numbers_in_boxes_are_parsed_as_in_python(tmp_path_factory: pytest.TempPathFactory, cell: str) -> None:
    root = tmp_path_factory.mktemp("cells")
    (root / "test").mkdir()
    (root / "test/a.jpg").touch()
    (root / "boxes.csv").write_text(f"Image,x0,y0,x1,y1\na.jpg,{cell},0,1,1\n", encoding="utf-8")
    try:
        (value,) = layout.read(root, incomplete=True).boxes["x0"]
    except WhaleidError as error:
        value = str(error)
    if isinstance(value, str):
        assert "boxes that are empty, or not inside their photo" in value
    else:
        assert 0 <= value == float(cell) < 1


def test_links_to_files_outside_the_folder_are_not_imported(whales: Path, tmp_path: Path) -> None:
    source = tmp_path / "source/ann"
    source.mkdir(parents=True)
    (source / "a.jpg").symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(WhaleidError, match="Photos that are not inside"):
        importer.run(str(tmp_path / "source"), tmp_path / "to", importer.Options())


@pytest.mark.parametrize("cell", ["file://[::1/a.jpg", "http://[a/b", "file:///%00", "file:///loop/a.jpg", "file:"])
def test_invalid_addresses_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.setenv(model.ALLOWED, f"file://{tmp_path} http://a/")
    with pytest.raises(WhaleidError, match=r"may not be read|cannot be read"):
        model.content(cell.replace("file:///loop", f"file://{tmp_path}/loop"))


# files of two formats


def test_a_photo_that_is_also_a_zip_file_is_imported_as_a_photo(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("../train.csv", "Image,Id\n")
    source = tmp_path / "source/ann"
    source.mkdir(parents=True)
    (source / "a.jpg").write_bytes(jpeg() + inner.getvalue())
    importer.run(str(tmp_path / "source"), tmp_path / "to", importer.Options())
    assert sorted(path.name for path in (tmp_path / "to").rglob("*") if path.is_file()) == ["a.jpg", "train.csv"]
    (tmp_path / "a.zip").write_bytes(jpeg() + inner.getvalue())
    with pytest.raises(WhaleidError, match="names that lead out of the zip file or contain"):
        unpack(tmp_path / "a.zip", tmp_path / "out", unpack_limits([tmp_path / "a.zip"]))


def test_an_image_that_is_also_a_script_is_not_embedded_in_a_page(tmp_path: Path) -> None:
    file = io.BytesIO()
    picture(1).save(file, "GIF", comment=b"*/=1;alert('whale')//")
    source = tmp_path / "source/ann"
    source.mkdir(parents=True)
    (source / "a.jpg").write_bytes(file.getvalue())
    with pytest.raises(WhaleidError, match="labelled photos are in a format"):
        importer.run(str(tmp_path / "source"), tmp_path / "to", importer.Options())
    picture(1).save(source / "b.png")
    photos.duplicates(tmp_path / "source", out=tmp_path / "out")
    assert "alert('whale')" not in (tmp_path / "out/report.html").read_text()


# formulas in spreadsheets


@pytest.mark.parametrize("label", FORMULAS)
def test_labels_and_names_that_are_formulas_are_refused(whales: Path, tmp_path: Path, label: str) -> None:
    (whales / "train.csv").write_text(f"Image,Id\na.jpg,{label}\n", encoding="utf-8")
    with pytest.raises(WhaleidError, match=r"labels that a spreadsheet would run as a formula \(1\)"):
        layout.read(whales)
    (whales / "train.csv").write_text("Image,Id\na.jpg,w_1\n")
    picture(3).save(whales / "train" / f"{label.replace('/', '')}.jpg")
    with pytest.raises(WhaleidError, match=r"names that a spreadsheet would run as a formula \(1\)"):
        layout.read(whales, incomplete=True)
    source = tmp_path / "source" / label.replace("/", "")
    source.mkdir(parents=True)
    picture(4).save(source / "@b.jpg")
    with pytest.raises(WhaleidError) as error:
        importer.run(str(tmp_path / "source"), tmp_path / "to", importer.Options())
    assert "Names of whales that a spreadsheet would run as a formula (1)" in str(error.value)
    assert "Photos with names that cannot be used (1)" in str(error.value)


class FakeRecogniser:
    """A recogniser with one whale, whose photo is a duplicate of every query."""

    class bundle:
        class about:
            threshold = 0.5

    def __init__(self, bundle: object) -> None:
        """Accept any bundle."""

    def identify(self, photos: list[Query], threshold: float | None) -> list[Answer]:
        """Return the same answer for each JPEG file, and a problem for other files."""
        names = [Candidate("w_1", 0.75, "a.jpg"), Candidate(NEW_WHALE, 0.25, "")]
        same = [Duplicate("a.jpg", "w_1", 0, 0.0)]
        return [
            Answer(photo.name, names, same)
            if Path(photo.name).read_bytes()[:2] == b"\xff\xd8"
            else Answer(photo.name, problem=f"{photo.name}: bad")
            for photo in photos
        ]


@pytest.fixture
def fake_recogniser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(identify, "Recogniser", FakeRecogniser)
    monkeypatch.setattr(bundle, "read", lambda folder: None)
    monkeypatch.setattr(bundle, "pictures", lambda folder: {"a.jpg": jpeg()})
    return tmp_path


def test_tables_of_any_photos_contain_no_formula_and_can_be_read_again(fake_recogniser: Path) -> None:
    names = [f"{formula.replace('/', '')}.jpg" for formula in FORMULAS]
    for name in names:
        Path(name).write_bytes(jpeg())
    Path("=bad.jpg").write_bytes(b"none")
    identify.run([Path()], Path("model"), None, None, Path("a.csv"), Path("a.json"), Path("a.html"))
    table = read_table(Path("a.csv"), ["photo", "whale", "label1", "same_as", "problem"])
    assert {*table["photo"]} == {f"./{name}" for name in [*names, "=bad.jpg"]}
    assert not [cell for row in table.itertuples(index=False) for cell in row if cell.startswith(checks.FORMULA)]
    table["whale"] = "w_1"
    table.to_csv("reviewed.csv", index=False)
    again = add.read_reviewed(Path("reviewed.csv"))["photo"]
    assert {Path(photo).name for photo in again} == {*names, "=bad.jpg"}
    assert all(Path(photo).is_file() for photo in again)
    assert {spreadsheet_safe(Path(photo)) for photo in again} == {*again}
    with pytest.raises(typer.Exit):  # one photo cannot be read
        photos.duplicates(Path(), out=Path("out"))
    for name in ("manifest.csv", "unreadable.csv"):
        cells = Path("out", name).read_text(encoding="utf-8").replace("\n", ",").split(",")
        assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "\uff1d", "-2"))]
    (Path("reviewed.csv")).write_text("photo,whale\n=1.jpg,w_1\n")
    with pytest.raises(WhaleidError, match=r"Paths that begin with = . - @"):
        add.read_reviewed(Path("reviewed.csv"))


# control characters in terminals


@pytest.mark.parametrize("name", ESCAPES)
def test_control_characters_in_names_are_escaped_in_a_terminal(
    fake_recogniser: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    Path("photos").mkdir()
    Path("photos", name).write_bytes(jpeg())
    Path("photos", "good.jpg").write_bytes(jpeg())
    assert identify.run([Path("photos")], Path("model"), None, None, Path("a.csv"), Path("a.json"), None) == 1
    message = capsys.readouterr().out
    assert message.replace("\n", "").isprintable()
    assert f"{f'photos/{name}'!a}  not read: its name cannot be written to a csv file: rename it" in message
    assert read_table(Path("a.csv"), ["photo"])["photo"].tolist() == [ascii(f"photos/{name}"), "photos/good.jpg"]
    assert checks.has_unsafe_characters(name)


def test_a_name_that_is_not_unicode_is_reported(fake_recogniser: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos").mkdir()
    Path(os.fsdecode(b"photos/\xff.jpg")).write_bytes(jpeg())
    assert identify.run([Path("photos")], Path("model"), None, None, Path("a.csv"), None, Path("a.html")) == 1
    assert "'photos/\\udcff.jpg'  not read: " in capsys.readouterr().out


def test_errors_are_printed_without_control_characters() -> None:
    assert errors.message(WhaleidError("a\x1b[2Jb\nc\u202e\udcff é")) == "a\\x1b[2Jb\nc\\u202e\\udcff é"


def test_unsafe_labels_in_a_bundle_are_refused(tmp_path: Path) -> None:
    for label in ["\x1b[2J", "=1+1", "", "\u202ea"]:
        text = f"Image,Id,sha256,width,height,phash,compared\na.jpg,{label},0,1,1,0,1\n"
        (tmp_path / bundle.PHOTOS).write_text(text, encoding="utf-8")
        with pytest.raises(WhaleidError, match="does not match the bundle"):
            bundle.read_photos(tmp_path / bundle.PHOTOS)


# markup in pages


class ParsedPage(HTMLParser):
    """The tags, attributes and links of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def assert_no_script(html: str) -> None:
    parsed = ParsedPage(html)
    assert "script" not in parsed.tags
    assert not [name for name in parsed.attributes if name.startswith("on")]
    assert all(link.startswith("data:image/") for link in parsed.links)
    assert MARKUP not in html
    assert "&lt;script&gt;" in html  # the markup appears as text


def assert_only_own_script(html: str) -> None:
    """Check that a page runs only its own script, which receives untrusted text as data."""
    parsed = ParsedPage(html)
    assert html.count("<script") == html.count("</script") == 2
    assert not [name for name in parsed.attributes if name.startswith("on")]
    assert all(link.startswith("data:image/") for link in parsed.links)
    assert MARKUP not in html
    script = html.split("<script")[2].split("</script")[0]
    assert "innerHTML" not in script
    assert "&lt;script&gt;" in html  # labels and names of photos appear as text


def test_markup_in_labels_and_names_is_text_on_every_page() -> None:
    thumbnails = {MARKUP: jpeg()}
    cell = Cell(MARKUP, MARKUP, bold=MARKUP, title=MARKUP)
    sheet = Sheet(MARKUP, MARKUP, [Strip([cell, Cell("", MARKUP, placeholder=MARKUP)], MARKUP)])
    plot = pages.Plot(MARKUP, MARKUP, b"", pd.DataFrame({MARKUP: [MARKUP]}))
    assert_no_script(pages.render_sheets(MARKUP, [MARKUP], [sheet], thumbnails, {MARKUP: MARKUP}, [plot]))
    query = dict.fromkeys(["Image", "whale", "truth", *LABELS], MARKUP) | dict.fromkeys(PROBABILITIES, 0.1)
    queries = pd.DataFrame([query | {"leaked": 1, "threshold": 0.5}])
    leaks = prediction.sheet(MARKUP, MARKUP, queries, [[MARKUP] * len(LABELS)])
    figures = {"unknown_share": 0.3, "duplicate_share": 0.1, "threshold_auto": 0.5, MARKUP: 0.1}
    content = prediction.Content(MARKUP, MARKUP, figures, queries, None, {}, [leaks])
    assert_only_own_script(prediction.render(content, thumbnails))


def test_names_of_variants_and_predictions_cannot_contain_markup() -> None:
    """The comparison in a terminal and in MLflow's Markdown displays these names without escaping."""
    from ruamel.yaml import YAML

    document = YAML(typ="safe").load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))
    for name in (MARKUP, "[a](javascript:alert(1))", "../up", "a b"):
        for section in ("variants", "predictions"):
            changed = document | {section: document[section] | {name: document[section]["margin"]}}
            with pytest.raises(WhaleidError, match=config.NAME_RULE):
                config.check(changed, Path("params.yaml"))


def test_a_photo_with_many_pixels_needs_bounded_memory(tmp_path: Path) -> None:
    """The largest allowed photo, from a file of 12 KB, needs two bytes per pixel."""
    file = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(file, "PNG")
    assert len(file.getvalue()) < 20_000
    (tmp_path / "large.png").write_bytes(file.getvalue())
    code = (
        "from pathlib import Path; from whaleid.images.decode import decode; "
        "peak = lambda: int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]); before = peak(); "
        "print(decode(Path('large.png')).size, (peak() - before) // 1024)"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    size, _, mebibytes = process.stdout.strip().rpartition(" ")
    assert size == "(10000, 10000)"
    assert int(mebibytes) < 300
