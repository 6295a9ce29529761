"""The map's data for the browser: coordinates as integers, columns with their colours, frames."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from spice_explorer.palette import VERDICTS, cluster_colours, ramp
from spice_explorer.present.reliability import REASONS

SPAN = 65535
# The map's own square is this share of the range of places: what lies round it in a replay fits too.
SQUARE = 2 / 3
# More points than this are drawn as a sample, taken from every cluster alike.
MOST_POINTS = 1_000_000
RAMP_STEPS = 24
CHANGES = ("the same from stage 1 on", "changed by stage 2", "changed by stage 3", "changed by both")
STAGES = {"features": "stage 1", "heads": "stage 2", "joint": "stage 3"}


def address(url: str, kind: str) -> dict[str, str]:
    """Where the browser finds an array, and of which type it is (u1, u2, u4 or f4)."""
    return {"url": url, "type": kind}


@dataclass(frozen=True)
class Column:
    """A value for every image, by which the map can be coloured and filtered.

    Attributes:
        kind: "category", or how a number is placed on a ramp: "share" (0–1), "nines" (confidence),
            "number" (from `low` to `high`).
        column: as `address` gives it. names: of the categories, where they are few.
    """

    key: str
    title: str
    kind: str
    column: dict[str, str]
    palette: tuple[str, ...]
    names: tuple[str, ...] | None = None
    low: float = 0.0
    high: float = 1.0
    note: str = ""

    def told(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value not in (None, "")}


def category(key: str, title: str, at: dict[str, str], names: Sequence[str]) -> Column:
    """A column of numbers that stand for `names`."""
    return Column(key, title, "category", at, tuple(cluster_colours(len(names))), tuple(names))


def changes(at: dict[str, str]) -> Column:
    return Column("changed", "what each stage changed", "category", at, ("#8c8c8c", *VERDICTS[:3]), CHANGES)


def on_ramp(key: str, title: str, kind: str, at: dict[str, str], note: str = "") -> Column:
    return Column(key, title, kind, at, tuple(ramp(RAMP_STEPS)), note=note)


def number(key: str, title: str, at: dict[str, str], low: float, high: float) -> Column:
    return Column(key, title, "number", at, tuple(ramp(RAMP_STEPS)), low=low, high=high)


def verdict(
    label: dict[str, str],
    confidence: dict[str, str],
    agreement: dict[str, str],
    thresholds: np.ndarray,
    asked: float,
    least_confidence: float,
) -> dict[str, Any]:
    """Reliable and the reasons for a rejection: the browser judges, by thresholds that can be moved.

    Args:
        thresholds: (K,) agreement that the run asked of each cluster; `asked` is the common one.
    """
    return {
        "key": "reliable",
        "title": "reliable or not",
        "kind": "category",
        "palette": list(VERDICTS),
        "names": list(REASONS),
        "label": label,
        "confidence": confidence,
        "agreement": agreement,
        "own": {"agreement": [float(one) for one in thresholds], "asked": asked, "confidence": least_confidence},
    }


def moment(stage: str, step: int, steps: int, epochs: int) -> str:
    """A moment of training in words: stage 1 by its epochs, stage 2 by rounds, stage 3 by steps."""
    name = STAGES[stage]
    if stage == "features":
        return f"{name} · epoch {round(epochs * step / steps) if steps else 0} of {epochs}"
    return f"{name} · {'round' if stage == 'heads' else 'step'} {step:,} of {steps:,}"


def changed(first: np.ndarray, second: np.ndarray, third: np.ndarray | None) -> np.ndarray:
    """(N,) uint8, places in `CHANGES`: which stage gave an image another label (N,)."""
    out = (first != second).astype(np.uint8)
    return out if third is None else out + 2 * (second != third).astype(np.uint8)


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


@dataclass(frozen=True, eq=False)
class Box:
    """The square that a map fills: its middle (2,) and side."""

    middle: np.ndarray
    side: float

    @classmethod
    def of(cls, points: np.ndarray) -> Box:
        """The square round points (N, 2)."""
        low, high = points.min(0), points.max(0)
        return cls((low + high) / 2, float((high - low).max()) or 1.0)


def squared(points: np.ndarray, box: Box) -> np.ndarray:
    """Points (N, 2) as (N, 2) uint16, both axes to the same scale, y upwards: the box in the middle
    two thirds of the range, and what lies far outside of it on the edge."""
    places = (points - box.middle) / box.side * SQUARE + 0.5
    return np.round(np.clip(np.nan_to_num(places), 0, 1) * SPAN).astype(np.uint16)


def to_bits(chosen: np.ndarray, count: int) -> str:
    """Places `chosen` among `count` as base64 of a bit set, lowest bit first."""
    mask = np.zeros(count, np.uint8)
    mask[chosen] = 1
    return base64.b64encode(np.packbits(mask, bitorder="little").tobytes()).decode()


def from_bits(bits: str, count: int) -> np.ndarray:
    """The inverse of `to_bits`: sorted places, int64."""
    packed = np.frombuffer(base64.b64decode(bits), np.uint8)
    return np.flatnonzero(np.unpackbits(packed, bitorder="little")[:count])
