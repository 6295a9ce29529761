"""`Clustering`: a stage's output for every image; and what heads are chosen by, without labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from engine.space.neighbors import Neighbors, local_agreement

DOMINANT = 3.0
# Neighbours of an image that judge a head's labels.
JUDGES = 15


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


# -- the choice of a head --------------------------------------------------------------------------


def head_scores(how: str, head_labels: np.ndarray, neighbors: Neighbors | None) -> np.ndarray:
    """(H,): `head_agreement` for "consensus", `neighbor_agreement` for "neighbors".

    Args:
        head_labels: (H, N).
        neighbors: needed only for "neighbors".
    """
    return (
        head_agreement(head_labels)
        if how == "consensus" or neighbors is None
        else neighbor_agreement(head_labels, neighbors)
    )


def alive(head_labels: np.ndarray, clusters: int) -> list[int]:
    """Of each head, how many of K `clusters` have at least `least_size` images.

    Args:
        head_labels: (H, N) in 0..K−1.
    """
    least = least_size(head_labels.shape[1], clusters)
    return [int((np.bincount(own, minlength=clusters) >= least).sum()) for own in head_labels]


def least_size(images: int, clusters: int) -> int:
    """A tenth of N/K, and at least 1: a cluster with fewer images is as good as lost."""
    return max(1, images // (10 * clusters))


def neighbor_agreement(head_labels: np.ndarray, neighbors: Neighbors) -> np.ndarray:
    """(H,), at most 1: how much more often than by chance an image's neighbours share its label.

    Cohen's kappa, (a − c) / (1 − c), of the mean agreement a: by chance it is c = Σ p², the p being the
    clusters' shares. Without c, a head with one large cluster would win. Two clusters of equal size with
    a = .9 have .8; a single one has 0.
    """
    count = min(JUDGES, neighbors.ids.shape[1])
    found = np.zeros(len(head_labels))
    for head, labels in enumerate(head_labels):
        chance = float(((np.bincount(labels) / len(labels)) ** 2).sum())
        if chance < 1:
            found[head] = (float(local_agreement(labels, neighbors, count).mean()) - chance) / (1 - chance)
    return found


def head_agreement(head_labels: np.ndarray) -> np.ndarray:
    """(H,) in 0–1: mean normalised mutual information of each head's labels with the others'; 0 for a single head.

    Heads that put everything into one cluster agree on nothing.
    """
    from sklearn.metrics import normalized_mutual_info_score as nmi

    heads = len(head_labels)
    table = np.zeros((heads, heads))
    alone = (head_labels == head_labels[:, :1]).all(1)
    for one in range(heads):
        for other in range(one):
            if not (alone[one] and alone[other]):
                table[one, other] = table[other, one] = nmi(head_labels[one], head_labels[other])
    return table.sum(1) / max(1, heads - 1)
