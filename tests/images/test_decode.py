"""Decoding of photos, and refusal of files by both `decode` and `fingerprint`."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from whaleid.core.errors import WhaleidError
from whaleid.images import decode as module
from whaleid.images.decode import decode
from whaleid.images.fingerprint import fingerprint


def refusal(path: Path) -> str:
    """Return the error message for the file `path`."""
    messages = []
    for read in (decode, fingerprint):
        with pytest.raises(WhaleidError) as caught:
            read(path)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    return messages[0]


def png_header(width: int, height: int) -> bytes:
    """Return a PNG file that is truncated after its header."""
    size = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + size + struct.pack(">I", zlib.crc32(size))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 1000) + b"IDAT"


@pytest.mark.filterwarnings("ignore:Image size")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"not a photo", "not an image in a known format"),
        (b"\xff\xd8\xff\xe0", "not an image in a known format"),
        (png_header(10_001, 10_000), "10001 x 10000 pixels, over the 100,000,000 allowed: save it at a smaller size"),
        (png_header(13_000, 13_000), "13000 x 13000 pixels, over the 100,000,000 allowed: save it at a smaller size"),
        (png_header(60_000, 60_000), "over the 100,000,000 pixels allowed: save it at a smaller size"),
        (png_header(30_001, 1), "30001 x 1 pixels, over the 30,000 allowed per side: save it at a smaller size"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_other_than_photos_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert refusal(path) == f"{path}: {message}"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "a.jpg") == f"{tmp_path / 'a.jpg'} cannot be read (No such file or directory)"


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.effect_noise((200, 200), 80).save(path)
    path.write_bytes(path.read_bytes()[:-3000])
    assert refusal(path).startswith(f"{path}: damaged or unreadable (")
    assert "truncated" in refusal(path)
    assert refusal(path).endswith("): copy it again from the camera or a backup")


def test_a_photo_may_reach_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (10, 10)).save(tmp_path / "a.png")
    monkeypatch.setattr(module, "MAX_PIXELS", 100)
    monkeypatch.setattr(module, "MAX_SIDE", 10)
    assert decode(tmp_path / "a.png").size == (10, 10)
    monkeypatch.setattr(module, "MAX_SIDE", 9)
    assert "10 x 10 pixels, over the 9 allowed per side" in refusal(tmp_path / "a.png")
    monkeypatch.setattr(module, "MAX_PIXELS", 99)
    assert "10 x 10 pixels, over the 99 allowed" in refusal(tmp_path / "a.png")


def test_photos_are_rotated_upright(tmp_path: Path) -> None:
    image = Image.new("L", (32, 16))
    image.paste(255, (0, 0, 16, 16))  # the left half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise, so that the left side becomes the top
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    pixels = np.asarray(decode(tmp_path / "a.jpg"))
    assert pixels.shape == (32, 16)
    assert pixels[:15].min() > 240
    assert pixels[17:].max() < 15


@pytest.mark.parametrize(
    ("mode", "colour", "decoded"),
    [
        ("1", 1, ("L", 255)),
        ("L", 70, ("L", 70)),
        ("LA", (70, 255), ("L", 70)),
        ("LA", (70, 0), ("L", 255)),
        ("I;16", 70 * 256 + 255, ("L", 70)),
        ("RGB", (10, 20, 30), ("RGB", (10, 20, 30))),
        ("RGBA", (10, 20, 30, 255), ("RGB", (10, 20, 30))),
        ("RGBA", (10, 20, 30, 0), ("RGB", (255, 255, 255))),
    ],
)
def test_a_photo_is_grey_or_rgb(
    tmp_path: Path, mode: str, colour: int | tuple[int, ...], decoded: tuple[str, int | tuple[int, ...]]
) -> None:
    Image.new(mode, (4, 4), colour).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as stored:
        assert stored.mode == mode
    image = decode(tmp_path / "a.png")
    assert (image.mode, image.getpixel((1, 1))) == decoded


def test_palette_and_cmyk_images_become_rgb(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (10, 20, 30)).quantize(2).save(tmp_path / "p.png")
    image = decode(tmp_path / "p.png")
    assert (image.mode, image.getpixel((1, 1))) == ("RGB", (10, 20, 30))

    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "c.jpg", quality=100)
    image = decode(tmp_path / "c.jpg")
    assert image.mode == "RGB"
    np.testing.assert_allclose(image.getpixel((1, 1)), (255, 0, 0), atol=3)


@pytest.mark.parametrize(("suffix", "size"), [("jpg", (200, 100)), ("png", (800, 400))])
def test_only_a_jpeg_is_decoded_at_a_reduced_size(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.effect_noise((800, 400), 50).save(path)
    assert decode(path).size == (800, 400)
    assert decode(path, 96).size == size
