"""Photos that are read upright in mode L or RGB, and files that are refused."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from whaleid.core.errors import WhaleidError
from whaleid.images import decode as module
from whaleid.images.decode import decode, load


def refusal(path: Path) -> str:
    with pytest.raises(WhaleidError) as caught:
        decode(path)
    return str(caught.value)


def png_header(width: int, height: int) -> bytes:
    """A PNG file that says how large it is and breaks off after that."""
    size = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + size + struct.pack(">I", zlib.crc32(size))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 1000) + b"IDAT"


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "an empty file"), (b"no photo", "no image in a format that is known")]
)
def test_refuses_what_is_no_image(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert refusal(path) == f"{path}: {said}"


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_refuses_a_file_that_breaks_off(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.effect_noise((200, 200), 80).save(path)
    path.write_bytes(path.read_bytes()[:-3000])
    assert refusal(path).startswith(f"{path}: damaged or unreadable (")
    assert "truncated" in refusal(path)


def test_refuses_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert refusal(tmp_path / "a.jpg").startswith(f"{tmp_path / 'a.jpg'}: damaged or unreadable (")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("width", "height"), [(10_001, 10_000), (13_000, 13_000)])
def test_refuses_enormous_photos_by_their_header(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_header(width, height))
    assert refusal(path) == f"{path}: {width} x {height} pixels, over the 100,000,000 allowed"


def test_refuses_more_than_pillow_takes(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_header(60_000, 60_000))
    assert refusal(path) == f"{path}: over the 100,000,000 pixels allowed"


def test_takes_as_many_pixels_as_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (10, 10)).save(tmp_path / "a.png")
    monkeypatch.setattr(module, "MAX_PIXELS", 100)
    assert decode(tmp_path / "a.png").size == (10, 10)
    monkeypatch.setattr(module, "MAX_PIXELS", 99)
    assert "10 x 10 pixels, over the 99 allowed" in refusal(tmp_path / "a.png")


def test_turns_photos_upright(tmp_path: Path) -> None:
    image = Image.new("L", (32, 16))
    image.paste(255, (0, 0, 16, 16))  # the left half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be seen turned by 90 degrees clockwise: what was left is on top
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    pixels = np.asarray(decode(tmp_path / "a.jpg"))
    assert pixels.shape == (32, 16)
    assert pixels[:15].min() > 240
    assert pixels[17:].max() < 15


@pytest.mark.parametrize(
    ("mode", "colour", "seen"),
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
def test_gives_grey_or_rgb(
    tmp_path: Path, mode: str, colour: int | tuple[int, ...], seen: tuple[str, int | tuple[int, ...]]
) -> None:
    Image.new(mode, (4, 4), colour).save(tmp_path / "a.png")
    assert load(tmp_path / "a.png").mode == mode
    image = decode(tmp_path / "a.png")
    assert (image.mode, image.getpixel((1, 1))) == seen


def test_gives_rgb_for_palettes_and_print_colours(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (10, 20, 30)).quantize(2).save(tmp_path / "p.png")
    assert load(tmp_path / "p.png").mode == "P"
    image = decode(tmp_path / "p.png")
    assert (image.mode, image.getpixel((1, 1))) == ("RGB", (10, 20, 30))

    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "c.jpg", quality=100)
    image = decode(tmp_path / "c.jpg")
    assert image.mode == "RGB"
    np.testing.assert_allclose(image.getpixel((1, 1)), (255, 0, 0), atol=3)


@pytest.mark.parametrize(("suffix", "size"), [("jpg", (400, 200)), ("png", (1600, 800))])
def test_a_jpeg_is_read_smaller_where_that_is_enough(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.effect_noise((1600, 800), 50).save(path)
    assert decode(path).size == (1600, 800)
    assert decode(path, 192).size == size
