"""The files of a bundle: written and read again, reproducible, and validated when they are read."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors
from helpers.small_bundle import PICTURES, small_bundle

from whaleid.core.errors import WhaleidError
from whaleid.serving import about as description
from whaleid.serving import bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "small.bundle"
    folder.mkdir()
    bundle.write(small_bundle(), PICTURES, folder)
    return folder


def test_a_bundle_is_read_as_it_was_written(folder: Path) -> None:
    written, read = small_bundle(), bundle.read(folder)
    assert read.photos.equals(written.photos)
    assert np.array_equal(read.thumbnails, written.thumbnails)
    assert (read.networks, read.boxes) == (written.networks, written.boxes)
    before, after = written.features["margin"], read.features["margin"]
    for images in (["a.jpg"], ["b.jpg", "a.jpg"]):
        assert np.array_equal(before.select(images), after.select(images))
    assert np.array_equal(before.centres, after.centres)
    assert before.classes.tolist() == after.classes.tolist()
    assert bundle.pictures(folder) == PICTURES
    assert read.about.decision == written.about.decision
    assert len(read.about.digest) == 64


def test_arrays_are_safetensors_with_a_description_in_the_header(folder: Path) -> None:
    with safetensors.safe_open(folder / "margin.embeddings.safetensors", "np") as file:
        assert json.loads(file.metadata()["whaleid"])["classes"] == ["w_1", "w_2", "new_whale"]
        assert file.get_slice("embeddings").get_shape() == [2, 2, 2]
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".csv", ".json"}


def test_the_same_bundle_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    bundle.write(small_bundle(), PICTURES, tmp_path / "again")
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def change(folder: Path, name: str, edit: Callable[[bytes], bytes]) -> None:
    (folder / name).write_bytes(edit((folder / name).read_bytes()))


def error_message(read: Callable[[Path], object], folder: Path) -> str:
    with pytest.raises(WhaleidError) as caught:
        read(folder)
    assert str(folder) in str(caught.value)
    return str(caught.value)


FILES = ["photos.csv", "margin.safetensors", "margin.embeddings.safetensors", "photos.thumbnails.safetensors"]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_damaged_file_is_named(folder: Path, name: str) -> None:
    change(folder, name, lambda data: data[:-1] + b"?")
    message = f"is incomplete: {name} is missing or damaged. Copy the folder again."
    assert message in error_message(bundle.read, folder)
    (folder / name).unlink()
    assert message in error_message(bundle.read, folder)


def test_damaged_previews_are_named(folder: Path) -> None:
    change(folder, bundle.PICTURES, lambda data: data[:-1])
    bundle.read(folder)  # does not read the previews
    assert "is incomplete: photos.pictures.safetensors is missing or damaged." in error_message(bundle.pictures, folder)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda data: b"{", "cannot be used (Invalid JSON: "),
        (lambda data: b"\xff\xfe", "cannot be used ("),
        (lambda data: b"[" * 100_000, "cannot be used ("),
        (
            lambda data: b"[]",
            "cannot be used (Input should be an object",
        ),
        (lambda data: data.replace(b'"format": 2', b'"format": 1'), "has bundle format 1, but this version of whaleid"),
        (lambda data: data.replace(b'"format": 2', b'"format": 3'), "has bundle format 3, but this version of whaleid"),
        (lambda data: data.replace(b'"threshold": 0.3', b'"threshold": 7'), "cannot be used (threshold: Input should"),
        (lambda data: data.replace(b'"threshold": 0.3', b'"threshold": 0.2'), "(it was modified after it was written)"),
        (lambda data: data.replace(b'"margin": {', b'"../m": {'), "cannot be used (networks."),
        (lambda data: data.replace(b'"bias": 0.0', b'"bias": NaN'), "cannot be used (decision.bias: Input should be a"),
    ],
)
def test_an_invalid_description_is_refused(folder: Path, edit: Callable[[bytes], bytes], message: str) -> None:
    change(folder, description.ABOUT, edit)
    assert message in error_message(bundle.read, folder)
    assert "dvc repro" in error_message(bundle.read, folder)


def test_a_folder_without_a_description_is_refused(tmp_path: Path) -> None:
    message = "is not a bundle (a model as a folder): it does not contain bundle.json. In the project's folder"
    assert message in error_message(bundle.read, tmp_path)
    assert error_message(bundle.read, tmp_path / "none").startswith(
        f"There is no model at {tmp_path / 'none'}. In the "
    )


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("photos.csv", lambda data: data.replace(b",1\n", b",0\n"), "photos are repeated, or none is compared"),
        ("photos.csv", lambda data: data.replace(b"b.jpg", b"a.jpg"), "photos are repeated, or none is compared"),
        ("photos.csv", lambda data: data.replace(b"w_1", b"=1+1"), "'=1+1'"),
        ("photos.csv", lambda data: data.replace(b"60", b"wide"), "does not match the bundle (invalid literal"),
        ("photos.csv", lambda data: data + b"c.jpg,w_3,02,6,4,0,1\n", "embeddings of 2 photos instead of 3"),
        ("photos.csv", lambda data: data + b"c.jpg,w_3,02,6,4,0,0\n", "expected thumbnails of 3 photos"),
        (FILES[2], lambda data: bytes(len(data)), "is not a safetensors file, or is incomplete"),
        (FILES[2], lambda data: data[:-4], "is not a safetensors file, or is incomplete"),
        (FILES[2], lambda data: data.replace(b"F32", b"I32"), "expected the float32 arrays embeddings and centres"),
        (
            FILES[2],
            lambda data: data.replace(b'\\"w_2\\",', b" " * 8),
            "the numbers of classes and centres do not match",
        ),
        (FILES[2], lambda data: data.replace(b"bundle\\", b"ladder\\"), "is a checkpoint of another kind"),
        (FILES[3], lambda data: data.replace(b"U16", b"I16"), "expected thumbnails of 2 photos"),
    ],
)
def test_inconsistent_files_are_refused(folder: Path, name: str, edit: Callable[[bytes], bytes], message: str) -> None:
    change(folder, name, edit)
    bundle.write_description(description.read(folder), folder)
    assert message in error_message(bundle.read, folder)


def test_a_pickle_is_never_read(folder: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    for name in (*FILES[2:], bundle.PICTURES):
        (folder / name).write_bytes(pickle.dumps(Evil()))
        bundle.write_description(description.read(folder), folder)
    for read in (bundle.read, bundle.pictures):
        assert "is not a safetensors file, or is incomplete" in error_message(read, folder)
    assert not (tmp_path / "ran").exists()
