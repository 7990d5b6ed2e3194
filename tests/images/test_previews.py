"""Small pictures of photos for pages."""

import numpy as np
import pytest
from PIL import Image

from whaleid.images.previews import contact_sheet, preview


@pytest.mark.parametrize(("size", "small"), [((600, 300), (96, 48)), ((100, 100), (72, 72)), ((50, 40), (50, 40))])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_preview_is_whole_and_in_proportion(tmp_path, size, small, mode):
    photo = tmp_path / "a.png"
    Image.effect_noise(size, 60).convert(mode).save(photo)
    jpeg = preview(photo)
    (tmp_path / "a.jpg").write_bytes(jpeg)
    with Image.open(tmp_path / "a.jpg") as opened:
        assert (opened.format, opened.size, opened.mode) == ("JPEG", small, mode)
    assert preview(photo) == jpeg


def test_contact_sheet_keeps_every_photo_whole_and_captions_each() -> None:
    wide, high = Image.new("RGB", (400, 100), "red"), Image.new("L", (50, 200), 0)
    page = contact_sheet([wide, high, wide], ["one", "two", "three"], columns=2)
    alone = contact_sheet([wide], ["one"], columns=1)
    assert page.mode == "RGB"
    assert (page.width, page.height) > (alone.width, alone.height)
    pixels = np.asarray(page)
    red = (pixels == (255, 0, 0)).all(axis=2)
    assert red.any(axis=0).sum() == 220
    assert red.sum() == 2 * 220 * 55
