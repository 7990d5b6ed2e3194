"""How well a query fits each class, from embeddings alone: redone without the network."""

import numpy as np
import numpy.typing as npt


def class_logits(
    embeddings: npt.NDArray[np.float32], centres: npt.NDArray[np.float32], scale: float
) -> npt.NDArray[np.float32]:
    """Return (Q, C) float32: the scaled cosines of embeddings (Q, D) and centres (C, D), all of unit length."""
    return (embeddings @ centres.T) * np.float32(scale)


def probabilities(logits: npt.NDArray[np.float32], temperature: float) -> npt.NDArray[np.float32]:
    """Return the softmax (Q, C) of logits (Q, C) / temperature: every row sums to 1."""
    scores = logits / np.float32(temperature)
    scores -= scores.max(axis=1, keepdims=True)  # the largest becomes exp(0): nothing overflows
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=1, keepdims=True)
    return scores
