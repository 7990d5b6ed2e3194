"""Metadata never stops a photo: only the orientation is read, and the rest may be broken, odd or large."""

import io
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from whaleid.core.errors import WhaleidError
from whaleid.images.decode import count_scans, decode
from whaleid.images.fingerprint import fingerprint

# pytest shows warnings that programs do not show
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SHORT, LONG, RATIONAL, SIGNED_RATIONAL, BYTES = 3, 4, 5, 10, 1
ROTATED = struct.pack("<HHII", 274, SHORT, 1, 6)


def exif(*entries: bytes, data: bytes = b"") -> bytes:
    """Return EXIF of tags that Pillow itself does not write; the offset of `data` is 26 + 12 for each further entry."""
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4) + data


def jpeg(app1: bytes = b"", **options: object) -> bytes:
    """Return a JPEG of 32 x 16 pixels, white on the left, with `app1` as its metadata."""
    image = Image.new("L", (32, 16))
    image.paste(255, (0, 0, 16, 16))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, **options)
    content = file.getvalue()
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(app1) + 2) + app1 + content[2:] if app1 else content


def size(path: Path, content: bytes) -> tuple[int, int]:
    """Return the size of the photo as `decode` and `fingerprint` read it."""
    path.write_bytes(content)
    photo = fingerprint(path)
    assert decode(path).size == (photo.width, photo.height)
    return photo.width, photo.height


@pytest.mark.parametrize(
    "metadata",
    [
        exif(ROTATED),
        exif(struct.pack("<HHIHH", 274, SHORT, 2, 6, 6)),
        exif(struct.pack("<HHII", 274, LONG, 1, 6)),
        exif(ROTATED, struct.pack("<HHII", 282, SIGNED_RATIONAL, 1, 38), data=struct.pack("<ii", -1, 0)),
        exif(ROTATED, struct.pack("<HHII", 282, RATIONAL, 2, 38), data=struct.pack("<IIII", 72, 1, 72, 1)),
        exif(ROTATED, struct.pack("<HHII", 305, SHORT, 1, 5)),
        exif(ROTATED, struct.pack("<HHII", 33432, BYTES, 8, 38), data=b"\xffJane\0\0\0"),
        exif(ROTATED, struct.pack("<HHII", 37500, LONG, 1, 5)),
        exif(ROTATED, struct.pack("<HHII", 34853, LONG, 1, 9_999_999)),
        exif(ROTATED, struct.pack("<HHII", 305, 2, 4_000_000_000, 38)),
        b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><rdf:Description tiff:Orientation='6' tiff:Orientation=\"6\"/>",
    ],
    ids=["plain", "twice", "long", "negative", "two", "software", "copyright", "maker", "gps", "endless", "xmp"],
)
def test_the_orientation_is_read_from_odd_metadata(tmp_path: Path, metadata: bytes) -> None:
    assert size(tmp_path / "a.jpg", jpeg(metadata)) == (16, 32)


@pytest.mark.parametrize(
    "metadata",
    [
        b"Exif\0\0",
        b"Exif\0\0nothing of the kind",
        exif(struct.pack("<HHII", 274, SHORT, 1, 9)),
        exif(struct.pack("<HHI4s", 274, 2, 4, b"up\0\0")),
        exif(struct.pack("<HHII", 274, SHORT, 0, 0)),
    ],
    ids=["empty", "garbage", "nine", "text", "none"],
)
def test_broken_metadata_leaves_a_photo_as_it_is_stored(tmp_path: Path, metadata: bytes) -> None:
    assert size(tmp_path / "a.jpg", jpeg(metadata)) == (32, 16)


@pytest.mark.parametrize(
    "segment",
    [b"\xff\xe0\0\x07JFIF\0", b"\xff\xe2\0\x0eICC_PROFILE\0", b"\xff\xee\0\x07Adobe", b"\xff\xe2\0\x06MPF\0"],
)
@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_broken_segments_of_applications_do_not_stop_a_photo(tmp_path: Path, segment: bytes, mode: str) -> None:
    file = io.BytesIO()
    Image.linear_gradient("L").convert(mode).save(file, "JPEG")
    content = file.getvalue()
    (tmp_path / "good.jpg").write_bytes(content)
    metadata = b"\xff\xe1" + struct.pack(">H", len(exif(ROTATED)) + 2) + exif(ROTATED)
    (tmp_path / "bad.jpg").write_bytes(content[:2] + metadata + segment + content[2:])
    good, bad = (np.asarray(decode(tmp_path / name)) for name in ("good.jpg", "bad.jpg"))
    np.testing.assert_array_equal(np.rot90(good, -1), bad)
    assert fingerprint(tmp_path / "bad.jpg").size == len(content) + len(metadata) + len(segment)


def test_no_change_of_a_byte_of_metadata_stops_a_photo(tmp_path: Path) -> None:
    good = exif(ROTATED, struct.pack("<HHII", 282, RATIONAL, 1, 38), data=struct.pack("<II", 72, 1))
    draw = random.Random(0)
    for _ in range(300):
        metadata = bytearray(good)
        for _ in range(3):
            metadata[draw.randrange(len(metadata))] = draw.randrange(256)
        assert size(tmp_path / "a.jpg", jpeg(bytes(metadata))) in ((16, 32), (32, 16))


@pytest.mark.parametrize(("number", "upright"), [(1, (32, 16)), (3, (32, 16)), (6, (16, 32)), (8, (16, 32))])
def test_a_tiff_is_read_upright(tmp_path: Path, number: int, upright: tuple[int, int]) -> None:
    image, tags = Image.new("L", (32, 16)), Image.Exif()
    tags[0x0112] = number
    file = io.BytesIO()
    image.save(file, "TIFF", exif=tags)
    assert size(tmp_path / "a.tif", file.getvalue()) == upright


def test_large_metadata_is_skipped(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", "<x>" + " " * 3_000_000, zip=True)
    file = io.BytesIO()
    Image.new("L", (32, 16)).save(file, "PNG", pnginfo=text, icc_profile=bytes(3_000_000))
    assert size(tmp_path / "a.png", file.getvalue()) == (32, 16)
    assert size(tmp_path / "a.jpg", jpeg(icc_profile=bytes(3_000_000))) == (32, 16)


def test_a_motion_photo_is_its_photo(tmp_path: Path) -> None:
    video = b"\0\0\0\x18ftypmp42" + b"\xff\xda" * 5000 + b"\xff\xd9"
    content = jpeg(exif(ROTATED)) + video
    assert size(tmp_path / "a.jpg", content) == (16, 32)
    assert count_scans(content) == 1


def test_scans_are_counted_to_the_end_of_the_image() -> None:
    progressive = jpeg(progressive=True)
    assert count_scans(progressive) == 6  # as Pillow writes a grey one
    assert count_scans(progressive + progressive) == 6
    # an EXIF thumbnail has scans and an end of its own
    assert count_scans(jpeg(b"Exif\0\0" + progressive)) == 1


@pytest.mark.parametrize(
    ("values", "decoded"),
    [
        (np.array([[0, 4095]], np.uint16), [0, 255]),  # 12 bits
        (np.array([[0, 2048, 65535]], np.uint16), [0, 8, 255]),
        (np.array([[0, 1023]], np.uint16), [0, 255]),
        (np.array([[0, 8191, 16383]], np.uint16), [0, 127, 255]),
        (np.array([[0, 7, 255]], np.int32), [0, 7, 255]),  # 8 bits
        (np.array([[0, 2**31 - 1]], np.int32), [0, 255]),
        (np.array([[-10, 90, 190]], np.int32), [0, 128, 255]),
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.2, 0.4]], np.float32), [51, 102]),
        (np.array([[-1000.0, 3000.0]], np.float32), [0, 255]),
        (np.array([[700.0, 700.0]], np.float32), [0, 0]),
    ],
    ids=lambda value: str(getattr(value, "dtype", "")),
)
def test_tiffs_of_many_bits_are_scaled(tmp_path: Path, values: np.ndarray, decoded: list[int]) -> None:
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert np.asarray(decode(tmp_path / "a.tif"))[0].tolist() == decoded
    assert fingerprint(tmp_path / "a.tif").width == values.shape[1]


def test_a_tiff_with_pixels_that_are_not_numbers_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0.0, np.nan]], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(WhaleidError, match="pixels that are not numbers"):
        decode(tmp_path / "a.tif")


@pytest.mark.parametrize("bits", [12, 16])
def test_colours_of_12_bits_are_refused_rather_than_black(tmp_path: Path, bits: int) -> None:
    path, highest = tmp_path / "a.png", 2**bits - 1
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    pixels = b"\0" + struct.pack(">6H", highest, 0, highest // 2, *[highest] * 3)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")):
            PngImagePlugin.putchunk(file, kind, data)
    if bits == 16:
        assert np.asarray(decode(path))[0].tolist() == [[255, 0, 127], [255, 255, 255]]
        return
    for read in (decode, fingerprint):
        with pytest.raises(WhaleidError, match="the upper 4 of 16 bits are not used: save it with 8 bits"):
            read(path)


def test_no_warning_reaches_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(exif(struct.pack("<HHIHH", 274, SHORT, 2, 6, 6))))
    script = f"from pathlib import Path; from whaleid.images.decode import decode; decode(Path({str(path)!r}))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    plain = f"from PIL import Image; Image.open({str(path)!r}).getexif().get(274)"
    ended = subprocess.run([sys.executable, "-c", plain], capture_output=True, text=True, check=True)
    assert "too many entries" in ended.stderr


def test_no_message_of_libtiff_reaches_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.effect_noise((64, 64), 50).save(path, compression="tiff_lzw")
    content = path.read_bytes()
    path.write_bytes(content[:400] + b"\xff" * 40 + content[440:])
    for reader, message in (
        ("from pathlib import Path; from whaleid.images.decode import decode as read; path = Path({!r})", ""),
        ("from PIL import Image; read = lambda path: Image.open(path).load(); path = {!r}", "not yet in table"),
    ):
        script = f"{reader.format(str(path))}\ntry: read(path)\nexcept Exception: print('damaged')"
        ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert ended.stdout == "damaged\n"
        assert message in ended.stderr if message else not ended.stderr
