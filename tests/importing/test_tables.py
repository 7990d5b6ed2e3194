"""`whaleid import` of csv files, data sets of wildlife-datasets and COCO files."""

import json
import math
import time
from pathlib import Path

import pytest
from helpers.imports import call, names, refusal, rows, run_catalog, save, write
from hypothesis import given
from hypothesis import strategies as some

from whaleid.core.errors import WhaleidError
from whaleid.importing import coco
from whaleid.importing.source import Photos, find_file


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("Image,Id", "photos/a.png,ann"),
        ("photo,whale", "photos/a.png,ann"),
        ("path,identity", "photos/a.png,ann"),
        ("x,whale,file,individual_count", "1,ann,photos/a.png,2"),
        ("identity,label,path,image_path", "ann,3,photos/a.png,x.png"),
        ("Picture,Whale ID", "photos/a.png,ann"),
    ],
)
def test_columns_are_inferred(header: str, row: str) -> None:
    save("photos/a.png", 1)
    write("birds.csv", header, row)
    call("birds.csv")
    assert rows("whales/train.csv") == [["Image", "Id"], ["a.png", "ann"]]


@pytest.mark.parametrize(
    ("header", "options", "error"),
    [
        (
            "a,b",
            "",
            "it is not clear which column contains the path of the photo: none is named Image, photo, image, filename, "
            "file_name, file, path, picture, imagename, filepath, imagepath. Columns of the file: 'a', 'b'. Name",
        ),
        ("photo,path,whale", "", "path of the photo: 'photo' or 'path'. Columns of the file: "),
        ("photo,who", "", "it is not clear which column contains the whale: none is named Id, whale, identity"),
        ("photo,who", "--whale-column Who", "no column is named 'Who'. Columns of the file: "),
        ("photo:whale", "", "Columns of the file: 'photo:whale'."),
        (
            "photo,whale",
            "--box-columns a,b,c",
            "--box-columns a,b,c: name four columns, separated by commas: left, top, right",
        ),
        ("photo,whale", "--box-columns a,b,c,d", "column missing: 'a', 'b', 'c', 'd'"),
    ],
)
def test_ambiguous_or_missing_columns_are_refused(header: str, options: str, error: str) -> None:
    write("birds.csv", header)
    assert error in refusal(f"birds.csv {options}")


def test_a_header_below_titles_is_named_by_its_line() -> None:
    write("birds.csv", "Survey 2021;by Ann", "north;coast", "photo;whale", "a.png;ann")
    assert refusal("birds.csv") == "birds.csv: line 3 looks like the header. Remove the lines above it."


def test_columns_and_folder_from_options() -> None:
    for seed, path in enumerate(["north/a.png", "south/a.png", "south/b.png", "south/c.png", "south/other.png"]):
        save(f"archive/{path}", seed)
    write(
        "tables/birds.csv",
        "no,picture file,who,left,top,right,bottom",
        r"1,north\a.png,ann,0,0,48,32",
        "2,./south/a.png,bob,,,,",
        "3,south/../south/b.png,,9.6,6.4,97,64",
        "4,south/c.png,Unknown,1,1,3,3",
    )
    output = call(
        "tables/birds.csv --photos archive --photo-column 'picture file' --whale-column who "
        "--box-columns left,top,right,bottom"
    )
    assert "tables/birds.csv: a csv file: photos by 'picture file', whales by 'who'" in output
    assert "to add: 4 labelled photos (2 whales, 2 photos of new_whale), 0 queries and 3 boxes" in output
    assert [label for _, label in rows("whales/train.csv")[1:]] == ["bob", "ann", "new_whale", "new_whale"]
    # pixels, because some are above 1; an excess of one pixel is clipped
    assert rows("whales/boxes.csv") == [
        ["Image", "x0", "y0", "x1", "y1", "aspect"],
        ["a.png", "0", "0", "0.5", "0.5", "1.5"],
        ["b.png", "0.1", "0.1", "1", "1", "1.5"],
        ["c.png", "0.0104167", "0.015625", "0.03125", "0.046875", "1.5"],
    ]
    run_catalog("whales")


def test_boxes_as_fractions() -> None:
    save("a.png", 1)
    write("birds.csv", "photo,whale,x0,y0,x1,y1", "a.png,ann,0.25,0,1,0.5")
    call("birds.csv")
    assert rows("whales/boxes.csv")[1] == ["a.png", "0.25", "0", "1", "0.5", "1.5"]


def test_white_space_around_paths_and_decimal_commas() -> None:
    save("a.png", 1)
    write("birds.csv", "photo ;whale; x0;y0;x1;y1", " a.png ; ann ;0,25;0;1;0,5")
    call("birds.csv")
    assert rows("whales/train.csv")[1:] == [["a.png", "ann"]]
    assert rows("whales/boxes.csv")[1] == ["a.png", "0.25", "0", "1", "0.5", "1.5"]


def test_empty_boxes_are_counted_and_left_out() -> None:
    for name in "abc":
        save(f"{name}.png", ord(name))
    write("corners.csv", "photo,whale,x0,y0,x1,y1", "a.png,ann,,,,", "b.png,ann,0,0,0,30", "c.png,ann,nan,,,")
    text = "boxes are ignored, since they are empty or not"
    assert f"2 {text} four numbers: line 3: 0, 0, 0, 30; line 4: nan, , , \n" in call("corners.csv --dry-run")
    write("bbox.csv", "photo,whale,bbox", "a.png,ann,[]", 'b.png,ann,"(1, 2, 3, 4)"', 'c.png,ann,"[-1,-1,-1,-1]"')
    assert f"3 {text} [x, y, width, height]: line 2: []; line 3: (1, 2, 3, 4); line 4: [-1" in call(
        "bbox.csv --dry-run"
    )


def test_a_table_without_rows_is_refused() -> None:
    write("birds.csv", "photo,whale")
    assert refusal("birds.csv") == "birds.csv has no rows below its header. Add a row for each photo."


def test_invalid_boxes_are_refused() -> None:
    for seed in range(5):
        save(f"{seed}.png", seed)
    header = "photo,whale,x0,y0,x1,y1"
    cells = ["90,0,120,60", "50,0,40,60", "3,3,3.5,60", "0,0,96,64"]
    write("birds.csv", header, *(f"{seed}.png,ann,{each}" for seed, each in enumerate(cells)))
    assert refusal("birds.csv") == (
        "Boxes that are not inside their photo, or smaller than a pixel (3):\n"
        "  birds.csv, line 2: '0.png' has 90, 0, 120, 60 of 96 x 64 pixels\n"
        "  birds.csv, line 3: '1.png' has 50, 0, 40, 60 of 96 x 64 pixels\n"
        "  birds.csv, line 4: '2.png' has 3, 3, 3.5, 60 of 96 x 64 pixels\n"
        "Give left, top, right and bottom edge (for a bbox: x, y, width, height) on the upright photo."
    )
    write("birds.csv", header, "0.png,ann,0,0,1,1", "0.png,ann,0,0,1,1", "0.png,ann,0,0,1,0.5")
    assert "The same photo with different boxes (1):\n  birds.csv, line 4: '0.png'\n" in refusal("birds.csv")


def test_missing_photos_and_paths_outside_of_the_source_are_refused() -> None:
    outside = save("secret.png", 1).resolve()
    save("in/a.png", 2)
    write("in/notes.txt", "tall fin")
    write("in/birds.csv", "photo,whale", "a.png,ann", "b.png,ann", "notes.txt,ann")
    error = refusal("in/birds.csv")
    assert "Photos that do not exist (1):\n  in/birds.csv, line 3: 'b.png'\n" in error
    assert "Correct the paths, or give the folder from which they start: --photos DIR" in error
    assert "Files that are not photos (1):\n  in/birds.csv, line 4: 'notes.txt'\n" in error
    write("in/birds.csv", "photo,whale", "../secret.png,ann", f"{outside},ann", r"..\secret.png,ann")
    error = refusal("in/birds.csv")
    assert error.startswith(
        "Photos that are not inside the folder that is imported (3):\n  in/birds.csv, line 2: '../secret.png'\n"
    )
    assert not Path("whales").exists()


def test_a_table_of_wildlife_datasets() -> None:
    for seed, name in enumerate("abcde"):
        save(f"set/images/{name}.jpg", seed)
    save("set/images/same.jpg", 0)
    write(
        "set/metadata.csv",
        ",image_id,identity,path,bbox,split",
        '0,1,w1,images/a.jpg,"[9.6, 6.4, 48, 32]",train',
        "1,2,w2,images/b.jpg,,train",
        "2,3,unknown,images/c.jpg,,train",
        "3,4,w2,images/d.jpg,,test",
        "4,5,w9,images/e.jpg,,test",
        "5,6,w1,images/same.jpg,,test",
    )
    output = call("set")
    assert "to add: 3 labelled photos (2 whales, 1 photos of new_whale), 2 queries and 1 boxes" in output
    assert "1 photos skipped" in output  # it is identical to a labelled photo
    assert rows("whales/train.csv")[1:] == [["a.jpg", "w1"], ["b.jpg", "w2"], ["c.jpg", "new_whale"]]
    # w9 has no labelled photo, so its true label is new_whale
    assert rows("whales/solution.csv")[1:] == [["d.jpg", "w2"], ["e.jpg", "new_whale"]]
    assert rows("whales/boxes.csv")[1] == ["a.jpg", "0.1", "0.1", "0.6", "0.6", "1.5"]
    run_catalog("whales")


def test_solution_is_not_written_if_only_some_queries_have_a_true_label() -> None:
    for seed, name in enumerate("abc"):
        save(f"set/{name}.jpg", seed)
    write("set/metadata.csv", "identity,path,split", "w1,a.jpg,database", "w1,b.jpg,Queries", ",c.jpg,testing")
    assert "1 queries have no true label, so solution.csv is not written" in call("set")
    assert names("whales") == ["test", "train", "train.csv"]


def test_photos_without_a_whale_are_counted() -> None:
    for name in "abc":
        save(f"{name}.png", ord(name))
    write("birds.csv", "photo,whale", "a.png,", "b.png,ann", "c.png, ")
    assert "2 photos show a whale without a name and get the label new_whale: '' (2)" in call("birds.csv")
    assert rows("whales/train.csv")[1:] == [["a.png", "new_whale"], ["b.png", "ann"], ["c.png", "new_whale"]]


def test_the_error_about_a_missing_photo_names_similar_files() -> None:
    for seed, name in enumerate(["2019/IMG_a.jpg", "2019/b.jpg", "2020/b.jpg"]):
        save(f"archive/{name}", seed)
    write("birds.csv", "photo,whale", "img_a,ann", "IMG_A.JPG,ann", "b.jpg,bob", "c.jpg,bob")
    assert (
        "Photos that do not exist (4):\n"
        "  birds.csv, line 2: 'img_a' (did you mean 'IMG_a.jpg'?)\n"
        "  birds.csv, line 3: 'IMG_A.JPG' (did you mean 'IMG_a.jpg'?)\n"
        "  birds.csv, line 4: 'b.jpg' (2 files have this name: archive/2019/b.jpg, archive/2020/b.jpg)\n"
        "  birds.csv, line 5: 'c.jpg'\n"
    ) in refusal("birds.csv --photos archive")


def test_photos_of_the_same_name_are_matched_in_linear_time() -> None:
    photos = Photos([Path(f"archive/w{number}/fluke.jpg") for number in range(5000)])
    start = time.perf_counter()
    files = [find_file(Path("tables"), f"w{number}\\fluke.jpg", lambda: photos) for number in range(5000)]
    assert files == photos.files
    assert time.perf_counter() - start < 5


def write_coco(annotations: list[dict[str, object]], **more: object) -> None:
    images = [{"id": number, "file_name": f"{name}.png"} for number, name in enumerate("abc")]
    for seed, name in enumerate("abc"):
        save(f"set/{name}.png", seed)
    categories = [{"id": 1, "name": "ann"}, {"id": 2, "name": "bob"}]
    document = {"images": images, "annotations": annotations, "categories": categories} | more
    Path("set/flukes.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("key", "ann", "bob"),
    [
        ("identity", "ann", "bob"),
        ("individual_id", "ann", "bob"),
        ("individual_ids", ["ann"], ["bob"]),
        ("name", "ann", "bob"),
        ("category_id", 1, 2),
    ],
)
def test_a_coco_file(key: str, ann: object, bob: object) -> None:
    write_coco(
        [
            {"image_id": 0, "bbox": [9.6, 6.4, 48, 32], key: ann},
            {"image_id": 0, "bbox": [0, 0, 2, 2], key: ann},
            {"image_id": 1, key: bob},
        ]
    )
    output = call("set/flukes.json")
    assert "to add: 2 labelled photos (2 whales, 0 photos of new_whale), 1 queries and 1 boxes" in output
    assert rows("whales/train.csv")[1:] == [["a.png", "ann"], ["b.png", "bob"]]
    assert rows("whales/boxes.csv")[1] == ["a.png", "0.1", "0.1", "0.6", "0.6", "1.5"]
    assert names("whales/test") == ["c.png"]


X = {"image_id": 0, "identity": "x"}


@pytest.mark.parametrize(
    ("annotations", "more", "error"),
    [
        (
            [{"image_id": 0, "category_id": 1}],
            {},
            "does not name individual whales: annotations have none of the keys identity",
        ),
        ([X, X | {"identity": "y"}], {}, "photos of several whales (1):\n  'a.png': 'x', 'y'\n"),
        ([X, X | {"image_id": 7, "id": 3}], {}, "annotations of images that are not in the file (1):\n  annotation 3"),
        (
            [X | {"image_id": None, "id": 3}],
            {},
            "annotation 3: image_id None\nCorrect these ids, or add the missing rows",
        ),
        (
            [{"image_id": 0, "category_id": 1}, {"image_id": 1, "category_id": "5", "id": "b"}],
            {"categories": [{"id": 1, "name": "x"}]},
            "annotations of categories that are not in the file (1):\n  annotation 'b': category_id '5'\n",
        ),
        (
            [X],
            {"images": [{"id": 0, "file_name": "a.png"}, {"id": "0", "file_name": "b.png"}]},
            "ids used by several images (1):\n  id '0': 2 images\n",
        ),
        ([X], {"images": {}}, "is not a COCO file"),
        ([X], {"categories": [1]}, "is not a COCO file"),
        ([X | {"identity": {"id": 3}}], {}, "is not a COCO file"),
        (
            [X | {"image_id": 9}],
            {"images": [{"id": 9, "file_name": "../a\0.png"}, {"id": 8, "file_name": "../../etc/x.png"}]},
            "Photos with names that cannot be used (1):\n  set/flukes.json: '../a\\x00.png'\n",
        ),
    ],
)
def test_invalid_coco_files_are_refused(
    annotations: list[dict[str, object]], more: dict[str, object], error: str
) -> None:
    write_coco(annotations, **more)
    assert error in refusal("set/flukes.json")


@pytest.mark.parametrize("text", ["{" * 10, "[" * 100_000])
def test_invalid_json_is_refused(text: str) -> None:
    Path("x.json").write_text(text)
    assert "x.json is not valid json" in refusal("x.json")


def test_the_first_key_with_a_name_counts_and_others_are_counted() -> None:
    write_coco(
        [
            {"image_id": 0, "individual_id": math.nan, "name": "ann"},
            {"image_id": 1, "individual_ids": ["unknown"], "name": None},
            {"image_id": 2, "identity": None},
        ]
    )
    text = "2 photos show a whale without a name and get the label new_whale: 'unknown' (1), '' (1)"
    assert text in call("set/flukes.json")
    assert [label for _, label in rows("whales/train.csv")[1:]] == ["ann", "new_whale", "new_whale"]


def test_ids_match_as_numbers_or_texts_and_categories_may_have_no_name() -> None:
    write_coco(
        [{"image_id": "0.0", "category_id": "1"}, {"image_id": 1.0, "category_id": 2}],
        categories=[{"id": 1.0, "name": "ann"}, {"id": "2", "name": None}],
    )
    call("set/flukes.json")
    assert rows("whales/train.csv")[1:] == [["a.png", "ann"], ["b.png", "new_whale"]]


IDS = some.sampled_from([0, 1, 2, "1", "1.0", 2.0, " 2", None, math.nan, "x", 9])
WHALES = some.sampled_from(["ann", 7, 7.0, "", None, math.nan, "nan", [], ["ann"], ["ann", "bob"], {}])
BOXES = some.sampled_from(
    [
        None,
        [],
        [1, 2, 3, 4],
        [0, 0, 0, 0],
        [1, 2, -3, 4],
        (1, 2),
        "1234",
        [math.nan] * 4,
        [1e308] * 4,
        ["1", 2, 3, 4],
        {},
    ]
)
GOOD_BOXES = ([1, 2, 3, 4], ["1", 2, 3, 4])


@given(
    images=some.lists(
        some.fixed_dictionaries({"file_name": some.sampled_from("abc")}, optional={"id": IDS}), max_size=4
    ),
    annotations=some.lists(
        some.fixed_dictionaries({}, optional={"image_id": IDS, "category_id": IDS, "identity": WHALES, "bbox": BOXES}),
        max_size=4,
    ),
    categories=some.lists(some.fixed_dictionaries({}, optional={"id": IDS, "name": WHALES}), max_size=3),
)
def test_all_images_and_boxes_of_a_coco_file_are_read_or_counted(
    tmp_path_factory, images, annotations, categories
) -> None:
    path = tmp_path_factory.mktemp("coco") / "flukes.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    try:
        source = coco.read(path, path.parent)
    except WhaleidError as error:
        source, message = None, str(error)
    if source is None:
        assert message.startswith(str(path))
        return
    assert [entry.file.name for entry in source.entries] == [image["file_name"] for image in images]
    boxes = [annotation["bbox"] for annotation in annotations if annotation.get("bbox") is not None]
    left_out = sum(int(line.split()[0]) for line in source.notes)
    assert len(boxes) == sum(box in GOOD_BOXES for box in boxes) + left_out
    labelled = sum(entry.label != "" for entry in source.entries)
    assert labelled == len({coco._id(annotation, "image_id") for annotation in annotations})
