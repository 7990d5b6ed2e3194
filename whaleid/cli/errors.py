"""The error messages of the command line. Errors of the operating system get a remedy."""

import errno

DISK_FULL = (
    "Free some space (`dvc gc --workspace` removes files from DVC's cache that the workspace does not use) and run the "
    "command again. Earlier outputs are unchanged."
)
NO_ACCESS = (
    "Make sure that you have permission to read and write there, and that no other program, such as Excel, has the "
    "file open; or choose another path. Then run the command again. Earlier outputs are unchanged."
)
WRONG_TYPE = "There is a file where a folder is expected, or a folder where a file is expected. Choose another path."
OTHER = (
    "Check the free space, the limit on the size of files (`ulimit -f`) and the system's log for disk errors. Outputs "
    "are written completely or not at all. `dvc checkout` restores the last outputs of the pipeline."
)
REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), DISK_FULL),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), NO_ACCESS),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR, errno.EISDIR), WRONG_TYPE),
}
"""Remedy for each error number of the operating system. All other numbers get `OTHER`."""


def message(error: Exception) -> str:
    """Return the message of an error, with characters that would control the terminal escaped as by `ascii`."""
    if isinstance(error, FileNotFoundError):
        text = (
            f"{error.filename} does not exist. If the pipeline creates it, run `dvc repro`. Otherwise correct the path."
        )
    elif isinstance(error, OSError):
        path = f": {error.filename}" if error.filename else ""
        text = f"{error.strerror or error}{path}. {REMEDIES.get(error.errno or 0, OTHER)}"
    else:
        text = str(error)
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)
