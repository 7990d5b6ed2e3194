"""Reading a catalogue folder: accepted files, and the error for each kind of mistake."""

import unicodedata
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from whaleid.catalog import layout
from whaleid.catalog.table import read_table
from whaleid.config import Data, Params, load
from whaleid.core import paths
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.core.files import read_csv
from whaleid.stages import catalog


def photo(path: Path, size: tuple[int, int] = (40, 20), mode: str = "RGB") -> None:
    Image.linear_gradient("L").resize(size).convert(mode).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Create a valid catalogue folder."""
    root = tmp_path / "whales"
    for part, names in (("train", ["a.jpg", "b.PNG", "c.jpeg"]), ("test", ["d.jpg", "e.jpg"])):
        (root / part).mkdir(parents=True)
        for name in names:
            photo(root / part / name)
    write(root, "train.csv", "Image,Id", "c.jpeg,new_whale", "a.jpg,007", "b.PNG,nan")
    return root


def write(root: Path, name: str, *lines: str) -> None:
    (root / name).write_text("\n".join([*lines, ""]), encoding="utf-8")


def refusal(root: Path) -> str:
    with pytest.raises(WhaleidError) as caught:
        layout.read(root)
    return str(caught.value)


def test_reads_rows_sorted_by_part_and_image_with_labels_as_text(root: Path) -> None:
    assert layout.read(root).photos.to_dict("list") == {
        "Image": ["d.jpg", "e.jpg", "a.jpg", "b.PNG", "c.jpeg"],
        "Id": ["", "", "007", "nan", "new_whale"],
        "part": ["test", "test", "train", "train", "train"],
    }


def test_reads_the_optional_files_sorted(root: Path) -> None:
    write(root, "boxes.csv", "Image,x0,y0,x1,y1", "d.jpg,0,0,1,1", "a.jpg,0.25,0,0.5,1e-1")
    write(root, "solution.csv", "Image,Id", "e.jpg,007", "d.jpg,NA")
    write(root, "sample_submission.csv", "Image,Id", "d.jpg,new_whale", "e.jpg,new_whale")
    read = layout.read(root)
    assert read.boxes.values.tolist() == [["a.jpg", 0.25, 0, 0.5, 0.1], ["d.jpg", 0, 0, 1, 1]]
    assert read.solution.values.tolist() == [["d.jpg", "NA"], ["e.jpg", "007"]]


def test_a_byte_order_mark_crlf_empty_lines_and_further_columns_are_accepted(root: Path) -> None:
    text = '\r\nId,note,Image\r\n\r\n1,"two\nlines",a.jpg\r\nNULL,,b.PNG\r\nx,,c.jpeg\r\n'
    (root / "train.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    table = read_table(root / "train.csv", ["Image", "Id"])
    assert table.index.tolist() == [4, 6, 7]
    assert table.values.tolist() == [["a.jpg", "1"], ["b.PNG", "NULL"], ["c.jpeg", "x"]]
    layout.read(root)


def test_files_that_are_not_photos_are_ignored(root: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", "._a.jpg", "notes.txt"):
        (root / "train" / name).write_text("no photo")
        (root / "test" / name).write_text("no photo")
    (root / "test" / "folder.jpg").mkdir()
    assert len(layout.read(root).photos) == 5


def test_refuses_a_missing_folder(tmp_path: Path) -> None:
    message = refusal(tmp_path / "nowhere")
    assert "nowhere is not a folder: set data.root in params.yaml" in message
    assert "train.csv (columns Image,Id)" in message


def test_one_error_lists_all_missing_parts(root: Path) -> None:
    photos = "  photos directly in train/: files named .jpg, .jpeg, .png\n"
    for path in (root / "train").iterdir():
        path.unlink()
    assert (
        f"{root} is not a complete catalogue. Missing (1):\n{photos}A catalogue folder contains train.csv"
        in refusal(root)
    )
    (root / "train").rmdir()
    (root / "train.csv").unlink()
    assert f"is not a complete catalogue. Missing (2):\n  train.csv\n{photos}" in refusal(root)


@pytest.mark.parametrize("exists", [True, False])
def test_queries_are_optional(root: Path, exists: bool) -> None:
    for path in (root / "test").iterdir():
        path.unlink()
    if not exists:
        (root / "test").rmdir()
    write(root, "solution.csv", "Image,Id")
    write(root, "sample_submission.csv", "Image,Id")
    assert layout.read(root).photos["part"].tolist() == ["train"] * 3


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("train.csv", ["Image,id", "a.jpg,1"], "train.csv: column missing: 'Id' (did you mean 'id'?)"),
        ("train.csv", ["Our whales", "Image,Id", "a.jpg,1"], "train.csv, line 1: 'Our whales' is a title: remove"),
        ("train.csv", ["file,label", "a.jpg,1"], "The file has: 'file', 'label'."),
        ("train.csv", ["Image,Id,Id", "a.jpg,1,2"], "train.csv: column repeated: 'Id' occurs 2 times. The"),
        (
            "train.csv",
            ["Image,Id", "a.jpg,1", "b.PNG,1,2", "c.jpeg"],
            "line 3: 3 cells instead of 2\n  line 4: 1 cells",
        ),
        ("train.csv", ["Image,Id", "a.jpg,1", 'b.PNG,"1'], "train.csv, line 3 cannot be read as csv"),
        ("train.csv", [], "train.csv is empty"),
        ("train.csv", ["Image,Id"], "photos in train/ without a row (3):\n  'a.jpg'\n  'b.PNG'\n  'c.jpeg'\n"),
        (
            "train.csv",
            ["Image,Id", "a.jpg,1", "b.PNG,1", "c.jpeg,1", "x.jpg,1", "d.jpg,2"],
            "train.csv: rows without a photo in train/ (2):\n  line 5: 'x.jpg'\n  line 6: 'd.jpg'\n",
        ),
        (
            "train.csv",
            ["Image,Id", "a.jpg,1", "b.PNG,1", "c.jpeg,1", "a.jpg,2"],
            "train.csv: photos with several rows (1):\n  'a.jpg': lines 2, 5\n",
        ),
        (
            "train.csv",
            ["Image,Id", "a.jpg,", "b.PNG,w 1", 'c.jpeg," w"'],
            "labels that are empty, or contain spaces or control characters (3):\n  line 2: 'a.jpg' has ''\n"
            "  line 3: 'b.PNG' has 'w 1'\n  line 4: 'c.jpeg' has ' w'\n",
        ),
        (
            "train.csv",
            ["Image,Id", "../a.jpg,1", "/b.PNG,1", "sub/c.jpeg,1", "sub\\c.jpeg,1", "..,1"],
            "names that are not plain file names (5):\n  line 2: '../a.jpg'\n  line 3: '/b.PNG'\n"
            "  line 4: 'sub/c.jpeg'\n  line 5: 'sub\\\\c.jpeg'\n  line 6: '..'\n",
        ),
        (
            "boxes.csv",
            [
                "Image,x0,y0,x1,y1,aspect",
                "a.jpg,0,0,1,1,2",
                "b.PNG,-0.1,0,1,1,2",
                "c.jpeg,0.5,0,0.5,1,2",
                "d.jpg,0,nan,1,1,2",
                "e.jpg,0,0,1,1,inf",
            ],
            "boxes that are empty, or not inside their photo (4):\n  line 3: 'b.PNG' has -0.1, 0, 1, 1, 2\n"
            "  line 4: 'c.jpeg' has 0.5, 0, 0.5, 1, 2\n  line 5: 'd.jpg' has 0, nan, 1, 1, 2\n"
            "  line 6: 'e.jpg' has 0, 0, 1, 1, inf\n",
        ),
        (
            "boxes.csv",
            ["Image,x0,y0,x1,y1", "a.jpg,0.6,0,0.4,1", "b.PNG,0,0.5,1,0.5", "c.jpeg,0,0,inf,1", "d.jpg,,0,1,1"],
            "boxes that are empty, or not inside their photo (4):\n  line 2: 'a.jpg' has 0.6, 0, 0.4, 1\n"
            "  line 3: 'b.PNG' has 0, 0.5, 1, 0.5\n  line 4: 'c.jpeg' has 0, 0, inf, 1\n"
            "  line 5: 'd.jpg' has , 0, 1, 1\n"
            "Give fractions of width and height with 0 ≤ x0 < x1 ≤ 1 and 0 ≤ y0 < y1 ≤ 1. "
            "An aspect is above 0 or empty.",
        ),
        ("boxes.csv", ["Image,x0,y0,x1,y1", "a.jpg,0,0,1,1.01"], "line 2: 'a.jpg' has 0, 0, 1, 1.01"),
        ("boxes.csv", ["Image,x0,y0,x1,y1", "a.jpg,left,0,1,1"], "line 2: 'a.jpg' has left, 0, 1, 1"),
        (
            "boxes.csv",
            ["Image,x0,y0,x1,y1", "x.jpg,0,0,1,1"],
            "boxes.csv: rows without a photo in train/ or test/ (1):\n  line 2: 'x.jpg'",
        ),
        (
            "boxes.csv",
            ["Image,x0,y0,x1,y1", "a.jpg,0,0,1,1", "a.jpg,0,0,1,1"],
            "boxes.csv: photos with several rows (1):\n  'a.jpg': lines 2, 3",
        ),
        ("boxes.csv", ["Image,x0,y0,x1,Y1", "a.jpg,0,0,1,1"], "column missing: 'y1' (did you mean 'Y1'?)"),
        (
            "solution.csv",
            ["Image,Id", "d.jpg,1", "a.jpg,1"],
            "solution.csv: rows without a photo in test/ (1):\n  line 3: 'a.jpg'",
        ),
        (
            "solution.csv",
            ["Image,Id", "d.jpg,1"],
            "solution.csv: photos in test/ without a row (1):\n  'e.jpg'\n",
        ),
        ("solution.csv", ["Image,Id", "d.jpg,1", "d.jpg,1"], "'d.jpg': lines 2, 3"),
        ("solution.csv", ["Image,Id", "d.jpg,1", "e.jpg,"], "line 3: 'e.jpg' has ''"),
        (
            "sample_submission.csv",
            ["Image,Id", "d.jpg,1 2 3", "x.jpg,1 2 3"],
            "sample_submission.csv: rows without a photo in test/ (1):\n  line 3: 'x.jpg'",
        ),
        ("sample_submission.csv", ["Image", "d.jpg"], "photos in test/ without a row (1):\n  'e.jpg'\n"),
    ],
)
def test_refuses(root: Path, name: str, lines: list[str], message: str) -> None:
    write(root, name, *lines)
    assert message in refusal(root)


def test_sample_submission_may_contain_several_labels(root: Path) -> None:
    write(root, "sample_submission.csv", "Image,Id", "d.jpg,new_whale w_1 w_2", "e.jpg,new_whale")
    layout.read(root)


def test_refuses_text_that_is_not_utf8_and_names_its_line(root: Path) -> None:
    (root / "train.csv").write_bytes("Image,Id\na.jpg,1\nb.PNG,bjørn\n".encode("latin-1"))
    assert "train.csv, line 3 is not UTF-8 text" in refusal(root)


def test_refuses_photos_with_the_same_name_in_both_folders(root: Path) -> None:
    photo(root / "test" / "a.jpg")
    assert "Photos with the same name in train/ and test/ (1):\n  'a.jpg'\n" in refusal(root)


def test_refuses_names_with_control_characters(root: Path) -> None:
    photo(root / "test" / "line\nbreak.jpg")
    assert "cannot be written to a csv file (1):\n  'line\\nbreak.jpg'\n" in refusal(root)


def test_one_error_lists_all_kinds_of_problems(root: Path) -> None:
    photo(root / "test" / "a.jpg")
    write(root, "train.csv", "Image,Id", "a.jpg,", "x.jpg,1")
    write(root, "boxes.csv", "Image,x0,y0,x1", "a.jpg,0,0,1")
    write(root, "solution.csv", "Image,Id", "d.jpg,1", "d.jpg,2")
    message = refusal(root)
    for kind in (
        "with the same name",
        "rows without",
        "without a row",
        "labels that",
        "column missing: 'y1'",
        "several rows",
    ):
        assert kind in message


def run_catalog(root: Path) -> None:
    settings: Params = load(Path(__file__).parents[2] / "params.yaml")
    catalog.run(settings.model_copy(update={"data": Data(root=str(root))}))


def test_stage_writes_the_tables_and_prints_a_summary(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root.parent)
    photo(root / "train" / "a.jpg", (60, 20), "L")
    write(root, "boxes.csv", "Image,x0,y0,x1,y1", "a.jpg,0,0,1,1", "e.jpg,0,0,1,1")
    run_catalog(root)

    table = read_csv(paths.CATALOG)
    assert table.columns.tolist() == ["Image", "Id", "part", "width", "height", "mode", "bytes", "sha256", "phash"]
    a = table[table["Image"] == "a.jpg"].iloc[0]
    assert (a["Id"], a["part"], a["width"], a["height"], a["mode"]) == ("007", "train", 60, 20, "L")
    assert a["bytes"] == (root / "train" / "a.jpg").stat().st_size
    assert table["phash"].str.fullmatch("[0-9a-f]{16}").all()
    assert table["sha256"].str.fullmatch("[0-9a-f]{64}").all()
    assert paths.BOXES.read_text() == "Image,x0,y0,x1,y1,aspect\na.jpg,0,0,1,1,3\ne.jpg,0,0,1,1,2\n"
    assert paths.SOLUTION.read_text() == "Image,Id\n"
    output = capsys.readouterr().out
    assert (
        "3 labelled photos, 2 queries\n2 whales, 2 of them with a single photo; 1 photos labelled new_whale" in output
    )
    assert "sizes: 40x20 (4), 60x20 (1); modes: RGB (4), L (1)" in output

    first_output = [path.read_bytes() for path in (paths.CATALOG, paths.BOXES, paths.SOLUTION)]
    run_catalog(root)
    assert first_output == [path.read_bytes() for path in (paths.CATALOG, paths.BOXES, paths.SOLUTION)]


def test_stage_lists_all_bad_photos_and_keeps_the_previous_catalogue(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)
    run_catalog(root)
    before = paths.CATALOG.read_bytes()
    (root / "train" / "a.jpg").write_text("no photo")
    (root / "test" / "e.jpg").write_bytes((root / "test" / "e.jpg").read_bytes()[:300])
    with pytest.raises(WhaleidError) as caught:
        run_catalog(root)
    message = str(caught.value)
    assert "Photos that cannot be used (2):" in message
    assert "a.jpg: not an image in a known format" in message
    assert "e.jpg: " in message
    assert paths.CATALOG.read_bytes() == before


def test_stage_refuses_other_formats_with_the_suffix_of_a_photo(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    Image.new("L", (40, 20)).save(root / "train" / "a.jpg", "GIF")
    with pytest.raises(InputProblems, match=r"a\.jpg: a GIF image; photos of a catalogue must be JPEG or PNG"):
        run_catalog(root)


def test_stage_lists_all_boxes_below_one_pixel_before_it_writes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    # in pixels of a photo of 40 x 20: 0.8 wide, exactly 1 x 1, 0.8 high
    rows = ["a.jpg,0.5,0,0.52,1", "b.PNG,0.5,0.5,0.525,0.55", "e.jpg,0,0.96,1,1"]
    write(root, "boxes.csv", "Image,x0,y0,x1,y1", *rows)
    with pytest.raises(InputProblems) as caught:
        run_catalog(root)
    assert str(caught.value) == (
        f"{root / 'boxes.csv'}: boxes less than one pixel wide or high (2):\n"
        "  'a.jpg' has 0.5, 0, 0.52, 1 of 40 x 20 pixels\n"
        "  'e.jpg' has 0, 0.96, 1, 1 of 40 x 20 pixels\n"
        "Correct these boxes, or remove their rows."
    )
    assert not paths.CATALOG.exists()


def test_an_empty_table_keeps_its_columns(tmp_path: Path) -> None:
    write(tmp_path, "boxes.csv", "Image,x0")
    pd.testing.assert_index_equal(
        read_table(tmp_path / "boxes.csv", ["Image"], optional=["x0", "y0"]).columns, pd.Index(["Image", "x0"])
    )


def test_names_and_labels_may_be_in_either_form_of_unicode(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "José") for form in ("NFC", "NFD"))
    for part, name in (("train", f"{decomposed}.jpg"), ("train", f"{composed}2.jpg"), ("test", f"{decomposed}3.jpg")):
        (tmp_path / part).mkdir(exist_ok=True)
        Image.new("L", (8, 8)).save(tmp_path / part / name)
    rows = [f"{composed}.jpg,{decomposed}", f"{decomposed}2.jpg,{composed}"]
    (tmp_path / "train.csv").write_text("\n".join(["Image,Id", *rows]), encoding="utf-8")
    (tmp_path / "solution.csv").write_text(f"Image,Id\n{composed}3.jpg,{decomposed}", encoding="utf-8")
    catalogue = layout.read(tmp_path)
    assert {*catalogue.photos["Image"]} == {f"{decomposed}.jpg", f"{composed}2.jpg", f"{decomposed}3.jpg"}
    assert {*catalogue.photos["Id"]} == {composed, ""}
    assert catalogue.solution.to_numpy().tolist() == [[f"{decomposed}3.jpg", composed]]
    assert {*layout.read_labels(tmp_path)["Id"]} == {composed}
    with pytest.raises(WhaleidError, match=r"nowhere is not a catalogue folder: it contains no train.csv"):
        layout.read_labels(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["test/q.heic", "test/noext", "train/b.jfif"])
def test_photos_that_would_be_ignored_are_refused(tmp_path: Path, name: str) -> None:
    for path in (tmp_path / "train/a.jpg", tmp_path / name):
        path.parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8)).save(path, "JPEG")
    (tmp_path / "train/notes.txt").write_text("tall fin")
    (tmp_path / "train.csv").write_text("Image,Id\na.jpg,ann\n")
    with pytest.raises(InputProblems, match=rf"photos that a catalogue does not read \(1\):\n  {name}\nPhotos of a"):
        layout.read(tmp_path)
