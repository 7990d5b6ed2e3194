"""A toy data set: whales that differ in the width of their stripes, and settings to train on it."""

import numpy as np
import pandas as pd

from whaleid.config import Training
from whaleid.core import files, paths
from whaleid.training.loader import LabelledPhotos

HEIGHT, WIDTH = 24, 48


def training(**changes: object) -> Training:
    """Return settings of a short training, with `changes`."""
    settings = {
        "whales": "all",
        "photos": "all",
        "min_photos": 1,
        "new_whale": False,
        "flip": "off",
        "augment": True,
        "loss": {"kind": "softmax", "scale": 16, "margin": 0, "centres": 1},
        "oversample": 1,
        "per_whale": 1,
        "layers": "all",
        "epochs": 3,
        "batch_size": 8,
        "lr": 0.01,
        "weight_decay": 0.0005,
        "compile": False,
    }
    return Training.model_validate(settings | changes)


def stripes(whales: int, photos: int) -> LabelledPhotos:
    """Return noisy packed photos (N, 24, 48, 1), `photos` per whale."""
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(whales), photos)
    x = np.arange(WIDTH)
    waves = 128 + 100 * np.sign(np.sin(x[None] * 0.25 * (1 + classes[:, None]) + rng.uniform(0, 6, (len(classes), 1))))
    packed = waves[:, None, :, None] + rng.normal(0, 20, (len(classes), HEIGHT, WIDTH, 1))
    return LabelledPhotos(packed.clip(0, 255).astype(np.uint8), np.arange(len(classes)), classes)


def write_stripes(whales: int, photos: int) -> None:
    """Write the outputs of the stages `pack` and `split` for these photos; the last photo of each whale is held out."""
    labelled = stripes(whales, photos)
    images = [f"{row:03}.jpg" for row in labelled.rows]
    paths.PACK.mkdir(parents=True)
    np.save(paths.PHOTOS, labelled.packed)
    files.write_csv(pd.DataFrame({"Image": images, "part": "train"}), paths.PACK_INDEX)
    last = labelled.rows % photos == photos - 1
    files.write_csv(
        pd.DataFrame(
            {
                "Image": images,
                "Id": [f"w{whale}" for whale in labelled.classes],
                "part": np.where(last, "validation", "train"),
                "role": np.where(last, "known", "catalogue"),
            }
        ),
        paths.SPLIT,
    )
