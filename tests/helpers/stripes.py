"""Whales that differ by the width of their stripes, and how a network is trained to know them."""

import numpy as np
import pandas as pd

from whaleid.config import Training
from whaleid.core import files, paths
from whaleid.training.loader import LabelledPhotos

HEIGHT, WIDTH = 24, 48


def training(**changes: object) -> Training:
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
    """Return photos, packed as (N, 24, 48, 1), so many of each whale, under noise."""
    noise = np.random.default_rng(0)
    classes = np.repeat(np.arange(whales), photos)
    x = np.arange(WIDTH)
    waves = 128 + 100 * np.sign(
        np.sin(x[None] * 0.25 * (1 + classes[:, None]) + noise.uniform(0, 6, (len(classes), 1)))
    )
    packed = waves[:, None, :, None] + noise.normal(0, 20, (len(classes), HEIGHT, WIDTH, 1))
    return LabelledPhotos(packed.clip(0, 255).astype(np.uint8), np.arange(len(classes)), classes)


def write_stripes(whales: int, photos: int) -> None:
    """Write what `pack` and `split` leave of such photos; the last of each whale is held out for validation."""
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
