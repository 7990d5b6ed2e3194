"""Flukes in their true proportions or stretched, without frames, upright, and every photo once, in order."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from whaleid.config import Params
from whaleid.core import files, parallel, paths
from whaleid.core.errors import WhaleidError
from whaleid.images.crop import WHOLE, add_margin, crop, inside_frame
from whaleid.images.pack import Region, Shape, load_pack, pack, regions
from whaleid.stages import pack as stage


def dark(photo: Image.Image) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of what is darker than grey 64."""
    box = Image.fromarray((np.asarray(photo) < 64).astype(np.uint8)).getbbox()
    assert box is not None
    return box


def noise(size: tuple[int, int], mode: str, seed: int) -> Image.Image:
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, len(mode)), dtype=np.uint8)
    return Image.fromarray(pixels.squeeze())


def test_a_margin_is_a_share_of_the_box_and_ends_at_the_photo() -> None:
    assert add_margin((0.25, 0.5, 0.75, 0.75), 0.25) == (0.125, 0.4375, 0.875, 0.8125)
    assert add_margin((0.125, 0.0, 0.875, 0.5), 0.5) == (0.0, 0.0, 1.0, 0.75)
    assert add_margin((0.1, 0.2, 0.3, 0.4), 0.0) == (0.1, 0.2, 0.3, 0.4)


def test_a_squeezed_circle_is_round_again() -> None:
    original = Image.new("L", (400, 200), 255)
    ImageDraw.Draw(original).ellipse((100, 50, 200, 150), fill=0)
    squeezed = original.resize((100, 100))
    left, top, right, bottom = dark(squeezed)
    assert right - left == pytest.approx((bottom - top) / 2, abs=1)
    left, top, right, bottom = dark(crop(squeezed, WHOLE, 2.0, 160, 80))
    assert right - left == pytest.approx(40, abs=1)
    assert bottom - top == pytest.approx(40, abs=1)
    # and so it is in a box of 160 x 160 of the 400 x 200 pixels, which is as high as the sheet
    left, top, right, bottom = dark(crop(squeezed, (0.2, 0.1, 0.6, 0.9), 2.0, 160, 80))
    assert right - left == pytest.approx(50, abs=1)
    assert bottom - top == pytest.approx(50, abs=1)


@pytest.mark.parametrize(
    ("size", "box", "aspect", "fluke"),
    [
        ((100, 50), WHOLE, None, (0, 4, 96, 52)),  # twice as wide as high, on a sheet of 96 x 56
        ((50, 50), WHOLE, None, (20, 0, 76, 56)),  # square
        ((50, 50), WHOLE, 4.0, (0, 16, 96, 40)),  # square, but 4 : 1 before it was squeezed
        ((50, 50), (0.0, 0.0, 0.5, 1.0), 4.0, (0, 4, 96, 52)),  # the left half of that
        ((300, 2), WHOLE, None, (0, 27, 96, 28)),  # so flat that it keeps one row
    ],
)
def test_the_crop_fills_the_sheet_as_far_as_its_proportions_allow(
    size: tuple[int, int],
    box: tuple[float, float, float, float],
    aspect: float | None,
    fluke: tuple[int, int, int, int],
) -> None:
    ramp = Image.fromarray(np.tile(np.linspace(0, 255, size[0]).astype(np.uint8), (size[1], 1)))
    sheet = crop(ramp, box, aspect, 96, 56)
    assert sheet.size == (96, 56)
    left, top, right, bottom = fluke
    around = np.ones((56, 96), dtype=bool)
    around[top:bottom, left:right] = False
    pixels = np.asarray(sheet)
    assert len(np.unique(pixels[around])) == 1
    # none of its columns and rows is all filling
    filling = pixels[around][0]
    assert (pixels[top:bottom, left] < filling).all()
    assert (pixels[top:bottom, right - 1] > filling).all()


def test_around_the_crop_lies_its_mean_colour() -> None:
    photo = Image.new("RGB", (80, 80), (255, 255, 255))
    photo.paste((200, 100, 50), (10, 10, 40, 70))
    photo.paste((0, 0, 0), (40, 10, 70, 70))
    sheet = np.asarray(crop(photo, (0.25, 0.25, 0.75, 0.75), None, 60, 20))
    around = sheet[:, np.r_[:20, 40:60]].reshape(-1, 3)
    assert np.unique(around, axis=0).tolist() == [[100, 50, 25]]
    assert sheet[10, 22].tolist() == [200, 100, 50]
    assert sheet[10, 37].tolist() == [0, 0, 0]


def test_a_stretched_crop_fills_the_sheet() -> None:
    photo = Image.new("L", (200, 100), 255)
    photo.paste(0, (40, 0, 100, 100))
    # the left half of the box is black, all of its height
    sheet = np.asarray(crop(photo, (0.25, 0.25, 0.75, 0.75), 9.0, 96, 24, stretch=True))
    assert sheet.shape == (24, 96)
    assert (sheet[:, :46] < 20).all()
    assert (sheet[:, 50:] > 235).all()
    with_room = np.asarray(crop(photo, (0.25, 0.25, 0.75, 0.75), None, 96, 24))
    assert (with_room[:, 24:46] < 20).all()
    assert (with_room[:, 50:72] > 235).all()
    assert with_room[:, :24] == pytest.approx(127.5, abs=3)


@pytest.mark.parametrize("stretch", [True, False])
def test_a_box_of_less_than_a_pixel_is_that_pixel(stretch: bool) -> None:
    """Such as a predicted one on a photo of few pixels; those of boxes.csv are refused when the catalogue is read."""
    photo = Image.fromarray(np.arange(0, 160, 10, dtype=np.uint8).reshape(4, 4))
    sheet = np.asarray(crop(photo, (0.3, 0.55, 0.45, 0.7), None, 8, 4, stretch))
    assert sheet.shape == (4, 8)
    assert np.abs(sheet.astype(int) - 90).max() <= 15  # its neighbours are at 80, 100, 50 and 130


def framed(top: int, right: int, bottom: int, left: int, level: int = 0) -> npt.NDArray[np.uint8]:
    """Return 20 rows and 40 columns of noise from 40 to 255 in a frame of these widths."""
    photo = np.random.default_rng(0).integers(40, 256, (20, 40), dtype=np.uint8)
    inner = photo[top : 20 - bottom, left : 40 - right].copy()
    photo[:] = level
    photo[top : 20 - bottom, left : 40 - right] = inner
    return photo


@pytest.mark.parametrize(
    ("widths", "box"),
    [
        ((0, 0, 0, 0), (0.0, 0.0, 1.0, 1.0)),
        ((5, 0, 0, 0), (0.0, 0.25, 1.0, 1.0)),
        ((4, 0, 2, 0), (0.0, 0.2, 1.0, 0.9)),
        ((0, 10, 0, 4), (0.1, 0.0, 0.75, 1.0)),
        ((1, 2, 3, 4), (0.1, 0.05, 0.95, 0.85)),
        ((7, 0, 8, 0), (0.0, 0.35, 1.0, 0.6)),
        ((8, 0, 8, 0), (0.0, 0.0, 1.0, 1.0)),  # a fifth is less than a photo
        ((0, 16, 0, 15), (0.0, 0.0, 1.0, 1.0)),
    ],
)
def test_what_lies_inside_a_frame(widths: tuple[int, int, int, int], box: tuple[float, float, float, float]) -> None:
    for level in (0, 20):
        assert inside_frame(framed(*widths, level)) == pytest.approx(box)


def test_a_frame_is_even_to_its_tolerance() -> None:
    photo = framed(4, 0, 0, 0, level=20)
    photo[:4, ::8], photo[:4, 3::8] = 30, 10
    assert inside_frame(photo) == (0.0, 0.2, 1.0, 1.0)
    photo[2, 5] = 31
    assert inside_frame(photo) == (0.0, 0.1, 1.0, 1.0)
    # bars may be of two levels, but not a bar
    photo = framed(4, 0, 4, 0)
    photo[:4], photo[16:18] = 255, 30
    assert inside_frame(photo) == (0.0, 0.2, 1.0, 0.9)


def test_a_blank_photo_stays_whole() -> None:
    assert inside_frame(np.full((20, 40), 255, dtype=np.uint8)) == WHOLE
    assert inside_frame(np.full((1, 1), 7, dtype=np.uint8)) == WHOLE
    speck = np.zeros((20, 40), dtype=np.uint8)
    speck[9, 20] = 255
    assert inside_frame(speck) == WHOLE


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_only_photos_without_a_box_lose_their_frames(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(framed(4, 4, 2, 0)).convert(mode).save(path)
    with Image.open(path) as photo:
        whole, inner = (crop(photo, box, 3.0, 32, 16) for box in (WHOLE, (0.0, 0.2, 0.9, 0.9)))
    sheets = list(pack([path, path], [Region(None, 3.0), Region(WHOLE, 3.0)], Shape(32, 16, mode)))
    assert np.array_equal(sheets[0].squeeze(), np.asarray(inner))
    assert np.array_equal(sheets[1].squeeze(), np.asarray(whole))


@pytest.mark.parametrize("stretch", [True, False])
def test_a_photo_that_is_upside_down_is_turned_and_not_mirrored(tmp_path: Path, stretch: bool) -> None:
    photo = noise((30, 20), "L", 0)
    box = (0.2, 0.1, 0.7, 0.9)
    photo.save(tmp_path / "up.png")
    photo.rotate(180).save(tmp_path / "down.png")
    files = [tmp_path / "up.png", tmp_path / "down.png"]
    parts = [Region(box, 2.0), Region((0.3, 0.1, 0.8, 0.9), 2.0, upside_down=True)]
    upright, turned = pack(files, parts, Shape(32, 16, stretch=stretch))
    assert np.abs(upright.astype(int) - turned).max() <= 1
    assert np.abs(upright.astype(int) - turned[:, ::-1]).max() > 50


def test_regions_follow_the_catalogue() -> None:
    names = [("a.jpg", "test"), ("c.jpg", "train"), ("b.jpg", "train"), ("d.jpg", "train")]
    catalog = pd.DataFrame(names, columns=["Image", "part"])
    columns = ["Image", "x0", "y0", "x1", "y1", "aspect", "source", "turned"]
    rows = [("b.jpg", 0.0, 0.25, 0.5, 1.0, 1.5, "given", 0), ("d.jpg", 0.0, 0.5, 0.5, 1.0, 2.0, "predicted", 1)]
    assert regions(catalog, pd.DataFrame(rows, columns=columns)) == [
        Region(),
        Region(),
        Region((0.0, 0.25, 0.5, 1.0), 1.5),
        Region((0.0, 0.5, 0.5, 1.0), 2.0, upside_down=True),
    ]
    assert regions(catalog, pd.DataFrame(rows, columns=columns), boxes=False)[2] == Region(None, 1.5)


def photos(folder: Path, count: int) -> tuple[list[Path], list[Region]]:
    files, parts = [], []
    for number in range(count):
        path = folder / f"{number}.{'png' if number % 2 else 'jpg'}"
        noise((20 + number % 7, 30), ("L", "RGB")[number % 3 == 0], number).save(path)
        files.append(path)
        parts.append(Region((0.1, 0.2, 0.9, 0.8), 1.5) if number % 2 else Region())
    return files, parts


@pytest.mark.parametrize("grey", [True, False])
def test_packing_equals_one_photo_at_a_time(tmp_path: Path, grey: bool) -> None:
    chosen = photos(tmp_path, 6)
    mode = "L" if grey else "RGB"
    packed = list(pack(*chosen, Shape(32, 16, mode, 0.1)))
    assert len(packed) == 6
    for path, part, sheet in zip(*chosen, packed, strict=True):
        with Image.open(path) as opened:
            photo = opened.convert(mode)
        box = (0.02, 0.14, 0.98, 0.86) if part.box else (0.0, 0.0, 1.0, 1.0)
        expected = np.array(crop(photo, box, part.aspect, 32, 16))
        assert sheet.dtype == np.uint8
        assert sheet.shape == (16, 32, 1 if grey else 3)
        # a margin of 0.1 is not the box above to the last bit
        assert np.abs(sheet.squeeze().astype(int) - expected).max() <= 1


def test_threads_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = photos(tmp_path, 40)
    shape = Shape(32, 16, "RGB", 0.1)
    monkeypatch.setattr(parallel, "cores", lambda: 1)
    alone = list(pack(*chosen, shape))
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    together = list(pack(*chosen, shape))
    assert np.array_equal(alone, together)


def catalogue(boxes: bool) -> None:
    """Write what the stage reads: two photos to learn from and one to identify."""
    names = [("a.jpg", "test"), ("b.jpg", "train"), ("c.jpg", "train")]
    for seed, (image, part) in enumerate(names):
        path = Path("photos") / part / image
        path.parent.mkdir(parents=True, exist_ok=True)
        noise((40, 40), "L", seed).save(path, quality=95)
    files.write_csv(pd.DataFrame(names, columns=["Image", "part"]), paths.CATALOG)
    rows = [("b.jpg", 0.25, 0.25, 0.75, 0.75, 2.0, "given", 1)] if boxes else []
    columns = ["Image", "x0", "y0", "x1", "y1", "aspect", "source", "turned"]
    files.write_csv(pd.DataFrame(rows, columns=columns), paths.FLUKES)


def load() -> npt.NDArray[np.uint8]:
    array: npt.NDArray[np.uint8] = np.load(paths.PHOTOS, mmap_mode="r")
    return array


def test_the_stage_writes_every_photo_in_order(
    project: Callable[..., Params], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = project(data={"root": "photos"}, pack={"width": 32, "height": 16, "margin": 0.0})
    catalogue(boxes=True)
    stage.run(settings)
    assert load().shape == (3, 16, 32, 1)
    assert load().dtype == np.uint8
    assert files.read_csv(paths.PACK_INDEX).to_numpy().tolist() == [
        ["a.jpg", "test"],
        ["b.jpg", "train"],
        ["c.jpg", "train"],
    ]
    with Image.open("photos/train/b.jpg") as photo:
        expected = crop(photo.convert("L"), (0.25, 0.25, 0.75, 0.75), 2.0, 32, 16)
    assert np.array_equal(load()[1, ::-1, ::-1, 0], np.asarray(expected))
    assert capsys.readouterr().out == (
        "data/pack/photos.npy: 3 x 16 x 32 x 1 (photos, height, width, channels); 1 cropped, 1 rotated\n"
    )
    before = {path.name: path.read_bytes() for path in paths.PACK.iterdir()}
    stage.run(settings)
    assert {path.name: path.read_bytes() for path in paths.PACK.iterdir()} == before
    assert set(before) == {"photos.npy", "index.csv"}


def test_without_crop_the_stage_restores_the_aspect(project: Callable[..., Params]) -> None:
    settings = project(data={"root": "photos"}, pack={"width": 32, "height": 16, "crop": False, "grey": False})
    catalogue(boxes=True)
    stage.run(settings)
    with Image.open("photos/train/b.jpg") as photo:
        expected = crop(photo.convert("RGB"), WHOLE, 2.0, 32, 16)
    assert np.array_equal(load()[1, ::-1, ::-1], np.asarray(expected))


def test_with_stretch_a_crop_fills_the_size(project: Callable[..., Params]) -> None:
    settings = project(data={"root": "photos"}, pack={"width": 32, "height": 16, "margin": 0.0, "stretch": True})
    catalogue(boxes=True)
    stage.run(settings)
    with Image.open("photos/train/b.jpg") as photo:
        expected = photo.convert("L").resize((32, 16), Image.Resampling.BICUBIC, box=(10, 10, 30, 30))
    assert np.array_equal(load()[1, ::-1, ::-1, 0], np.asarray(expected))


def test_the_stage_packs_a_catalogue_without_boxes(project: Callable[..., Params]) -> None:
    settings = project(data={"root": "photos"}, pack={"width": 32, "height": 16})
    catalogue(boxes=False)
    stage.run(settings)
    assert load().shape == (3, 16, 32, 1)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("", "data/pack/index.csv cannot be used (No columns to parse from file). Run `dvc repro pack` to rebuild it."),
        ("Photo\na.jpg\n", "data/pack/index.csv cannot be used ('Image'). Run `dvc repro pack` to rebuild it."),
        (
            "Image\na.jpg\n",
            "data/pack/photos.npy and data/pack/index.csv do not match. Run `dvc repro pack` to rebuild them.",
        ),
    ],
)
def test_an_index_that_is_damaged_is_refused(project: Callable[..., Params], index: str, message: str) -> None:
    project()
    paths.PACK_INDEX.parent.mkdir(parents=True)
    np.save(paths.PHOTOS, np.zeros((2, 4, 8, 1), dtype=np.uint8))
    paths.PACK_INDEX.write_text(index)
    with pytest.raises(WhaleidError) as error:
        load_pack()
    assert str(error.value) == message


def test_a_photo_that_breaks_leaves_the_last_pack(project: Callable[..., Params]) -> None:
    settings = project(data={"root": "photos"}, pack={"width": 32, "height": 16})
    catalogue(boxes=True)
    stage.run(settings)
    before = paths.PHOTOS.read_bytes()
    Path("photos/train/c.jpg").write_bytes(b"no photo")
    with pytest.raises(WhaleidError, match=r"c\.jpg: no image in a format that is known"):
        stage.run(settings)
    assert paths.PHOTOS.read_bytes() == before
    assert [path.name for path in paths.PACK.parent.iterdir() if "partial" in path.name] == []
