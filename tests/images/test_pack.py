"""Cropping and packing: proportions, frames, orientation and the order of photos."""

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
from whaleid.images.crop import FULL_BOX, add_margin, crop, inside_frame
from whaleid.images.pack import Region, Shape, load_pack, pack, regions
from whaleid.stages import pack as stage


def dark_box(photo: Image.Image) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the pixels darker than grey level 64."""
    box = Image.fromarray((np.asarray(photo) < 64).astype(np.uint8)).getbbox()
    assert box is not None
    return box


def noise(size: tuple[int, int], mode: str, seed: int) -> Image.Image:
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, len(mode)), dtype=np.uint8)
    return Image.fromarray(pixels.squeeze())


def test_a_margin_is_a_share_of_the_box_and_ends_at_the_border_of_the_photo() -> None:
    assert add_margin((0.25, 0.5, 0.75, 0.75), 0.25) == (0.125, 0.4375, 0.875, 0.8125)
    assert add_margin((0.125, 0.0, 0.875, 0.5), 0.5) == (0.0, 0.0, 1.0, 0.75)
    assert add_margin((0.1, 0.2, 0.3, 0.4), 0.0) == (0.1, 0.2, 0.3, 0.4)


def test_a_squeezed_circle_becomes_round_again() -> None:
    original = Image.new("L", (400, 200), 255)
    ImageDraw.Draw(original).ellipse((100, 50, 200, 150), fill=0)
    squeezed = original.resize((100, 100))
    left, top, right, bottom = dark_box(squeezed)
    assert right - left == pytest.approx((bottom - top) / 2, abs=1)
    left, top, right, bottom = dark_box(crop(squeezed, FULL_BOX, 2.0, 160, 80))
    assert right - left == pytest.approx(40, abs=1)
    assert bottom - top == pytest.approx(40, abs=1)
    # also in a box of 160 x 160 of the 400 x 200 pixels, which fills the height of the canvas
    left, top, right, bottom = dark_box(crop(squeezed, (0.2, 0.1, 0.6, 0.9), 2.0, 160, 80))
    assert right - left == pytest.approx(50, abs=1)
    assert bottom - top == pytest.approx(50, abs=1)


@pytest.mark.parametrize(
    ("size", "box", "aspect", "fluke"),
    [
        ((100, 50), FULL_BOX, None, (0, 4, 96, 52)),  # twice as wide as high, on a canvas of 96 x 56
        ((50, 50), FULL_BOX, None, (20, 0, 76, 56)),  # square
        ((50, 50), FULL_BOX, 4.0, (0, 16, 96, 40)),  # square, 4 : 1 in the original
        ((50, 50), (0.0, 0.0, 0.5, 1.0), 4.0, (0, 4, 96, 52)),  # the left half of that
        ((300, 2), FULL_BOX, None, (0, 27, 96, 28)),  # one row remains
    ],
)
def test_the_crop_is_as_large_as_its_proportions_allow(
    size: tuple[int, int],
    box: tuple[float, float, float, float],
    aspect: float | None,
    fluke: tuple[int, int, int, int],
) -> None:
    ramp = Image.fromarray(np.tile(np.linspace(0, 255, size[0]).astype(np.uint8), (size[1], 1)))
    canvas = crop(ramp, box, aspect, 96, 56)
    assert canvas.size == (96, 56)
    left, top, right, bottom = fluke
    outside = np.ones((56, 96), dtype=bool)
    outside[top:bottom, left:right] = False
    pixels = np.asarray(canvas)
    assert len(np.unique(pixels[outside])) == 1
    # the crop covers its outermost columns
    background = pixels[outside][0]
    assert (pixels[top:bottom, left] < background).all()
    assert (pixels[top:bottom, right - 1] > background).all()


def test_the_background_has_the_mean_colour_of_the_crop() -> None:
    photo = Image.new("RGB", (80, 80), (255, 255, 255))
    photo.paste((200, 100, 50), (10, 10, 40, 70))
    photo.paste((0, 0, 0), (40, 10, 70, 70))
    canvas = np.asarray(crop(photo, (0.25, 0.25, 0.75, 0.75), None, 60, 20))
    outside = canvas[:, np.r_[:20, 40:60]].reshape(-1, 3)
    assert np.unique(outside, axis=0).tolist() == [[100, 50, 25]]
    assert canvas[10, 22].tolist() == [200, 100, 50]
    assert canvas[10, 37].tolist() == [0, 0, 0]


def test_a_stretched_crop_fills_the_canvas() -> None:
    photo = Image.new("L", (200, 100), 255)
    photo.paste(0, (40, 0, 100, 100))
    # the left half of the box is black, over its full height
    canvas = np.asarray(crop(photo, (0.25, 0.25, 0.75, 0.75), 9.0, 96, 24, stretch=True))
    assert canvas.shape == (24, 96)
    assert (canvas[:, :46] < 20).all()
    assert (canvas[:, 50:] > 235).all()
    proportional = np.asarray(crop(photo, (0.25, 0.25, 0.75, 0.75), None, 96, 24))
    assert (proportional[:, 24:46] < 20).all()
    assert (proportional[:, 50:72] > 235).all()
    assert proportional[:, :24] == pytest.approx(127.5, abs=3)


@pytest.mark.parametrize("stretch", [True, False])
def test_a_box_smaller_than_a_pixel_becomes_that_pixel(stretch: bool) -> None:
    """Only predicted boxes are this small, on photos of few pixels. In boxes.csv, such boxes are refused."""
    photo = Image.fromarray(np.arange(0, 160, 10, dtype=np.uint8).reshape(4, 4))
    canvas = np.asarray(crop(photo, (0.3, 0.55, 0.45, 0.7), None, 8, 4, stretch))
    assert canvas.shape == (4, 8)
    assert np.abs(canvas.astype(int) - 90).max() <= 15  # its neighbours are at 80, 100, 50 and 130


def framed(top: int, right: int, bottom: int, left: int, grey: int = 0) -> npt.NDArray[np.uint8]:
    """Return 20 x 40 pixels of noise from 40 to 255, inside a frame of the given widths and grey level."""
    photo = np.random.default_rng(0).integers(40, 256, (20, 40), dtype=np.uint8)
    inner = photo[top : 20 - bottom, left : 40 - right].copy()
    photo[:] = grey
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
        ((8, 0, 8, 0), (0.0, 0.0, 1.0, 1.0)),  # a fifth of the height counts as blank
        ((0, 16, 0, 15), (0.0, 0.0, 1.0, 1.0)),
    ],
)
def test_the_box_inside_a_frame(widths: tuple[int, int, int, int], box: tuple[float, float, float, float]) -> None:
    for grey in (0, 20):
        assert inside_frame(framed(*widths, grey)) == pytest.approx(box)


def test_a_frame_is_uniform_within_the_tolerance() -> None:
    photo = framed(4, 0, 0, 0, grey=20)
    photo[:4, ::8], photo[:4, 3::8] = 30, 10
    assert inside_frame(photo) == (0.0, 0.2, 1.0, 1.0)
    photo[2, 5] = 31
    assert inside_frame(photo) == (0.0, 0.1, 1.0, 1.0)
    # two bars may have different grey levels; one bar may not have two
    photo = framed(4, 0, 4, 0)
    photo[:4], photo[16:18] = 255, 30
    assert inside_frame(photo) == (0.0, 0.2, 1.0, 0.9)


def test_a_blank_photo_stays_whole() -> None:
    assert inside_frame(np.full((20, 40), 255, dtype=np.uint8)) == FULL_BOX
    assert inside_frame(np.full((1, 1), 7, dtype=np.uint8)) == FULL_BOX
    speck = np.zeros((20, 40), dtype=np.uint8)
    speck[9, 20] = 255
    assert inside_frame(speck) == FULL_BOX


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_frames_are_removed_only_from_photos_without_a_box(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(framed(4, 4, 2, 0)).convert(mode).save(path)
    with Image.open(path) as photo:
        whole, inner = (crop(photo, box, 3.0, 32, 16) for box in (FULL_BOX, (0.0, 0.2, 0.9, 0.9)))
    crops = list(pack([path, path], [Region(None, 3.0), Region(FULL_BOX, 3.0)], Shape(32, 16, mode)))
    assert np.array_equal(crops[0].squeeze(), np.asarray(inner))
    assert np.array_equal(crops[1].squeeze(), np.asarray(whole))


@pytest.mark.parametrize("stretch", [True, False])
def test_a_photo_that_is_upside_down_is_rotated_and_not_mirrored(tmp_path: Path, stretch: bool) -> None:
    photo = noise((30, 20), "L", 0)
    box = (0.2, 0.1, 0.7, 0.9)
    photo.save(tmp_path / "up.png")
    photo.rotate(180).save(tmp_path / "down.png")
    files = [tmp_path / "up.png", tmp_path / "down.png"]
    photo_regions = [Region(box, 2.0), Region((0.3, 0.1, 0.8, 0.9), 2.0, upside_down=True)]
    upright, rotated = pack(files, photo_regions, Shape(32, 16, stretch=stretch))
    assert np.abs(upright.astype(int) - rotated).max() <= 1
    assert np.abs(upright.astype(int) - rotated[:, ::-1]).max() > 50


def test_regions_are_in_the_order_of_the_catalogue() -> None:
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
    files, photo_regions = [], []
    for number in range(count):
        path = folder / f"{number}.{'png' if number % 2 else 'jpg'}"
        noise((20 + number % 7, 30), ("L", "RGB")[number % 3 == 0], number).save(path)
        files.append(path)
        photo_regions.append(Region((0.1, 0.2, 0.9, 0.8), 1.5) if number % 2 else Region())
    return files, photo_regions


@pytest.mark.parametrize("grey", [True, False])
def test_packing_equals_one_photo_at_a_time(tmp_path: Path, grey: bool) -> None:
    photos_and_regions = photos(tmp_path, 6)
    mode = "L" if grey else "RGB"
    packed = list(pack(*photos_and_regions, Shape(32, 16, mode, 0.1)))
    assert len(packed) == 6
    for path, region, canvas in zip(*photos_and_regions, packed, strict=True):
        with Image.open(path) as opened:
            photo = opened.convert(mode)
        box = (0.02, 0.14, 0.98, 0.86) if region.box else (0.0, 0.0, 1.0, 1.0)
        expected = np.array(crop(photo, box, region.aspect, 32, 16))
        assert canvas.dtype == np.uint8
        assert canvas.shape == (16, 32, 1 if grey else 3)
        # the box with a margin of 0.1 differs from the box above by rounding
        assert np.abs(canvas.squeeze().astype(int) - expected).max() <= 1


def test_the_result_does_not_depend_on_the_number_of_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos_and_regions = photos(tmp_path, 40)
    shape = Shape(32, 16, "RGB", 0.1)
    monkeypatch.setattr(parallel, "cores", lambda: 1)
    single_threaded = list(pack(*photos_and_regions, shape))
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    parallel_result = list(pack(*photos_and_regions, shape))
    assert np.array_equal(single_threaded, parallel_result)


def catalogue(boxes: bool) -> None:
    """Write the inputs of the stage: two labelled photos and one query."""
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
        expected = crop(photo.convert("RGB"), FULL_BOX, 2.0, 32, 16)
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
def test_a_damaged_index_is_refused(project: Callable[..., Params], index: str, message: str) -> None:
    project()
    paths.PACK_INDEX.parent.mkdir(parents=True)
    np.save(paths.PHOTOS, np.zeros((2, 4, 8, 1), dtype=np.uint8))
    paths.PACK_INDEX.write_text(index)
    with pytest.raises(WhaleidError) as error:
        load_pack()
    assert str(error.value) == message


def test_a_damaged_photo_keeps_the_previous_pack(project: Callable[..., Params]) -> None:
    settings = project(data={"root": "photos"}, pack={"width": 32, "height": 16})
    catalogue(boxes=True)
    stage.run(settings)
    before = paths.PHOTOS.read_bytes()
    Path("photos/train/c.jpg").write_bytes(b"not a photo")
    with pytest.raises(WhaleidError, match=r"c\.jpg: not an image in a known format"):
        stage.run(settings)
    assert paths.PHOTOS.read_bytes() == before
    assert [path.name for path in paths.PACK.parent.iterdir() if "partial" in path.name] == []
