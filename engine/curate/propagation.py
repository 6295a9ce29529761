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
