"""`Clustering`: a stage's output for every image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

DOMINANT = 3.0


@dataclass(frozen=True, eq=False)
class Clustering:
    """Soft assignment of N images to K clusters: (N, K) float32, each row sums to 1."""

    probabilities: np.ndarray

    @cached_property
    def labels(self) -> np.ndarray:
        """(N,) int64: the most probable cluster."""
        return self.probabilities.argmax(1)

    @cached_property
    def confidence(self) -> np.ndarray:
        """(N,) float32: the probability of the most probable cluster."""
        return self.probabilities.max(1)

    @property
    def clusters(self) -> int:
        return int(self.probabilities.shape[1])

    @cached_property
    def sizes(self) -> np.ndarray:
        """(K,) int64: images in each cluster."""
        return np.bincount(self.labels, minlength=self.clusters)

    @property
    def dead(self) -> list[int]:
        """Clusters without an image."""
        return np.flatnonzero(self.sizes == 0).tolist()

    @property
    def dominant(self) -> list[int]:
        """Clusters with more than `DOMINANT` times their share, where that is less than all."""
        limit = min(DOMINANT / self.clusters, 0.9) * len(self.labels)
        return np.flatnonzero(self.sizes > limit).tolist()
