"""What the command line prints of an error: what is wrong, where, and what to do."""

import errno

SPACE = (
    "Free some space (`dvc gc --workspace` removes from DVC's cache what the workspace does not use) and run the "
    "command again. Earlier outputs are unchanged."
)
ACCESS = (
    "Make sure that you may read and write there, or name another place, and run the command again. Earlier outputs "
    "are unchanged."
)
KIND = "A file is where a folder should be, or a folder where a file should be: move it away."
OTHER = (
    "Check the free space, the limit on the size of files (`ulimit -f`) and the system's log for disk errors. Outputs "
    "are written whole or not at all; `dvc checkout` restores the last ones."
)
REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), SPACE),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), ACCESS),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR, errno.EISDIR), KIND),
}
"""What to do about an error of the operating system."""


def text(error: Exception) -> str:
    """Return the text of an error, with characters that would control the terminal escaped as in Python's `ascii`."""
    if isinstance(error, FileNotFoundError):
        message = f"{error.filename} does not exist: `dvc repro` makes it, and everything that it needs."
    elif isinstance(error, OSError):
        place = f": {error.filename}" if error.filename else ""
        message = f"{error.strerror or error}{place}. {REMEDIES.get(error.errno or 0, OTHER)}"
    else:
        message = str(error)
    return "".join(sign if sign.isprintable() or sign == "\n" else ascii(sign)[1:-1] for sign in message)
