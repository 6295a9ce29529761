"""Pictures for a gallery, with their captions and tooltips."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from engine.data.thumbnails import as_image
from spice_explorer.palette import cluster_colour
from spice_explorer.present.names import NUMBERS, Names

# Images up to this side are drawn as squares, since smoothing would hide what the model sees.
PIXELATED = 32


@dataclass(frozen=True)
class Tile:
    """What stands with one picture of a gallery, in plain text, not HTML."""

    name: str
    title: str
    caption: str = ""
    colour: str = ""


@dataclass(frozen=True, eq=False)
class Known:
    """What is known about every image of a run; unknown fields are None.

    Attributes:
        pixels: (N, C, H, W) uint8.
        names: N names.
        labels: (N,) ints.
        confidence, agreement: (N,) floats 0–1.
        truth: (N,) numbers of the true classes; classes: their names.
        called: what the labels are called.
    """

    pixels: np.ndarray
    names: Sequence[str]
    labels: np.ndarray | None = None
    confidence: np.ndarray | None = None
    agreement: np.ndarray | None = None
    truth: np.ndarray | None = None
    classes: Sequence[str] = ()
    called: Names = NUMBERS


def webp(pixels: np.ndarray, side: int | None) -> bytes:
    """The image (C, H, W) uint8 as WebP, scaled down to `side` pixels where it is larger: exact when tiny."""
    image = as_image(pixels)
    if side is not None:
        image.thumbnail((side, side), Image.Resampling.BICUBIC)
    return encoded(image, exact=max(image.size) <= PIXELATED)


def encoded(image: Image.Image, *, exact: bool) -> bytes:
    """`image` as WebP, with every pixel as it is or nearly so."""
    file = io.BytesIO()
    # Method 0 takes less than half the time of the default for files a tenth larger.
    image.save(file, "webp", lossless=exact, quality=0 if exact else 82, method=0)
    return file.getvalue()


def described(known: Known, ids: Sequence[int], *, captions: bool = True) -> list[Tile]:
    """A tile for each image of `ids`, in that order."""
    return [_tile(known, index, captions) for index in ids]


def _tile(known: Known, index: int, captions: bool) -> Tile:
    lines, short, colour = [str(known.names[index])], [], ""
    if known.labels is not None:
        label = int(known.labels[index])
        lines.append(known.called.inline(label))
        short.append(known.called.short(label))
        colour = cluster_colour(label)
    if known.confidence is not None:
        lines.append(f"confidence {known.confidence[index]:.3f}")
        short.append(f"{known.confidence[index]:.2f}")
    if known.agreement is not None:
        lines.append(f"agreement {known.agreement[index]:.2f}")
        short.append(f"{known.agreement[index]:.2f}")
    if known.truth is not None:
        lines.append(f"truth: {known.classes[known.truth[index]]}")
    caption = " · ".join(short) if captions else ""
    return Tile(lines[0], "\n".join(lines), caption, colour)


def pages(count: int, per_page: int) -> int:
    """How many pages `count` pictures fill, at least one."""
    return max(1, -(-count // per_page))


def page_slice(page: int, per_page: int) -> slice:
    """The pictures of `page`, which counts from 1."""
    return slice((page - 1) * per_page, page * per_page)


def turned(page: Any, version: str, count: int, per_page: int) -> int | None:
    """The page that the browser turned to, from 1; None when that was in another list."""
    if not isinstance(page, dict) or page.get("version") != version:
        return None
    number = page.get("number")
    if not isinstance(number, int):
        return None
    return min(max(number, 1), pages(count, per_page))


def version(run: str, images: str, ids: np.ndarray) -> str:
    """A short name of the list `ids` of a run whose images are `images`: equal when they are."""
    digest = hashlib.blake2b(f"{run}\0{images}\0".encode("utf-8", "replace"), digest_size=8)
    digest.update(np.ascontiguousarray(ids, np.int64).data)
    return digest.hexdigest()


def marked(ids: Any, images: int) -> np.ndarray:
    """(M,) int64, sorted: the ids that the browser sent, without any that is no image's."""
    found = np.unique(np.asarray(ids, np.int64).reshape(-1))
    return found[(found >= 0) & (found < images)]
