"""Vectors at length 1, whose products are cosines."""

from __future__ import annotations

import numpy as np


def units(vectors: np.ndarray) -> np.ndarray:
    """The vectors (…, D) at length 1, as float32; one of length 0 stays."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), np.float32)
