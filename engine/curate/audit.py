"""Estimates how pure a class is from a sample that a person has checked. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

# How wide the answer may be, and how sure one wants to be of it.
HALF_WIDTH, LEVEL = 0.02, 0.95


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
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, weight = right / total, z * z / total
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / total + weight / (4 * total))
    return Share(right, total, max(0.0, middle - half), min(1.0, middle + half))


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
