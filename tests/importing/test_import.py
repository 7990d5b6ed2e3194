"""`whaleid import`: a catalogue made from each kind of source, as users type it, and what is refused."""

import csv
import hashlib
import json
import os
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.pictures import picture
from typer.testing import CliRunner

from whaleid.catalog import layout
from whaleid.cli.app import app
from whaleid.config import Data, Params, load
from whaleid.core import files, paths
from whaleid.core.errors import WhaleidError
from whaleid.importing import archive, importer, target
from whaleid.importing.csv import Columns
from whaleid.importing.source import Entry, Source
from whaleid.stages import catalog

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shot(path: str, seed: int, size: tuple[int, int] = (96, 64)) -> Path:
    """Save picture `seed` as `path`: another seed, other bytes."""
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    picture(seed, size).save(place)
    return place


def write(path: str, *lines: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("\n".join([*lines, ""]), encoding="utf-8")


def call(*words: str) -> str:
    done = CliRunner().invoke(app, ["import", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def refusal(*words: str) -> str:
    with pytest.raises(WhaleidError) as caught:
        call(*words)
    return str(caught.value)


def rows(path: str) -> list[list[str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def state(folder: str) -> dict[str, tuple[bytes, int]]:
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in Path(folder).rglob("*") if path.is_file()
    }


def names(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def through_catalog(root: str) -> None:
    """Run the stage that checks every row and photo."""
    settings: Params = load(ROOT / "params.yaml")
    catalog.run(settings.model_copy(update={"data": Data(root=root)}))


@pytest.fixture
def by_whale() -> str:
    shot("photos/ann/1.png", 1)
    shot("photos/ann/2019/2.jpg", 2)
    shot("photos/bob/1.png", 3)
    shot("photos/new_whale/x.JPEG", 4)
    write("photos/ann/notes.txt", "tall fin")
    write("photos/.DS_Store", "")
    return "photos"


def test_a_folder_a_whale(by_whale: str) -> None:
    before = state("photos")
    said = call("photos", "--to", "whales")
    assert said == (
        "photos: a folder a whale\n"
        "added 4 labelled photos (2 whales, 1 photos of new_whale) and 0 to identify; 0 boxes\n"
        "1 files passed over: they are no images\n"
        "whales holds 4 labelled photos (2 whales, 1 photos of new_whale) and 0 to identify\n"
    )
    assert state("photos") == before
    found = rows("whales/train.csv")
    second = found[1][0]
    assert found == [
        ["Image", "Id"],
        [second, "bob"],
        ["1.png", "ann"],
        ["2.jpg", "ann"],
        ["x.JPEG", "new_whale"],
    ]
    # of the same name as ann's: some of its SHA-256 tells them apart
    sha256 = hashlib.sha256(Path("photos/bob/1.png").read_bytes()).hexdigest()
    assert second == f"1-{sha256[:8]}.png"
    assert names("whales") == ["train", "train.csv"]
    assert Path("whales/train", second).read_bytes() == Path("photos/bob/1.png").read_bytes()
    through_catalog("whales")
    assert files.read_csv(paths.CATALOG)["Id"].tolist() == ["bob", "ann", "ann", "new_whale"]


def test_in_a_project_the_next_step_is_told(by_whale: str) -> None:
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    assert call("photos", "--to", "whales").endswith("\nnext: whaleid preset real --root whales\n")


def test_a_second_time_nothing_is_written_and_new_photos_are_added(by_whale: str) -> None:
    call("photos", "--to", "whales")
    before = state("whales")
    said = call("photos", "--to", "whales")
    assert "added 0 labelled photos" in said
    assert "4 photos skipped: they are there already" in said
    assert state("whales") == before

    shot("photos/eve/3.png", 5)
    shot("coming/deep/1.png", 6)
    said = call("photos", "--to", "whales", "--queries", "coming")
    assert "added 1 labelled photos (1 whales, 0 photos of new_whale) and 1 to identify" in said
    assert "whales holds 5 labelled photos (3 whales, 1 photos of new_whale) and 1 to identify" in said
    assert rows("whales/train.csv")[-1] == ["3.png", "eve"]
    assert len(names("whales/test")) == 1
    after = state("whales")
    assert {path: after[path] for path in before if not path.endswith(".csv")}.items() <= before.items()
    assert "6 photos skipped" in call("photos", "--to", "whales", "--queries", "coming")


def test_photos_to_identify_are_those_that_have_no_label() -> None:
    for seed in range(3):
        shot(f"all/{seed}.png", seed)
    write("all/birds.csv", "photo,whale", "1.png,ann")
    said = call("all/birds.csv", "--to", "whales", "--queries", "all")
    assert "added 1 labelled photos (1 whales, 0 photos of new_whale) and 2 to identify" in said
    assert "1 photos skipped" in said
    assert names("whales/test") == ["0.png", "2.png"]
    shot("more/1.png", 1)
    assert "and 0 to identify" in call("all/birds.csv", "--to", "whales", "--queries", "more").splitlines()[1]


def test_further_columns_and_the_order_of_a_catalogue_stay(by_whale: str) -> None:
    shot("whales/train/z.png", 20)
    shot("whales/train/b.png", 21)
    write("whales/train.csv", "Image,Id,when", "z.png,007,2020", "b.png,nan,")
    call("photos", "--to", "whales")
    found = rows("whales/train.csv")
    assert found[:3] == [["Image", "Id", "when"], ["z.png", "007", "2020"], ["b.png", "nan", ""]]
    assert found[4] == ["1.png", "ann", ""]


def test_labels_that_a_catalogue_cannot_have_are_all_listed() -> None:
    for number, whale in enumerate(["old tom", "ann", "two  words"]):
        shot(f"photos/{whale}/{number}.png", number)
    said = refusal("photos", "--to", "whales")
    assert said == (
        "Names of whales that hold white space or control characters (2):\n"
        "  'old tom'\n"
        "  'two  words'\n"
        "Rename these whales, with _ for a space: a space separates names in submissions."
    )
    assert not Path("whales").exists()


def test_all_that_is_wrong_is_told_at_once_and_nothing_is_written(by_whale: str) -> None:
    Path("photos/ann/broken.jpg").write_bytes(b"no photo")
    Path("photos/ann/cut.png").write_bytes(Path("photos/ann/1.png").read_bytes()[:200])
    picture(8).save("photos/bob/3.gif")
    picture(8).save("photos/bob/4.webp")
    picture(8).save("photos/bob/gif.jpg", "GIF")
    shot("photos/big cat/5.png", 9)
    said = refusal("photos", "--to", "whales")
    assert "Photos in a format that a catalogue does not take (2):\n  'bob/3.gif'\n  'bob/4.webp'\n" in said
    assert "magick mogrify -format png" in said
    assert "Photos that cannot be used (3):" in said
    assert "photos/ann/broken.jpg: no image in a format that is known" in said
    assert "photos/ann/cut.png: damaged or unreadable" in said
    assert "photos/bob/gif.jpg: a GIF image; photos of a catalogue are JPEG or PNG" in said
    assert "'big cat'" in said
    assert not Path("whales").exists()


def test_photos_that_lie_in_no_folder_of_a_whale(by_whale: str) -> None:
    shot("photos/loose.png", 9)
    said = refusal("photos", "--to", "whales")
    assert said.startswith(
        "Photos that lie directly in photos (1):\n  'loose.png'\nPut each into the folder of its whale"
    )


def test_photos_of_a_catalogue_without_its_table() -> None:
    shot("cat/train/a.png", 1)
    shot("cat/test/b.png", 2)
    assert "cat lacks parts of a catalogue (1):\n  train.csv\n" in refusal("cat", "--to", "whales")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Path("empty").mkdir(), "empty holds no photos. Looked for: train.csv beside train/ or train.zip"),
        (lambda: None, "empty is not there. SOURCE is a folder with a folder a whale"),
        (lambda: Path("empty").write_text("text"), "empty is none of what can be imported. SOURCE is a folder"),
    ],
)
def test_what_was_looked_for_is_said(make: Callable[[], object], said: str) -> None:
    make()
    assert said in refusal("empty", "--to", "whales")
    assert not Path("whales").exists()


def test_the_same_picture_under_two_names_of_whales_is_refused(by_whale: str) -> None:
    shot("photos/bob/again.png", 1)
    said = refusal("photos", "--to", "whales")
    assert said.startswith(
        "The same picture under several labels (1):\n  'ann/1.png' is ann; 'bob/again.png' is bob\nKeep the label"
    )
    Path("photos/bob/again.png").unlink()
    call("photos", "--to", "whales")
    shot("more/bob/again.png", 1)
    before = state("whales")
    assert "'bob/again.png' is bob; '1.png' in the catalogue is ann" in refusal("more", "--to", "whales")
    assert state("whales") == before


def test_names_that_some_systems_take_for_the_same(by_whale: str) -> None:
    shot("photos/bob/X.jpeg", 11)
    call("photos", "--to", "whales")
    assert len({name.casefold() for name in names("whales/train")}) == 5


def test_links_out_of_the_source_are_refused(by_whale: str) -> None:
    secret = shot("elsewhere/secret.png", 12)
    Path("photos/ann/link.png").symlink_to(secret.resolve())
    said = refusal("photos", "--to", "whales")
    assert said.startswith("Photos that lie outside of photos (1):\n  'ann/link.png'\n")
    Path("photos/ann/link.png").unlink()
    Path("photos/eve").symlink_to(secret.resolve().parent)
    assert refusal("photos", "--to", "whales").startswith("Links to folders (1):\n  'photos/eve'\n")
    Path("photos/eve").unlink()
    Path("photos/ann/round.png").symlink_to(Path("round.png"))
    assert refusal("photos", "--to", "whales").startswith("Photos that are not there (1):\n  'ann/round.png'\n")
    Path("photos/ann/round.png").unlink()
    Path("photos/ann/inside.png").symlink_to(Path("1.png"))
    call("photos", "--to", "whales")
    assert "inside.png" in names("whales/train")
    assert not Path("whales/train/inside.png").is_symlink()


def test_a_catalogue_within_its_source_is_refused(by_whale: str) -> None:
    for source, to in (("photos", "photos/whales"), (".", "whales"), ("photos/ann", "photos")):
        assert "overlap: the catalogue needs a folder of its own" in refusal(source, "--to", to)
    assert not Path("photos/whales").exists()


def test_a_folder_of_something_else_is_no_catalogue(by_whale: str) -> None:
    write("whales/thesis.txt", "chapter one")
    said = refusal("photos", "--to", "whales")
    assert said.startswith("whales holds other things than a catalogue (1):\n  thesis.txt\n")
    assert names("whales") == ["thesis.txt"]


def test_an_import_that_was_killed_is_run_again(by_whale: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shot("coming/q.png", 6)
    written = target._write

    def killed(file: Path, *rest: object) -> str:
        if file.name == "2.jpg":
            Path("whales/train/.2.99.partial.jpg").write_bytes(b"half")
            raise KeyboardInterrupt
        return written(file, *rest)

    monkeypatch.setattr(target, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        importer.run("photos", Path("whales"), Columns(), Path("coming"), False)
    assert names("whales") == ["train"]
    monkeypatch.setattr(target, "_write", written)
    call("photos", "--to", "whales", "--queries", "coming")
    assert [label for _, label in rows("whales/train.csv")[1:]] == ["bob", "ann", "ann", "new_whale"]
    assert names("whales/train") == sorted(image for image, _ in rows("whales/train.csv")[1:])
    through_catalog("whales")


def test_what_a_killed_import_left_unpacked_is_in_nobodys_way(by_whale: str) -> None:
    packed("all.zip", ("photos/ann/1.png", "ann/1.png"), ("photos/bob/1.png", "bob/1.png"))
    shot("whales/.unpacked/ann/1.png", 50)
    call("all.zip", "--to", "whales")
    assert Path("whales/train/1.png").read_bytes() == Path("photos/ann/1.png").read_bytes()
    assert not Path("whales/.unpacked").exists()


def test_killed_between_csv_files(monkeypatch: pytest.MonkeyPatch) -> None:
    shot("cat/train/a.png", 1)
    shot("cat/test/q.png", 2)
    write("cat/train.csv", "Image,Id", "a.png,ann")
    write("cat/boxes.csv", "Image,x0,y0,x1,y1", "a.png,0,0,0.5,0.5", "q.png,0,0,1,1")
    write("cat/solution.csv", "Image,Id", "q.png,ann")
    replace = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if target.name == "train.csv":
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", killed)
        importer.run("cat", Path("whales"), Columns(), None, False)
    assert names("whales") == ["boxes.csv", "solution.csv", "test", "train"]
    call("cat", "--to", "whales")
    assert rows("whales/train.csv") == [["Image", "Id"], ["a.png", "ann"]]
    assert len(rows("whales/boxes.csv")) == 3


def test_photos_that_no_row_names_are_told_before_anything_is_written(by_whale: str) -> None:
    shot("whales/train/stray.png", 30)
    assert refusal("photos", "--to", "whales").startswith(
        "Photos in train/ without a row in train.csv (1):\n  'stray.png'\n"
    )
    assert names("whales/train") == ["stray.png"]


def test_two_imports_at_once(by_whale: str) -> None:
    with target.locked(Path("whales")):
        assert "Another command is writing to whales" in refusal("photos", "--to", "whales")


@pytest.mark.parametrize("across", [False, True])
def test_links_instead_of_copies(by_whale: str, across: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if across:

        def refused(*arguments: object) -> None:
            raise OSError(18, "Invalid cross-device link")

        monkeypatch.setattr(os, "link", refused)
    said = call("photos", "--to", "whales", "--link")
    assert f"\n4 photos are {'symbolic' if across else 'hard'} links" in said
    link = Path("whales/train/2.jpg")
    assert link.is_symlink() == across
    assert link.samefile("photos/ann/2019/2.jpg")
    assert "4 photos skipped" in call("photos", "--to", "whales")
    through_catalog("whales")


# tables


@pytest.mark.parametrize(
    "header", ["Image,Id", "photo,whale", "filename,identity", "path,identity", "x,whale,file,individual_count"]
)
def test_columns_that_are_found(header: str) -> None:
    shot("photos/a.png", 1)
    extra = "1," if header.startswith("x,whale") else ""
    cells = "1,ann,photos/a.png,2" if extra else "photos/a.png,ann"
    write("birds.csv", header, cells)
    call("birds.csv", "--to", "whales")
    assert rows("whales/train.csv") == [["Image", "Id"], ["a.png", "ann"]]


def test_columns_and_a_folder_that_are_said() -> None:
    for seed, place in enumerate(["north/a.png", "south/a.png", "south/b.png", "south/c.png", "south/asked.png"]):
        shot(f"archive/{place}", seed)
    write(
        "tables/birds.csv",
        "no,picture file,who,left,top,right,bottom",
        r"1,north\a.png,ann,0,0,48,32",
        "2,./south/a.png,bob,,,,",
        "3,south/../south/b.png,,9.6,6.4,97,64",
        "4,south/c.png,Unknown,1,1,3,3",
    )
    said = call(
        *("tables/birds.csv", "--to", "whales", "--photos", "archive", "--photo-column", "picture file"),
        *("--whale-column", "who", "--box-columns", "left,top,right,bottom"),
    )
    assert "a csv file: photos by 'picture file', whales by 'who'" in said
    assert "added 4 labelled photos (2 whales, 2 photos of new_whale) and 0 to identify; 3 boxes" in said
    found = rows("whales/train.csv")
    assert [label for _, label in found[1:]] == ["bob", "ann", "new_whale", "new_whale"]
    # pixels, since some are above 1; what reaches out by a pixel is cut off
    assert rows("whales/boxes.csv") == [
        ["Image", "x0", "y0", "x1", "y1", "aspect"],
        ["a.png", "0", "0", "0.5", "0.5", "1.5"],
        ["b.png", "0.1", "0.1", "1", "1", "1.5"],
        ["c.png", "0.0104167", "0.015625", "0.03125", "0.046875", "1.5"],
    ]
    through_catalog("whales")


def test_boxes_that_are_fractions() -> None:
    shot("a.png", 1)
    write("birds.csv", "photo,whale,x0,y0,x1,y1", "a.png,ann,0.25,0,1,0.5")
    call("birds.csv", "--to", "whales")
    assert rows("whales/boxes.csv")[1] == ["a.png", "0.25", "0", "1", "0.5", "1.5"]


def test_a_photo_that_two_rows_box_otherwise() -> None:
    shot("a.png", 1)
    write("birds.csv", "photo,whale,x0,y0,x1,y1", "a.png,ann,0,0,1,1", "a.png,ann,0,0,1,1", "a.png,ann,0,0,1,0.5")
    said = refusal("birds.csv", "--to", "whales")
    assert "Boxes that differ from the one that the same photo has already (1):\n  birds.csv, line 4: 'a.png'\n" in said


def test_boxes_that_cannot_be() -> None:
    for seed in range(5):
        shot(f"{seed}.png", seed)
    write("birds.csv", "photo,whale,x0,y0,x1,y1", "0.png,ann,1,2,3,much", "1.png,ann,1,2,,")
    assert "birds.csv: boxes that cannot be read (2):\n  line 2: 1, 2, 3, much\n  line 3: 1, 2, , \n" in refusal(
        "birds.csv", "--to", "whales"
    )
    cells = ["90,0,120,60", "50,0,40,60", "0,0,nan,60", "3,3,3.5,60", "0,0,96,64"]
    write("birds.csv", "photo,whale,x0,y0,x1,y1", *(f"{seed}.png,ann,{each}" for seed, each in enumerate(cells)))
    assert refusal("birds.csv", "--to", "whales") == (
        "Boxes that are not inside their photo, or hold less than a pixel (4):\n"
        "  birds.csv, line 2: '0.png' has 90, 0, 120, 60 of 96 x 64 pixels\n"
        "  birds.csv, line 3: '1.png' has 50, 0, 40, 60 of 96 x 64 pixels\n"
        "  birds.csv, line 4: '2.png' has 0, 0, nan, 60 of 96 x 64 pixels\n"
        "  birds.csv, line 5: '3.png' has 3, 3, 3.5, 60 of 96 x 64 pixels\n"
        "Boxes are left, top, right, bottom (a bbox: x, y, width, height), of the photo upright."
    )


@pytest.mark.parametrize(
    ("header", "options", "said"),
    [
        (
            "a,b",
            [],
            "which column holds the photo's path cannot be told: none is named Image, photo, image, filename, "
            "file_name, file, path. The columns there are: 'a', 'b'. Say which with --photo-column NAME.",
        ),
        (
            "photo,path,whale",
            [],
            "which column holds the photo's path cannot be told: 'photo' or 'path'. The columns there are: 'photo', "
            "'path', 'whale'. Say which with --photo-column NAME.",
        ),
        ("photo,who", [], "which column holds the whale cannot be told: none is named Id, whale, identity"),
        ("photo,who", ["--whale-column", "Who"], "no column is named 'Who'. The columns there are: 'photo', 'who'."),
        ("photo;whale", [], "The columns there are: 'photo;whale'."),
        ("photo,whale", ["--box-columns", "a,b,c"], "--box-columns a,b,c: takes four names with commas between"),
        ("photo,whale", ["--box-columns", "a,b,c,d"], "wrong columns: no 'a'; no 'b'; no 'c'; no 'd'"),
    ],
)
def test_columns_that_cannot_be_told(header: str, options: list[str], said: str) -> None:
    write("birds.csv", header)
    assert said in refusal("birds.csv", "--to", "whales", *options)


def test_rows_that_lead_nowhere_or_out() -> None:
    shot("secret.png", 1)
    shot("in/a.png", 2)
    write("in/birds.csv", "photo,whale", "a.png,ann", "b.png,ann", "notes.txt,ann")
    said = refusal("in/birds.csv", "--to", "whales")
    assert (
        "Photos that are not there (2):\n  in/birds.csv, line 3: 'b.png'\n  in/birds.csv, line 4: 'notes.txt'\n" in said
    )
    assert "--photos DIR names another folder" in said
    assert "Files that are no photos (1):\n  in/birds.csv, line 4: 'notes.txt'\n" in said
    out = str(Path("secret.png").resolve())
    write("in/birds.csv", "photo,whale", "../secret.png,ann", f"{out},ann", r"..\secret.png,ann")
    said = refusal("in/birds.csv", "--to", "whales")
    assert said.startswith("Photos that lie outside of in (3):\n  in/birds.csv, line 2: '../secret.png'\n")
    assert not Path("whales").exists()


def test_a_table_of_wildlife_datasets() -> None:
    for seed, name in enumerate(["images/a.jpg", "images/b.jpg", "images/c.jpg", "images/d.jpg", "images/e.jpg"]):
        shot(f"set/{name}", seed)
    write(
        "set/metadata.csv",
        ",image_id,identity,path,bbox,split",
        '0,1,w1,images/a.jpg,"[9.6, 6.4, 48, 32]",train',
        "1,2,w2,images/b.jpg,,train",
        "2,3,unknown,images/c.jpg,,train",
        "3,4,w2,images/d.jpg,,test",
        "4,5,w9,images/e.jpg,,test",
    )
    said = call("set", "--to", "whales")
    assert "added 3 labelled photos (2 whales, 1 photos of new_whale) and 2 to identify; 1 boxes" in said
    assert rows("whales/train.csv")[1:] == [["a.jpg", "w1"], ["b.jpg", "w2"], ["c.jpg", "new_whale"]]
    # of w9 there is no labelled photo: the right answer is new_whale
    assert rows("whales/solution.csv")[1:] == [["d.jpg", "w2"], ["e.jpg", "new_whale"]]
    assert rows("whales/boxes.csv")[1] == ["a.jpg", "0.1", "0.1", "0.6", "0.6", "1.5"]
    through_catalog("whales")


def test_a_truth_of_some_is_left_out() -> None:
    for seed, name in enumerate("abc"):
        shot(f"set/{name}.jpg", seed)
    write("set/metadata.csv", "identity,path,split", "w1,a.jpg,database", "w1,b.jpg,query", ",c.jpg,query")
    assert "1 photos to identify have no truth, so there is no solution.csv" in call("set", "--to", "whales")
    assert names("whales") == ["test", "train", "train.csv"]


def coco(annotations: list[dict[str, object]], **more: object) -> None:
    images = [{"id": number, "file_name": f"{name}.png"} for number, name in enumerate("abc")]
    for seed, name in enumerate("abc"):
        shot(f"set/{name}.png", seed)
    categories = [{"id": 1, "name": "ann"}, {"id": 2, "name": "bob"}]
    document = {"images": images, "annotations": annotations, "categories": categories} | more
    Path("set/flukes.json").write_text(json.dumps(document))


@pytest.mark.parametrize("key", ["identity", "individual_id", "individual_ids", "name", "category_id"])
def test_a_coco_file(key: str) -> None:
    named: list[object] = {"individual_ids": [["ann"], ["bob"]], "category_id": [1, 2]}.get(key, ["ann", "bob"])
    coco(
        [
            {"image_id": 0, "bbox": [9.6, 6.4, 48, 32], key: named[0]},
            {"image_id": 0, "bbox": [0, 0, 2, 2], key: named[0]},
            {"image_id": 1, key: named[1]},
        ]
    )
    said = call("set/flukes.json", "--to", "whales")
    assert "added 2 labelled photos (2 whales, 0 photos of new_whale) and 1 to identify; 1 boxes" in said
    assert rows("whales/train.csv")[1:] == [["a.png", "ann"], ["b.png", "bob"]]
    assert rows("whales/boxes.csv")[1] == ["a.png", "0.1", "0.1", "0.6", "0.6", "1.5"]
    assert names("whales/test") == ["c.png"]


@pytest.mark.parametrize(
    ("annotations", "more", "said"),
    [
        ([{"image_id": 0, "category_id": 1}], {}, "names no individuals: annotations have none of the keys identity"),
        (
            [{"image_id": 0, "identity": "x"}, {"image_id": 0, "identity": "y"}],
            {},
            "photos of several whales (1):\n  'a.png': 'x', 'y'\n",
        ),
        ([{"image_id": 0, "identity": "x", "bbox": [1, 2]}], {}, "bbox is not [x, y, width, height] (1):\n  'a.png'\n"),
        ([{"image_id": 0, "identity": "x"}], {"images": {}}, "is no COCO file"),
        ([{"image_id": 0, "identity": "x"}], {"categories": [1]}, "is no COCO file"),
        (
            [{"image_id": 9, "identity": "x"}],
            {"images": [{"id": 9, "file_name": "../a\0.png"}, {"id": 8, "file_name": "../../etc/x.png"}]},
            "Photos with names that a catalogue cannot have (1):\n  set/flukes.json: '../a\\x00.png'\n",
        ),
    ],
)
def test_coco_files_that_are_refused(annotations: list[dict[str, object]], more: dict[str, object], said: str) -> None:
    coco(annotations, **more)
    assert said in refusal("set/flukes.json", "--to", "whales")


def test_json_that_is_none() -> None:
    Path("x.json").write_text("{" * 10)
    assert "x.json: is no json" in refusal("x.json", "--to", "whales")
    Path("x.json").write_text("[" * 100_000)
    assert "x.json: is no json" in refusal("x.json", "--to", "whales")


def test_options_of_a_table_for_what_is_none(by_whale: str) -> None:
    assert "photos is no csv file: options for columns" in refusal("photos", "--to", "w", "--whale-column", "x")


# catalogues, and Kaggle's


@pytest.fixture
def kaggles() -> Path:
    """A folder as Kaggle's contests have it; the same picture stands there under two labels, as in theirs."""
    for seed, name in enumerate(["train/a.jpg", "train/b.jpg", "test/q.jpg"]):
        shot(f"kag/{name}", seed)
    shutil.copy("kag/train/a.jpg", "kag/train/c.jpg")
    write("kag/train.csv", "Image,Id", "a.jpg,w_1", "b.jpg,new_whale", "c.jpg,w_2")
    write("kag/sample_submission.csv", "Image,Id", "q.jpg,new_whale w_1")
    return Path("kag")


def packed(archive: str, *members: tuple[str, str]) -> None:
    """Write a zip file of `members`: a file, and its name in the archive."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for source, name in members:
            file.write(source, name)


def check_kaggles(root: str = "whales") -> None:
    assert rows(f"{root}/train.csv")[1:] == [["a.jpg", "w_1"], ["b.jpg", "new_whale"], ["c.jpg", "w_2"]]
    assert names(f"{root}/train") == ["a.jpg", "b.jpg", "c.jpg"]
    assert names(f"{root}/test") == ["q.jpg"]
    assert rows(f"{root}/sample_submission.csv") == [["Image", "Id"], ["q.jpg", "new_whale"]]
    assert not list(Path(root).glob(".*"))
    through_catalog(root)


def test_a_catalogue_folder(kaggles: Path) -> None:
    write("kag/boxes.csv", "Image,x0,y0,x1,y1,aspect", "a.jpg,0.1,0.2,0.3,0.4,2.5", "q.jpg,0,0,1,1,2")
    write("kag/solution.csv", "Image,Id", "q.jpg,w_3")
    assert "added 3 labelled photos (2 whales, 1 photos of new_whale) and 1 to identify; 2 boxes" in call(
        "kag", "--to", "whales"
    )
    check_kaggles()
    for name in ("boxes.csv", "solution.csv"):
        assert rows(f"whales/{name}") == rows(f"kag/{name}")


def members() -> list[tuple[str, str]]:
    return [(str(path), str(path.relative_to("kag"))) for path in sorted(Path("kag").rglob("*")) if path.is_file()]


@pytest.mark.parametrize("wrapped", ["", "download/"])
def test_the_newer_zip_of_kaggle(kaggles: Path, wrapped: str) -> None:
    packed("humpback-whale-identification.zip", *((path, wrapped + name) for path, name in members()))
    call("humpback-whale-identification.zip", "--to", "whales")
    check_kaggles()


@pytest.mark.parametrize("prefix", ["train/", ""])
def test_the_older_zips_of_kaggle(kaggles: Path, prefix: str) -> None:
    Path("zips").mkdir()
    packed("zips/train.zip", *((f"kag/train/{name}", f"{prefix}{name}") for name in ("a.jpg", "b.jpg", "c.jpg")))
    packed("zips/test.zip", ("kag/test/q.jpg", "test/q.jpg"))
    packed("zips/train.csv.zip", ("kag/train.csv", "train.csv"))
    shutil.copy("kag/sample_submission.csv", "zips")
    call("zips", "--to", "loose")
    check_kaggles("loose")
    packed("playground.zip", *((str(path), path.name) for path in sorted(Path("zips").iterdir())))
    assert "links" not in call("playground.zip", "--to", "whales", "--link")  # unpacked there: they are the only ones
    check_kaggles()
    assert all(path.stat().st_nlink == 1 for path in Path("whales/train").iterdir())
    Path("downloads").mkdir()
    shutil.move("playground.zip", "downloads/whale-categorization-playground.zip")
    call("downloads", "--to", "third")
    check_kaggles("third")


def test_a_label_that_another_catalogue_has_otherwise(kaggles: Path) -> None:
    call("kag", "--to", "whales")
    write("kag/train.csv", "Image,Id", "a.jpg,w_9", "b.jpg,new_whale", "c.jpg,w_2")
    before = state("whales")
    said = refusal("kag", "--to", "whales")
    assert said.startswith(
        "Labels that differ from the catalogue's (1):\n  'train/a.jpg' is w_9 here, 'a.jpg' is w_1 in the catalogue\n"
    )
    assert state("whales") == before


def test_boxes_and_truths_that_a_catalogue_has_otherwise(kaggles: Path) -> None:
    write("kag/boxes.csv", "Image,x0,y0,x1,y1", "a.jpg,0,0,1,1")
    write("kag/solution.csv", "Image,Id", "q.jpg,w_3")
    call("kag", "--to", "whales")
    write("kag/boxes.csv", "Image,x0,y0,x1,y1", "a.jpg,0,0,1,0.9")
    write("kag/solution.csv", "Image,Id", "q.jpg,w_4")
    said = refusal("kag", "--to", "whales")
    already = "that differ from the one that the same photo has already (1):"
    assert f"Boxes {already}\n  'train/a.jpg'\n" in said
    assert f"Truths {already}\n  'q.jpg' is w_4 here, and w_3 already\n" in said
    shot("coming/r.png", 9)
    said = refusal("kag", "--to", "whales", "--queries", "coming")
    assert "whose truth is not known, for a catalogue with a solution.csv (1):\n  'r.png'\n" in said


def test_queries_join_the_sample_submission(kaggles: Path) -> None:
    shot("coming/r.png", 9)
    call("kag", "--to", "whales", "--queries", "coming")
    assert rows("whales/sample_submission.csv")[1:] == [["q.jpg", "new_whale"], ["r.png", "new_whale"]]
    assert refusal("kag", "--to", "whales", "--queries", "nowhere") == "--queries nowhere: is no folder."
    Path("empty").mkdir()
    assert refusal("kag", "--to", "whales", "--queries", "empty") == "--queries empty: holds no photos."


def test_a_catalogue_with_mistakes_is_refused(kaggles: Path) -> None:
    write("kag/train.csv", "Image,Id", "a.jpg,w 1", "x.jpg,w_1")
    said = refusal("kag", "--to", "whales")
    assert "rows without a photo in train/ (1)" in said
    assert "labels that are empty or hold white space (1)" in said
    Path("kag/train.csv").unlink()
    Path("kag/train.csv").symlink_to("/etc/hostname")
    assert refusal("kag", "--to", "whales").startswith("Files that lie outside of kag (1):\n  train.csv\n")
    packed("kag/train.zip", ("kag/train/a.jpg", "a.jpg"))
    shutil.rmtree("kag/train")
    assert refusal("kag", "--to", "whales").startswith("Files that lie outside of kag (1):\n  train.csv\n")
    shutil.move("kag/train.csv", "kag/metadata.csv")
    Path("kag/train.zip").unlink()
    assert refusal("kag", "--to", "whales").startswith("Files that lie outside of kag (1):\n  metadata.csv\n")


# zips of strangers


def hostile(*names: str) -> None:
    with zipfile.ZipFile("bad.zip", "w") as file:
        for name in names:
            file.writestr(name, b"x")


@pytest.mark.parametrize(
    "name", ["../../evil.png", "/evil.png", "a/../../evil.png", "..\\evil.png", "C:/evil.png", "a/../evil.txt"]
)
def test_names_that_lead_out_of_a_zip(name: str) -> None:
    hostile("ann/a.png", name)
    said = refusal("bad.zip", "--to", "deep/whales")
    assert f"bad.zip: names that lead out of the zip file, are there twice, or are links (1):\n  {name!r}\n" in said
    assert not Path("deep/whales").exists()
    assert not list(Path().rglob("evil*"))


def test_a_colon_is_no_drive() -> None:
    shot("a.png", 1)
    packed("good.zip", ("a.png", "ann/10:30.png"))
    call("good.zip", "--to", "whales")
    assert names("whales/train") == ["10:30.png"]


def test_names_that_are_twice_in_a_zip() -> None:
    hostile("ann/a.png", "Ann/A.png", "ann/b.png")
    assert "(2):\n  'ann/a.png'\n  'Ann/A.png'\n" in refusal("bad.zip", "--to", "whales")


def test_links_in_a_zip() -> None:
    with zipfile.ZipFile("bad.zip", "w") as file:
        link = zipfile.ZipInfo("ann/link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc/passwd")
    assert "'ann/link.png' is a link" in refusal("bad.zip", "--to", "whales")


def test_bombs(monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile("bad.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("ann/a.png", bytes(70 * 2**20))
    assert "would unpack to more than 20 times its size" in refusal("bad.zip", "--to", "whales")
    # one within another counts as well
    with zipfile.ZipFile("inner.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.png", bytes(70 * 2**20))
    packed("bad.zip", ("inner.zip", "train.zip"))
    assert "would unpack to more than 20 times its size" in refusal("bad.zip", "--to", "whales")
    monkeypatch.setattr(archive, "MAX_FILES", 2)
    hostile("ann/a.png", "ann/b.png", "ann/c.png")
    assert "or to more than 2 files" in refusal("bad.zip", "--to", "whales")
    assert not Path("whales").exists()


def test_a_zip_that_lies_about_sizes() -> None:
    with zipfile.ZipFile("bad.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("ann/a.png", bytes(100_000))
    content = Path("bad.zip").read_bytes()
    assert content.count((100_000).to_bytes(4, "little")) == 2
    Path("bad.zip").write_bytes(content.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    assert "bad.zip: cannot be unpacked (Bad CRC-32" in refusal("bad.zip", "--to", "whales")


def test_zips_that_are_not_packed_in_the_usual_way() -> None:
    with zipfile.ZipFile("bad.zip", "w", zipfile.ZIP_LZMA) as file:
        file.writestr("ann/a.png", b"x")
    assert "bad.zip: is packed in a way that is not read" in refusal("bad.zip", "--to", "whales")


def test_a_zip_within_a_zip_within_a_zip() -> None:
    hostile("ann/a.png")
    packed("middle.zip", ("bad.zip", "more.zip"))
    packed("outer.zip", ("middle.zip", "train.zip"))
    assert "outer.zip, train.zip: holds zip files again" in refusal("outer.zip", "--to", "whales")


def test_zips_that_are_none_or_damaged(by_whale: str) -> None:
    Path("bad.zip").write_bytes(b"no zip")
    assert "bad.zip: cannot be unpacked (File is not a zip file)" in refusal("bad.zip", "--to", "whales")
    packed("bad.zip", ("photos/ann/1.png", "ann/1.png"))
    content = bytearray(Path("bad.zip").read_bytes())
    content[60] ^= 255
    Path("bad.zip").write_bytes(content)
    assert "bad.zip: cannot be unpacked (" in refusal("bad.zip", "--to", "whales")
    assert not Path("whales").exists()


def test_a_disk_without_room(by_whale: str, monkeypatch: pytest.MonkeyPatch) -> None:
    packed("all.zip", ("photos/ann/1.png", "ann/1.png"))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 10, 0))
    assert "GB unpacked, and there are 0.0 GB free" in refusal("all.zip", "--to", "whales")


# Kaggle's client


@pytest.fixture
def client(kaggles: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A command `kaggle` that copies a zip file to where it is told to download to."""
    packed("humpback.zip", *members())
    Path("bin").mkdir()
    script = Path("bin/kaggle")
    source = Path("humpback.zip").resolve()
    script.write_text(
        f'#!/bin/sh\n[ "$1 $2 $3 $5" = "competitions download -c -p" ] || exit 2\ncp "{source}" "$6/$4.zip"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent.resolve()}{os.pathsep}{os.environ['PATH']}")
    return script


def test_a_contest_is_downloaded(client: Path) -> None:
    call("kaggle:humpback-whale-identification", "--to", "whales")
    check_kaggles()
    assert names("whales.download") == ["humpback-whale-identification.zip"]


def test_what_to_do_without_an_account_or_a_client(client: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client.write_text("#!/bin/sh\necho '403 - Forbidden'\nexit 1\n")
    said = refusal("kaggle:whale-categorization-playground", "--to", "whales")
    assert said.startswith(
        "Kaggle's client has not downloaded whale-categorization-playground; its messages stand above."
    )
    for what in (
        "kaggle auth login",
        "https://www.kaggle.com/settings/api",
        "KAGGLE_API_TOKEN",
        "~/.kaggle/access_token",
        "~/.kaggle/kaggle.json",
        "KAGGLE_USERNAME and KAGGLE_KEY",
        "https://www.kaggle.com/competitions/whale-categorization-playground/rules",
    ):
        assert what in said
    monkeypatch.setenv("PATH", "")
    said = refusal("kaggle:whale-categorization-playground", "--to", "whales")
    assert said.startswith("Kaggle's client is not installed: run `pip install kaggle`.")
    assert "the contests known are kaggle:whale-categorization-playground, kaggle:humpback" in refusal(
        "kaggle:titanic", "--to", "whales"
    )


# for other commands


def test_a_plan_says_what_each_photo_is_called(by_whale: str) -> None:
    call("photos", "--to", "whales")
    entries = [
        Entry(Path("photos/ann/1.png"), "ann", "reviewed.csv, line 2"),
        Entry(shot("new/1.png", 40), "eve", "reviewed.csv, line 3"),
        Entry(shot("new/2.png", 41), "", "asked"),
    ]
    plan = importer.prepare(Path("whales"), [Source("reviewed", Path(), entries)])
    assert plan.names[0] == "1.png"
    assert plan.names[1].startswith("1-")
    assert plan.names[2] == "2.png"
    assert plan.labels == {plan.names[1]: "eve"}
    target.write(Path("whales"), plan)
    assert layout.read(Path("whales")).photos["part"].tolist() == ["test", "train", "train", "train", "train", "train"]
