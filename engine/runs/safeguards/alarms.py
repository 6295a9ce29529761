"""Warnings about what training found, with what to do about it."""

from __future__ import annotations

import numpy as np

from engine import metrics
from engine.config import ReliableSettings, RunConfig
from engine.events import Alarm, Emit, Stage
from engine.shares import percent
from engine.stages.clustering import Clustering
from engine.stages.reliable import ReliableSet

# Classes seem to differ in size where equal clusters would have room for less than this share of the images (ten equal
# classes of digits: .97 to .98; the largest ten times the smallest: .75 to .78). Clusters of a few images always do.
BALANCED, ENOUGH = 0.85, 30


def of_sizes(config: RunConfig, labels: np.ndarray, emit: Emit) -> None:
    """Warns of classes that seem to differ in size where stage 2 will label as many images for each."""
    sizes, mean = np.bincount(labels, minlength=config.clusters), len(labels) // config.clusters
    if config.heads.sizes != "equal" or mean < ENOUGH or metrics.balance(sizes) >= BALANCED:
        return
    cause = f"the classes seem to differ in size: k-means finds clusters of {sizes.min():,} to {sizes.max():,} images"
    cure = f"let stage 2 estimate the sizes, instead of labelling {mean:,} images for each cluster"
    emit(Alarm("features", cause, cure, {"heads.sizes": "estimated", "heads.double_softmax": False}))


def of_clusters(stage: Stage, clustering: Clustering, emit: Emit) -> None:
    """Warns of clusters without images, and of those with very many."""
    if clustering.dead:
        cause = f"{_named(clustering.dead)} without any image"
        emit(Alarm(stage, cause, "choose fewer clusters, or another seed"))
    for cluster in clustering.dominant:
        share = clustering.sizes[cluster] / len(clustering.labels)
        cause = f"cluster {cluster} contains {percent(share, 0)} of the images"
        emit(Alarm(stage, cause, "choose more clusters, or more epochs in stage 1"))


def of_reliable(settings: ReliableSettings, stage: Stage, found: ReliableSet, strict: ReliableSet, emit: Emit) -> None:
    """Warns of clusters without reliable images, and of lowered thresholds. `strict` is what is called reliable; a
    threshold that was lowered for training makes nothing reliable."""
    empty = np.flatnonzero((strict.per_cluster == 0) & (strict.sizes > 0)).tolist()
    if empty:
        cause = f"{_named(empty)} without a reliable image"
        emit(Alarm(stage, cause, "lower agreement or confidence, or choose fewer clusters"))
    relaxed = np.flatnonzero(found.thresholds < settings.agreement - 1e-6).tolist()
    if relaxed:
        cause = (
            f"{_named(relaxed)} had the agreement lowered, as far as {found.thresholds.min():.2f} "
            f"instead of {settings.agreement:.2f}, to keep up to {percent(settings.floor, 0)} of the images"
        )
        emit(Alarm(stage, cause, "check their images before you trust them"))


def _named(clusters: list[int]) -> str:
    """ "cluster 3" or "3 clusters (1, 4, 7)"."""
    if len(clusters) == 1:
        return f"cluster {clusters[0]}"
    return f"{len(clusters)} clusters ({', '.join(map(str, clusters))})"
