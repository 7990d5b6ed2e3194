"""Small pictures of photos for pages."""

import pytest
from PIL import Image

from whaleid.images.previews import preview


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
