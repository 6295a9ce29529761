"""How well linear classifiers generalise a labelling, by which TURTLE (Gadetsky et al., ICML 2024) chooses one."""

from __future__ import annotations

import numpy as np

FOLDS = 5
# Of the mean square of a feature: enough that the equations can be solved whatever the features.
RIDGE = 1e-3


def generalised(unit: np.ndarray, labellings: np.ndarray, clusters: int) -> np.ndarray:
    """How much more often than by chance least-squares classifiers give a held-back image its label.

    All labellings share one factorisation a fold. Cohen's kappa, as in `neighbor_agreement`: without it a labelling
    with one large cluster would win.

    Args:
        unit: (N, D) features of length 1.
        labellings: (L, N) in 0..`clusters`−1.

    Returns:
        (L,) at most 1; 0 for a labelling with a single cluster.
    """
    images, count = unit.shape[0], len(labellings)
    centred = unit.astype(np.float64) - unit.mean(0)
    known = np.concatenate([centred, np.ones((images, 1))], 1)
    wanted = np.eye(clusters)[labellings].transpose(1, 0, 2).reshape(images, -1)
    whole, answers = known.T @ known, known.T @ wanted
    penalty = RIDGE * images * (centred**2).mean() * np.eye(known.shape[1])
    fold = np.random.default_rng(0).permutation(images) % FOLDS
    right = np.zeros((count, images), bool)
    for one in range(FOLDS):
        held = np.flatnonzero(fold == one)
        part = known[held]
        weights = np.linalg.solve(whole - part.T @ part + penalty, answers - part.T @ wanted[held])
        said = (part @ weights).reshape(len(held), count, clusters).argmax(2).T
        right[:, held] = said == labellings[:, held]
    chance = np.array([((np.bincount(own, minlength=clusters) / images) ** 2).sum() for own in labellings])
    return np.where(chance < 1, (right.mean(1) - chance) / np.maximum(1 - chance, 1e-12), 0.0)
