"""Finds equal, nearly equal and isolated images, without ever building an N×N matrix.

It compares vectors from `measures` or, if available, trained features.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass

import numpy as np

from engine.blas import one_blas_thread
from engine.health.measures import Measures, Progress, Stop

# Up to here neighbours are exact; beyond, faiss looks among the nearest cells (50,000 vectors of 64
# numbers: 2.4 s, where the exact search takes 9 s on two cores).
EXACT_IMAGES = 20_000
CELLS_ASKED = 16
QUERIES = 4096
NEIGHBORS = 10
# Of the eight lowest frequencies, those that say how unlike others a picture is: all of them find no
# more outliers, and take three times as long.
COARSE = 4
# Texture and hue count for half as much again as layout: with less, three images of noise hide among
# 500 photographs, with more, one photograph in a hundred is an outlier.
SURFACE = 1.5


@dataclass(frozen=True, eq=False)
class Near:
    """The nearest others of each of m vectors, nearest first.

    Attributes:
        ids: (m, k) int64.
        distance: (m, k) float32, Euclidean.
    """

    ids: np.ndarray
    distance: np.ndarray


def nearest(
    vectors: np.ndarray,
    k: int,
    *,
    sought: np.ndarray | None = None,
    index: Index | None = None,
    progress: Progress = lambda _done, _total: None,
    stop: Stop = lambda: False,
) -> Near | None:
    """The `k` nearest others of each vector (m, D) float32; None when it was stopped.

    Args:
        sought: (m, D), to find what is near to these, of others than their own vector.
        index: of the vectors, by which they are found; by default one for this search.
    """
    k = min(k, len(vectors) - 1)
    if k < 1:
        nothing = np.zeros((len(vectors), 0))
        return Near(nothing.astype(np.int64), nothing.astype(np.float32))
    search = index or index_of(vectors, EXACT_IMAGES)
    queries = vectors if sought is None else sought
    found = []
    for start in range(0, len(vectors), QUERIES):
        if stop():
            return None
        found.append(search(queries[start : start + QUERIES], k + 1))
        progress(min(start + QUERIES, len(vectors)), len(vectors))
    distance, ids = (np.concatenate(parts) for parts in zip(*found, strict=True))
    own = ids == np.arange(len(ids))[:, None]
    own[~own.any(1), -1] = True  # equal vectors came first: the last of them goes instead
    shape = (len(ids), k)
    return Near(ids[~own].reshape(shape), distance[~own].reshape(shape).astype(np.float32))


def index_of(vectors: np.ndarray, most_exact: int, cells: int = CELLS_ASKED) -> Index:
    """By which neighbours of vectors (m, D) are found: all of them where there are no more than `most_exact`,
    otherwise those in the nearest `cells`."""
    large = len(vectors) > most_exact and importlib.util.find_spec("faiss") is not None
    return _Cells(vectors, cells) if large else _Exact(vectors)


class _Exact:
    """scikit-learn, which keeps the k best of each query and no more."""

    def __init__(self, vectors: np.ndarray) -> None:
        from sklearn.neighbors import NearestNeighbors

        self._search = NearestNeighbors(algorithm="brute").fit(vectors)

    def __call__(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        with one_blas_thread():  # scikit-learn sets it anyway
            distance, ids = self._search.kneighbors(queries, n_neighbors=k)
        return distance, ids.astype(np.int64)


class _Cells:
    """faiss: an inverted file of about √m cells, of which those nearest to a query are searched."""

    def __init__(self, vectors: np.ndarray, asked: int) -> None:
        import faiss

        size, cells = vectors.shape[1], math.isqrt(len(vectors))
        self._vectors = vectors
        self._index = faiss.IndexIVFFlat(faiss.IndexFlatL2(size), size, cells)
        # Forty vectors a cell are as many as faiss asks for.
        self._index.train(vectors[:: max(1, len(vectors) // (40 * cells))])
        self._index.add(vectors)
        self._index.nprobe = asked

    def __call__(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        squares, ids = self._index.search(queries, k)
        distance = np.sqrt(np.maximum(squares, 0))
        short = np.flatnonzero(ids[:, -1] < 0)  # its cells hold fewer than k: it lies apart
        if len(short):
            distance[short], ids[short] = _Exact(self._vectors)(queries[short], k)
        return distance, ids


Index = _Exact | _Cells


# -- vectors -----------------------------------------------------------------------------------


def look_vectors(measures: Measures) -> np.ndarray:
    """(N, D) float32: layout and colours beside texture and hue, each of one mean square.

    Layout alone would miss noise and print, which are grey when they are seen from afar.
    """
    count = len(measures)
    layout = measures.low[:, :, :COARSE, :COARSE].reshape(count, -1)
    hue = measures.low[:, :, 0, 0]
    hue = hue - hue.mean(1, keepdims=True)
    surface = np.concatenate([measures.texture, hue[:, : hue.shape[1] - 1]], axis=1)
    return np.concatenate([_scaled(layout), SURFACE * _scaled(_standard(surface))], axis=1)


def _standard(columns: np.ndarray) -> np.ndarray:
    """Each column round its median, over its spread."""
    centred = columns - np.median(columns, axis=0)
    return np.asarray(centred / np.maximum(columns.std(0), 1e-3), np.float32)


def _scaled(vectors: np.ndarray) -> np.ndarray:
    centred = vectors - vectors.mean(0)
    square = float((centred**2).sum(1).mean())
    return np.asarray(centred / math.sqrt(max(square, 1e-12)), np.float32)


# -- equal and nearly equal --------------------------------------------------------------------


def equal_groups(measures: Measures) -> np.ndarray:
    """(N,) int64: the number of each image's group of images with equal pixels."""
    return np.unique(measures.digest, axis=0, return_inverse=True)[1].reshape(-1)


def groups_of(pairs: np.ndarray, count: int) -> np.ndarray:
    """(N,) int64: the number of each image's group, where pairs (P, 2) of images belong together."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(pairs), bool)
    graph = coo_matrix((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)
