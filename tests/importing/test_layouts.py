"""How the folders of a source name its whales: one plausible reading is taken, several stop the import."""

from pathlib import PurePosixPath

import pytest

from whaleid.core.errors import WhaleidError
from whaleid.importing.layouts import choose


def names(*photos: str, layout=None) -> list[str]:
    reading = choose("SOURCE", [PurePosixPath(photo) for photo in photos], layout)
    return [reading.whales[PurePosixPath(photo)] for photo in photos]


@pytest.mark.parametrize(
    ("photos", "whales"),
    [
        (["w0/a.jpg", "w1/b.jpg"], ["w0", "w1"]),
        (["w0/a.jpg"], ["w0"]),
        (["photos/w0/a.jpg", "photos/w1/b.jpg"], ["w0", "w1"]),
        (["photos/photos/w0/a.jpg", "photos/photos/w1/b.jpg"], ["w0", "w1"]),
        (["season/w0/a.jpg", "season/w1/b.jpg"], ["w0", "w1"]),
        (["train/w0/a.jpg", "val/w0/b.jpg", "val/w1/c.jpg"], ["w0", "w0", "w1"]),
        (["data/train/w0/a.jpg", "data/Val/w1/b.jpg"], ["w0", "w1"]),
        (["train/w0/a.jpg", "test/b.jpg"], ["w0", ""]),
        (["w0/2019/a.jpg", "w0/2020/b.jpg", "w1/c.jpg"], ["w0", "w0", "w1"]),
        (["2019/w0/a.jpg", "2020/w0/b.jpg", "2020/w1/c.jpg"], ["w0", "w0", "w1"]),
        (["2019-07-14/w0/a.jpg", "14.07.2020/w1/c.jpg"], ["w0", "w1"]),
        (["w0/left/a.jpg", "w0/Right/b.jpg", "w1/fluke/c.jpg"], ["w0", "w0", "w1"]),
        (["w0/101CANON/a.jpg", "w1/102_PANA/b.jpg", "w2/100D3200/c.jpg"], ["w0", "w1", "w2"]),
        (["001abc/a.jpg", "002abc/b.jpg"], ["001abc", "002abc"]),
        (["ann/2019/a.jpg", "ann/2020/b.jpg"], ["ann", "ann"]),
        (["1987/a.jpg", "1501/b.jpg"], ["1987", "1501"]),  # numbers of whales
        (["2019/w0/left/a.jpg", "2020/w1/right/b.jpg"], ["w0", "w1"]),
        (["Left/2019/w0/a.jpg", "Right/w1/b.jpg"], ["w0", "w1"]),
        (["w0/2019/left/a.jpg", "w0/b.jpg", "2020/w1/c.jpg"], ["w0", "w0", "w1"]),
        (["1987/left/a.jpg", "2931/left/b.jpg"], ["1987", "2931"]),
        (["train/images/w0/a.jpg", "val/images/w1/b.jpg"], ["w0", "w1"]),
        (["train/a.jpg", "best/b.jpg"], ["train", "best"]),  # not all folders split a data set
        (["all/1950/a.jpg", "all/1706/b.jpg"], ["1950", "1706"]),  # numbers of whales, as not all are years
        (["train/1950/a.jpg", "train/3180/b.jpg", "val/1950/c.jpg"], ["1950", "3180", "1950"]),
        (["train/1950/a.jpg", "train/3180/b.jpg", "test/1950/c.jpg"], ["1950", "3180", "1950"]),
        (["train/w0/a.jpg", "test/images/b.jpg"], ["w0", ""]),
        (["train/w0/a.jpg", "test/2019/b.jpg"], ["w0", ""]),
        (["train/images/w0/a.jpg", "train/images/w1/b.jpg", "test/images/c.jpg"], ["w0", "w1", ""]),
        (["2019/1950/a.jpg", "2020/1706/b.jpg"], ["1950", "1706"]),
        (["w0/2019/a.jpg", "w1/2019/b.jpg", "w1/2020/c.jpg"], ["w0", "w1", "w1"]),
        (["w0/2019-07/a.jpg", "w1/2020_08/b.jpg"], ["w0", "w1"]),
        (["w0/20190714/a.jpg", "w1/20190715/b.jpg"], ["w0", "w1"]),
        (["19045/a.jpg", "200145/b.jpg"], ["19045", "200145"]),
        (["set/012_left/a.jpg", "set/013_left/b.jpg"], ["012_left", "013_left"]),
        (["fotos/w0/a.jpg", "bilder/w1/b.jpg"], ["w0", "w1"]),
    ],
)
def test_one_plausible_reading_is_taken(photos: list[str], whales: list[str]) -> None:
    assert names(*photos) == whales


def test_queries_of_a_split_keep_their_whale_as_the_truth() -> None:
    photos = [PurePosixPath(name) for name in ("train/w0/a.jpg", "test/w1/b.jpg", "test/c.jpg")]
    reading = choose("SOURCE", photos, None)
    assert reading.queries == {*photos[1:]}
    assert [reading.whales[photo] for photo in photos] == ["w0", "w1", ""]


def test_two_plausible_readings_stop_the_import() -> None:
    photos = ["w0/trip1/a.jpg", "w0/trip2/b.jpg", "w1/trip1/c.jpg", "w1/trip1/d.jpg"]
    with pytest.raises(WhaleidError) as caught:
        names(*photos)
    assert str(caught.value) == (
        "SOURCE: the names of the whales can be the outer or the inner folders. Add one of these options, or import a "
        "csv file with the whale of each photo:\n"
        "  --layout folders: 2 whales ('w0', 'w1'), 4 photos\n"
        "  --layout subfolders: 2 whales ('trip1', 'trip2'), 4 photos"
    )
    assert names(*photos, layout="folders") == ["w0", "w0", "w1", "w1"]
    assert names(*photos, layout="subfolders") == ["trip1", "trip2", "trip1", "trip1"]


@pytest.mark.parametrize(
    "photos",
    [
        ["Season A/w0/a.jpg", "Season A/w1/b.jpg", "w2/c.jpg"],
        ["w0/a.jpg", "w0/best/b.jpg", "w1/c.jpg"],
        ["w0/a.jpg", "w0/best/b.jpg"],
        ["trip1/w0/left/a.jpg", "trip2/w1/right/b.jpg"],
        ["north/1950/a.jpg", "north/3180/b.jpg", "south/2040/c.jpg"],
        ["w0/19045/a.jpg", "w1/200145/b.jpg"],
        ["w0/012_left/a.jpg", "w1/014_rigt/b.jpg"],
        ["w0/2019/a.jpg", "w0/best/b.jpg", "w1/c.jpg"],
    ],
)
def test_folders_of_whales_with_folders_beside_them_stop_the_import(photos: list[str]) -> None:
    with pytest.raises(WhaleidError, match=r"^SOURCE: the names of the whales can be the outer or the inner folders"):
        names(*photos)


@pytest.mark.parametrize(
    "photos",
    [
        ["images/a.jpg", "images/b.jpg"],
        ["photos/photos/a.jpg"],
        ["a.jpg", "w0/b.jpg"],
        ["a.jpg"],
        ["train/a.jpg", "train/b.jpg", "val/c.jpg"],
        ["1987/a.jpg", "2019/b.jpg"],
        ["2019-07-14/a.jpg", "2019-07-15/b.jpg"],
        ["DCIM/100CANON/a.jpg", "DCIM/101CANON/b.jpg"],
        ["set/images/a.jpg", "set/images/b.jpg"],  # a whale or a data set
        ["set/left/a.jpg", "set/right/b.jpg"],
        ["1950/a.jpg", "2020/w0/b.jpg"],
    ],
)
def test_folders_that_name_no_whale_stop_the_import(photos: list[str]) -> None:
    with pytest.raises(WhaleidError, match=r"^SOURCE: no folder is named after a whale"):
        names(*photos)


@pytest.mark.parametrize(
    ("photos", "whales"),
    [
        (
            ["train/1950/a.jpg", "train/1980/b.jpg", "val/1950/c.jpg", "val/2001/d.jpg"],
            ["1950", "1980", "1950", "2001"],
        ),
        (["photos/1950/a.jpg", "photos/1980/b.jpg"], ["1950", "1980"]),
        (["north/1950/a.jpg", "north/1980/b.jpg", "south/2040/c.jpg"], ["1950", "1980", "2040"]),
        (["north/1950/a.jpg", "north/1980/b.jpg", "south/2040/c.jpg", "w0/d.jpg"], ["1950", "1980", "2040", "w0"]),
        (["north/1950/a.jpg", "north/1980/b.jpg", "south/3180/c.jpg"], ["1950", "1980", "3180"]),
    ],
)
def test_numbers_that_may_be_years_or_whales_stop_the_import(photos: list[str], whales: list[str]) -> None:
    with pytest.raises(WhaleidError, match="Add one of these options"):
        names(*photos)
    assert names(*photos, layout="subfolders") == whales


def test_the_error_lists_folders_that_are_not_named_after_a_whale() -> None:
    with pytest.raises(WhaleidError) as caught:
        names("Left/a.jpg", "Raw/b.jpg", "ann/c.jpg")
    assert str(caught.value) == (
        "SOURCE: names of folders that may not be whales: 'Left', 'Raw'. Add one of these options, or import a csv "
        "file with the whale of each photo:\n  --layout folders: 3 whales ('Left', 'Raw', 'ann'), 3 photos"
    )


def test_fifty_thousand_folders_are_read_in_seconds() -> None:
    photos = [PurePosixPath(f"set/{year}-{number}/a.jpg") for year in range(1950, 2000) for number in range(1000)]
    assert len({*choose("SOURCE", photos, "subfolders").whales.values()}) == len(photos)
