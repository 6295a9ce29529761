"""Splitting a class in two: which of its images would move. Pure."""

from __future__ import annotations

import numpy as np

from engine.blas import one_blas_thread
from engine.space.vectors import units


def two_means(vectors: np.ndarray, seed: int) -> np.ndarray:
    """(m,) bool: 2-means on vectors (m, D) scaled to length 1; true for the smaller half.

    At least one image is on each side, whatever the vectors are.
    """
    from sklearn.cluster import KMeans

    unit = units(vectors)
    if not np.any(unit != unit[0]):  # 2-means finds one group only
        return np.arange(len(unit)) == len(unit) - 1
    with one_blas_thread():
        second = KMeans(2, n_init=4, random_state=seed).fit_predict(unit) == 1
    return ~second if second.sum() > len(unit) / 2 else second
