"""Photos are known by content or suffix, and those that are not read are named for what they are."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image, TiffImagePlugin

from whaleid.core.errors import WhaleidError
from whaleid.core.formats import is_accepted, is_photo
from whaleid.images.decode import decode
from whaleid.images.listing import list_images

pillow_heif.register_heif_opener()  # writes the photos of these tests


@pytest.mark.parametrize(
    ("name", "content", "photo", "accepted"),
    [
        ("noext", b"\xff\xd8\xff\xe0", True, True),
        ("a.jpg_large", b"\x89PNG\r\n\x1a\n", True, True),
        ("a.jpg", b"", True, True),  # damaged, which is an error
        ("a.jpg", b"GIF89a", True, False),
        ("a.tif", b"II*\0", True, False),
        ("a.HEIC", b"", True, False),
        ("a.DNG", b"", True, False),
        ("a.mov", b"", True, False),
        ("phone", b"\0\0\0\x1cftypheic", True, False),
        ("scan", b"MM\0*", True, False),
        ("a.webp", b"RIFF0000WEBP", True, False),
        ("bitmap", b"BM0000\0\0\0\0", True, False),
        ("readme", b"BMW and more", False, False),
        ("notes.txt", b"tall fin", False, False),
        ("empty", b"", False, False),
        ("a.X3F", b"", True, False),
    ],
)
def test_photos_are_known_by_content_or_suffix(
    tmp_path: Path, name: str, content: bytes, photo: bool, accepted: bool
) -> None:
    (tmp_path / name).write_bytes(content)
    assert is_photo(tmp_path / name) == photo
    assert is_accepted(tmp_path / name) == accepted


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.cr3", b"\0\0\0\x18ftypcrx ", "a RAW photo: export it as JPEG"),
        ("a.nef", b"x", "a RAW photo: export it as JPEG"),
        ("a.mp4", b"\0\0\0\x18ftypmp42", "a video: save a picture of it as JPEG"),
        ("a.avi", b"RIFF0000AVI ", "a video: save a picture of it as JPEG"),
        ("a.mkv", b"\x1aE\xdf\xa3", "a video: save a picture of it as JPEG"),
        ("a.jpg", b"x", "not an image in a known format"),
        ("a.jp2", b"\0\0\0\x0cjP  \r\n", "a JPEG 2000 or JPEG XL image: save it as JPEG"),
        ("a.jxl", b"\xff\x0a", "a JPEG 2000 or JPEG XL image: save it as JPEG"),
        (
            "a.tif",
            b"II*\0",
            "a TIFF image that is damaged, or of a kind that is not read: save it with 8 bits per colour",
        ),
    ],
)
def test_the_error_names_an_unsupported_format(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WhaleidError) as caught:
        decode(tmp_path / name)
    assert str(caught.value) == f"{tmp_path / name}: {problem}"
    assert list_images(tmp_path) == [tmp_path / name]


def test_files_of_the_system_are_not_listed(tmp_path: Path) -> None:
    for name in ("a.jpg", ".b.jpg", "__MACOSX/c.jpg", "@eaDir/a.jpg/small.jpg", "$RECYCLE.BIN/d.jpg", "trip/e.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\xff\xd8\xff")
    assert list_images(tmp_path) == [tmp_path / "a.jpg", tmp_path / "trip/e.jpg"]


@pytest.mark.parametrize(("name", "tags"), [("a.nef", {}), ("a.tif", {50706: b"\1\4\0\0"})])
def test_the_preview_in_a_raw_photo_is_not_the_photo(tmp_path: Path, name: str, tags: dict[int, bytes]) -> None:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        info.tagtype[tag] = 1
        info[tag] = value
    Image.new("RGB", (40, 20)).save(tmp_path / name, "TIFF", tiffinfo=info)
    with pytest.raises(WhaleidError, match="a RAW photo: export it as JPEG"):
        decode(tmp_path / name)


@pytest.mark.parametrize("suffix", ["heic", "avif"])
def test_photos_of_phones_are_read(tmp_path: Path, suffix: str) -> None:
    picture = Image.linear_gradient("L").resize((64, 32)).convert("RGB")
    picture.save(tmp_path / f"a.{suffix}", quality=90)
    photo = decode(tmp_path / f"a.{suffix}")
    assert np.abs(np.asarray(photo, dtype=int) - np.asarray(picture, dtype=int)).mean() < 3


def test_heic_without_its_extra_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (64, 32)).save(tmp_path / "a.heic")
    script = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from pathlib import Path; from whaleid.images.decode import decode\n"
        f"try: decode(Path({str(tmp_path / 'a.heic')!r}))\nexcept Exception as error: print(error)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.endswith("a.heic: a HEIC image: run `pip install 'whaleid[heic]'`, or save it as JPEG\n")
