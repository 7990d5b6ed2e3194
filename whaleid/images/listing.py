"""Folders of photos: the image files below one, at any depth, and whether two overlap."""

from pathlib import Path

from whaleid.catalog.checks import FORMULA
from whaleid.core.errors import WhaleidError

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif")


def spreadsheet_safe(path: Path) -> str:
    """Return `path` as text for tables and pages: the same path with `./` before it if a spreadsheet would run it."""
    return f"./{path}" if str(path).startswith(FORMULA) else str(path)


def list_images(folder: Path) -> list[Path]:
    """Return the images below `folder`, at any depth, sorted, without hidden files and folders.

    Raises:
        WhaleidError: it is no folder, or holds no images.
    """
    if not folder.is_dir():
        raise WhaleidError(f"{folder} is no folder.")
    images = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]
    if not images:
        raise WhaleidError(f"{folder} holds no images: files named {', '.join(SUFFIXES)}, at any depth.")
    return images


def overlap(first: Path, second: Path) -> bool:
    """Return whether two folders are the same, or one lies within the other."""
    first, second = first.resolve(), second.resolve()
    return first.is_relative_to(second) or second.is_relative_to(first)
