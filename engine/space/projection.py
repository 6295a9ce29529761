"""Two-dimensional maps of the features: a quick one by principal components, and UMAP."""

from __future__ import annotations

import threading
import warnings

import numpy as np

from engine.space.neighbors import Neighbors

# numba's threads do not bear two UMAPs at once: the process would abort.
_ONE_AT_A_TIME = threading.Lock()
UMAP_NEIGHBORS = 15


def principal_map(features: np.ndarray) -> np.ndarray:
    """(N, 2) float32: features (N, D) along the two directions in which they differ most."""
    from sklearn.decomposition import PCA

    wide = features if features.shape[1] >= 2 else np.pad(features, ((0, 0), (0, 1)))
    return PCA(2, random_state=0).fit_transform(wide).astype(np.float32)


def umap_map(features: np.ndarray, neighbors: Neighbors, *, seed: int) -> np.ndarray:
    """(N, 2) float32: UMAP of features (N, D), from neighbours found before.

    UMAP wants every image as its own first neighbour, and cosine distances (1 − similarity).
    """
    k = min(UMAP_NEIGHBORS - 1, neighbors.ids.shape[1])
    own = np.arange(len(features))[:, None]
    ids = np.hstack([own, neighbors.ids[:, :k]]).astype(np.int64)
    distance = np.hstack([np.zeros_like(own), 1 - neighbors.similarity[:, :k]])
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap speaks of its seed and its own search index
        import umap

        reducer = umap.UMAP(
            n_neighbors=k + 1,
            min_dist=0.1,
            metric="cosine",
            init="pca",
            precomputed_knn=(ids, distance.clip(0).astype(np.float32), None),
            random_state=seed,
            n_jobs=1,
        )
        return np.asarray(reducer.fit_transform(features), np.float32)
