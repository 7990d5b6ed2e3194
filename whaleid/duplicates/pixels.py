"""Compare the pixels of thumbnails."""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from whaleid.images.fingerprint import GREY_UNITS, SIDE, Thumbnails

Floats = npt.NDArray[np.float32]
BLUR = 2.0
"""Standard deviation of the blur in `high_pass`, in pixels. Flukes have similar outlines and differ in finer detail."""
TRIMMED = 0.05
"""Share of the pixels that is excluded because it fits worst. A date printed on a copy covers less."""
FITS = 3
"""Number of fits. Each fit excludes the pixels with the largest residuals of the previous fit."""
BLOCK = 512
"""Number of thumbnails that are converted to floats at once."""


def high_pass(thumbnails: Thumbnails) -> Floats:
    """Subtract a blur from `thumbnails` (N, SIDE, SIDE), which removes lighting, sky and haze; return grey levels."""
    pixels = np.divide(thumbnails, GREY_UNITS, dtype=np.float32)
    filtered: Floats = pixels - gaussian_filter(pixels, (0, BLUR, BLUR))
    return filtered


def detail(thumbnails: Thumbnails) -> Floats:
    """Compute the detail (N,) of `thumbnails` (N, SIDE, SIDE): the standard deviation after `high_pass`."""
    deviations = np.empty(len(thumbnails), np.float32)
    for start in range(0, len(thumbnails), BLOCK):
        deviations[start : start + BLOCK] = high_pass(thumbnails[start : start + BLOCK]).std(axis=(1, 2))
    return deviations


def pixel_errors(left: Thumbnails, right: Thumbnails) -> npt.NDArray[np.float64]:
    """Compute the error of pairs of pictures: the share of the variance of one that the other does not explain.

    One picture is fitted to the other by linear least squares: its brightness, its contrast, and a shift and a scale of
    about a pixel along each axis, as after a crop. A small shift changes a picture by a multiple of its gradient (Lucas
    and Kanade 1981, "An iterative image registration technique"). The pixels that fit worst are excluded (least trimmed
    squares, Rousseeuw 1984). The result is symmetric: the larger error of both directions.

    Both inputs have the shape (P, SIDE, SIDE) and are in memory at once. Returns errors (P,) from 0, the same picture,
    to 1. A picture without any detail has an error of 1.
    """
    first, second = high_pass(left), high_pass(right)
    return np.maximum(_unexplained_variance(first, second), _unexplained_variance(second, first))


def _unexplained_variance(pictures: Floats, targets: Floats) -> npt.NDArray[np.float64]:
    """Return the share (P,) of the variance of `targets` (P, SIDE, SIDE) that `pictures` do not explain."""
    terms, target = _design_matrix(pictures), targets.reshape(len(targets), -1)
    weights = np.ones_like(target)
    kept = round((1 - TRIMMED) * SIDE * SIDE)
    for _ in range(FITS):
        factors = _weighted_least_squares(terms, target, weights)
        squares = np.square(target - (terms @ factors[:, :, None])[:, :, 0])
        limit = np.partition(squares, kept - 1, axis=1)[:, kept - 1 : kept]
        weights = (squares <= limit).astype(np.float32)
    residual = (weights * squares).sum(axis=1, dtype=np.float64)
    mean = (weights * target).sum(axis=1, keepdims=True) / weights.sum(axis=1, keepdims=True)
    variance = (weights * np.square(target - mean)).sum(axis=1, dtype=np.float64)
    # a negative contrast does not count: an inverted picture is a different picture
    explained = (variance > 0) & (factors[:, 1] > 0)
    return np.where(explained, np.minimum(residual / np.where(explained, variance, 1), 1), 1.0)


def _design_matrix(pictures: Floats) -> Floats:
    """Return the terms of the fit, (P, SIDE * SIDE, 6).

    They are a constant, the picture, its two gradients (a shift), and its gradients times the position (a scale).
    """
    position = (np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2) / SIDE
    down, across = np.gradient(pictures, axis=(1, 2))
    constant = np.ones_like(pictures)
    parts = [constant, pictures, down, across, down * position[:, None], across * position]
    return np.stack(parts, axis=-1).reshape(len(pictures), -1, len(parts))


def _weighted_least_squares(terms: Floats, target: Floats, weights: Floats) -> Floats:
    """Return the coefficients (P, K) of `terms` (P, N, K) that fit `target` (P, N) best."""
    weighted = np.swapaxes(terms, 1, 2) * weights[:, None]
    normal = (weighted @ terms).astype(np.float64)
    # regularise: without detail, all gradients are 0 and the matrix is singular
    normal += np.eye(normal.shape[1]) * 1e-3
    right = (weighted @ target[:, :, None]).astype(np.float64)
    return np.linalg.solve(normal, right)[:, :, 0].astype(np.float32)
