"""How deep values become 8 bits: one rule for files and arrays, over all images of a source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

# The usual bit depths of images.
BITS = (1, 8, 10, 12, 14, 16)
# How far resizing can overshoot 0 and 1: bicubic interpolation reaches -0.45 and 1.45 (from its weights
# midway between pixels, in both directions).
OVERSHOOT = 0.5
# Numbers that stand for no value in maps and measurements, beside those that are not finite or beyond the last.
NO_DATA, BEYOND = (-9999.0, -32768.0, -99999.0), 1e30

# With fewer greys than these a picture cannot be told from black.
FEWEST_GREYS = 8

# What images hold: bytes, whole numbers of more than 8 bits, or floats. Each kind has a depth of its own.
Kind = Literal["bytes", "whole", "floats"]


@dataclass(frozen=True)
class Range:
    """The least and the greatest value of an image, and what holds them."""

    low: float
    high: float
    kind: Kind


@dataclass(frozen=True)
class Depth:
    """Values become (value - `low`) · `scale`, clipped to 0–255."""

    low: float
    scale: float

    def applied(self, values: np.ndarray) -> np.ndarray:
        """Grey values (H, W) as uint8; values that stand for none are 0."""
        exact = values.astype(np.float64)
        scaled = np.where(with_data(exact), (exact - self.low) * self.scale, 0)
        return np.clip(np.round(scaled), 0, 255).astype(np.uint8)


# The depths with which images are decoded before that of the source is known: bytes as they are, 16 bits, and floats
# from 0 to 1.
USUAL_DEPTHS: dict[Kind, Depth] = {
    "bytes": Depth(0.0, 1.0),
    "whole": Depth(0.0, 255 / 65535),
    "floats": Depth(0.0, 255.0),
}


def with_data(values: np.ndarray) -> np.ndarray:
    """Which values stand for something; of whole numbers all of them."""
    if values.dtype.kind in "ui":
        return np.ones(values.shape, bool)
    return np.isfinite(values) & (np.abs(values) < BEYOND) & ~np.isin(values, NO_DATA)


def range_of(values: np.ndarray) -> Range | None:
    """The range of an image's values; None if none stands for anything."""
    some = values[with_data(values)]
    kind: Kind = "whole" if values.dtype.kind in "ui" else "floats"
    return Range(float(some.min()), float(some.max()), kind) if some.size else None


def whole_scale(low: float, high: float) -> float | None:
    """The factor that scales whole numbers to 0–255; None if there is none. Those of 0 and 1 are masks.

    >>> whole_scale(0, 255), whole_scale(0, 1), round(whole_scale(0, 4000), 4), whole_scale(-1, 9)
    (1.0, 255.0, 0.0623, None)
    """
    tops = (2**bits - 1 for bits in BITS)
    top = next((top for top in tops if high <= top), None)
    return None if low < 0 or top is None else 255 / top


def float_scale(low: float, high: float) -> float | None:
    """The factor that scales floats to 0–255, apart from an overshoot; None if there is none."""
    if low >= 0:
        return 255.0 if high <= 1 + OVERSHOOT else 1.0 if high <= 255 else None
    # Images centred on 0 do not reach 1; clipping would lose half of their values.
    return 255.0 if low >= -OVERSHOOT and 1 <= high <= 1 + OVERSHOOT else None


def depths_of(ranges: Iterable[Range], images: int) -> dict[Kind, Depth]:
    """The depth of each kind that occurs, from the ranges of a source's images.

    Values that no usual depth holds are stretched to 0–255. Bytes are masks if all images hold nothing but 0 and 1.

    Args:
        ranges: of all images of more than 8 bits, and of those whose bytes are all 0 or 1.
        images: how many images there are, these and others.
    """
    found, listed = {}, list(ranges)
    for kind in USUAL_DEPTHS:
        own = [one for one in listed if one.kind == kind]
        if own:
            low, high = min(one.low for one in own), max(one.high for one in own)
            if kind == "bytes" and (len(own), low, high) != (images, 0, 1):
                continue  # dark pictures, not masks
            scale = (float_scale if kind == "floats" else whole_scale)(low, high)
            found[kind] = Depth(0.0, scale) if scale is not None else Depth(low, 255 / ((high - low) or 1.0))
    return found


def depth_for(own: Range, depths: Mapping[Kind, Depth]) -> Depth:
    """The depth of one image: that of its source, unless too few greys would be left of it; then its own.

    A folder may hold images of 8 bits and of 16, all stored in 16.
    """
    depth = depths.get(own.kind, USUAL_DEPTHS[own.kind])
    black = own.high > own.low and (own.high - depth.low) * depth.scale < FEWEST_GREYS
    return depths_of([own], 1)[own.kind] if black and own.kind != "bytes" else depth


def said_of(ranges: Iterable[Range], images: int) -> list[str]:
    """Notes about the depths of a source."""
    listed, notes = list(ranges), []
    depths = depths_of(listed, images)
    for kind, depth in depths.items():
        own = [one for one in listed if one.kind == kind]
        if kind == "bytes":
            notes.append("the images hold only 0 (black) and 1 (white)")
            continue
        few = sum(depth_for(one, depths) != depth for one in own)
        notes.append(
            f"{len(own):,} images of {'whole numbers' if kind == 'whole' else 'floats'} of more than 8 bits are taken "
            f"as from {depth.low:,.6g} (black) to {depth.low + 255 / depth.scale:,.6g} (white)"
            + (f", but {few:,} that would be black as they are themselves" if few else "")
        )
    return notes
