"""Fingerprints of files of all supported formats and modes."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from helpers.pictures import picture
from PIL import Image, ImageOps
from threadpoolctl import threadpool_limits

from whaleid.duplicates.hashing import perceptual_hashes
from whaleid.images import fingerprint as module
from whaleid.images.fingerprint import (
    CATALOGUE_FORMATS,
    SIDE,
    Fingerprint,
    file_metadata,
    fingerprint,
    fingerprints,
    thumbnail,
    thumbnails,
)


@pytest.mark.parametrize("size", [(64, 96), (100, 33), (32, 32), (7, 3), (1, 1), (320, 45)])
def test_a_thumbnail_is_the_mean_of_each_cell(size: tuple[int, int]) -> None:
    pixels = np.asarray(picture(1, size), dtype=float)
    # repeat pixels so that each cell consists of whole pixels
    enlarged = pixels.repeat(SIDE, axis=0).repeat(SIDE, axis=1)
    expected = enlarged.reshape(SIDE, size[1], SIDE, size[0]).mean(axis=(1, 3))
    small = thumbnail(picture(1, size))
    assert (small.shape, small.dtype) == ((SIDE, SIDE), np.uint16)
    np.testing.assert_allclose(small / 256, expected, atol=0.05)


def test_a_thumbnail_does_not_depend_on_the_number_of_threads() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1201, 1999), dtype=np.uint8))
    with threadpool_limits(1):
        single_threaded = thumbnail(image)
    assert np.array_equal(thumbnail(image), single_threaded)


def test_a_fingerprint_contains_the_metadata_of_the_file(tmp_path: Path) -> None:
    picture(1).convert("RGB").save(tmp_path / "a.jpg")
    read = fingerprint(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    assert (read.format, read.mode, read.width, read.height) == ("JPEG", "RGB", 96, 64)
    assert (read.size, read.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    # the luminance is that stored in the file, not computed from RGB
    np.testing.assert_allclose(read.thumbnail / 256, thumbnail(Image.open(tmp_path / "a.jpg")) / 256, atol=0.6)


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
def test_thumbnails_do_not_depend_on_format_and_mode(tmp_path: Path, suffix: str, mode: str, kind: str) -> None:
    image = picture(1)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image, dtype=np.uint16) * 257)
    else:
        image = image.convert("RGB").convert(mode)
    path = tmp_path / f"a.{suffix}"
    image.save(path)
    read = fingerprint(path)
    assert (read.format, read.mode) == (kind, mode)
    difference = np.abs(read.thumbnail / 256 - thumbnail(picture(1)) / 256)
    assert np.mean(difference) < (40 if mode == "1" else 5)


def test_the_fingerprint_of_an_animation_is_that_of_its_first_frame(tmp_path: Path) -> None:
    frames = [picture(seed).convert("P") for seed in (1, 2, 3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert np.mean(np.abs(fingerprint(tmp_path / "a.gif").thumbnail / 256 - thumbnail(picture(1)) / 256)) < 5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_fingerprints_are_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture(1, (1040, 640)).save(tmp_path / "a.jpg", exif=exif)
    read = fingerprint(tmp_path / "a.jpg")
    upright = ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg"))
    assert (read.width, read.height) == upright.size
    assert perceptual_hashes(np.stack([read.thumbnail])) == perceptual_hashes(np.stack([thumbnail(upright)]))


def test_a_photo_may_have_a_single_pixel(tmp_path: Path) -> None:
    Image.new("L", (1, 1), 7).save(tmp_path / "a.png")
    assert (fingerprint(tmp_path / "a.png").width, fingerprint(tmp_path / "a.png").thumbnail.max()) == (1, 7 * 256)


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
    decoded_images: list[tuple[str, tuple[int, int]]] = []
    monkeypatch.setattr(
        module, "thumbnail", lambda image: (decoded_images.append((image.mode, image.size)), thumbnail(image))[1]
    )
    distances = []
    for seed in range(6):
        path = tmp_path / f"{seed}.jpg"
        grained(seed, size).save(path, quality=80)
        read = fingerprint(path)
        assert (read.mode, (read.width, read.height)) == ("RGB", size)
        hashes = perceptual_hashes(np.stack([read.thumbnail, thumbnail(Image.open(path))]))
        distances.append(int(hashes[0] ^ hashes[1]).bit_count())
    assert decoded_images == [("L", decoded)] * 6
    # rounding may exchange the order of two equal frequencies
    assert distances.count(0) >= 5
    assert max(distances) <= 2


def test_fingerprints_are_in_order_and_unreadable_files_return_errors(tmp_path: Path) -> None:
    files = []
    for number in range(40):  # more than one batch of a thread
        files.append(tmp_path / f"{number:03d}.{'gif' if number == 5 else 'png'}")
        picture(number % 7, (12 + number % 5, 8)).save(files[-1])
    files[7].write_bytes(b"not a photo")
    files[9].unlink()
    read = fingerprints(files, CATALOGUE_FORMATS)
    assert {row: result for row, result in enumerate(read) if isinstance(result, str)} == {
        5: f"{files[5]}: a GIF image; photos of a catalogue must be JPEG or PNG",
        7: f"{files[7]}: not an image in a known format",
        9: f"{files[9]} cannot be read (No such file or directory)",
    }
    good = [result for result in fingerprints(files) if isinstance(result, Fingerprint)]
    assert len(good) == 38
    table = file_metadata(good)
    assert table.columns.tolist() == ["width", "height", "mode", "bytes", "sha256"]
    assert table["width"].tolist()[:6] == [12, 13, 14, 15, 16, 12]
    assert table["bytes"].tolist()[:5] == [path.stat().st_size for path in files[:5]]
    assert np.array_equal(thumbnails(good)[2], fingerprint(files[2]).thumbnail)
    assert (thumbnails([]).shape, thumbnails([]).dtype) == ((0, SIDE, SIDE), np.uint16)
