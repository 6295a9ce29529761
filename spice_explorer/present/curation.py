"""The Curate page's classes and decisions as text and numbers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.curate.provenance import NAMES, Provenance
from engine.shares import percent

if TYPE_CHECKING:
    from engine.curate.audit import Estimate
    from engine.curate.measured import Measured

UNDECIDED, DECIDED, REJECTED, EXCLUDED = range(4)  # engine.curate.curation.State

# In their order: what the pages call them.
STATES = ("not decided", "decided", "rejected", "left out")


@dataclass(frozen=True)
class ClassCounts:
    """Counts of one class: all its images, and by decision, those with a decided label by who gave it; of the
    undecided ones, `sure` have a reliable label."""

    number: int
    images: int
    seen: int
    bulk: int
    voted: int
    rejected: int
    excluded: int
    left: int
    sure: int


def class_counts(
    numbers: Sequence[int], own: np.ndarray, state: np.ndarray, reliable: np.ndarray, provenance: np.ndarray
) -> list[ClassCounts]:
    """A row for each class in `numbers`.

    Args:
        own: (N,) the class of each image. state, provenance: (N,) 0–3. reliable: (N,) bool.
    """
    size = max([*numbers, int(own.max(initial=0))]) + 1
    table = np.bincount(own.astype(np.int64) * 4 + state, minlength=4 * size).reshape(size, 4)
    decided = state == DECIDED
    gave = np.bincount(own[decided].astype(np.int64) * 4 + provenance[decided], minlength=4 * size).reshape(size, 4)
    sure = np.bincount(own[reliable & (state == UNDECIDED)], minlength=size)
    return [
        ClassCounts(
            one,
            int(table[one].sum()),
            int(gave[one, Provenance.SEEN]),
            int(gave[one, Provenance.BULK]),
            int(gave[one, Provenance.VOTED]),
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


def interval(right: int, total: int, low: float, high: float) -> str:
    """ "96.0 % (24 of 25; 80 – 99 %)" """
    if total == 0:
        return "not looked at"
    return f"{percent(right / total)} ({right:,} of {total:,}; {100 * low:.0f} – {percent(high, 0)})"


def who_said(state: np.ndarray, provenance: np.ndarray) -> str:
    """Who gave the decided labels: "100 seen, 1,100 voted"; "nothing decided" without any."""
    counts = np.bincount(provenance[state == DECIDED], minlength=4)
    said = (Provenance.SEEN, Provenance.BULK, Provenance.VOTED)
    words = [f"{counts[one]:,} {NAMES[one]}" for one in said if counts[one]]
    return ", ".join(words) or "nothing decided"


def estimate(found: Estimate) -> str:
    """ "about 38.0 % (24 – 54 %)" """
    return f"about {percent(found.value)} ({100 * found.low:.0f} – {percent(found.high, 0)})"


def measured(found: Measured) -> str:
    """What answers say about labels; "" while they are too few. Only random answers say anything about the others."""
    if found.estimate is not None:
        return f"{estimate(found.estimate)} right, measured with {found.estimate.answers:,} random answers"
    if found.enough:
        return (
            f"{found.right:,} of the {found.answers:,} that you looked at are right; these were not drawn at random, "
            "so the others may be better or worse"
        )
    return ""


def measured_shortly(found: Measured) -> str:
    """The same for a button that is about some of the labels; "" while the answers are too few."""
    if found.estimate is not None:
        return f"of all reliable {estimate(found.estimate)} right"
    return f"of all reliable {found.right:,} of {found.answers:,} looked at are right" if found.enough else ""
