"""The image files below a folder, for commands that take any."""

from pathlib import Path

from whaleid.catalog.checks import FORMULA
from whaleid.core.errors import WhaleidError

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif")


def written(path: Path) -> str:
    """Return `path` as tables and pages have it: where a spreadsheet would run it, with `./` before, the same path."""
    return f"./{path}" if str(path).startswith(FORMULA) else str(path)


def below(folder: Path) -> list[Path]:
    """Return the images below `folder`, at any depth, sorted, but for hidden files and folders.

    Raises:
        WhaleidError: it is no folder, or holds no images.
    """
    if not folder.is_dir():
        raise WhaleidError(f"{folder} is no folder.")
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]
    if not found:
        raise WhaleidError(f"{folder} holds no images: files named {', '.join(SUFFIXES)}, at any depth.")
    return found
