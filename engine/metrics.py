"""Scores of a clustering: with ground truth (accuracy, NMI, ARI, purity) and without any labels
(entropy of sizes, silhouette, an estimate of purity).

Stages must never import this; a test enforces it.
"""

from __future__ import annotations

import itertools

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


def purity_within(labels: np.ndarray, mask: np.ndarray, truth: np.ndarray | None) -> float | None:
    """Purity of the labels in `mask` (N,) bool alone; None without truth or where the mask is empty."""
    return None if truth is None or not mask.any() else purity(labels[mask], truth[mask])


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


def balance(sizes: np.ndarray) -> float:
    """The share of images that K equal clusters would have room for, were those of `sizes` (K,) cut to N/K: 1 when all
    are equal, 1/K when one cluster has everything.

    >>> balance(np.array([60, 30, 10]))
    0.7333333333333333
    """
    return float(np.minimum(sizes / sizes.sum(), 1 / len(sizes)).sum())


def silhouette(features: np.ndarray, labels: np.ndarray, seed: int = 0) -> float | None:
    """Mean silhouette by cosine, −1 to 1, on at most 2,000 images; None for a single cluster."""
    from sklearn.metrics import silhouette_score

    count = min(len(labels), SILHOUETTE_SAMPLE)
    sample = np.random.default_rng(seed).choice(len(labels), count, replace=False)
    found = len(np.unique(labels[sample]))
    if not 2 <= found < count:
        return None
    return float(silhouette_score(features[sample], labels[sample], metric="cosine"))


# -- purity without truth ----------------------------------------------------------------------


def head_votes(head_labels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) float32 in 0–1: share of the pairs of heads that put an image into the same cluster.

    Args:
        head_labels: (H, N) of H ≥ 2 heads. Each is renumbered to fit `labels` best.
        labels: (N,) in 0..K−1.
    """
    votes = [renumbered(one, labels) for one in head_labels]
    pairs = list(itertools.combinations(votes, 2))
    same = np.zeros(len(labels), np.float32)
    for one, other in pairs:
        same += one == other
    return same / len(pairs)


def renumbered(labels: np.ndarray, like: np.ndarray) -> np.ndarray:
    """`labels` under other numbers, one to one, so that the most images have that of `like`."""
    from scipy.optimize import linear_sum_assignment

    size = int(max(labels.max(initial=0), like.max(initial=0))) + 1
    pairs = labels.astype(np.int64) * size + like
    table = np.bincount(pairs, minlength=size * size).reshape(size, size)
    return linear_sum_assignment(table, maximize=True)[1][labels].astype(np.int32)


def estimated_purity(labels: np.ndarray, agreement: np.ndarray, votes: np.ndarray, mask: np.ndarray) -> float | None:
    """What share of the images in `mask` may be of their cluster's commonest class; no truth needed.

    A label is held to be right as often as two heads give the same one, times as often as a
    neighbour has the same one. Heads and neighbours share features and thus many mistakes, so their
    agreement is taken for the share of right labels as it is; independent ones that agree so often
    would be right more often (about its square root). A subset is mostly chosen by its neighbours'
    agreement, which then says little: it counts as far as an image and its neighbour can both be
    expected to be right, by the estimate for all images; for the rest stands the agreement over
    all of the subset's clusters. Mistakes that all heads and neighbours share are not seen.

    Args:
        labels: (N,) in 0..K−1.
        agreement: (N,) in 0–1, share of the neighbours with an image's own label.
        votes: (N,) in 0–1, from `head_votes`.
        mask: (N,) bool.

    Returns:
        0 to 1, or None where nothing can be said: no image in `mask`, or a single cluster in all.
    """
    sizes = np.bincount(labels)
    if not mask.any() or np.count_nonzero(sizes) < 2:
        return None
    of_clusters = (np.bincount(labels, agreement) / np.maximum(sizes, 1))[labels[mask]].mean()
    both_right = (votes.mean() * agreement.mean()) ** 2
    near = of_clusters + both_right * (agreement[mask].mean() - of_clusters)
    return float(votes[mask].mean() * near)
