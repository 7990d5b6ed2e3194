"""Whether two thumbnails show the same picture: what is left when one is explained by the other."""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from whaleid.duplicates.hashing import LEVEL, SIDE, Thumbnails

Floats = npt.NDArray[np.float32]
BLUR = 2.0
"""Pixels, see `details`: of flukes, outlines are alike, and what is smaller tells them apart."""
TRIMMED = 0.05
"""Share of the pixels that agree least, which do not count: a date printed onto a copy covers no more of it."""
FITS = 3
"""Times that a fit is made, each without the pixels that agreed least in the one before."""
BLOCK = 512
"""Thumbnails that are looked at together: bounds the memory, changes no result."""


def details(thumbnails: Thumbnails) -> Floats:
    """Return `thumbnails` (N, SIDE, SIDE) less their blurred selves, in grey levels: without light, sky and haze."""
    pixels = np.divide(thumbnails, LEVEL, dtype=np.float32)
    found: Floats = pixels - gaussian_filter(pixels, (0, BLUR, BLUR))
    return found


def detail(thumbnails: Thumbnails) -> Floats:
    """Return how much there is to see on `thumbnails` (N, SIDE, SIDE), shape (N,): the deviation of `details`."""
    blocks = [details(thumbnails[start : start + BLOCK]).std(axis=(1, 2)) for start in range(0, len(thumbnails), BLOCK)]
    return np.concatenate([np.empty(0, np.float32), *blocks])


def errors(left: Thumbnails, right: Thumbnails) -> npt.NDArray[np.float64]:
    """Return how much of the details of `left` and `right`, thumbnails (P, SIDE, SIDE), the other cannot explain.

    Shape (P,), from 0, the same picture, to 1. Each may be brighter, of more contrast, and moved or scaled along each
    axis by a pixel or so, as a crop leaves it; by how much is found by linear least squares, since for small moves a
    picture changes by its gradient (Lucas and Kanade 1981, "An iterative image registration technique"). The pixels
    that fit least are left out (least trimmed squares, Rousseeuw 1984). Of both directions the worse one counts, so the
    order makes no difference. A picture without any detail has an error of 1 to every other.
    """
    found = np.ones(len(left))
    for start in range(0, len(left), BLOCK):
        one, other = details(left[start : start + BLOCK]), details(right[start : start + BLOCK])
        found[start : start + BLOCK] = np.maximum(_unexplained(one, other), _unexplained(other, one))
    return found


def _unexplained(pictures: Floats, targets: Floats) -> npt.NDArray[np.float64]:
    """Return (P,) the share of the variance of `targets` (P, SIDE, SIDE) that `pictures` do not explain."""
    terms, wanted = _terms(pictures), targets.reshape(len(targets), -1)
    weights = np.ones_like(wanted)
    kept = round((1 - TRIMMED) * SIDE * SIDE)
    for _ in range(FITS):
        factors = _fitted(terms, wanted, weights)
        squares = np.square(wanted - (terms @ factors[:, :, None])[:, :, 0])
        last = np.partition(squares, kept - 1, axis=1)[:, kept - 1 : kept]
        weights = (squares <= last).astype(np.float32)
    left = (weights * squares).sum(axis=1, dtype=np.float64)
    mean = (weights * wanted).sum(axis=1, keepdims=True) / weights.sum(axis=1, keepdims=True)
    all_of_it = (weights * np.square(wanted - mean)).sum(axis=1, dtype=np.float64)
    # a negative is another picture
    explained = (all_of_it > 0) & (factors[:, 1] > 0)
    return np.where(explained, np.minimum(left / np.where(explained, all_of_it, 1), 1), 1.0)


def _terms(pictures: Floats) -> Floats:
    """Return what makes up a picture moved a little, (P, SIDE * SIDE, 6).

    One grey, the picture itself, and its gradients, both as they are (a move) and times the place (a scale).
    """
    place = (np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2) / SIDE
    down, across = np.gradient(pictures, axis=(1, 2))
    grey = np.ones_like(pictures)
    parts = [grey, pictures, down, across, down * place[:, None], across * place]
    return np.stack(parts, axis=-1).reshape(len(pictures), -1, len(parts))


def _fitted(terms: Floats, wanted: Floats, weights: Floats) -> Floats:
    """Return the factors (P, K) by which `terms` (P, N, K) are nearest to `wanted` (P, N): weighted least squares."""
    weighted = np.swapaxes(terms, 1, 2) * weights[:, None]
    normal = (weighted @ terms).astype(np.float64)
    # a little added to the diagonal: without detail, all gradients are 0
    normal += np.eye(normal.shape[1]) * 1e-3
    right = (weighted @ wanted[:, :, None]).astype(np.float64)
    return np.linalg.solve(normal, right)[:, :, 0].astype(np.float32)
