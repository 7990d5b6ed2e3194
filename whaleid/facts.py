"""What `whaleid --verbose` tells of the machine and of what a command took."""

import os
import platform
import sys
from importlib.metadata import version

LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "sklearn", "pandas", "PIL", "faiss", "mlflow")
"""Those whose version is told, where the command has loaded them."""


def here() -> str:
    """Return what runs, and on what."""
    return (
        f"whaleid {version('whaleid')} ({os.path.dirname(__file__)}), Python {platform.python_version()}, "  # noqa: PTH120
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    )


def spent(seconds: float) -> str:
    """Return what a command of so many seconds took, and with which libraries; on which GPU, if it was on one."""
    told = [f"{seconds:.2f} s", *_memory()]
    loaded = [(name, sys.modules[name]) for name in LIBRARIES if name in sys.modules]
    told += [f"{name} {getattr(module, '__version__', 'of unknown version')}" for name, module in loaded]
    return ", ".join(told)


def _memory() -> list[str]:
    told = []
    if sys.platform != "win32":
        import resource

        # the kernel counts in KiB, that of macOS in bytes
        unit = 2**30 if sys.platform == "darwin" else 2**20
        told.append(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit:.2f} GiB at the peak")
        if other := resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss:
            told.append(f"{other / unit:.2f} GiB in the largest process that it started")
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        told.append(f"{torch.cuda.max_memory_allocated() / 2**30:.2f} GiB on {torch.cuda.get_device_name()}")
    return told
