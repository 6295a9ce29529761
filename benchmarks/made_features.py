"""The features of a synthetic run: vectors, neighbours, and the predictions of stages 2 and 3."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.made_images import Kinds, blocks, normal
from engine.config import RunConfig
from engine.space.neighbors import Neighbors
from engine.stages.clustering import Clustering
from engine.stages.prototypes import pseudo_label

HEADS, CHOSEN = 4, 2
BLUR = 0.25
CELLS_ASKED = 4  # of about √N: approximate neighbours are good enough


def unit_vectors(kinds: Kinds, centres: np.ndarray, rng: np.random.Generator, blur: float = BLUR) -> np.ndarray:
    """(N, D) float32 of length 1: clusters that vary in a few directions of their own, and by `blur` in all of them,
    with bridges between."""
    clusters, size = centres.shape
    own = 0.45 * normal(rng, clusters, 3, size) / np.sqrt(size)
    out = np.empty((len(kinds.main), size), np.float32)
    for rows in blocks(len(out)):
        main, mix = kinds.main[rows], kinds.mix[rows, None]
        place = (1 - mix) * centres[main] + mix * centres[kinds.other[rows]]
        place[kinds.outlier[rows]] = 0
        place += np.einsum("md,mds->ms", normal(rng, len(main), 3), own[main])
        place += blur / np.sqrt(size) * normal(rng, *place.shape)
        out[rows] = place / np.linalg.norm(place, axis=1, keepdims=True)
    return out


def stage_one_labels(unit: np.ndarray, centres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N,) int32: labels like those of k-means, with other cluster numbers."""
    labels = belief(unit, centres, 10.0, 2.0, rng).labels
    return rng.permutation(len(centres))[labels].astype(np.int32)


def neighbors_of(unit: np.ndarray, count: int) -> Neighbors:
    """Approximate neighbours: faiss searches only a few cells."""
    import faiss

    cells = max(1, int(np.sqrt(len(unit))))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(unit.shape[1]), unit.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.max_points_per_centroid, index.cp.min_points_per_centroid = 64, 1
    index.train(unit)
    index.add(unit)
    index.nprobe = CELLS_ASKED
    similarity, ids = index.search(unit, count + 1)
    short = np.flatnonzero(ids[:, -1] < 0)
    index.nprobe = cells
    if len(short):
        similarity[short], ids[short] = index.search(unit[short], count + 1)
    other = ids != np.arange(len(ids))[:, None]
    other[other.all(1), -1] = False  # a row without the image itself has one neighbour too many
    shape = (len(ids), count)
    return Neighbors(ids[other].reshape(shape).astype(np.int32), similarity[other].reshape(shape))


def belief(
    unit: np.ndarray, centres: np.ndarray, sharpness: float, noise: float, rng: np.random.Generator
) -> Clustering:
    """Softmax of the cosines to the cluster centres, with noise."""
    out = np.empty((len(unit), len(centres)), np.float32)
    for rows in blocks(len(unit)):
        logits = sharpness * unit[rows] @ centres.T
        logits += noise * normal(rng, *logits.shape)
        out[rows] = torch.from_numpy(logits).softmax(1).numpy()
    return Clustering(out)


def heads_of(
    unit: np.ndarray, centres: np.ndarray, config: RunConfig, rng: np.random.Generator
) -> tuple[Clustering, dict[str, np.ndarray]]:
    """Stage 2's clustering and its artefact; the prototypes come from the engine's E-step."""
    found = belief(unit, centres, 20.0, 1.5, rng)
    confident, prototypes, pseudo = pseudo_label(
        torch.from_numpy(found.probabilities)[None], torch.from_numpy(unit), config.heads.center_ratio
    )
    second = runner_up(found.probabilities)
    head_labels = np.stack([np.where(rng.random(len(unit)) < 0.03, second, found.labels) for _ in range(HEADS)])
    head_labels[CHOSEN] = found.labels
    losses = (1.46 + 0.004 * rng.random(HEADS)).astype(np.float32)
    arrays = {
        "probabilities": found.probabilities,
        "chosen": np.array(CHOSEN),
        "losses": losses,
        "head_labels": head_labels.astype(np.int32),
        "prototypes": prototypes[0].numpy(),
        "confident": confident[0].contiguous().numpy(),
        "nearest": pseudo.ids.view(config.clusters, -1).numpy(),
    }
    return found, arrays


def runner_up(probabilities: np.ndarray) -> np.ndarray:
    """(N,) int64: the cluster with the second highest probability."""
    out = np.empty(len(probabilities), np.int64)
    for rows in blocks(len(out)):
        out[rows] = torch.from_numpy(probabilities[rows]).topk(2, dim=1).indices[:, 1].numpy()
    return out
