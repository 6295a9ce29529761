"""Extends a few decisions to many: images that agree with decided images take their class. Pure."""

from __future__ import annotations

import numpy as np


def agreeing(
    seeds: np.ndarray, own: np.ndarray, decided: np.ndarray, neighbors: np.ndarray, agreement: float
) -> np.ndarray:
    """Undecided images among the neighbours of `seeds` whose own neighbours agree with them.

    The seeds count as members of the class, regardless of the model. Images that join can make others
    join, until no more agree.

    Args:
        seeds: (m,) ids that are decided to be of one class.
        own: (N,) bool, images that have that class now, by decision or by the model.
        decided: (N,) bool, images that a person has decided: they do not change.
        neighbors: (N, k) ids, nearest first.
        agreement: least share of an image's neighbours with the class, 0–1.

    Returns:
        (n,) int64 ids, those that agree most first; no seed is among them.
    """
    member, free = own.copy(), ~decided
    member[seeds] = True
    free[seeds] = False
    reached = np.unique(neighbors[seeds]) if len(seeds) else np.zeros(0, np.int64)
    joined = np.zeros(0, np.int64)
    while True:
        candidates = reached[free[reached]]
        share = member[neighbors[candidates]].mean(1) if len(candidates) else np.zeros(0)
        new = candidates[share >= agreement]
        if not len(new):
            break
        joined = np.concatenate((joined, new[np.argsort(-share[share >= agreement], kind="stable")]))
        member[new], free[new] = True, False
        reached = np.unique(np.concatenate((reached, neighbors[new].ravel())))
    return joined.astype(np.int64)


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
