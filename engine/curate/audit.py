"""Estimates how many labels are right from a sample that a person has checked. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

# How wide the answer may be, and how sure one wants to be of it.
HALF_WIDTH, LEVEL = 0.02, 0.95
# From so many answers on, what they measure takes the place of any estimate without them.
LEAST_ANSWERS = 30


@dataclass(frozen=True)
class Share:
    """`right` of `total`, with a confidence interval for the true share at the requested level.

    `low` and `high` are 0 and 1 if nothing was checked.
    """

    right: int
    total: int
    low: float
    high: float

    @property
    def value(self) -> float | None:
        return self.right / self.total if self.total else None


def wilson(right: int, total: int, level: float = LEVEL) -> Share:
    """The share with its Wilson score interval (Wilson 1927), which is accurate for small samples and near 1."""
    if total == 0:
        return Share(0, 0, 0.0, 1.0)
    return Share(right, total, *_score_interval(right / total, total, level))


def _score_interval(share: float, total: float, level: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + level) / 2)
    weight = z * z / total
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / total + weight / (4 * total))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Estimate:
    """The share of all images of a kind that are right, from random ones of them.

    Attributes:
        value: 0–1. low, high: its confidence interval; 0 and 1 without answers.
        answers: how many random images a person has looked at.
    """

    value: float
    low: float
    high: float
    answers: int


def estimated(right: np.ndarray, among: np.ndarray, level: float = LEVEL) -> Estimate | None:
    """The share of right labels, from random answers that stand for differently many images each; None without any.

    An audit looks at equally many images of every class, so an answer counts by the size of its class. The interval is
    Wilson's for as many answers as would be equally informative if they all stood for the same number.

    Args:
        right: (a,) bool, whether a label agrees with the answer.
        among: (a,) how many images of its class each stands for, or in proportion to that, above 0.

    >>> estimated(np.array([True, True, False, True]), np.array([10, 10, 10, 10]))
    Estimate(value=0.75, low=0.3006..., high=0.9544..., answers=4)
    """
    if not len(right):
        return None
    weights = among / among.sum()
    share = float(weights @ right)
    equal = 1 / float(weights @ weights)  # Kish's effective size
    spread = float(weights**2 @ (right - share) ** 2)  # of the weighted mean
    if spread > 0:
        equal = min(equal, share * (1 - share) / spread)
    found = _score_interval(share, equal, level)
    return Estimate(share, *found, len(right))


def overall(shares: Sequence[Share], sizes: Sequence[int]) -> Estimate | None:
    """The share of right labels over classes of different sizes, from what was found in each; None without answers.

    >>> overall([Share(9, 10, 0, 1), Share(1, 2, 0, 1)], [100, 300])
    Estimate(value=0.6, low=0.1..., high=0.9..., answers=12)
    """
    known = [(one, size) for one, size in zip(shares, sizes, strict=True) if one.total]
    right = [np.arange(one.total) < one.right for one, _ in known]
    among = [np.full(one.total, size / one.total) for one, size in known]
    return estimated(np.concatenate(right), np.concatenate(among)) if known else None


def more_needed(right: int, total: int, size: int, half: float = HALF_WIDTH, level: float = LEVEL) -> int:
    """How many more of a class's `size` images to look at until its share is known to ± `half`,
    if it stays what it is; all that are left where that is fewer."""
    assumed = right / total if total else 0.5
    low, high = total, size
    while low < high:
        middle = (low + high) // 2
        found = wilson(round(assumed * middle), middle, level)
        if (found.high - found.low) / 2 <= half:
            high = middle
        else:
            low = middle + 1
    return low - total
