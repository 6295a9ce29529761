"""Scores of a clustering: with ground truth (accuracy, NMI, ARI, purity) and without any labels.

Stages must never import this: a test sees to it.
"""

from __future__ import annotations

import numpy as np

SILHOUETTE_SAMPLE = 2000


def contingency(labels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(K, C) int64: images of cluster k that belong to class c."""
    table = np.zeros((labels.max(initial=0) + 1, truth.max(initial=0) + 1), np.int64)
    np.add.at(table, (labels, truth), 1)
    return table


def best_match(labels: np.ndarray, truth: np.ndarray) -> dict[int, int]:
    """Cluster → class, one to one, so that the most images fit (Hungarian method)."""
    from scipy.optimize import linear_sum_assignment

    clusters, classes = linear_sum_assignment(-contingency(labels, truth))
    return dict(zip(clusters.tolist(), classes.tolist(), strict=True))


def accuracy(labels: np.ndarray, truth: np.ndarray) -> float:
    """Share of images whose cluster is matched to their class (ACC), 0 to 1."""
    table = contingency(labels, truth)
    match = best_match(labels, truth)
    return float(sum(table[pair] for pair in match.items()) / len(labels))


def purity(labels: np.ndarray, truth: np.ndarray) -> float:
    """Share of images that belong to the commonest class of their cluster, 0 to 1."""
    return float(contingency(labels, truth).max(1).sum() / len(labels))


def truth_scores(labels: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """ACC, NMI and ARI of labels (N,) against truth (N,)."""
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    return {
        "acc": accuracy(labels, truth),
        "nmi": float(normalized_mutual_info_score(truth, labels)),
        "ari": float(adjusted_rand_score(truth, labels)),
    }


def size_entropy(sizes: np.ndarray) -> float:
    """Entropy of cluster sizes (K,), 1 when all are equal and 0 when one cluster has everything."""
    share = sizes[sizes > 0] / sizes.sum()
    return float(-(share * np.log(share)).sum() / np.log(len(sizes))) + 0.0


def silhouette(features: np.ndarray, labels: np.ndarray, seed: int = 0) -> float | None:
    """Mean silhouette by cosine, −1 to 1, on at most 2,000 images; None for a single cluster."""
    from sklearn.metrics import silhouette_score

    count = min(len(labels), SILHOUETTE_SAMPLE)
    sample = np.random.default_rng(seed).choice(len(labels), count, replace=False)
    found = len(np.unique(labels[sample]))
    if not 2 <= found < count:
        return None
    return float(silhouette_score(features[sample], labels[sample], metric="cosine"))
