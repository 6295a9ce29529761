"""The order in which images are reviewed: those where a decision helps most come first. Pure.

A queue is an order of image ids, (m,) int64; the caller removes images that are already decided.
"""

from __future__ import annotations

import numpy as np

from engine.stages.reliable import Verdict

# Images more alike than this that have different labels are worth a look.
NEAR = 0.95
NINES = 6.0


def doubt(agreement: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """(N,) float32, 0 for a label that all neighbours share and the model is sure of, up to 2.

    Confidence counts by its nines: .99 and .999 are as far apart as .9 and .99.
    """
    nines = -np.log10(np.maximum(1 - np.asarray(confidence, np.float64), 10**-NINES))
    return (2 - agreement - nines / NINES).astype(np.float32)


def rejected_first(verdicts: np.ndarray, agreement: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """All images (N,): those whose label is not reliable, then the others; the most doubtful first."""
    return np.lexsort((-doubt(agreement, confidence), verdicts == Verdict.RELIABLE))


def undecided_first(probabilities: np.ndarray) -> np.ndarray:
    """All images, most ambiguous first: by the gap between the two most probable of K ≥ 2 clusters."""
    top = np.partition(probabilities, -2, axis=1)[:, -2:]
    return np.argsort(top[:, 1] - top[:, 0], kind="stable")


def flipped_first(flips: np.ndarray) -> np.ndarray:
    """The images whose label changed while the run trained, the most often first."""
    order = np.argsort(-flips.astype(np.int64), kind="stable")
    return order[flips[order] > 0]


def border(probabilities: np.ndarray, labels: np.ndarray, one: int, other: int) -> np.ndarray:
    """The images labelled with one of two clusters, the least clear between the two first."""
    ids = np.flatnonzero(np.isin(labels, (one, other)))
    gap = np.abs(probabilities[ids, one] - probabilities[ids, other])
    either = probabilities[ids, one] + probabilities[ids, other]
    return ids[np.argsort(gap / np.maximum(either, 1e-12), kind="stable")]


def contradictions(
    labels: np.ndarray, neighbors: np.ndarray, similarity: np.ndarray, least: float = NEAR
) -> np.ndarray:
    """Images that are nearly the same as another with a different label, the most alike pair first;
    the two of a pair follow each other.

    Args:
        neighbors, similarity: (N, k) ids and cosines, nearest first.
    """
    odd = (labels[neighbors] != labels[:, None]) & (similarity >= least)
    rows, places = np.nonzero(odd)
    order = np.argsort(-similarity[rows, places], kind="stable")
    pairs = np.stack((rows[order], neighbors[rows[order], places[order]]), 1).ravel()
    _, first = np.unique(pairs, return_index=True)
    return pairs[np.sort(first)].astype(np.int64)


def audit(labels: np.ndarray, seed: int) -> np.ndarray:
    """All images at random, one class after the other in turn, so that the first m cover every class equally."""
    order = np.random.default_rng(seed).permutation(len(labels))
    rank = np.empty(len(labels), np.int64)
    by_class = order[np.argsort(labels[order], kind="stable")]
    sizes = np.bincount(labels)
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    rank[by_class] = np.arange(len(labels)) - starts
    return order[np.argsort(rank[order], kind="stable")]


def typical_first(neighbors: np.ndarray, most: int = 2000) -> np.ndarray:
    """Images (m,) that stand for many others: each next one is a neighbour of the most images that none
    before it is a neighbour of. When all are covered, they are covered once more by others.

    A decision about such an image is informative for all of these. Greedy cover; it ends after `most`
    images, or when no remaining image is a neighbour of another.

    Args:
        neighbors: (N, k) ids, nearest first.
    """
    images, count = neighbors.shape
    flat = neighbors.ravel()
    order = np.argsort(flat, kind="stable")
    ends = np.searchsorted(flat[order], np.arange(images + 1))
    asked = order // count  # whose neighbour an image is, image after image
    whole = np.bincount(flat, minlength=images)
    gain, free, chosen = whole.copy(), np.ones(images, bool), list[int]()
    while len(chosen) < most and whole.any():
        best = int(gain.argmax())
        if gain[best] <= 0:
            gain, free[:] = whole.copy(), True
            continue
        chosen.append(best)
        covered = asked[ends[best] : ends[best + 1]]
        covered = covered[free[covered]]
        free[covered] = False
        np.subtract.at(gain, neighbors[covered].ravel(), 1)
        gain[best] = whole[best] = 0
    return np.array(chosen, np.int64)


def typical_of(classes: np.ndarray, doubts: np.ndarray, fit: np.ndarray, most: int = 3) -> dict[int, list[int]]:
    """For each class with fitting images, the ids of those that show best what it is, at most `most`: the least
    doubtful first.

    Args:
        classes, doubts: (N,) of each image. fit: (N,) bool, the images that may stand for their class.
    """
    ids = np.flatnonzero(fit)
    order = ids[np.lexsort((doubts[ids], classes[ids]))]
    _, starts = np.unique(classes[order], return_index=True)
    return {int(classes[part[0]]): part[:most].tolist() for part in np.split(order, starts[1:]) if len(part)}
