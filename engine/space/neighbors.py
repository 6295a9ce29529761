"""`Neighbors`: for each image the nearest others by cosine. Never an N×N matrix."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

# Rows of the similarity matrix that exist at a time: 2**26 float32 are 256 MB.
BLOCK_ENTRIES = 2**26


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The k nearest other images of each image, nearest first.

    Attributes:
        ids: (N, k) int32.
        similarity: (N, k) float32, cosine in −1 to 1, falling along each row.
    """

    ids: np.ndarray
    similarity: np.ndarray


def nearest(features: np.ndarray, k: int, *, device: torch.device | str = "cpu") -> Neighbors:
    """The exact `k` nearest neighbours of each image by cosine, itself left out.

    Args:
        features: (N, D) float32, any length of vectors.
        k: cut to N−1 where there are fewer images.
        device: where to compute; on a CPU faiss does it if it is installed.
    """
    import torch
    from torch.nn import functional as F

    k = min(k, len(features) - 1)
    vectors = F.normalize(torch.from_numpy(np.asarray(features, np.float32)), dim=1)
    on_cpu = torch.device(device).type == "cpu"
    if on_cpu and importlib.util.find_spec("faiss"):
        similarity, ids = _faiss_search(vectors.numpy(), k + 1)
    else:
        similarity, ids = _torch_search(vectors.to(device), k + 1)
    return _without_self(ids, similarity)


def _faiss_search(vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index.search(vectors, k)


def _torch_search(vectors: torch.Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    import torch

    rows = max(1, BLOCK_ENTRIES // len(vectors))
    found = [(block @ vectors.t()).topk(k, dim=1) for block in vectors.split(rows)]
    similarity = torch.cat([block.values for block in found])
    ids = torch.cat([block.indices for block in found])
    return similarity.cpu().numpy(), ids.cpu().numpy()


def _without_self(ids: np.ndarray, similarity: np.ndarray) -> Neighbors:
    """Drops each row's own id; a row that lacks it (exact copies came first) loses its last."""
    own = ids == np.arange(len(ids))[:, None]
    own[~own.any(1), -1] = True
    shape = (len(ids), ids.shape[1] - 1)
    return Neighbors(
        ids[~own].reshape(shape).astype(np.int32),
        similarity[~own].reshape(shape).astype(np.float32),
    )
