"""`whaleid import` of zip files: those of Kaggle's competitions, nested ones, and damaged or malicious ones."""

import os
import shutil
import stat
import unicodedata
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.imports import call, names, pack, refusal, rows, run_catalog, save, write

from whaleid.importing import archive


@pytest.fixture
def competition() -> list[tuple[str, str]]:
    """Return (path, name in the zip file) of the files of a competition; identical photos have different labels."""
    for seed, name in enumerate(["train/a.jpg", "train/b.jpg", "test/q.jpg"]):
        save(f"kag/{name}", seed)
    shutil.copy("kag/train/a.jpg", "kag/train/c.jpg")
    write("kag/train.csv", "Image,Id", "a.jpg,w_1", "b.jpg,new_whale", "c.jpg,w_2")
    write("kag/sample_submission.csv", "Image,Id", "q.jpg,new_whale w_1")
    return [(str(path), str(path.relative_to("kag"))) for path in sorted(Path("kag").rglob("*")) if path.is_file()]


def check_competition(root: str = "whales") -> None:
    assert rows(f"{root}/train.csv")[1:] == [["a.jpg", "w_1"], ["b.jpg", "new_whale"], ["c.jpg", "w_2"]]
    assert names(f"{root}/train") == ["a.jpg", "b.jpg", "c.jpg"]
    assert names(f"{root}/test") == ["q.jpg"]
    assert rows(f"{root}/sample_submission.csv") == [["Image", "Id"], ["q.jpg", "new_whale"]]
    assert not list(Path(root).glob(".*"))


@pytest.mark.parametrize("folder", ["", "download/"])
def test_the_newer_zip_of_kaggle(competition: list[tuple[str, str]], folder: str) -> None:
    pack("humpback-whale-identification.zip", *((path, folder + name) for path, name in competition))
    call("humpback-whale-identification.zip")
    check_competition()
    run_catalog("whales")


@pytest.mark.parametrize("prefix", ["train/", ""])
def test_the_older_zips_of_kaggle(competition: list[tuple[str, str]], prefix: str) -> None:
    Path("zips").mkdir()
    pack("zips/train.zip", *((f"kag/train/{name}", f"{prefix}{name}") for name in ("a.jpg", "b.jpg", "c.jpg")))
    pack("zips/test.zip", ("kag/test/q.jpg", "test/q.jpg"))
    pack("zips/train.csv.zip", ("kag/train.csv", "train.csv"))
    shutil.copy("kag/sample_submission.csv", "zips")
    call("zips", to="loose")
    check_competition("loose")
    Path("downloads").mkdir()
    playground = "downloads/whale-categorization-playground.zip"
    pack(playground, *((str(path), path.name) for path in sorted(Path("zips").iterdir())))
    assert "links" not in call(f"{playground} --link")  # unpacked photos are moved, not linked
    check_competition()
    assert all(path.stat().st_nlink == 1 for path in Path("whales/train").iterdir())
    call("downloads", to="third")
    check_competition("third")


def test_a_competition_is_downloaded_by_kaggles_client(
    competition: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pack("humpback.zip", *competition)
    Path("bin").mkdir()
    client = Path("bin/kaggle")
    copy = f'cp "{Path("humpback.zip").resolve()}" "$6/$4.zip"'
    client.write_text(f'#!/bin/sh\n[ "$1 $2 $3 $5" = "competitions download -c -p" ] || exit 2\n{copy}\n')
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{client.parent.resolve()}{os.pathsep}{os.environ['PATH']}")
    call("kaggle:humpback-whale-identification")
    check_competition()
    assert names("whales.download") == ["humpback-whale-identification.zip"]

    client.write_text("#!/bin/sh\necho '403 - Forbidden'\nexit 1\n")
    error = refusal("kaggle:whale-categorization-playground")
    assert error.startswith("Kaggle's client did not download whale-categorization-playground: see its messages")
    for text in (
        "kaggle auth login",
        "https://www.kaggle.com/settings/api",
        "KAGGLE_API_TOKEN",
        "~/.kaggle/access_token",
        "~/.kaggle/kaggle.json",
        "KAGGLE_USERNAME and KAGGLE_KEY",
        "https://www.kaggle.com/competitions/whale-categorization-playground/rules",
    ):
        assert text in error
    monkeypatch.setenv("PATH", "")
    error = refusal("kaggle:whale-categorization-playground")
    assert error.startswith("Kaggle's client is not installed: run `pip install kaggle`.")
    error = refusal("kaggle:titanic")
    assert "Choose one of: kaggle:whale-categorization-playground, kaggle:humpback" in error


def test_zips_in_a_zip(photos_by_whale: None) -> None:
    pack("bob.zip", ("photos/bob/1.png", "1.png"))
    pack("all.zip", ("photos/ann/1.png", "trip/ann/1.png"), ("bob.zip", "trip/bob.zip"))
    output = call("all.zip")
    assert "to add: 2 labelled photos (2 whales, 0 photos of new_whale)" in output
    assert "files skipped" not in output


def test_zips_anywhere_in_a_zip_with_suffixes_in_any_case(photos_by_whale: None) -> None:
    pack("more.zip", ("photos/bob/1.png", "1.png"))
    for outer, inner in (("a.ZIP", "bob/2019/left.ZIP"), ("b.zip", "trip/bob/2019.Zip"), ("c.zip", "trip/bob.ZIP")):
        pack(outer, ("photos/ann/1.png", f"{'trip/' * inner.startswith('trip')}ann/1.png"), ("more.zip", inner))
        assert "to add: 2 labelled photos (2 whales, 0 photos of new_whale)" in call(outer, to=outer[0])
        assert {label for _, label in rows(f"{outer[0]}/train.csv")[1:]} == {"ann", "bob"}


def test_a_zip_in_a_zip_in_a_zip_is_refused(photos_by_whale: None) -> None:
    pack("1.ZIP", ("photos/bob/1.png", "1.png"))
    pack("2.zip", ("1.ZIP", "bob/1.ZIP"))
    pack("3.zip", ("photos/ann/1.png", "ann/1.png"), ("2.zip", "2019/2.zip"))
    assert refusal("3.zip").startswith("3.zip, 2019/2.zip: zip files that are nested too deeply (1):\n  'bob/1.ZIP'\n")
    assert not Path("whales").exists()


# zip files of other systems


def write_foreign(*members: tuple[bytes, int], utf8: bool = False) -> None:
    """Write other.zip as other programs do: names as bytes, with the flag `utf8` or not, each with a picture's seed.

    A seed of 0 stands for a file that is not a picture.
    """

    class Member(zipfile.ZipInfo):
        name = b""

        def _encodeFilenameFlags(self) -> tuple[bytes, int]:
            return self.name, 0x800 if utf8 else 0

    with zipfile.ZipFile("other.zip", "w") as file:
        for number, (name, seed) in enumerate(members):
            member = Member(f"{number}")
            member.name = name
            file.writestr(member, save("picture.png", seed).read_bytes() if seed else b"x")


def nfd(name: str) -> bytes:
    return unicodedata.normalize("NFD", name).encode()


def whales() -> set[str]:
    return {label for _, label in rows("whales/train.csv")[1:]}


def test_a_zip_of_macos() -> None:
    """Its names are UTF-8 without a flag, in the form NFD, and files of the system lie among them."""
    photos = [(nfd("trip/José/1.png"), 1), (nfd("trip/Zoë/1.png"), 2)]
    system = [b"trip/.DS_Store", b"trip/Icon\r", b"__MACOSX/trip/._.DS_Store", nfd("__MACOSX/trip/José/._1.png")]
    write_foreign(*photos, *((name, 0) for name in system))
    output = call("other.zip")
    assert whales() == {"José", "Zoë"}
    assert "to add: 2 labelled photos (2 whales" in output
    assert "skipped" not in output
    assert "UTF-8" not in output


@pytest.mark.parametrize("utf8", [True, False])
def test_names_in_utf8_with_and_without_the_flag(utf8: bool) -> None:
    write_foreign(("José/1.png".encode(), 1), ("鲸鱼/1.png".encode(), 2), utf8=utf8)
    assert "UTF-8" not in call("other.zip")
    assert whales() == {"José", "鲸鱼"}


def test_a_zip_of_windows() -> None:
    """Its names are in code page 437 or another one, which the zip file does not say."""
    write_foreign(("José/1.png".encode("cp437"), 1), (b"bob/1.png", 2), (b"bob/Thumbs.db", 0), (b"bob/desktop.ini", 0))
    output = call("other.zip")
    assert whales() == {"José", "bob"}
    assert "skipped" not in output
    assert "other.zip: 1 names are not in UTF-8; if letters are wrong here, unpack the file yourself" in output
    assert "import the folder: 'José/1.png'\n" in output
    write_foreign((b"trip\\ann\\1.png", 1), (b"trip\\bob\\1.png", 2), (b"trip\\Thumbs.db", 0))
    error = refusal("other.zip", to="more")
    assert error.startswith("other.zip: names with backslashes instead of slashes (2):\n  'trip\\\\ann\\\\1.png'\n")
    assert error.endswith("Unpack it on Windows and import the folder.")


def test_system_files_with_backslashes_or_repeated_names_are_ignored() -> None:
    write_foreign((b"ann/1.png", 1), (b"bob/1.png", 2), (b"bob\\Thumbs.db", 0), *[(b".DS_Store", 0)] * 2)
    assert "to add: 2 labelled photos (2 whales" in call("other.zip")


def test_names_in_a_zip_that_differ_in_case() -> None:
    write_foreign((b"ann/IMG_1.png", 1), (b"ann/img_1.PNG", 2), (b"Ann/IMG_1.png", 3), (b"bob/1.png", 4))
    output = call("other.zip --join-names")
    assert "similar names, joined to the first of each group: 'ann', 'Ann'" in output
    assert sorted(label for _, label in rows("whales/train.csv")[1:]) == ["ann", "ann", "ann", "bob"]
    assert len({name.casefold() for name in names("whales/train")}) == 4


def test_an_encrypted_zip_is_refused() -> None:
    write_foreign((b"ann/1.png", 1))
    content = bytearray(Path("other.zip").read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    Path("other.zip").write_bytes(content)
    assert refusal("other.zip") == "other.zip is encrypted. Unpack it yourself and import the folder."


def test_a_spreadsheet_in_a_zip_is_named() -> None:
    write_foreign((b"ids.xlsx", 0), (b"1.png", 1))
    assert refusal("other.zip").endswith(
        "\nother.zip/ids.xlsx: spreadsheets cannot be read. Save it as csv (in Excel: CSV UTF-8) and import that."
    )


# damaged and malicious zip files


def write_zip(*members: str | zipfile.ZipInfo, method: int = zipfile.ZIP_STORED, content: bytes = b"x") -> None:
    with zipfile.ZipFile("bad.zip", "w", method) as file:
        for member in members:
            file.writestr(member, content)


@pytest.mark.parametrize("name", ["../../evil.png", "/evil.png", "a/../../evil.png", "C:/evil.png", "a/../evil.csv"])
def test_names_that_lead_out_of_a_zip_are_refused(name: str) -> None:
    write_zip("ann/a.png", name)
    error = refusal("bad.zip", to="deep/whales")
    assert error.startswith("bad.zip: links, repeated names, and names that lead out of the zip file")
    assert f" (1):\n  {name!r}\nPack the zip file again" in error
    assert not Path("deep/whales").exists()
    assert not list(Path().rglob("evil*"))


def test_a_colon_in_a_name_is_not_a_drive() -> None:
    save("a.png", 1)
    pack("good.zip", ("a.png", "ann/10:30.png"))
    call("good.zip")
    assert names("whales/train") == ["10:30.png"]


def test_repeated_names_and_links_in_a_zip_are_refused() -> None:
    link = zipfile.ZipInfo("ann/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.warns(UserWarning, match="Duplicate name"):
        write_zip("ann/a.png", "ann/a.png", "ann/b.png", link)
    assert "(3):\n  'ann/a.png'\n  'ann/a.png'\n  'ann/link.png'\n" in refusal("bad.zip")


def test_zip_bombs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "SLACK", 2**16)
    write_zip("ann/a.png", method=zipfile.ZIP_DEFLATED, content=bytes(2**17))
    assert "would unpack to more than 20 times its size" in refusal("bad.zip")
    # zip files in a zip file count, together with the other files
    write_zip("a.png", method=zipfile.ZIP_DEFLATED, content=bytes(60_000))
    Path("zeros.png").write_bytes(bytes(60_000))
    pack("outer.zip", ("zeros.png", "ann/a.png"), ("bad.zip", "bob/bad.zip"))
    error = "outer.zip, bob/bad.zip would unpack to more than 20 times its size"
    assert refusal("outer.zip").startswith(error)
    monkeypatch.setattr(archive, "MAX_FILES", 3)
    write_zip("a.png", "b.png", "c.png")
    pack("outer.zip", *(("bad.zip", f"{whale}.zip") for whale in ("ann", "bob", "cat")))
    assert "outer.zip, ann.zip would unpack to more than 20 times its size or more than 3 f" in refusal("outer.zip")
    write_zip(*(f"ann/{name}.png" for name in "abcd"))
    assert "or more than 3 files" in refusal("bad.zip")
    assert not Path("whales").exists()


def test_a_zip_with_wrong_sizes_is_refused() -> None:
    write_zip("ann/a.png", method=zipfile.ZIP_DEFLATED, content=bytes(100_000))
    content = Path("bad.zip").read_bytes()
    assert content.count((100_000).to_bytes(4, "little")) == 2
    Path("bad.zip").write_bytes(content.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    assert "bad.zip cannot be unpacked (Bad CRC-32" in refusal("bad.zip")


def test_damaged_zips_and_other_compression_methods_are_refused() -> None:
    Path("bad.zip").write_bytes(b"no zip")
    assert "bad.zip cannot be unpacked (File is not a zip file)" in refusal("bad.zip")
    write_zip("ann/a.png", content=b"whole")
    Path("bad.zip").write_bytes(Path("bad.zip").read_bytes().replace(b"whole", b"whose"))
    assert "bad.zip cannot be unpacked (Bad CRC-32" in refusal("bad.zip")
    write_zip("ann/a.png", method=zipfile.ZIP_LZMA)
    assert "bad.zip is compressed with a method that is not supported" in refusal("bad.zip")
    assert not Path("whales").exists()


def test_a_zip_larger_than_the_free_space_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    write_zip("ann/a.png")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
    assert "GB to unpack, but only 0.0 GB are free" in refusal("bad.zip")
