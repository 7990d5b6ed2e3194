"""Previews of photos and contact sheets."""

import numpy as np
import pytest
from PIL import Image

from whaleid.images.previews import contact_sheet, preview


@pytest.mark.parametrize(("size", "small"), [((600, 300), (96, 48)), ((100, 100), (72, 72)), ((50, 40), (50, 40))])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_preview_shows_the_whole_photo_in_its_proportions(tmp_path, size, small, mode):
    photo = tmp_path / "a.png"
    Image.effect_noise(size, 60).convert(mode).save(photo)
    jpeg = preview(photo)
    (tmp_path / "a.jpg").write_bytes(jpeg)
    with Image.open(tmp_path / "a.jpg") as opened:
        assert (opened.format, opened.size, opened.mode) == ("JPEG", small, mode)
    assert preview(photo) == jpeg


def test_a_contact_sheet_shows_whole_photos_with_captions() -> None:
    landscape, portrait = Image.new("RGB", (400, 100), "red"), Image.new("L", (50, 200), 0)
    page = contact_sheet([landscape, portrait, landscape], ["one", "two", "three"], columns=2)
    single = contact_sheet([landscape], ["one"], columns=1)
    assert page.mode == "RGB"
    assert (page.width, page.height) > (single.width, single.height)
    pixels = np.asarray(page)
    red = (pixels == (255, 0, 0)).all(axis=2)
    assert red.any(axis=0).sum() == 220
    assert red.sum() == 2 * 220 * 55
