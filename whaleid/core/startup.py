"""Settings of the process that must be applied before torch and MLflow are imported."""

import gc
import logging
import os

ENVIRONMENT = {
    # let waiting OpenMP threads spin only briefly: with libgomp's default, two training processes on one machine, as in
    # `dvc queue start --jobs 2`, each ran at a twentieth of their speed
    "GOMP_SPINCOUNT": "1000",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Environment variables, with the values that apply unless the user sets others."""


def prepare() -> None:
    """Set `ENVIRONMENT`, silence the loggers of MLflow's database, and make garbage collection less frequent.

    With these thresholds, `import torch, pandas, mlflow` and the exit of the process take 1.8 s instead of 3.5 s.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # each error that they log is raised too
    gc.set_threshold(50_000, 20, 50)
