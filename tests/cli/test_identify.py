"""What `identify` does before its first answer: nothing that the answer does not need."""

import subprocess
import sys

from helpers.project import ROOT

UNNEEDED = {"jinja2", "joblib", "matplotlib", "mlflow", "pytorch_metric_learning", "sklearn", "timm"}


def test_it_loads_no_library_that_an_answer_does_not_need() -> None:
    code = "import sys, whaleid.cli, whaleid.serving.identify; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "torch" in loaded
    assert not loaded & UNNEEDED
