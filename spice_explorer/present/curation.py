"""The Curate page's classes and decisions as text and numbers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

UNDECIDED, DECIDED, REJECTED, EXCLUDED = range(4)  # engine.curate.curation.State


@dataclass(frozen=True)
class ClassCounts:
    """Counts of one class: all its images, and by decision; of the undecided ones, `sure` have a
    reliable label."""

    number: int
    images: int
    decided: int
    rejected: int
    excluded: int
    left: int
    sure: int


def class_counts(numbers: Sequence[int], own: np.ndarray, state: np.ndarray, reliable: np.ndarray) -> list[ClassCounts]:
    """A row for each class in `numbers`.

    Args:
        own: (N,) the class of each image. state: (N,) 0–3. reliable: (N,) bool.
    """
    size = max([*numbers, int(own.max(initial=0))]) + 1
    table = np.bincount(own.astype(np.int64) * 4 + state, minlength=4 * size).reshape(size, 4)
    sure = np.bincount(own[reliable & (state == UNDECIDED)], minlength=size)
    return [
        ClassCounts(
            one,
            int(table[one].sum()),
            int(table[one, DECIDED]),
            int(table[one, REJECTED]),
            int(table[one, EXCLUDED]),
            int(table[one, UNDECIDED]),
            int(sure[one]),
        )
        for one in numbers
    ]


def to_accept(own: np.ndarray, state: np.ndarray, reliable: np.ndarray, class_: int, *, all_of_it: bool) -> np.ndarray:
    """(m,) int64: the undecided images of a class; only reliable ones unless `all_of_it`."""
    found = (own == class_) & (state == UNDECIDED)
    return np.flatnonzero(found if all_of_it else found & reliable)


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def interval(right: int, total: int, low: float, high: float) -> str:
    """ "96.0 % (24 of 25; 80 – 99 %)" """
    if total == 0:
        return "not looked at"
    return f"{percent(right / total)} ({right:,} of {total:,}; {100 * low:.0f} – {100 * high:.0f} %)"
