"""`Neighbors`: for each image the nearest others by cosine. Never an N×N matrix."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

# Entries of the similarity matrix that exist at a time: 2**26 float32 are 256 MB.
BLOCK_ENTRIES = 2**26
# Images that are scaled and searched for at a time.
BLOCK_ROWS = 2**15
# So many take a CPU as long in the product of all as in cells, 45 s at 512 features (`python -m benchmarks neighbors`):
# from here on the square of N hurts. A vector in a cell costs ten times what one in the product does.
EXACT_IMAGES = 60_000
CELL_SAMPLE, CELLS_ASKED = 50_000, 24


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The k nearest other images of each image, nearest first.

    Attributes:
        ids: (N, k) int32.
        similarity: (N, k) float32, cosine in −1 to 1, falling along each row.
    """

    ids: np.ndarray
    similarity: np.ndarray


def nearest(
    features: np.ndarray, k: int, *, device: torch.device | str = "cpu", exact_images: int = EXACT_IMAGES
) -> Neighbors:
    """The `k` nearest neighbours of each image by cosine, itself left out.

    They are exact, but for more than `exact_images` on a CPU: there faiss looks among the cells
    nearest to an image only, and a few of the furthest neighbours may be missed.

    Args:
        features: (N, D) float32, any length of vectors.
        k: cut to N−1 where there are fewer images.
        device: where to compute.
    """
    import torch
    from torch.nn import functional as F

    k = min(k, len(features) - 1)
    large = torch.device(device).type == "cpu" and len(features) > exact_images
    if large and importlib.util.find_spec("faiss"):
        ids, similarity = _search_cells(np.asarray(features, np.float32), k + 1)
    else:
        vectors = F.normalize(torch.from_numpy(np.asarray(features, np.float32)), dim=1)
        ids, similarity = _search(vectors.to(device), vectors.to(device), k + 1)
    return _without_self(ids, similarity)


def local_agreement(labels: np.ndarray, neighbors: Neighbors, count: int) -> np.ndarray:
    """(N,) float32 in 0–1: share of the `count` nearest neighbours with an image's own label."""
    out = np.empty(len(labels), np.float32)
    for start in range(0, len(labels), 65_536):  # bounds the (N, count) table of labels
        rows = slice(start, start + 65_536)
        near = labels[neighbors.ids[rows, :count]]
        out[rows] = (near == labels[rows, None]).mean(1)
    return out


def _search(queries: torch.Tensor, vectors: torch.Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and similarities of the k nearest `vectors` of each query, block by block of queries.

    On a CPU faiss's flat index takes two thirds of the time (60,000 images, D = 512, k = 100; an earlier faiss took
    four times as long), but a training machine may not have faiss, and neighbours should not depend on that.
    """
    import torch

    rows = max(1, BLOCK_ENTRIES // len(vectors))
    found = [(block @ vectors.t()).topk(k, dim=1) for block in queries.split(rows)]
    ids = torch.cat([block.indices.int() for block in found])
    similarity = torch.cat([block.values for block in found])
    return ids.cpu().numpy(), similarity.cpu().numpy()


def _search_cells(features: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The same among all vectors, approximately: faiss, an inverted file of about √N cells.

    It keeps a copy of the vectors, so they are scaled to length 1 block by block: a second one would be as large.
    """
    import faiss

    count, size = features.shape
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(size), size, math.isqrt(count), faiss.METRIC_INNER_PRODUCT)
    index.train(_unit(features[:: math.ceil(count / CELL_SAMPLE)]))
    blocks = [slice(start, start + BLOCK_ROWS) for start in range(0, count, BLOCK_ROWS)]
    for rows in blocks:
        index.add(_unit(features[rows]))
    index.nprobe = CELLS_ASKED
    ids, similarity = np.empty((count, k), np.int32), np.empty((count, k), np.float32)
    for rows in blocks:
        similarity[rows], ids[rows] = index.search(_unit(features[rows]), k)
    short = np.flatnonzero(ids[:, -1] < 0)  # its cells held fewer than k
    if len(short):
        index.nprobe = index.nlist
        similarity[short], ids[short] = index.search(_unit(features[short]), k)
    return ids, similarity


def _unit(block: np.ndarray) -> np.ndarray:
    import torch
    from torch.nn import functional as F

    return F.normalize(torch.from_numpy(np.ascontiguousarray(block)), dim=1).numpy()


def _without_self(ids: np.ndarray, similarity: np.ndarray) -> Neighbors:
    """Drops each row's own id; a row that lacks it (exact copies came first) loses its last."""
    own = ids == np.arange(len(ids))[:, None]
    own[~own.any(1), -1] = True
    shape = (len(ids), ids.shape[1] - 1)
    return Neighbors(ids[~own].reshape(shape).astype(np.int32), similarity[~own].reshape(shape).astype(np.float32))
