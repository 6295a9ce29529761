"""The split into reliable and rejected as counts, histograms and galleries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

# In the order of engine.stages.reliable.Verdict.
REASONS = ("reliable", "neighbours disagree", "not confident", "neither")
EXPLANATIONS = (
    "Its neighbours agree and its probability is high.",
    "The model is sure, but too many of its nearest neighbours have another label.",
    "Its neighbours agree, but the model is not sure.",
    "The neighbours disagree and the model is not sure.",
)
# Confidence is drawn as the number of nines, −log10(1 − p): most of it lies close to 1.
MOST_NINES = 5.0
AGREEMENT_BINS = 20
NINES_BINS = 25


@dataclass(frozen=True)
class Split:
    """Counts of a verdict on all images. `purity` and `coverage` only with truth.

    Attributes:
        by_reason: images of each reason, in the order of `REASONS`.
        purity: share of the reliable images whose class is their cluster's commonest.
        coverage: share of the truly right images that are reliable.
    """

    images: int
    reliable: int
    by_reason: tuple[int, ...]
    purity: float | None
    purity_of_all: float | None
    coverage: float | None

    @property
    def share(self) -> float:
        return self.reliable / self.images


def split(labels: np.ndarray, verdicts: np.ndarray, truth: np.ndarray | None = None) -> Split:
    """Counts the verdicts (N,) on labels (N,); truth (N,) adds purity and coverage."""
    mask = verdicts == 0
    counts = np.bincount(verdicts, minlength=len(REASONS)).tolist()
    purity = everything = coverage = None
    if truth is not None:
        right = truth == majority(labels, truth)[labels]
        everything = purity_of(labels, truth)
        purity = purity_of(labels[mask], truth[mask]) if mask.any() else None
        coverage = float(mask[right].mean()) if right.any() else None
    return Split(len(labels), int(mask.sum()), tuple(counts), purity, everything, coverage)


def purity_of(labels: np.ndarray, truth: np.ndarray) -> float:
    """Share of the images (N,) that belong to the commonest class of their cluster."""
    return float((truth == majority(labels, truth)[labels]).mean())


def majority(labels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(K,) int64: the commonest class of each cluster, counted over the images given."""
    table = np.zeros((int(labels.max(initial=0)) + 1, int(truth.max(initial=0)) + 1), np.int64)
    np.add.at(table, (labels, truth), 1)
    return table.argmax(1)


def per_cluster(labels: np.ndarray, verdicts: np.ndarray, clusters: int) -> pd.DataFrame:
    """K rows: cluster, and the images of each reason."""
    table = np.zeros((clusters, len(REASONS)), np.int64)
    np.add.at(table, (labels, verdicts), 1)
    return pd.DataFrame(table, columns=list(REASONS)).rename_axis("cluster").reset_index()


def nines(confidence: np.ndarray | float) -> np.ndarray:
    """Confidence 0–1 as its number of nines, 0 to `MOST_NINES`: 0.9 → 1, 0.99 → 2."""
    away = np.maximum(1 - np.asarray(confidence, np.float64), 10**-MOST_NINES)
    return -np.log10(away)


@dataclass(frozen=True, eq=False)
class Histogram:
    """Images by confidence and agreement.

    Attributes:
        counts: (A, B) images in each cell of agreement × nines of confidence.
        agreement: (A,) middles; nines: (B,) middles.
    """

    counts: np.ndarray
    agreement: np.ndarray
    nines: np.ndarray


def histogram(agreement: np.ndarray, confidence: np.ndarray) -> Histogram:
    """Counts (N,) agreements and confidences in a grid."""
    # Half a cell more at either end puts agreements of exactly 0 and 1 in the middle of one.
    half = 0.5 / AGREEMENT_BINS
    rows = np.linspace(-half, 1 + half, AGREEMENT_BINS + 2)
    columns = np.linspace(0, MOST_NINES, NINES_BINS + 1)
    columns_closed = columns.copy()
    columns_closed[-1] += 1e-6
    counts, _, _ = np.histogram2d(agreement, nines(confidence), bins=[rows, columns_closed])
    return Histogram(
        counts.astype(np.int64), (rows[1:] + rows[:-1]) / 2, (columns[1:] + columns[:-1]) / 2
    )


def order(
    chosen: np.ndarray, agreement: np.ndarray, confidence: np.ndarray, *, doubtful_first: bool
) -> np.ndarray:
    """Ids `chosen` (M,), by the sum of agreement and nines of confidence."""
    score = agreement[chosen] + nines(confidence[chosen]) / MOST_NINES
    return chosen[np.argsort(score if doubtful_first else -score, kind="stable")]
