"""Thresholds of the reliable set and their effect on the images: counts, curve, table, order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.shares import percent
from engine.terms import REASONS

# Confidence is drawn as the number of nines, −log10(1 − p): most of it lies close to 1.
MOST_NINES = 5.0
# A confusion table with more rows or columns than this could not be read.
MOST_ROWS, MOST_COLUMNS, ALL_ROWS = 30, 40, 50


# -- thresholds --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Thresholds:
    """The requirements for a reliable label: shares from 0 to 1, and the number of neighbours."""

    agreement: float
    confidence: float
    neighbors: int
    floor: float

    def text(self) -> str:
        """For the address; `thresholds_of` reads it back exactly."""
        return f"{self.agreement!r},{self.confidence!r},{self.neighbors},{self.floor!r}"


def thresholds_of(values: Sequence[Any], most: int) -> Thresholds | None:
    """Thresholds from agreement, confidence, neighbours (1 to `most`) and floor; None for others."""
    try:
        agreement, confidence, neighbors, floor = (float(value) for value in values)
    except (TypeError, ValueError):
        return None
    # A value that is not a number is in no range.
    shares = all(0 <= share <= 1 for share in (agreement, confidence, floor))
    if not (shares and 1 <= neighbors <= most and neighbors == math.floor(neighbors)):
        return None
    return Thresholds(agreement, confidence, int(neighbors), floor)


# Names of the usual shares; in other cases the share is given.
_BEST = {1 / 2: "half", 1 / 3: "third", 1 / 4: "quarter", 1 / 5: "fifth", 1 / 10: "tenth"}


def relaxed_words(floor: float, least: float) -> str:
    """ "best third, relaxed to 0.50": what training takes below the agreement that is asked."""
    named = next((name for share, name in _BEST.items() if math.isclose(share, floor)), percent(floor, 0))
    return f"best {named}, relaxed to {least:.2f}"


# -- counts ------------------------------------------------------------------------------------


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


def split(labels: np.ndarray, verdicts: np.ndarray, truth: np.ndarray | None = None) -> Split:
    """Counts the verdicts (N,) on labels (N,); truth (N,) adds purity and coverage."""
    mask = verdicts == 0
    counts = np.bincount(verdicts, minlength=len(REASONS)).tolist()
    purity = everything = coverage = None
    if truth is not None:
        right = _right(labels, truth)
        everything = float(right.mean())
        purity = float(_right(labels[mask], truth[mask]).mean()) if mask.any() else None
        coverage = float(mask[right].mean()) if right.any() else None
    return Split(len(labels), int(mask.sum()), tuple(counts), purity, everything, coverage)


def _right(labels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(N,) bool: true where an image is of the commonest class of its cluster."""
    return truth == table(labels, truth).argmax(1)[labels]


def table(labels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(K, C) int64: images of each cluster and class, up to the highest of both."""
    clusters, classes = int(labels.max(initial=0)) + 1, int(truth.max(initial=0)) + 1
    places = labels.astype(np.int64) * classes + truth
    return np.bincount(places, minlength=clusters * classes).reshape(clusters, classes)


def nines(confidence: np.ndarray | float) -> np.ndarray:
    """Confidence 0–1 as its number of nines, 0 to `MOST_NINES`: 0.9 → 1, 0.99 → 2."""
    away = np.maximum(1 - np.asarray(confidence, np.float64), 10**-MOST_NINES)
    return -np.log10(away)


# -- against truth -----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Curve:
    """Purity and coverage of the reliable set over T agreement thresholds, strictest first.

    Attributes:
        agreement, purity, coverage: (T,) floats 0–1; none (T = 0) where no image is sure.
    """

    agreement: np.ndarray
    purity: np.ndarray
    coverage: np.ndarray


def purity_coverage(labels: np.ndarray, truth: np.ndarray, agreement: np.ndarray, sure: np.ndarray) -> Curve:
    """The result of every agreement threshold at the given confidence.

    Args:
        labels, truth: (N,) ints.
        agreement: (N,) floats, the highest threshold that accepts an image.
        sure: (N,) bool, the images that are confident enough.
    """
    right = _right(labels, truth)
    order = np.flatnonzero(sure)
    order = order[np.argsort(-agreement[order], kind="stable")]
    # One image after the other joins the set: how many are of their cluster's commonest class then?
    pure = np.cumsum(_gains(labels[order], truth[order]))
    covered = np.cumsum(right[order])
    levels = agreement[order]
    last = np.flatnonzero(np.append(levels[1:] != levels[:-1], True)) if len(order) else order
    return Curve(levels[last].astype(np.float64), pure[last] / (last + 1), covered[last] / max(1, right.sum()))


def _gains(labels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(M,) 0 or 1: whether an image raises the count of its cluster's commonest class, when images
    come in this order."""
    count = len(labels)
    pairs = labels.astype(np.int64) * (int(truth.max(initial=0)) + 1) + truth
    rank = _rank(pairs)
    by_cluster = np.argsort(labels, kind="stable")
    # A running maximum within each cluster: clusters follow each other, so each starts above the last.
    lifted = rank[by_cluster] + labels[by_cluster].astype(np.int64) * (count + 1)
    before = np.append(-1, np.maximum.accumulate(lifted)[:-1])
    gains = np.zeros(count, np.int64)
    gains[by_cluster] = lifted > before
    return gains


def _rank(keys: np.ndarray) -> np.ndarray:
    """(M,) how many images with the same key have come, this one included."""
    order = np.argsort(keys, kind="stable")
    sorted_keys, places = keys[order], np.arange(len(keys))
    starts = np.append(True, sorted_keys[1:] != sorted_keys[:-1])[: len(keys)]
    rank = np.empty(len(keys), np.int64)
    rank[order] = places - np.maximum.accumulate(np.where(starts, places, 0)) + 1
    return rank


@dataclass(frozen=True, eq=False)
class Confusion:
    """Reliable images of R clusters by their true class, the clusters in the order of their classes.

    Attributes:
        clusters: (R,) cluster numbers. classes: names of C columns.
        counts: (R, C) int64.
        hidden: clusters with reliable images that are not among the rows.
    """

    clusters: np.ndarray
    classes: tuple[str, ...]
    counts: np.ndarray
    hidden: int


def confusion(labels: np.ndarray, truth: np.ndarray, class_names: Sequence[str], mask: np.ndarray) -> Confusion:
    """The table of the images `mask` (N,) bool; of many clusters those with the most foreign images."""
    counts = table(labels[mask], truth[mask])
    there = np.flatnonzero(counts.sum(1))
    rows = there
    if len(there) > ALL_ROWS:
        foreign = counts.sum(1) - counts.max(1)
        rows = there[np.argsort(-foreign[there], kind="stable")[:MOST_ROWS]]
    rows = rows[np.argsort(counts[rows].argmax(1), kind="stable")]
    columns = np.flatnonzero(counts[rows].sum(0))
    if len(columns) > MOST_COLUMNS:
        most = np.argsort(-counts[rows].sum(0)[columns], kind="stable")[:MOST_COLUMNS]
        columns = np.sort(columns[most])
    names = tuple(class_names[column] for column in columns.tolist())
    return Confusion(rows, names, counts[np.ix_(rows, columns)], len(there) - len(rows))


# -- galleries ---------------------------------------------------------------------------------


def order(chosen: np.ndarray, agreement: np.ndarray, confidence: np.ndarray, *, doubtful_first: bool) -> np.ndarray:
    """Ids `chosen` (M,), by the sum of agreement and nines of confidence."""
    score = agreement[chosen] + nines(confidence[chosen]) / MOST_NINES
    return chosen[np.argsort(score if doubtful_first else -score, kind="stable")]
