"""k-means, the best of several starts: scikit-learn's, or all starts at once on a GPU."""

from __future__ import annotations

import math

import numpy as np
import torch

from engine.blas import one_blas_thread

# Below this many images scikit-learn takes less than a second or two, and a GPU run keeps the labels
# that a CPU run has. Above it, on a GPU, k-means would be what a run waits for.
GPU_IMAGES = 10_000
# Entries of a table of distances in memory at a time: 2**26 float32 are 256 MB.
BLOCK_ENTRIES = 2**26
# As in scikit-learn: most iterations, and the movement of the centres (as a share of the mean variance
# of the vectors' columns) below which they stand still.
MOST_ITERATIONS, STILL = 300, 1e-4
# Of stage 1's own clustering.
STARTS = 10


def kmeans(
    vectors: np.ndarray, clusters: int, seed: int, *, starts: int, device: torch.device | str = "cpu", keep: bool = True
) -> np.ndarray:
    """(N,) int32 in 0..K−1: the labels with the lowest sum of squared distances among `starts` tries.

    Args:
        vectors: (N, D) float32, N ≥ K.
        device: where the images are clustered; only a GPU with many of them makes a difference.
        keep: whether the vectors stay as they are; otherwise they are moved, and a copy of them is spared.
    """
    if torch.device(device).type == "cuda" and len(vectors) >= GPU_IMAGES:
        x = torch.from_numpy(np.ascontiguousarray(vectors, np.float32)).to(device)
        return lloyd(x, clusters, seed, starts=starts).int().cpu().numpy()
    from sklearn.cluster import KMeans

    with one_blas_thread():
        model = KMeans(clusters, n_init=starts, random_state=seed, copy_x=keep)
        return model.fit_predict(vectors).astype(np.int32)


def kmeans_labels(vectors: np.ndarray, clusters: int, seed: int, device: torch.device | str = "cpu") -> np.ndarray:
    """(N,) int32: k-means on vectors (N, D) scaled to length 1; stage 1's own clustering."""
    from sklearn.preprocessing import normalize

    return kmeans(normalize(vectors), clusters, seed, starts=STARTS, device=device, keep=False)


def lloyd(x: torch.Tensor, clusters: int, seed: int, *, starts: int) -> torch.Tensor:
    """(N,) int64: Lloyd's algorithm on x (N, D) from `starts` k-means++ beginnings, side by side.

    Every sum is a product of matrices, so that one device always gives the same labels.
    """
    generator = torch.Generator(x.device).manual_seed(seed)
    centres = _spread_out(x, clusters, starts, generator)
    still = STILL * x.var(0, correction=0).mean()
    for _ in range(MOST_ITERATIONS):
        before, (_, distances, sums, counts) = centres, _assigned(x, centres)
        means, lived = sums / counts.clamp_min(1)[..., None], counts[..., None] > 0
        centres = torch.where(lived, means, _furthest(x, distances, clusters))
        if bool(((centres - before).square().sum((1, 2)) <= still).all()):
            break
    labels, distances, _, _ = _assigned(x, centres)
    return labels[distances.sum(1).argmin()]


def _spread_out(x: torch.Tensor, clusters: int, starts: int, generator: torch.Generator) -> torch.Tensor:
    """(S, K, D): the centres of greedy k-means++ (Arthur and Vassilvitskii, 2007): some images are drawn
    in proportion to their squared distance from the nearest centre so far, and the one that lowers the
    sum of these distances most is the next centre."""
    tries = 2 + int(math.log(clusters))
    first = torch.randint(len(x), (starts,), generator=generator, device=x.device)
    centres = x[first].unsqueeze(1)
    nearest = _squares(x, centres[:, 0]).t()
    for _ in range(clusters - 1):
        total = nearest.double().cumsum(1)
        drawn = torch.rand((starts, tries), generator=generator, device=x.device, dtype=total.dtype)
        places = torch.searchsorted(total, drawn * total[:, -1:]).clamp_max(len(x) - 1)
        lowered = _squares(x, x[places.flatten()]).t().view(starts, tries, -1)
        lowered = torch.minimum(lowered, nearest.unsqueeze(1))
        best = lowered.sum(2).argmin(1, keepdim=True)
        nearest = lowered.gather(1, best[..., None].expand(-1, -1, len(x)))[:, 0]
        centres = torch.cat((centres, x[places.gather(1, best)]), 1)
    return centres


def _squares(x: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """(N, C): squared distances of x (N, D) to centres (C, D), never below 0."""
    lengths = x.square().sum(1, keepdim=True) + centres.square().sum(1)
    return torch.addmm(lengths, x, centres.t(), alpha=-2).clamp_min_(0)


def _assigned(x: torch.Tensor, centres: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Labels (S, N) of the nearest centre, squared distances (S, N) to it, and each cluster's sum
    (S, K, D) and number (S, K) of members; block by block of images."""
    starts, clusters, size = centres.shape
    sums, counts = torch.zeros_like(centres), centres.new_zeros(starts, clusters)
    labels, distances = [], []
    for block in x.split(max(1, BLOCK_ENTRIES // (starts * clusters))):
        squares = _squares(block, centres.view(-1, size)).view(len(block), starts, clusters)
        nearest, label = squares.min(2)
        member = torch.zeros_like(squares).scatter_(2, label[..., None], 1.0)
        sums += (member.flatten(1).t() @ block).view_as(sums)
        counts += member.sum(0)
        labels.append(label.t())
        distances.append(nearest.t())
    return torch.cat(labels, 1), torch.cat(distances, 1), sums, counts


def _furthest(x: torch.Tensor, distances: torch.Tensor, clusters: int) -> torch.Tensor:
    """(S, K, D): the images furthest from their centres, where clusters without any begin again."""
    return x[distances.topk(clusters, dim=1).indices]
