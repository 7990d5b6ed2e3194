"""Whether two thumbnails show the same picture: how much of one the other does not explain."""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from whaleid.images.fingerprint import LEVEL, SIDE, Thumbnails

Floats = npt.NDArray[np.float32]
BLUR = 2.0
"""Pixels, see `details`: the outlines of flukes are alike, smaller details differ."""
TRIMMED = 0.05
"""Share of the pixels, those that agree least, that do not count: a date printed onto a copy covers no more."""
FITS = 3
"""Number of fits, each without the pixels that agreed least in the one before."""
BLOCK = 512
"""Thumbnails in memory as floats at a time."""


def details(thumbnails: Thumbnails) -> Floats:
    """Return `thumbnails` (N, SIDE, SIDE) less their blurred selves, in grey levels: without light, sky and haze."""
    pixels = np.divide(thumbnails, LEVEL, dtype=np.float32)
    sharp: Floats = pixels - gaussian_filter(pixels, (0, BLUR, BLUR))
    return sharp


def detail(thumbnails: Thumbnails) -> Floats:
    """Return the standard deviation (N,) of the `details` of `thumbnails` (N, SIDE, SIDE)."""
    deviations = np.empty(len(thumbnails), np.float32)
    for start in range(0, len(thumbnails), BLOCK):
        deviations[start : start + BLOCK] = details(thumbnails[start : start + BLOCK]).std(axis=(1, 2))
    return deviations


def errors(left: Thumbnails, right: Thumbnails) -> npt.NDArray[np.float64]:
    """Return the share of the details of `left` and `right`, both (P, SIDE, SIDE), that the other does not explain.

    Shape (P,), from 0, the same picture, to 1. Each may be brighter, of more contrast, and moved or scaled along each
    axis by a pixel or so, as a crop leaves it; by how much is fitted by linear least squares, since for small moves a
    picture changes by its gradient (Lucas and Kanade 1981, "An iterative image registration technique"). The pixels
    that fit least are left out (least trimmed squares, Rousseeuw 1984). The worse of both directions counts, so the
    order makes no difference. A picture without any detail has an error of 1 to every other. All pairs
    are in memory at once.
    """
    one, other = details(left), details(right)
    return np.maximum(_unexplained(one, other), _unexplained(other, one))


def _unexplained(pictures: Floats, targets: Floats) -> npt.NDArray[np.float64]:
    """Return (P,) the share of the variance of `targets` (P, SIDE, SIDE) that `pictures` do not explain."""
    terms, target = _terms(pictures), targets.reshape(len(targets), -1)
    weights = np.ones_like(target)
    kept = round((1 - TRIMMED) * SIDE * SIDE)
    for _ in range(FITS):
        factors = _fit(terms, target, weights)
        squares = np.square(target - (terms @ factors[:, :, None])[:, :, 0])
        last = np.partition(squares, kept - 1, axis=1)[:, kept - 1 : kept]
        weights = (squares <= last).astype(np.float32)
    residual = (weights * squares).sum(axis=1, dtype=np.float64)
    mean = (weights * target).sum(axis=1, keepdims=True) / weights.sum(axis=1, keepdims=True)
    variance = (weights * np.square(target - mean)).sum(axis=1, dtype=np.float64)
    # a negative is another picture
    explained = (variance > 0) & (factors[:, 1] > 0)
    return np.where(explained, np.minimum(residual / np.where(explained, variance, 1), 1), 1.0)


def _terms(pictures: Floats) -> Floats:
    """Return the terms of a picture that is moved a little, (P, SIDE * SIDE, 6).

    One grey, the picture itself, and its gradients, both as they are (a move) and times the place (a scale).
    """
    place = (np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2) / SIDE
    down, across = np.gradient(pictures, axis=(1, 2))
    grey = np.ones_like(pictures)
    parts = [grey, pictures, down, across, down * place[:, None], across * place]
    return np.stack(parts, axis=-1).reshape(len(pictures), -1, len(parts))


def _fit(terms: Floats, target: Floats, weights: Floats) -> Floats:
    """Return the factors (P, K) of `terms` (P, N, K) nearest to `target` (P, N): weighted least squares."""
    weighted = np.swapaxes(terms, 1, 2) * weights[:, None]
    normal = (weighted @ terms).astype(np.float64)
    # a little added to the diagonal: without detail, all gradients are 0
    normal += np.eye(normal.shape[1]) * 1e-3
    right = (weighted @ target[:, :, None]).astype(np.float64)
    return np.linalg.solve(normal, right)[:, :, 0].astype(np.float32)
