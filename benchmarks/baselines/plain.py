"""Plain clustering of features, and as a ceiling a classifier that is given the labels."""

from __future__ import annotations

import warnings

import numpy as np
import torch

STARTS, FOLDS = 10, 5
DIRECTIONS, NEIGHBORS = 20, 15


def kmeans(vectors: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """(N,) k-means of vectors (N, D), scaled to length 1, the best of ten starts."""
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import normalize

    return KMeans(clusters, n_init=STARTS, random_state=seed).fit_predict(normalize(vectors))


def umap_kmeans(vectors: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """(N,) k-means of a UMAP layout in 20 dimensions, by cosine, without a least distance."""
    from sklearn.cluster import KMeans

    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import umap

        layout = umap.UMAP(
            n_components=DIRECTIONS, n_neighbors=NEIGHBORS, min_dist=0, metric="cosine", random_state=seed, n_jobs=1
        )
        places = layout.fit_transform(vectors)
    torch.set_num_threads(threads)  # numba takes all cores, and torch would from then on
    return KMeans(clusters, n_init=STARTS, random_state=seed).fit_predict(places)


def probe(vectors: np.ndarray, truth: np.ndarray, seed: int) -> np.ndarray:
    """(N,) classes by logistic regression WITH labels: each image is classified by a model of the other folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    return cross_val_predict(LogisticRegression(max_iter=300), vectors, truth, cv=folds)
