"""What the command line prints of an error: what is wrong, and what to do."""

import errno

from whaleid.core.errors import shown


def text(error: Exception) -> str:
    """Return what is wrong, where, and what to do, safe to print on a terminal."""
    if isinstance(error, FileNotFoundError):
        return shown(f"{error.filename} is not here: `dvc repro` makes it, with all that it needs.")
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return shown(f"{error.strerror or error}{where}. {_remedy(error)}")
    return shown(str(error))


def _remedy(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            "Make room there (`dvc gc --workspace` takes what the present state does not need from DVC's cache) and "
            "run the same command again. What was there before is whole."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            "See to it that you may read and write there, or name another place, and run the same command again. What "
            "was there before is whole."
        )
    if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
        return "A file is where a folder has to be, or a folder where a file has to be: move it away."
    return (
        "See whether there is room there, and whether the disk is sound. Outputs are written whole or not at all; `dvc "
        "checkout` brings back the last ones."
    )
