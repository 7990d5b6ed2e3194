"""List the images in a folder and its subfolders, and compare folders."""

from pathlib import Path

from whaleid.catalog.checks import FORMULA
from whaleid.core.errors import WhaleidError
from whaleid.core.formats import is_hidden, is_photo


def spreadsheet_safe(path: Path) -> str:
    """Return `path` as text for tables and pages, with `./` in front if a spreadsheet would read it as a formula."""
    return f"./{path}" if str(path).startswith(FORMULA) else str(path)


def list_images(folder: Path) -> list[Path]:
    """List the images in `folder` and its subfolders, sorted, without hidden files and folders and those of the system.

    Raises:
        WhaleidError: `folder` is not a folder, or contains no images.
    """
    if not folder.is_dir():
        raise WhaleidError(f"{folder} is not a folder. Correct the path.")
    images = [
        path
        for path in sorted(folder.rglob("*"))
        if not any(map(is_hidden, path.relative_to(folder).parts)) and path.is_file() and is_photo(path)
    ]
    if not images:
        raise WhaleidError(f"{folder} contains no images. Choose the folder of the photos.")
    return images


def overlap(first: Path, second: Path) -> bool:
    """Return whether two folders are the same, or one contains the other."""
    first, second = first.resolve(), second.resolve()
    return first.is_relative_to(second) or second.is_relative_to(first)
