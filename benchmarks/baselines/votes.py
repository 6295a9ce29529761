"""The vote of the most similar answered images, with which suggestions are compared."""

from __future__ import annotations

import numpy as np

# Decided images that vote on another, and how fast a vote fades with the cosine.
VOTERS, FADE = 15, 0.1
BLOCK = 2_048


def voted(
    unit: np.ndarray, decided: np.ndarray, classes: np.ndarray, images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The class that the most similar decided images give to others, by a vote weighted by similarity.

    A decided image does not vote on itself, so `images` = `decided` measures how often the vote is right
    where the answer is known (leave-one-out).

    Args:
        unit: (N, D) features of length 1.
        decided: (d,) ids of images whose class is known, d ≥ 2.
        classes: (d,) their classes.
        images: (m,) ids to vote on.

    Returns:
        (m,) int64 classes, and (m,) float32 agreement: the share of the votes for it, 0–1.
    """
    numbers, own = np.unique(classes, return_inverse=True)
    count = min(VOTERS, len(decided) - 1)
    labels, agreement = np.empty(len(images), np.int64), np.empty(len(images), np.float32)
    for start in range(0, len(images), BLOCK):  # bounds the (rows, d) cosines in memory
        rows = images[start : start + BLOCK]
        cosines = unit[rows] @ unit[decided].T
        cosines[rows[:, None] == decided[None]] = -np.inf
        near = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        close = np.take_along_axis(cosines, near, 1)
        weights = np.exp((close - close.max(1, keepdims=True)) / FADE)
        votes = np.zeros((len(rows), len(numbers)), np.float32)
        np.add.at(votes, (np.arange(len(rows))[:, None], own[near]), weights)
        best = votes.argmax(1)
        labels[start : start + BLOCK] = numbers[best]
        agreement[start : start + BLOCK] = votes.max(1) / votes.sum(1)
    return labels, agreement
