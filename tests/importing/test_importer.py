"""`whaleid import` of folders: added files and rows, refused sources, and interrupted imports."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.imports import call, names, pack, refusal, rows, run_catalog, save, state, write
from helpers.project import ROOT

from whaleid.core import files, paths
from whaleid.importing import importer, target
from whaleid.importing.importer import Options


@pytest.fixture
def catalogue() -> None:
    """Create a catalogue folder `cat`."""
    for seed, name in enumerate(["train/a.jpg", "train/b.jpg", "test/q.jpg"]):
        save(f"cat/{name}", seed)
    write("cat/train.csv", "Image,Id", "a.jpg,w_1", "b.jpg,new_whale")
    write("cat/boxes.csv", "Image,x0,y0,x1,y1,aspect", "a.jpg,0.1,0.2,0.3,0.4,2.5", "q.jpg,0,0,1,1,2")
    write("cat/solution.csv", "Image,Id", "q.jpg,w_3")


def test_one_folder_per_whale(photos_by_whale: None) -> None:
    before = state("photos")
    assert call("photos") == (
        "photos: one folder per whale\n"
        "to add: 4 labelled photos (2 whales, 1 photos of new_whale), 0 queries and 0 boxes\n"
        "most photos: ann (2), bob (1)\n"
        "1 other files skipped\n"
        "whales now contains 4 labelled photos (2 whales, 1 photos of new_whale) and 0 queries\n"
    )
    assert state("photos") == before
    # it has the same name as a photo of ann, so digits of its SHA-256 are appended
    second = f"1-{hashlib.sha256(Path('photos/bob/1.png').read_bytes()).hexdigest()[:8]}.png"
    labels = [[second, "bob"], ["1.png", "ann"], ["2.jpg", "ann"], ["x.JPEG", "new_whale"]]
    assert rows("whales/train.csv") == [["Image", "Id"], *labels]
    assert names("whales") == ["train", "train.csv"]
    assert Path("whales/train", second).read_bytes() == Path("photos/bob/1.png").read_bytes()
    run_catalog("whales")
    assert files.read_csv(paths.CATALOG)["Id"].tolist() == ["bob", "ann", "ann", "new_whale"]


def test_existing_photos_are_skipped_and_new_ones_are_added(photos_by_whale: None) -> None:
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    assert call("photos").endswith("\nnext: whaleid preset real --root whales\n")
    before = state("whales")
    output = call("photos")
    assert "to add: 0 labelled photos" in output
    assert "4 photos skipped: already in the catalogue" in output
    assert state("whales") == before

    save("photos/eve/3.png", 5)
    save("coming/deep/1.png", 6)
    output = call("photos --queries coming")
    assert "to add: 1 labelled photos (1 whales, 0 photos of new_whale), 1 queries" in output
    assert "whales now contains 5 labelled photos (3 whales, 1 photos of new_whale) and 1 queries" in output
    assert rows("whales/train.csv")[-1] == ["3.png", "eve"]
    assert len(names("whales/test")) == 1
    after = state("whales")
    assert {path: after[path] for path in before if not path.endswith(".csv")}.items() <= before.items()
    assert "6 photos skipped" in call("photos --queries coming")


def test_photos_without_a_label_are_queries() -> None:
    for seed in range(3):
        save(f"all/{seed}.png", seed)
    write("all/birds.csv", "photo,whale", "1.png,ann")
    output = call("all/birds.csv --queries all")
    assert "to add: 1 labelled photos (1 whales, 0 photos of new_whale), 2 queries" in output
    assert "1 photos skipped" in output
    assert names("whales/test") == ["0.png", "2.png"]
    save("more/1.png", 1)
    assert ", 0 queries" in call("all/birds.csv --queries more").splitlines()[1]
    assert (
        refusal("all/birds.csv --queries nowhere")
        == "--queries nowhere is not a folder. Choose the folder of the queries (photos to identify)."
    )
    Path("empty").mkdir()
    assert (
        refusal("all/birds.csv --queries empty")
        == "--queries empty contains no photos. Choose the folder of the queries (photos to identify)."
    )


def test_other_columns_and_the_order_of_rows_are_kept(photos_by_whale: None) -> None:
    save("whales/train/z.png", 20)
    save("whales/train/b.png", 21)
    write("whales/train.csv", "Image,Id,when", "z.png,007,2020", "b.png,nan,")
    call("photos")
    table = rows("whales/train.csv")
    assert table[:3] == [["Image", "Id", "when"], ["z.png", "007", "2020"], ["b.png", "nan", ""]]
    assert table[4] == ["1.png", "ann", ""]


def test_names_that_differ_only_in_case_are_made_distinct(photos_by_whale: None) -> None:
    save("photos/bob/X.jpeg", 11)
    call("photos")
    assert len({name.casefold() for name in names("whales/train")}) == 5


@pytest.mark.parametrize("other_device", [False, True])
def test_links_instead_of_copies(photos_by_whale: None, other_device: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    if other_device:
        monkeypatch.setattr(os, "link", refuse)
    assert f"\n4 photos are {'symbolic' if other_device else 'hard'} links" in call("photos --link")
    link = Path("whales/train/2.jpg")
    assert link.is_symlink() == other_device
    assert link.samefile("photos/ann/2019/2.jpg")
    assert "4 photos skipped" in call("photos")
    run_catalog("whales")


def test_a_catalogue_folder(catalogue: None) -> None:
    write("cat/sample_submission.csv", "Image,Id", "q.jpg,new_whale w_1")
    assert "to add: 2 labelled photos (1 whales, 1 photos of new_whale), 1 queries and 2 boxes" in call("cat")
    for name in ("train.csv", "boxes.csv", "solution.csv"):
        assert rows(f"whales/{name}") == rows(f"cat/{name}")
    assert rows("whales/sample_submission.csv") == [["Image", "Id"], ["q.jpg", "new_whale"]]
    run_catalog("whales")

    Path("cat/solution.csv").unlink()
    save("coming/r.png", 9)
    output = call("cat --queries coming", to="others")
    assert rows("others/sample_submission.csv")[1:] == [["q.jpg", "new_whale"], ["r.png", "new_whale"]]
    assert ", 2 queries and 2 boxes" in output


def test_boxes_are_added_to_a_table_without_aspects(catalogue: None) -> None:
    save("whales/train/z.png", 20)
    write("whales/train.csv", "Image,Id", "z.png,w_1")
    write("whales/boxes.csv", "Image,x0,y0,x1,y1", "z.png,0,0,1,0.5")
    call("cat")
    assert [row[-1] for row in rows("whales/boxes.csv")] == ["aspect", "", "2.5", "2"]
    run_catalog("whales")
    assert [row[-1] for row in rows(str(paths.BOXES))] == ["aspect", "2.5", "2", "1.5"]
    assert "3 photos skipped" in call("cat")


# refused sources: nothing is written


def test_one_error_lists_all_problems(photos_by_whale: None) -> None:
    Path("photos/ann/broken.jpg").write_bytes(b"no photo")
    Path("photos/ann/cut.png").write_bytes(Path("photos/ann/1.png").read_bytes()[:200])
    Path("photos/bob/empty.png").touch()
    save("photos/bob/-8.png", 8)
    save("photos/=1/7.png", 11)
    error = refusal("photos")
    for text in (
        "Photos with names that cannot be used (1):\n  'bob/-8.png'\n",
        "Photos that cannot be used (3):",
        "photos/ann/broken.jpg: not an image in a known format",
        "photos/ann/cut.png: damaged or unreadable",
        "photos/bob/empty.png: an empty file",
        "Names of whales that a spreadsheet would run as a formula (1):\n  '=1': '=1/7.png'\n",
    ):
        assert text in error
    assert not Path("whales").exists()


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: None, "source does not exist: correct the path. SOURCE is a folder with one folder per whale"),
        (lambda: Path("source").write_text("text"), "source cannot be imported: SOURCE is a folder"),
        (
            lambda: Path("source").mkdir(),
            "source contains no photos to import. It needs one of: a folder for each whale",
        ),
        (
            lambda: save("source/loose.png", 9),
            "Photos directly in source, not in the folder of a whale (1):\n  'loose.png'\nMove each into",
        ),
        (
            lambda: [save("source/train/a.png", 1), save("source/test/b.png", 2)],
            "source is not a complete catalogue. Missing (1):\n  train.csv\n",
        ),
    ],
)
def test_paths_that_are_not_sources_are_refused(make: Callable[[], object], error: str) -> None:
    make()
    assert error in refusal("source")
    assert not Path("whales").exists()


def test_photos_of_other_formats_are_left_out_and_listed(
    photos_by_whale: None, capsys: pytest.CaptureFixture[str]
) -> None:
    save("photos/ann/a.webp", 21)
    save("photos/bob/b.jpg", 22).write_bytes(save("b.bmp", 22).read_bytes())
    assert importer.run("photos", Path("whales"), Options()) == 2
    error = "Photos in a format that a catalogue does not accept are excluded (2):\n  'ann/a.webp'\n  'bob/b.jpg'\nSave"
    assert error in capsys.readouterr().err
    assert len(rows("whales/train.csv")) == 1 + 4


def test_options_for_csv_files_are_refused_for_folders(photos_by_whale: None) -> None:
    assert "photos: no csv file lists its photos: leave out --photo-column" in refusal("photos --whale-column x")


def test_overlapping_catalogue_and_source_are_refused(photos_by_whale: None) -> None:
    for source, to in (("photos", "photos/whales"), (".", "whales"), ("photos/ann", "photos")):
        assert "overlap (one contains the other): choose another folder for --to" in refusal(source, to)
    assert not Path("photos/whales").exists()


def test_a_folder_with_other_files_is_refused_as_catalogue(photos_by_whale: None) -> None:
    write("whales/thesis.txt", "chapter one")
    assert refusal("photos").startswith(
        "whales is not a catalogue folder: it contains other files (1):\n  thesis.txt\n"
    )
    assert names("whales") == ["thesis.txt"]
    Path("whales/thesis.txt").unlink()
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "Icon\r"):
        write(f"whales/{name}", "left behind by a system")
    call("photos")


def test_links_to_photos_outside_of_the_source_are_refused(photos_by_whale: None) -> None:
    outside = save("elsewhere/secret.png", 12).resolve()
    link = Path("photos/ann/link.png")
    for path, destination, error in (
        (link, outside, "Photos that are not inside the folder that is imported (1):\n  'ann/link.png'\n"),
        (Path("photos/eve"), outside.parent, "Links to folders (1):\n  'photos/eve'\n"),
        (link, Path("link.png"), "Photos that do not exist (1):\n  'ann/link.png'\n"),
    ):
        path.symlink_to(destination)
        assert refusal("photos").startswith(error)
        path.unlink()
    link.symlink_to("1.png")
    call("photos")
    assert "link.png" in names("whales/train")
    assert not Path("whales/train/link.png").is_symlink()


def test_the_same_photo_with_two_labels_is_refused(photos_by_whale: None) -> None:
    save("photos/bob/again.png", 1)
    save("photos/bob/third.png", 1)
    assert refusal("photos") == (
        "The same photo with different labels (1):\n"
        "  'ann/1.png' is ann; 'bob/again.png' is bob; 'bob/third.png' is bob\n"
        "Keep the correct label. Correct the source."
    )
    for name in ("again", "third"):
        Path(f"photos/bob/{name}.png").unlink()
    call("photos")
    save("more/bob/again.png", 1)
    before = state("whales")
    error = refusal("more")
    assert "'1.png' in the catalogue is ann; 'bob/again.png' is bob\n" in error
    assert (
        "Correct the source or, if the source is right, train.csv of the catalogue: import does not change its rows."
        in error
    )
    assert state("whales") == before


def test_existing_rows_of_a_catalogue_are_not_changed(catalogue: None) -> None:
    call("cat")
    before = state("whales")
    write("cat/train.csv", "Image,Id", "a.jpg,w_9", "b.jpg,new_whale")
    write("cat/boxes.csv", "Image,x0,y0,x1,y1", "a.jpg,0.1,0.2,0.3,0.5")
    write("cat/solution.csv", "Image,Id", "q.jpg,w_4")
    save("coming/r.png", 9)
    error = refusal("cat --queries coming")
    for text in (
        "The same photo with different labels (1):\n  'a.jpg' in the catalogue is w_1; 'train/a.jpg' is w_9\n",
        "The same photo with different boxes (1):\n  'train/a.jpg'\n",
        "The same query with different true labels (1):\n  'q.jpg' is w_4 in the source, but w_3 in",
        "Queries (photos to identify) without a true label, for a catalogue with a solution.csv (1):\n  'r.png'\n",
    ):
        assert text in error
    assert state("whales") == before


def test_a_catalogue_with_mistakes_is_refused(catalogue: None) -> None:
    write("cat/train.csv", "Image,Id", "a.jpg,w 1", "x.jpg,w_1")
    error = refusal("cat")
    assert "rows without a photo in train/ (1)" in error
    assert "labels that are empty, or contain spaces or control characters (1)" in error


def test_csv_files_that_are_links_to_files_outside_of_the_source_are_refused(catalogue: None) -> None:
    Path("cat/train.csv").unlink()
    Path("cat/train.csv").symlink_to("/etc/hostname")
    error = "Links to files outside of cat (1):\n  {}\n"
    assert refusal("cat").startswith(error.format("train.csv"))
    pack("cat/train.zip", ("cat/train/a.jpg", "a.jpg"))
    shutil.rmtree("cat/train")
    assert refusal("cat").startswith(error.format("train.csv"))
    shutil.move("cat/train.csv", "cat/metadata.csv")
    Path("cat/train.zip").unlink()
    assert refusal("cat").startswith(error.format("metadata.csv"))


def test_a_second_concurrent_import_is_refused(photos_by_whale: None) -> None:
    with target.locked(Path("whales")):
        assert "Another command is writing to whales" in refusal("photos")


# interrupted imports


def test_a_killed_import_can_be_repeated(photos_by_whale: None, monkeypatch: pytest.MonkeyPatch) -> None:
    save("coming/q.png", 6)
    write_bytes = Path.write_bytes

    def kill(self: Path, content: bytes) -> int:
        if self.name.startswith(".2."):
            Path("whales/train/.2.99.partial.jpg").touch()
            raise KeyboardInterrupt
        return write_bytes(self, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", kill)
        with pytest.raises(KeyboardInterrupt):
            importer.run("photos", Path("whales"), Options(queries=Path("coming")))
    assert names("whales") == ["train"]
    call("photos --queries coming")
    assert [label for _, label in rows("whales/train.csv")[1:]] == ["bob", "ann", "ann", "new_whale"]
    assert names("whales/train") == sorted(image for image, _ in rows("whales/train.csv")[1:])
    run_catalog("whales")


def test_an_import_killed_between_csv_files_can_be_repeated(catalogue: None, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = Path.replace

    def kill(self: Path, target: Path) -> Path:
        if target.name == "train.csv":
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", kill)
        with pytest.raises(KeyboardInterrupt):
            importer.run("cat", Path("whales"), Options())
    assert names("whales") == ["boxes.csv", "solution.csv", "test", "train"]
    call("cat")
    assert rows("whales/train.csv") == rows("cat/train.csv")
    assert len(rows("whales/boxes.csv")) == 3


def test_a_failed_import_changes_no_file(catalogue: None, monkeypatch: pytest.MonkeyPatch) -> None:
    call("cat")
    before = state("whales")
    save("more/cat/5.png", 5)
    replace = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if target.name == "5.png":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        importer.run("more", Path("whales"), Options())
    assert state("whales") == before


def test_files_unpacked_by_a_killed_import_are_removed(photos_by_whale: None) -> None:
    pack("all.zip", ("photos/ann/1.png", "ann/1.png"), ("photos/bob/1.png", "bob/1.png"))
    save("whales/.unpacked/ann/1.png", 50)
    call("all.zip")
    assert Path("whales/train/1.png").read_bytes() == Path("photos/ann/1.png").read_bytes()
    assert not Path("whales/.unpacked").exists()


def test_photos_without_a_row_are_refused(photos_by_whale: None) -> None:
    save("whales/train/stray.png", 30)
    assert refusal("photos").startswith("Photos in train/ without a row in train.csv (1):\n  'stray.png'\n")
    assert names("whales/train") == ["stray.png"]
