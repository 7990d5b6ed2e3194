"""What a photo's file is found to be, of every kind that a folder may hold."""

import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from pictures import picture
from PIL import Image, ImageOps

from whaleid.duplicates.hashing import SIDE, perceptual_hashes, thumbnail
from whaleid.images import fingerprint as module
from whaleid.images.fingerprint import Fingerprint, fingerprint


def found(path: Path) -> Fingerprint:
    read = fingerprint(path)
    assert isinstance(read, Fingerprint), read
    return read


def pixels(read: Fingerprint) -> np.ndarray:
    return np.frombuffer(read.thumbnail, dtype=np.uint16).reshape(SIDE, SIDE)


def test_a_file_is_what_it_says(tmp_path: Path) -> None:
    picture(1).convert("RGB").save(tmp_path / "a.jpg")
    read = found(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    assert (read.format, read.mode, read.width, read.height) == ("JPEG", "RGB", 96, 64)
    assert (read.size, read.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    # brightness is what the file holds, and not made of colours
    np.testing.assert_allclose(pixels(read) / 256, thumbnail(Image.open(tmp_path / "a.jpg")) / 256, atol=0.6)


@pytest.mark.parametrize(
    ("suffix", "mode", "kind"),
    [
        ("jpg", "L", "JPEG"),
        ("jpg", "CMYK", "JPEG"),
        ("png", "1", "PNG"),
        ("png", "P", "PNG"),
        ("png", "RGBA", "PNG"),
        ("png", "I;16", "PNG"),
        ("tif", "RGB", "TIFF"),
        ("webp", "RGB", "WEBP"),
        ("bmp", "RGB", "BMP"),
        ("gif", "P", "GIF"),
    ],
)
def test_every_format_and_mode_shows_the_same_picture(tmp_path: Path, suffix: str, mode: str, kind: str) -> None:
    image = picture(1)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image, dtype=np.uint16) * 257)
    else:
        image = image.convert("RGB").convert(mode)
    path = tmp_path / f"a.{suffix}"
    image.save(path)
    read = found(path)
    assert (read.format, read.mode) == (kind, mode)
    apart = np.abs(pixels(read) / 256 - thumbnail(picture(1)) / 256)
    assert np.mean(apart) < (40 if mode == "1" else 5)


def test_an_animation_is_its_first_picture(tmp_path: Path) -> None:
    frames = [picture(seed).convert("P") for seed in (1, 2, 3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert np.mean(np.abs(pixels(found(tmp_path / "a.gif")) / 256 - thumbnail(picture(1)) / 256)) < 5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_seen_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture(1, (1040, 640)).save(tmp_path / "a.jpg", exif=exif)
    read = found(tmp_path / "a.jpg")
    upright = ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg"))
    assert (read.width, read.height) == upright.size
    assert perceptual_hashes(np.stack([pixels(read)])) == perceptual_hashes(np.stack([thumbnail(upright)]))


def test_one_pixel_is_a_photo(tmp_path: Path) -> None:
    Image.new("L", (1, 1), 7).save(tmp_path / "a.png")
    assert (found(tmp_path / "a.png").width, pixels(found(tmp_path / "a.png")).max()) == (1, 7 * 256)


def grained(seed: int, size: tuple[int, int] = (1050, 600)) -> Image.Image:
    rng = np.random.default_rng(seed)
    image = np.asarray(picture(seed, size), dtype=float) + rng.normal(0, 9, size[::-1])
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).convert("RGB")


@pytest.mark.parametrize(
    ("size", "decoded"), [((700, 400), (700, 400)), ((1050, 600), (525, 300)), ((2100, 1200), (525, 300))]
)
def test_a_large_jpeg_is_decoded_smaller_and_has_the_same_hash(
    size: tuple[int, int], decoded: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, tuple[int, int]]] = []
    monkeypatch.setattr(module, "thumbnail", lambda image: (seen.append((image.mode, image.size)), thumbnail(image))[1])
    apart = []
    for seed in range(12):
        path = tmp_path / f"{seed}.jpg"
        grained(seed, size).save(path, quality=80)
        read = found(path)
        assert (read.mode, (read.width, read.height)) == ("RGB", size)
        both = perceptual_hashes(np.stack([pixels(read), thumbnail(Image.open(path))]))
        apart.append(int(both[0] ^ both[1]).bit_count())
    assert seen == [("L", decoded)] * 12
    # but for rounding, which may exchange two frequencies that lie as high
    assert apart.count(0) >= 11
    assert max(apart) <= 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b"no photo at all", "no image in a format that is known"),
        (b"\xff\xd8\xff\xe0", "no image in a format that is known"),
    ],
)
def test_what_is_no_image_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    assert fingerprint(tmp_path / "a.jpg") == f"{tmp_path / 'a.jpg'}: {said}"


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_file_that_breaks_off_is_told(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    grained(1).save(path)
    path.write_bytes(path.read_bytes()[:-9000])
    assert str(fingerprint(path)).startswith(f"{path}: damaged or unreadable (")


def test_a_hundred_megapixels_are_told_from_the_header(tmp_path: Path) -> None:
    size = b"IHDR" + struct.pack(">IIBBBBB", 10_001, 10_000, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + size + struct.pack(">I", zlib.crc32(size))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 1000) + b"IDAT")
    said = f"{tmp_path / 'a.png'}: 10001 x 10000 pixels, over the 100,000,000 allowed"
    assert fingerprint(tmp_path / "a.png") == said


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert fingerprint(tmp_path / "a.jpg") == f"{tmp_path / 'a.jpg'}: cannot be read (No such file or directory)"
