"""The program `whaleid`: its options, environment variables and exit codes."""

import gc
import logging
import os
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
    "WHALEID_DASK": "the Dask scheduler that photos are read by",
    "WHALEID_DEVICE": "where networks run, as cpu or cuda:1; else on a GPU",
    "WHALEID_PHOTOS": "addresses below which a served model reads photos",
    "WHALEID_TRACKING": "off: no runs in MLflow",
    "MLFLOW_TRACKING_URI": "MLflow's store; else mlflow.db",
    "NO_COLOR": "set to anything: no colours",
}
CODES = {
    0: "done",
    1: "error; the last lines say how to fix it",
    2: "a wrong command line",
    3: "done, but some photos could not be read",
    130: "interrupted",
    143: "terminated",
}
LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pandas", "Pillow", "mlflow", "dvc")
"""Those that `--verbose` names."""
app = typer.Typer(
    help="Identify individual humpback whales from photos of their flukes.",
    epilog="\n".join(
        [
            "Environment:",
            *(f"  {name:20}{meaning}" for name, meaning in ENVIRONMENT.items()),
            "Exit codes:",
            *(f"  {code:<20}{meaning}" for code, meaning in CODES.items()),
        ]
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for commands in (stages, photos, models, submissions, settings):
    app.add_typer(commands.app)


def main() -> None:
    """Run a command. An error that a user can fix is printed as text, with a traceback only if verbose."""
    start = time.perf_counter()
    startup.prepare()
    # as Ctrl-C: a command that is terminated closes its MLflow runs and leaves no file half written
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if os.environ.get("NO_COLOR"):
        from typer import rich_utils

        rich_utils.COLOR_SYSTEM = None  # rich itself would keep bold and dim
    try:
        try:
            app(prog_name="whaleid")
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has gone, as in `whaleid compare | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except SystemExit as end:
        # of several processes, the one that started them prints
        if end.code in (128 + signal.SIGINT, 128 + signal.SIGTERM) and not ranks.launched_by_torchrun():
            print(CODES[end.code], file=sys.stderr)
        elif end.code == 128 + signal.SIGTERM:
            print(
                "Stopped: another process failed, or torchrun was stopped. Run the same command again: a training "
                "resumes.",
                file=sys.stderr,
            )
        raise
    except (WhaleidError, OSError) as error:
        if logger.isEnabledFor(logging.DEBUG):
            traceback.print_exc()
        sys.exit(f"error: {errors.message(error)}")
    finally:
        logger.debug(f"{time.perf_counter() - start:.2f} s in all")
        gc.freeze()  # the process ends without a last collection, which takes up to a second


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"whaleid {version('whaleid')}")
        raise typer.Exit


@app.callback()
def options(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print results, warnings and errors only.")] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Also print timings and versions; errors with a traceback."),
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Choose how much is printed."""
    if quiet and verbose:
        raise typer.BadParameter("use --quiet or --verbose, not both")
    logger.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    if verbose:
        logger.debug(_versions())


def _versions() -> str:
    """Return what a report of a problem should name."""
    import platform
    from importlib.metadata import version

    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    machine = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return f"whaleid {version('whaleid')} ({Path(__file__).parents[1]}), {machine}, {libraries}"
