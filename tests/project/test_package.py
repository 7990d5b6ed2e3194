"""The package as users install it: a wheel in a separate environment, used outside a project."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Sequence
from email.parser import Parser
from pathlib import Path

import pytest
from helpers.closure import modules, source
from helpers.pictures import picture
from helpers.project import ROOT

pytestmark = pytest.mark.slow
SDIST = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"
HEAVY = ("dvc", "mlflow", "torch")
"""Libraries that commands outside a project do not import."""


def call(*command: str | Path, cwd: Path) -> str:
    """Run a command without PYTHONPATH, check that it succeeds and return its standard output."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def source_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the committed files from which the package is built."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "whaleid"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel_folder(source_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that contains a wheel of the package."""
    dist = tmp_path_factory.mktemp("dist")
    build_wheel(source_tree, dist)
    return dist


def build_wheel(source: Path, dist: Path) -> None:
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    call(*pip, "--wheel-dir", dist, source, cwd=source)


def program_listing_imports(*libraries: str) -> str:
    """Return code that runs a whaleid command and prints which of these libraries it has imported."""
    return (
        "import sys; from whaleid.cli.app import app; app(sys.argv[1:], standalone_mode=False); "
        f"print(sorted(set(sys.modules) & set({libraries})))"
    )


def archive_names(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def test_a_wheel_contains_all_modules_and_data(wheel_folder: Path) -> None:
    modules_and_data = {
        name for name in archive_names(wheel_folder / "whaleid-0.1.0-py3-none-any.whl") if ".dist-info/" not in name
    }
    data = {"whaleid/py.typed", "whaleid/presets/real.yaml", "whaleid/presets/sample.yaml"}
    data |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "whaleid/report/templates").iterdir()}
    assert modules_and_data == {source(module) for module in modules()} | data


def test_the_metadata_of_the_wheel(wheel_folder: Path) -> None:
    with zipfile.ZipFile(wheel_folder / "whaleid-0.1.0-py3-none-any.whl") as archive:
        metadata = Parser().parsestr(archive.read("whaleid-0.1.0.dist-info/METADATA").decode())
    assert (metadata["Name"], metadata["Version"], metadata["Requires-Python"]) == ("whaleid", "0.1.0", ">=3.11")
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert set(metadata.get_all("Provides-Extra", [])) >= {"s3", "dev"}
    assert metadata.get_payload().startswith("# whaleid\n")


@pytest.mark.long
def test_a_source_distribution_gives_the_same_wheel(wheel_folder: Path, source_tree: Path, tmp_path: Path) -> None:
    call(sys.executable, "-c", SDIST, tmp_path, cwd=source_tree)
    with tarfile.open(tmp_path / "whaleid-0.1.0.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    build_wheel(tmp_path / "whaleid-0.1.0", tmp_path)
    assert archive_names(tmp_path / "whaleid-0.1.0-py3-none-any.whl") == archive_names(
        wheel_folder / "whaleid-0.1.0-py3-none-any.whl"
    )


@pytest.fixture(scope="module")
def bin_folder(wheel_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel and the current libraries, but not the editable whaleid."""
    folder = tmp_path_factory.mktemp("installed")
    call(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin/python"
    packages = Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    # Python adds this path to sys.path, but does not read .pth files in it, such as that of an editable whaleid
    (packages / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps"]
    call(*pip, "--force-reinstall", wheel_folder / "whaleid-0.1.0-py3-none-any.whl", cwd=folder)
    return folder / "bin"


@pytest.fixture
def user_folder(tmp_path: Path) -> Path:
    """A folder with photos, a submission and its solution, without a project."""
    (tmp_path / "photos").mkdir()
    picture(1, (192, 128)).save(tmp_path / "photos/a.jpg")
    picture(1).save(tmp_path / "photos/b.png")
    picture(2).save(tmp_path / "photos/c.png")
    (tmp_path / "truth.csv").write_text("Image,Id\na.jpg,w_1\nb.jpg,new_whale\n")
    (tmp_path / "answers.csv").write_text("Image,Id\na.jpg,w_2 w_1\nb.jpg,new_whale\n")
    return tmp_path


def test_commands_run_the_installed_package(bin_folder: Path, user_folder: Path) -> None:
    location = call(bin_folder / "python", "-c", "import whaleid; print(whaleid.__file__)", cwd=user_folder)
    assert Path(location.strip()).is_relative_to(bin_folder.parent)
    assert call(bin_folder / "whaleid", "--version", cwd=user_folder) == "whaleid 0.1.0\n"


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["score", "answers.csv", "truth.csv"], "0.75000\n"),
        (
            ["duplicates", "photos"],
            "3 images, 1 groups, 1 copies\n"
            "duplicates/manifest.csv lists which images to keep and why; duplicates/report.html shows them\n",
        ),
    ],
)
def test_a_command_needs_no_project(bin_folder: Path, user_folder: Path, arguments: Sequence[str], output: str) -> None:
    assert call(bin_folder / "whaleid", *arguments, cwd=user_folder) == output
    # run it again to list imported libraries
    assert (
        call(bin_folder / "python", "-c", program_listing_imports(*HEAVY), *arguments, cwd=user_folder)
        == f"{output}[]\n"
    )
    if arguments[0] == "score":
        return
    rows = [line.split(",")[:4] for line in (user_folder / "duplicates/manifest.csv").read_text().splitlines()]
    assert rows == [
        ["photo", "group", "representative", "keep"],
        ["photos/a.jpg", "0", "photos/a.jpg", "True"],
        ["photos/b.png", "0", "photos/a.jpg", "False"],
        ["photos/c.png", "-1", "photos/c.png", "True"],
    ]


def test_presets_are_included(bin_folder: Path, user_folder: Path) -> None:
    shutil.copy(ROOT / "params.yaml", user_folder / "params.yaml")
    assert "data.root: data/sample → photos\n" in call(
        bin_folder / "whaleid", "preset", "real", "--root", "photos", cwd=user_folder
    )


def test_photos_are_imported_and_identified_from_an_empty_folder(
    bin_folder: Path, trained: Path, tmp_path: Path
) -> None:
    whaleid, model = bin_folder / "whaleid", trained / "models/final.bundle"
    output = call(whaleid, "import", trained / "data/sample", "--to", "whales", cwd=tmp_path)
    assert "to add: 150 labelled photos (34 whales, 20 photos of new_whale), 30 queries and 150 boxes" in output
    photo = sorted((tmp_path / "whales/test").iterdir())[0].relative_to(tmp_path)
    command = ("identify", photo, "--model", model, "--csv", "answers.csv")
    program = program_listing_imports("dvc", "mlflow", "matplotlib", "sklearn")
    answer = call(bin_folder / "python", "-c", program, *command, cwd=tmp_path)
    name, first, *_ = answer.split()
    assert name == str(photo)
    assert answer.splitlines()[-1] == "[]"
    header, row = (tmp_path / "answers.csv").read_text().splitlines()
    assert header.startswith("photo,whale,label1,label2,label3,label4,label5,probability1,")
    assert row.startswith(f"{photo},,{first},")
    (tmp_path / "reviewed.csv").write_text(f"{header}\n{row.replace(',,', ',new:Snowy,', 1)}\n")
    call(whaleid, "add", "reviewed.csv", "--by", "Ada", "--catalogue", "whales", "--model", model, cwd=tmp_path)
    assert "Snowy" in (tmp_path / "whales/train.csv").read_text()
