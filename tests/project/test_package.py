"""The package as others install it: a wheel, in an environment of its own, used from an empty folder."""

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
"""What the commands of an installation without a project do without."""


def call(*command: str | Path, cwd: Path) -> str:
    """Run a command as in a shell where nothing is set, and return what it printed."""
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=outside, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of what a commit holds and a package is built from."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "whaleid"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def built(committed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel; return the folder that it is in."""
    dist = tmp_path_factory.mktemp("dist")
    wheel(committed, dist)
    return dist


def wheel(source: Path, dist: Path) -> None:
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    call(*pip, "--wheel-dir", dist, source, cwd=source)


def loads(*libraries: str) -> str:
    """Return a program that runs a command of whaleid's and prints which of these libraries it has loaded."""
    return (
        "import sys; from whaleid.cli.app import app; app(sys.argv[1:], standalone_mode=False); "
        f"print(sorted(set(sys.modules) & set({libraries})))"
    )


def names(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def test_a_wheel_holds_every_module_and_what_they_read(built: Path) -> None:
    held = {name for name in names(built / "whaleid-0.1.0-py3-none-any.whl") if ".dist-info/" not in name}
    data = {"whaleid/py.typed", "whaleid/presets/real.yaml", "whaleid/presets/sample.yaml"}
    data |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "whaleid/report/templates").iterdir()}
    assert held == {source(module) for module in modules()} | data


def test_what_it_says_of_itself(built: Path) -> None:
    with zipfile.ZipFile(built / "whaleid-0.1.0-py3-none-any.whl") as archive:
        said = Parser().parsestr(archive.read("whaleid-0.1.0.dist-info/METADATA").decode())
    assert (said["Name"], said["Version"], said["Requires-Python"]) == ("whaleid", "0.1.0", ">=3.11")
    assert "Typing :: Typed" in said.get_all("Classifier", [])
    assert set(said.get_all("Provides-Extra", [])) >= {"s3", "dev"}
    assert said.get_payload().startswith("# whaleid\n")


@pytest.mark.long
def test_a_source_distribution_gives_the_same_wheel(built: Path, committed: Path, tmp_path: Path) -> None:
    call(sys.executable, "-c", SDIST, tmp_path, cwd=committed)
    with tarfile.open(tmp_path / "whaleid-0.1.0.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    wheel(tmp_path / "whaleid-0.1.0", tmp_path)
    assert names(tmp_path / "whaleid-0.1.0-py3-none-any.whl") == names(built / "whaleid-0.1.0-py3-none-any.whl")


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel beside the libraries of this environment, though not its whaleid; return the bin folder."""
    folder = tmp_path_factory.mktemp("installed")
    call(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin/python"
    packages = Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    # a path named there is searched, but its own .pth files, such as that of an editable whaleid, are not read
    (packages / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps"]
    call(*pip, "--force-reinstall", built / "whaleid-0.1.0-py3-none-any.whl", cwd=folder)
    return folder / "bin"


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """Return a folder that holds photos and a truth beside what a command writes, and no project."""
    (tmp_path / "photos").mkdir()
    picture(1, (192, 128)).save(tmp_path / "photos/a.jpg")
    picture(1).save(tmp_path / "photos/b.png")
    picture(2).save(tmp_path / "photos/c.png")
    (tmp_path / "truth.csv").write_text("Image,Id\na.jpg,w_1\nb.jpg,new_whale\n")
    (tmp_path / "answers.csv").write_text("Image,Id\na.jpg,w_2 w_1\nb.jpg,new_whale\n")
    return tmp_path


def test_it_is_the_installed_one(installed: Path, empty: Path) -> None:
    where = call(installed / "python", "-c", "import whaleid; print(whaleid.__file__)", cwd=empty)
    assert Path(where.strip()).is_relative_to(installed.parent)
    assert call(installed / "whaleid", "--version", cwd=empty) == "whaleid 0.1.0\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["score", "answers.csv", "truth.csv"], "0.75000\n"),
        (
            ["duplicates", "photos"],
            "3 images, 1 groups, 1 copies\n"
            "duplicates/manifest.csv lists which images to keep and why; duplicates/report.html shows them\n",
        ),
    ],
)
def test_a_command_needs_no_project(installed: Path, empty: Path, words: Sequence[str], said: str) -> None:
    assert call(installed / "whaleid", *words, cwd=empty) == said
    # once more, looking at what it loads
    assert call(installed / "python", "-c", loads(*HEAVY), *words, cwd=empty) == f"{said}[]\n"
    if words[0] == "score":
        return
    rows = [line.split(",")[:4] for line in (empty / "duplicates/manifest.csv").read_text().splitlines()]
    assert rows == [
        ["photo", "group", "representative", "keep"],
        ["photos/a.jpg", "0", "photos/a.jpg", "True"],
        ["photos/b.png", "0", "photos/a.jpg", "False"],
        ["photos/c.png", "-1", "photos/c.png", "True"],
    ]


def test_presets_come_with_it(installed: Path, empty: Path) -> None:
    shutil.copy(ROOT / "params.yaml", empty / "params.yaml")
    assert "data.root: data/sample → photos\n" in call(
        installed / "whaleid", "preset", "real", "--root", "photos", cwd=empty
    )


def test_photos_are_imported_and_identified_from_an_empty_folder(
    installed: Path, trained: Path, tmp_path: Path
) -> None:
    whaleid, model = installed / "whaleid", trained / "models/final.bundle"
    said = call(whaleid, "import", trained / "data/sample", "--to", "whales", cwd=tmp_path)
    assert (
        "added 150 labelled photos (34 whales, 20 photos of new_whale), 30 queries (photos to identify) and 150 boxes"
        in said
    )
    photo = sorted((tmp_path / "whales/test").iterdir())[0].relative_to(tmp_path)
    command = ("identify", photo, "--model", model, "--csv", "answers.csv")
    looks = loads("dvc", "mlflow", "matplotlib", "sklearn")
    answer = call(installed / "python", "-c", looks, *command, cwd=tmp_path)
    name, first, *_ = answer.split()
    assert name == str(photo)
    assert answer.splitlines()[-1] == "[]"
    head, row = (tmp_path / "answers.csv").read_text().splitlines()
    assert head.startswith("photo,whale,label1,label2,label3,label4,label5,probability1,")
    assert row.startswith(f"{photo},,{first},")
    (tmp_path / "reviewed.csv").write_text(f"{head}\n{row.replace(',,', ',new:Snowy,', 1)}\n")
    call(whaleid, "add", "reviewed.csv", "--by", "Ada", "--catalogue", "whales", "--model", model, cwd=tmp_path)
    assert "Snowy" in (tmp_path / "whales/train.csv").read_text()
