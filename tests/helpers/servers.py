"""Local stand-ins for a team's servers: an MLflow tracking server, a model server and an S3 store."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

START_SECONDS = 90
HOST = "127.0.0.1"


@contextmanager
def mlflow_server(store: str, *options: str, **environment: str) -> Iterator[str]:
    """Run an MLflow server for a store on localhost, until the block ends."""
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = ("server", "--backend-store-uri", store, "--workers", "1", *options)
    with _mlflow(command, quiet | environment) as address:
        yield address


@contextmanager
def model_server(model: str, **environment: str) -> Iterator[str]:
    """Serve a registered model on localhost, until the block ends."""
    with _mlflow(("models", "serve", "--env-manager", "local", "-m", model), environment) as address:
        yield address


@contextmanager
def _mlflow(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[str]:
    with closing(socket.create_server((HOST, 0))) as unused:
        port = unused.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with log.open("w", encoding="utf-8") as output:
            server = subprocess.Popen(
                [sys.executable, "-m", "mlflow", *command, "--host", HOST, "--port", str(port)],
                env=os.environ | environment,
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that killpg also ends its children
            )
            try:
                address = f"http://{HOST}:{port}"
                _wait_until_ready(server, address, log)
                yield address
            finally:
                os.killpg(server.pid, signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    server.wait(timeout=15)
                with suppress(ProcessLookupError):  # all have ended
                    os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def _wait_until_ready(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"MLflow's server did not start:\n{log.read_text(encoding='utf-8')[-3000:]}")


@contextmanager
def s3_server() -> Iterator[str]:
    """Run an empty in-memory S3 store on localhost, until the block ends."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(HOST, port=0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()
