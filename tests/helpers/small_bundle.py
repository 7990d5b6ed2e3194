"""A bundle of two photos with placeholder bytes as its network, for fast tests of reading and validating bundles."""

from pathlib import Path

import numpy as np
import pandas as pd

from whaleid import config
from whaleid.config import Embedding
from whaleid.core.features import Features
from whaleid.identification.calibration import Calibration
from whaleid.identification.decision import Decision
from whaleid.images.fingerprint import SIDE
from whaleid.serving.about import About
from whaleid.serving.bundle import COLUMNS, Bundle

ROOT = Path(__file__).parents[2]
PICTURES = {"a.jpg": b"a picture", "b.jpg": b""}


def small_bundle() -> Bundle:
    params = config.load(ROOT / "params.yaml")
    about = About(
        variant="margin",
        timm=False,
        calibrated_by="margin",
        threshold=0.3,
        decision=Decision({"nearest": 1.5}, 0.0, Calibration(), 0.3),
        dedup=params.dedup,
        pack=params.pack,
        networks={"margin": Embedding(zoom=1.0, tilt=0.0)},
        figures={"map5": 0.7},
        validation="00",
    )
    rows = [["a.jpg", "w_1", "00", 60, 40, "0" * 16, 1], ["b.jpg", "w_2", "01", 6, 4, "f" * 16, 1]]
    features = Features(
        {"b.jpg": 0, "a.jpg": 1},
        np.arange(8, dtype=np.float32).reshape(2, 2, 2),
        np.ones((2, 3, 1, 2), dtype=np.float32),
        np.array(["w_1", "w_2", "new_whale"]),
    )
    thumbnails = np.arange(2 * SIDE * SIDE, dtype=np.uint16).reshape(2, SIDE, SIDE)
    return Bundle(about, pd.DataFrame(rows, columns=COLUMNS), thumbnails, {"margin": features}, {"margin": b"net"}, b"")
