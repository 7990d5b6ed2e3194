"""The program `whaleid`: global options, environment variables and exit codes."""

import gc
import io
import logging
import os
import re
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Annotated

import typer

from whaleid.cli import errors, models, photos, settings, stages, submissions
from whaleid.core import ranks, startup
from whaleid.core.errors import WhaleidError
from whaleid.core.log import logger

ENVIRONMENT = {
    "WHALEID_DASK": "address of a Dask scheduler whose workers read photos",
    "WHALEID_DEVICE": "cpu, cuda or cuda:1; default: GPUs if any, else the CPU",
    "WHALEID_PHOTOS": "addresses from which a served model may read photos",
    "WHALEID_TRACKING": "off: do not log to MLflow",
    "MLFLOW_TRACKING_URI": "MLflow's store; default: mlflow.db",
    "NO_COLOR": "any value: no colours",
}
EXIT_CODES = {
    0: "done",
    1: "error; the last lines say how to fix it",
    2: "invalid command line",
    3: "done, but some photos could not be read",
    130: "interrupted",
    143: "terminated",
}
LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pandas", "Pillow", "mlflow", "dvc")
"""Libraries whose versions `--verbose` prints."""
HOME = re.compile(r"(?:^|(?<==))~(?=/|$)")
"""The `~` of arguments such as --to=~/whales, which shells do not expand."""
app = typer.Typer(
    help="Identify individual humpback whales from photos of their flukes.",
    epilog="\n".join(
        [
            "Environment:",
            *(f"  {name:20}{meaning}" for name, meaning in ENVIRONMENT.items()),
            "Exit codes:",
            *(f"  {code:<20}{meaning}" for code, meaning in EXIT_CODES.items()),
        ]
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for commands in (stages, photos, models, submissions, settings):
    app.add_typer(commands.app)


def main() -> None:
    """Run the command line. Print errors that a user can fix as a message, with a traceback only if `--verbose`."""
    start = time.perf_counter()
    startup.prepare()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may lack letters that names of files have
    # like Ctrl-C, SIGTERM raises an exception, so that MLflow runs are closed and temporary files removed
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if os.environ.get("NO_COLOR"):
        from typer import rich_utils

        rich_utils.COLOR_SYSTEM = None  # NO_COLOR alone would leave bold and dim text
    try:
        try:
            app([HOME.sub(lambda _: str(Path.home()), argument) for argument in sys.argv[1:]], prog_name="whaleid")
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output has exited, as in `whaleid compare | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except SystemExit as stop:
        # with torchrun, the process that started the others prints the message
        if stop.code in (128 + signal.SIGINT, 128 + signal.SIGTERM) and not ranks.launched_by_torchrun():
            print(EXIT_CODES[stop.code], file=sys.stderr)
        elif stop.code == 128 + signal.SIGTERM:
            print(
                "Stopped: another process failed, or torchrun was stopped. Run the same command again to resume the "
                "training.",
                file=sys.stderr,
            )
        raise
    except (WhaleidError, OSError) as error:
        if logger.isEnabledFor(logging.DEBUG):
            traceback.print_exc()
        sys.exit(f"error: {errors.message(error)}")
    finally:
        logger.debug(f"total: {time.perf_counter() - start:.2f} s")
        gc.freeze()  # skips the final garbage collection, which takes up to a second


def _version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        print(f"whaleid {version('whaleid')}")
        raise typer.Exit


@app.callback()
def options(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print results, warnings and errors only.")] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Also print timings, versions and tracebacks."),
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Set how much is printed."""
    if quiet and verbose:
        raise typer.BadParameter("use --quiet or --verbose, not both")
    logger.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    if verbose:
        logger.debug(_versions())


def _versions() -> str:
    """Return the versions and the machine, as a bug report needs them."""
    import platform
    from importlib.metadata import version

    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    machine = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return f"whaleid {version('whaleid')} ({Path(__file__).parents[1]}), {machine}, {libraries}"
