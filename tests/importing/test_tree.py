"""Folders and zip files of any layout: what names the whales is decided by all that is there, or by the user."""

import json
import shutil
from pathlib import Path

import pytest
from helpers.imports import call, names, pack, refusal, rows, save, write
from helpers.pictures import picture
from hypothesis import given, settings
from hypothesis import strategies as some
from typer.testing import CliRunner

from whaleid.cli.app import app
from whaleid.core.errors import WhaleidError
from whaleid.importing import csv, tree


def labels(to: str = "whales") -> dict[str, str]:
    return dict(rows(f"{to}/train.csv")[1:])


def zipped(folder: str) -> str:
    pack(f"{folder}.zip", *((str(path), str(path)) for path in Path(folder).rglob("*") if path.is_file()))
    return f"{folder}.zip"


def test_a_table_beside_the_photos_is_used() -> None:
    for seed, name in enumerate("abc"):
        save(f"set/Images/{name}.png", seed)
    write("set/labels.csv", "File Name;Whale ID", "a.png;w1", "Images\\b.png;w2")
    output = call("set")
    assert "set: labels.csv, a csv file: photos by 'File Name', whales by 'Whale ID'\n" in output
    assert (
        "1 photos are not in the table and are skipped (--queries DIR imports a folder of queries): Images/c.png"
        in output
    )
    assert labels() == {"a.png": "w1", "b.png": "w2"}
    call(zipped("set"), to="again")
    assert labels("again") == labels()


def test_a_coco_file_beside_the_photos_is_used() -> None:
    save("set/images/a.png", 1)
    document = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [{"image_id": "1", "category_id": 7.0}, {"image_id": 1, "category_id": "7"}],
        "categories": [{"id": 7, "name": "ann"}, {"id": 8, "name": "bob"}],
    }
    write("set/flukes.json", json.dumps(document))
    assert refusal("set").startswith("set: no folder is named after a whale")  # all are of one category
    for annotation in document["annotations"]:
        annotation["identity"] = "cat"
    write("set/flukes.json", json.dumps(document))
    call("set")
    assert labels() == {"a.png": "cat"}


def test_other_tables_are_left_alone() -> None:
    save("set/ann/a.png", 1)
    save("set/bob/b.png", 2)
    write("set/weather.csv", "day,wind", "1,2")
    write("set/cameras.csv", "photo,whale", "x.png,lens", "y.png,body")
    write("set/notes.json", "{}")
    assert "3 other files skipped" in call("set")
    assert labels() == {"a.png": "ann", "b.png": "bob"}


def test_a_table_and_folders_that_agree_are_one_reading() -> None:
    save("set/ann/a.png", 1)
    save("set/bob/b.png", 2)
    write("set/labels.csv", "path,whale", "ann/a.png,ann", "bob/b.png,bob")
    assert "labels.csv, a csv file" in call("set")


def test_a_table_and_folders_that_disagree_stop_the_import() -> None:
    save("set/2019a/a.png", 1)
    save("set/2019b/b.png", 2)
    write("set/labels.csv", "path,whale", "2019a/a.png,ann", "2019b/b.png,bob")
    assert refusal("set") == (
        "set: its table and its folders name different whales. Add one of these options:\n"
        "  --layout table: labels.csv, a csv file: photos by 'path', whales by 'whale': 2 whales ('ann', 'bob'), "
        "2 photos\n  --layout folders: 2 whales ('2019a', '2019b'), 2 photos"
    )
    call("set --layout table", to="table")
    assert labels("table") == {"a.png": "ann", "b.png": "bob"}
    call("set --layout folders", to="folders")
    assert labels("folders") == {"a.png": "2019a", "b.png": "2019b"}


def test_a_table_that_lists_a_part_of_the_folders_stops_the_import() -> None:
    for seed, name in enumerate(("ann/a", "bob/b", "cat/c")):
        save(f"set/{name}.png", seed)
    write("set/labels.csv", "path,whale", "ann/a.png,ann", "bob/b.png,bob")
    assert refusal("set") == (
        "set: its table lists only 2 of 3 photos. Add one of these options:\n"
        "  --layout table: labels.csv, a csv file: photos by 'path', whales by 'whale': 2 whales ('ann', 'bob'), "
        "2 photos\n  --layout folders: 3 whales ('ann', 'bob', 'cat'), 3 photos"
    )
    call("set --layout folders")
    assert labels() == {"a.png": "ann", "b.png": "bob", "c.png": "cat"}


def test_a_table_that_cannot_be_used_stops_the_import_if_folders_name_one_whale() -> None:
    save("set/survey/a.png", 1)
    write("set/labels.csv", "archivo,ballena", "a.png,ann")
    problem = ": its folders name only one whale, 'survey', and its tables cannot be used. Correct a table, or add"
    for source in ("set", zipped("set")):
        error = refusal(source)
        assert error.startswith(source + problem)
        assert "labels.csv: it is not clear which column contains the" in error
    Path("set/labels.csv").rename("set/labels.txt")
    assert "labels.txt: it is not clear which column contains the" in refusal("set")
    Path("set/labels.txt").rename("set/labels.xlsx")
    assert "labels.xlsx: spreadsheets cannot be read." in refusal("set")
    output = call("set --layout folders")
    assert "1 spreadsheets cannot be read (save them as csv to import them): set/labels.xlsx" in output
    assert labels() == {"a.png": "survey"}


def test_a_text_file_with_columns_is_a_table_and_other_text_is_not() -> None:
    save("set/survey/a.png", 1)
    write("set/labels.txt", "photo\twhale", "a.png\tann")
    write("set/README.txt", "Photos of one summer")
    for to, source in (("whales", "set"), ("zip", zipped("set"))):
        call(source, to=to)
        assert labels(to) == {"a.png": "ann"}
    Path("set/labels.txt").unlink()
    call("set", to="folders")
    assert labels("folders") == {"a.png": "survey"}


def test_a_text_next_to_a_catalogue_changes_nothing() -> None:
    save("in/ann/a.png", 1)
    call("in")
    Path("set").mkdir()
    shutil.copytree("whales", "set/c")
    write("set/README.txt", "how, and why")
    for source in ("set", zipped("set")):
        assert f"{source}: a catalogue\n" in call(f"{source} --dry-run", to="copy")


def test_a_coco_file_with_errors_stops_the_import_if_folders_name_one_whale() -> None:
    save("set/survey/a.png", 1)
    annotations = [{"image_id": 1, "category_id": 9}, {"image_id": 1, "category_id": 7}]
    images, categories = [{"id": 1, "file_name": "a.png"}], [{"id": 7, "name": "ann"}]
    write("set/c.json", json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    assert "c.json: annotations of categories that are not in the file (1):\n  annotation None" in refusal("set")
    write("set/c.json", "{}")
    call("set")
    assert labels() == {"a.png": "survey"}


def test_a_table_without_any_photo_of_the_folder_lists_its_rows() -> None:
    save("set/survey/a.png", 1)
    write("set/labels.csv", "photo,whale", "b.png,ann")
    assert "only 0 of its 1 rows are photos in the folder; --layout table shows the others" in refusal("set")
    assert refusal("set --layout table").startswith("Photos that do not exist (1):\n  set/labels.csv, line 2: 'b.png'")


def test_zip_files_in_a_folder_stop_the_import() -> None:
    save("set/ann/a.png", 1)
    save("bob/b.png", 2)
    zipped("bob")
    Path("bob.zip").rename("set/bob.zip")
    assert refusal("set") == (
        "set: zip files in a folder are not read (1):\n  bob.zip\n"
        "Unpack them, or zip the folder and import that: the zip files in a zip file are read."
    )
    call(zipped("set"))
    assert labels() == {"a.png": "ann", "b.png": "bob"}
    shutil.copytree("bob", "set/bob")
    call("set", to="unpacked")
    assert labels("unpacked") == labels()


def test_layout_is_refused_where_folders_name_no_whales() -> None:
    save("in/ann/a.png", 1)
    write("in/t.csv", "photo,whale", "ann/a.png,ann")
    call("in")
    leave_out = "--layout is for folders and their zip files. Leave it out."
    assert refusal("in/t.csv --layout folders", to="other") == f"in/t.csv: {leave_out}"
    error = "whales is a catalogue or a Kaggle competition: leave out --layout."
    assert refusal("whales --layout table", to="other") == error


def test_several_tables_stop_the_import() -> None:
    save("set/images/a.png", 1)
    write("set/one.csv", "photo,whale", "a.png,ann")
    write("set/two.csv", "photo,whale", "a.png,bob")
    options = "one of them, or each into the same --to:\n  one.csv, a csv file:"
    assert refusal("set").startswith(f"set: several files list its photos. Import {options}")
    assert refusal(zipped("set")).startswith(
        f"set.zip: several files list its photos. Unpack the zip file, then import {options}"
    )
    call("set/two.csv --photos set")
    assert labels() == {"a.png": "bob"}


def test_a_table_whose_columns_are_not_clear_is_an_error_if_folders_name_no_whale() -> None:
    save("set/images/a.png", 1)
    write("set/labels.csv", "photo,who", "a.png,ann")
    assert "labels.csv: it is not clear which column contains the whale" in refusal("set")
    call("set --whale-column who")
    assert labels() == {"a.png": "ann"}


def test_a_spreadsheet_has_to_be_saved_as_csv() -> None:
    save("set/images/a.png", 1)
    write("set/labels.xlsx", "")
    error = refusal("set")
    assert error.startswith("set: no folder is named after a whale")
    assert error.endswith(
        "set/labels.xlsx: spreadsheets cannot be read. Save it as csv (in Excel: CSV UTF-8) and import that."
    )
    assert "labels.xlsx cannot be imported: spreadsheets cannot be read. Save" in refusal("set/labels.xlsx")


@pytest.mark.parametrize("deep", ["", "photos/", "photos/photos/"])
def test_a_catalogue_or_whales_in_deeper_folders(deep: str) -> None:
    save(f"in/{deep}ann/a.png", 1)
    save(f"in/{deep}bob/2019/b.png", 2)
    call("in")
    call(zipped("in"), to="zip")
    assert labels() == labels("zip") == {"a.png": "ann", "b.png": "bob"}
    Path(f"cat/{deep}").mkdir(parents=True)
    shutil.copytree("whales", f"cat/{deep}/c")
    assert "a catalogue" in call("cat", to="copy")
    assert labels("copy") == labels()


def test_splits_are_joined_and_queries_keep_their_whales() -> None:
    for seed, name in enumerate(["train/ann/a", "val/ann/b", "val/bob/c", "test/bob/d"]):
        save(f"set/{name}.png", seed)
    call("set")
    assert labels() == {"a.png": "ann", "b.png": "ann", "c.png": "bob"}
    assert rows("whales/solution.csv")[1:] == [["d.png", "bob"]]


def test_another_contest_of_kaggle() -> None:
    for seed, name in enumerate(["train_images/a", "train_images/b", "test_images/c"]):
        save(f"happy/{name}.jpg", seed)
    write("happy/train.csv", "image,species,individual_id", "a.jpg,humpback_whale,x1", "b.jpg,humpback_whale,x2")
    write("happy/sample_submission.csv", "image,predictions", "c.jpg,x1 x2")
    call("happy --queries happy/test_images")
    assert labels() == {"a.jpg": "x1", "b.jpg": "x2"}
    assert names("whales/test") == ["c.jpg"]


def test_paths_of_another_folder_are_not_taken_for_those_of_the_same_name() -> None:
    save("set/2020/a.png", 1)
    write("labels.csv", "photo,whale", "2019/a.png,ann")
    assert "Photos that do not exist (1):\n  labels.csv, line 2: '2019/a.png'" in refusal("labels.csv --photos set")


def test_links_in_the_folder_of_photos_matter_to_no_row_that_is_found() -> None:
    save("set/2019/a.png", 1)
    Path("set/latest").symlink_to("2019")
    write("labels.csv", "photo,whale", "2019/a.png,ann")
    write("names.csv", "photo,whale", "a.png,ann")
    for table in ("labels.csv", "names.csv"):
        call(f"{table} --photos set", to=table[:-4])
        assert labels(table[:-4]) == {"a.png": "ann"}


def test_photos_are_known_by_content_and_others_are_named() -> None:
    for seed, suffix in enumerate((".jpe", ".jpg_large", "")):
        Path("set/ann").mkdir(parents=True, exist_ok=True)
        picture(seed).save(f"set/ann/p{seed}{suffix}", "JPEG")
    picture(8).save("set/ann/q.tif")
    picture(9).save("set/ann/gif.jpg", "GIF")
    Path("set/ann/clip.mov").write_bytes(b"\0\0\0\x14ftypqt  ")
    Path("set/ann/phone").write_bytes(b"\0\0\0\x14ftypheic")
    for name in ("notes.txt", "Thumbs.db", "desktop.ini"):
        Path(f"set/ann/{name}").write_text("x")
    for source, to in (("set", "whales"), (zipped("set"), "zip")):
        result = CliRunner().invoke(app, ["import", source, "--to", to])
        assert result.exit_code == 3
        assert names(f"{to}/train") == ["p0.jpg", "p1.jpg", "p2.jpg"]
        assert "1 other files skipped" in result.output.replace("3 other files", "1 other files")


def test_a_source_with_only_other_formats_is_an_error() -> None:
    Path("set/ann").mkdir(parents=True)
    Path("set/ann/a.heic").write_bytes(b"\0\0\0\x18ftypheic")
    assert refusal("set").startswith(
        "All labelled photos are in a format that a catalogue does not accept (1):\n  'ann/a.heic'\nSave them as JPEG"
    )


def test_a_dry_run_creates_and_removes_nothing() -> None:
    save("set/ann/a.png", 1)
    call("set --dry-run", to="new/deep/whales")
    assert not Path("new").exists()
    write("whales/train/.a.9.partial.png", "of an import that was killed")
    Path("empty").mkdir()
    for to in ("whales", "empty"):
        call("set --dry-run", to=to)
    assert Path("empty").is_dir()
    assert names("whales/train") == [".a.9.partial.png"]
    call("set")
    assert names("whales/train") == ["a.png"]


def test_an_overview_comes_before_anything_is_written() -> None:
    for seed in range(6):
        save(f"set/w_{seed % 3}/{seed}.png", seed)
    save("set/Zoë/z.png", 9)
    assert call("set --dry-run") == (
        "set: one folder per whale\n"
        "to add: 7 labelled photos (4 whales, 0 photos of new_whale), 0 queries and 0 boxes\n"
        "most photos: w_0 (2), w_1 (2), w_2 (2), Zoë (1)\n"
        "names that look different from the others, perhaps errors: Zoë\n"
        "nothing was written (--dry-run)\n"
    )
    assert not Path("whales").exists()


NAME = some.sampled_from(["ann", "bob", "2019", "images", "train", "test", "left"])


@settings(max_examples=60)
@given(some.lists(some.lists(NAME, max_size=3), min_size=1, max_size=8))
def test_all_photos_of_a_folder_are_read_or_the_import_stops(tmp_path_factory, folders) -> None:
    root = tmp_path_factory.mktemp("tree")
    for number, parts in enumerate(folders):
        path = root.joinpath(*parts, f"{number}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xff\xd8\xff")
    for layout in (None, "folders", "subfolders"):
        try:
            source = tree.read(root, "SOURCE", csv.Columns(), layout)
        except WhaleidError:
            continue
        assert len(source.entries) == len(folders)
        queries = [entry.file.relative_to(root).parts for entry in source.entries if not entry.label]
        assert all("test" in parts for parts in queries)
        if layout is None:
            assert not {entry.label for entry in source.entries} & {"images", "left"}


@pytest.mark.parametrize("layout", ["", " --layout folders", " --layout subfolders"])
def test_a_photo_without_a_whale_is_not_a_query(layout: str) -> None:
    save("set/training/a.png", 1)
    save("set/test/b.png", 2)
    save("set/val/ann/c.png", 3)
    error = refusal("set" + layout)
    if layout:
        assert error.startswith("Photos of set that are not in the folder of a whale (1):\n  'training/a.png'")
    else:
        assert error.startswith("set: no folder is named after a whale")


def test_a_folder_and_its_zip_are_read_in_the_same_way() -> None:
    save("set/images/a.png", 1)
    for source in ("set", zipped("set")):
        assert refusal(source) == (
            f"{source}: no folder is named after a whale. Add one of these options, or import a csv file with the "
            "whale of each photo:\n  --layout folders: 1 whales ('images'), 1 photos"
        )
    save("ann/1.png", 1)
    for source in ("ann", zipped("ann")):
        assert refusal(source).startswith(f"Photos directly in {source}, not in the folder of a whale (1):\n  '1.png'")


def test_tables_that_are_not_used_are_named() -> None:
    save("set/images/a.png", 1)
    write("set/labels.csv", "photo,whale", "a.png,ann", "b.png,ann", "c.png,ann")
    for source in ("set", zipped("set")):
        path = "set/labels.csv" if source == "set" else "set.zip/set/labels.csv"
        assert refusal(source).endswith(
            f"\n{path}: only 1 of its 3 rows are photos in the folder; --layout table shows the others"
        )
        assert refusal(f"{source} --layout table").startswith(
            f"Photos that do not exist (2):\n  {path}, line 3: 'b.png'"
        )
        output = call(f"{source} --layout folders --dry-run")
        assert f"1 tables are not used: {path}: only 1 of its 3 rows are photos in the folder" in output


def test_a_metadata_table_that_names_no_whales_is_avoidable() -> None:
    save("set/ann/a.png", 1)
    write("set/metadata.csv", "photo,camera", "ann/a.png,X")
    error = refusal("set")
    assert "set/metadata.csv: it is not clear which column contains the whale" in error
    assert error.endswith("--layout folders or --layout subfolders imports without this table.")
    call("set --layout folders")
    assert labels() == {"a.png": "ann"}


def test_errors_name_the_zip_and_not_where_it_is_unpacked() -> None:
    Path("set/ann").mkdir(parents=True)
    Path("set/ann/a.jpg").write_bytes(b"\xff\xd8\xff")
    assert "\n  set.zip/set/ann/a.jpg: " in refusal(zipped("set"))


def test_a_name_with_a_backslash_is_refused() -> None:
    save("set/ann/x\\y.png", 1)
    assert "must not contain control characters or backslashes" in refusal("set")


def test_an_empty_cell_of_a_table_agrees_with_a_folder_new_whale() -> None:
    save("photos/ann/a.png", 1)
    save("photos/new_whale/b.png", 2)
    write("photos/list.csv", "photo,whale", "ann/a.png,ann", "new_whale/b.png,")
    call("photos")
    assert rows("whales/train.csv")[1:] == [["a.png", "ann"], ["b.png", "new_whale"]]
