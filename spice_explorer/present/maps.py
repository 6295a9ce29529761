"""A map as bytes for the scatter component: places, colours, marks, a legend."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spice_explorer.palette import VERDICTS, cluster_colours, ramp
from spice_explorer.present.reliability import MOST_NINES, REASONS, nines

SPAN = 65535
# More points than this are drawn as a sample, taken from every cluster alike.
MOST_POINTS = 100_000
RAMP_STEPS = 24
# More clusters than this are not numbered on the map: the numbers would cover it.
MOST_MARKS = 120


@dataclass(frozen=True)
class Entry:
    """A line of the legend."""

    label: str
    colour: str
    images: int


@dataclass(frozen=True, eq=False)
class Paint:
    """Colours of N points.

    Attributes:
        values: (N,) uint16, places in `palette`.
        scale: for a continuous value, the texts at its low and high end.
    """

    values: np.ndarray
    palette: tuple[str, ...]
    legend: tuple[Entry, ...] = ()
    scale: tuple[str, str] | None = None


def by_number(values: np.ndarray, names: Sequence[str]) -> Paint:
    """One colour for each of the `names`, given as numbers (N,)."""
    return _named(values, names, cluster_colours(len(names)))


def by_verdict(verdicts: np.ndarray) -> Paint:
    """Reliable and the three reasons for a rejection, from verdicts (N,)."""
    return _named(verdicts, REASONS, list(VERDICTS))


def _named(values: np.ndarray, names: Sequence[str], colours: list[str]) -> Paint:
    counts = np.bincount(values, minlength=len(names)).tolist()
    legend = tuple(
        Entry(name, colour, count)
        for name, colour, count in zip(names, colours, counts, strict=True)
        if name
    )
    return Paint(values.astype(np.uint16), tuple(colours), legend)


def by_share(values: np.ndarray) -> Paint:
    """A ramp for values (N,) from 0 to 1."""
    return _ramped(values, ("0", "1"))


def by_confidence(confidence: np.ndarray) -> Paint:
    """A ramp for confidences (N,) by their number of nines, since most are close to 1."""
    return _ramped(nines(confidence) / MOST_NINES, ("0", "0.99999"))


def _ramped(values: np.ndarray, scale: tuple[str, str]) -> Paint:
    steps = np.round(np.clip(values, 0, 1) * (RAMP_STEPS - 1)).astype(np.uint16)
    return Paint(steps, tuple(ramp(RAMP_STEPS)), scale=scale)


def sample(groups: np.ndarray, most: int = MOST_POINTS, seed: int = 0) -> np.ndarray | None:
    """Ids of about `most` points, the same share of every group (N,); None where all fit."""
    if len(groups) <= most:
        return None
    share = most / len(groups)
    shuffled = np.random.default_rng(seed).permutation(len(groups))
    kept = []
    for group in np.unique(groups):
        members = shuffled[groups[shuffled] == group]
        kept.append(members[: max(1, round(share * len(members)))])
    return np.sort(np.concatenate(kept))


def squared(points: np.ndarray) -> np.ndarray:
    """Points (N, 2) as (N, 2) uint16 on a square, both axes to the same scale, y upwards."""
    low, high = points.min(0), points.max(0)
    span = float((high - low).max()) or 1.0
    middle = (low + high) / 2
    return np.round(np.clip((points - middle) / span + 0.5, 0, 1) * SPAN).astype(np.uint16)


def marks(place: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
    """The number of each cluster at the median of its places (N, 2); none where they are many."""
    found = np.unique(labels)
    if len(found) > MOST_MARKS:
        return []
    middles = [np.median(place[labels == one], axis=0) for one in found]
    return [
        {"text": str(one), "x": float(x), "y": float(y)}
        for one, (x, y) in zip(found, middles, strict=True)
    ]


def text(array: np.ndarray, kind: str) -> str:
    """An array as base64 of little-endian `kind`, for JavaScript."""
    return base64.b64encode(np.ascontiguousarray(array).astype(kind).tobytes()).decode()


def share_bytes(values: np.ndarray) -> np.ndarray:
    """Values 0–1 as 0–255, rounded."""
    return np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)


def to_bits(chosen: np.ndarray, count: int) -> str:
    """Places `chosen` among `count` as base64 of a bit set, lowest bit first."""
    mask = np.zeros(count, np.uint8)
    mask[chosen] = 1
    return base64.b64encode(np.packbits(mask, bitorder="little").tobytes()).decode()


def from_bits(bits: str, count: int) -> np.ndarray:
    """The inverse of `to_bits`: sorted places, int64."""
    packed = np.frombuffer(base64.b64decode(bits), np.uint8)
    return np.flatnonzero(np.unpackbits(packed, bitorder="little")[:count])
