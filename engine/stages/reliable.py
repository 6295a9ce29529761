"""Which pseudo-labels are reliable, and why the others are rejected (paper, section III-C, equation 6). Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from engine.config import ReliableSettings
from engine.space.neighbors import Neighbors, local_agreement
from engine.stages.clustering import Clustering
from engine.stages.decided_labels import FixedLabels

LEAST_NEIGHBORS, MOST_NEIGHBORS = 10, 100


class Verdict(IntEnum):
    """Why a label is reliable or rejected."""

    RELIABLE = 0
    NEIGHBORS_DISAGREE = 1
    NOT_CONFIDENT = 2
    NEITHER = 3


@dataclass(frozen=True, eq=False)
class ReliableSet:
    """The verdict on every label of a clustering, for training: with thresholds that a floor may have lowered. What
    passes only these is trained on, but is not called reliable (`strict`).

    Attributes:
        labels: (N,) int64; a person's decision if there is one, else the model's.
        confidence: (N,) float32, the model's, even for decided labels.
        agreement: (N,) float32, share of the neighbours with the same label.
        verdicts: (N,) uint8, values of `Verdict`.
        thresholds: (K,) float32, the agreement required of each cluster.
    """

    labels: np.ndarray
    confidence: np.ndarray
    agreement: np.ndarray
    verdicts: np.ndarray
    thresholds: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """(N,) bool: true where the label passes the thresholds."""
        return self.verdicts == Verdict.RELIABLE

    def relaxed(self, agreement: float, fixed: np.ndarray) -> np.ndarray:
        """(N,) bool: labels that only a lowered threshold lets pass.

        Args:
            agreement: asked of every cluster, before any threshold was lowered.
            fixed: (N,) bool, labels that a person fixed: they are reliable whatever their neighbours say.
        """
        return self.mask & ~fixed & (self.agreement < np.float32(agreement))

    def strict(self, settings: ReliableSettings, seen: np.ndarray) -> ReliableSet:
        """The verdicts by what is asked of every label: only these are called reliable.

        Args:
            settings: whatever their floor lets pass besides.
            seen: (N,) bool, labels that a person gave looking at the image: they are reliable whatever is asked.
                Others that training was made to follow are not.
        """
        disagree = (self.agreement < np.float32(settings.agreement)) & ~seen
        unsure = (self.confidence < np.float32(settings.confidence)) & ~seen
        verdicts = np.asarray(self.verdicts) | disagree.astype(np.uint8) | 2 * unsure.astype(np.uint8)
        return replace(self, verdicts=verdicts, thresholds=np.full_like(self.thresholds, settings.agreement))

    @property
    def per_cluster(self) -> np.ndarray:
        """(K,) int64: reliable images of each cluster."""
        return np.bincount(self.labels[self.mask], minlength=len(self.thresholds))

    @property
    def sizes(self) -> np.ndarray:
        """(K,) int64: images of each cluster, reliable or not."""
        return np.bincount(self.labels, minlength=len(self.thresholds))


def neighbor_count(settings: ReliableSettings, images: int, clusters: int) -> int:
    """How many neighbours to compare: the setting, or about a tenth of a cluster's size.

    The paper uses 100, which on small sets is more than half a cluster: then even its central images have
    neighbours outside.
    """
    wanted = settings.neighbors or round(images / (10 * clusters))
    if settings.neighbors is None:
        wanted = min(max(wanted, LEAST_NEIGHBORS), MOST_NEIGHBORS)
    return min(wanted, images - 1)


def select_reliable(
    clustering: Clustering, neighbors: Neighbors, settings: ReliableSettings, fixed: FixedLabels | None = None
) -> ReliableSet:
    """Selects labels whose neighbours agree and whose probability is high.

    `fixed` labels replace the model's before neighbours are compared, so that one decision also
    affects the images around it.
    """
    labels, clusters = clustering.labels, clustering.clusters
    if fixed is not None:
        labels = fixed.over(labels)
    agreement = local_agreement(labels, neighbors, neighbor_count(settings, len(labels), clusters))
    return judge(labels, clustering.confidence, agreement, clusters, settings, fixed)


def judge(
    labels: np.ndarray,
    confidence: np.ndarray,
    agreement: np.ndarray,
    clusters: int,
    settings: ReliableSettings,
    fixed: FixedLabels | None = None,
) -> ReliableSet:
    """The verdict on labels (N,) with their confidence and agreement (N,) by the two thresholds.

    A cluster that would keep less than `settings.floor` of its images has its agreement threshold
    lowered until it does; its confidence threshold stays.

    A `fixed` label (`labels` contains it already) is reliable regardless of the thresholds. A label that a
    person refused never is: its verdict is NOT_CONFIDENT (NEITHER if neighbours disagree too), because the
    model's confidence no longer counts.
    """
    sure, backed = confidence >= np.float32(settings.confidence), agreement
    if fixed is not None:
        sure = (sure | fixed.mask) & ~fixed.refuses(labels)
        backed = np.where(fixed.mask, np.float32(1), agreement)
    thresholds = _relaxed(labels, backed, sure, clusters, settings)
    agreed = backed >= thresholds[labels]
    # In the bits of `Verdict`: 1 for neighbours that disagree, 2 for a low probability.
    verdicts = (~agreed).astype(np.uint8) + 2 * (~sure).astype(np.uint8)
    return ReliableSet(labels, confidence, agreement, verdicts, thresholds)


def _relaxed(
    labels: np.ndarray, agreement: np.ndarray, sure: np.ndarray, clusters: int, settings: ReliableSettings
) -> np.ndarray:
    """(K,) float32: each cluster's agreement threshold, lowered where its floor asks for it."""
    thresholds = np.full(clusters, settings.agreement, np.float32)
    candidates = np.flatnonzero(sure)
    order = np.lexsort((-agreement[candidates], labels[candidates]))
    best_first = agreement[candidates[order]]
    counts = np.bincount(labels[candidates], minlength=clusters)
    share = np.ceil(settings.floor * np.bincount(labels, minlength=clusters)).astype(np.int64)
    wanted = np.minimum(share, counts)
    asks = np.flatnonzero(wanted)
    last = (np.cumsum(counts) - counts + wanted - 1)[asks]
    thresholds[asks] = np.minimum(thresholds[asks], best_first[last])
    return thresholds
