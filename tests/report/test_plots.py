import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from whaleid.report import plots


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_photos_per_whale_has_every_whale_and_the_share_of_single_photos():
    by_rank, by_number = plots.photos_per_whale([1, 9, 1, 4]).axes
    assert by_rank.patches[0].get_data().values.tolist() == [9, 4, 1, 1]
    assert [(bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in by_number.patches] == [
        (1, 2),
        (4, 1),
        (9, 1),
    ]
    assert texts(by_number) == ["2 of 4 whales (50%) have a single photo"]
    assert by_rank.get_yscale() == by_number.get_yscale() == "log"


def test_few_sizes_are_drawn_as_bars_with_their_shares():
    rows = [("test", 60, 30, 10), ("train", 60, 30, 5), ("train", 80, 40, 15)]
    (axes,) = plots.sizes(pd.DataFrame(rows, columns=["part", "width", "height", "photos"])).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["60 x 30", "80 x 40"]
    assert texts(axes) == ["5 (25.0%)", "15 (75.0%)", "10 (100.0%)", "0 (0.0%)"]


def test_many_sizes_are_drawn_as_points_in_one_panel_per_part():
    rows = [("train", 100 + n, 50 + n, 1 + n) for n in range(20)] + [("test", 70, 30, 3)]
    train, test = plots.sizes(pd.DataFrame(rows, columns=["part", "width", "height", "photos"])).axes
    points = train.collections[0]
    assert points.get_offsets().tolist() == [[100 + n, 50 + n] for n in range(20)]
    assert np.all(np.diff(points.get_sizes()) > 0)
    assert test.collections[0].get_offsets().tolist() == [[70, 30]]
    assert test.get_title("left") == "to identify: 3 photos (area of a point: photos of that size)"


def test_modes_have_display_names_and_a_part_without_photos_is_omitted():
    rows = [("train", "L", 1), ("train", "P", 2), ("train", "RGB", 7)]
    (axes,) = plots.modes(pd.DataFrame(rows, columns=["part", "mode", "photos"])).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["L (grey)", "P", "RGB (colour)"]
    assert [entry.get_text() for entry in axes.get_legend().get_texts()] == ["labelled (10)"]


@pytest.mark.parametrize("photos", [[1], [3], [2000, 1, 1]])
def test_png_bytes_are_reproducible_and_do_not_name_the_software(photos):
    file = plots.png(plots.photos_per_whale(photos))
    assert plots.png(plots.photos_per_whale(photos)) == file
    with Image.open(io.BytesIO(file)) as image:
        assert image.size == (1100, 420)
        assert "Software" not in image.info
