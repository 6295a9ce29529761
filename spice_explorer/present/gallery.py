"""Pictures for a gallery: small data URIs with what is to be read under and over them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from spice_explorer.palette import cluster_colour

# Larger images are scaled down to this many pixels; smaller ones are left to the browser.
THUMBNAIL = 96
# Up to this side an image is drawn as squares, since blurring would hide what the model sees.
PIXELATED = 32


@dataclass(frozen=True)
class Tile:
    """One picture of a gallery. `name`, `title` and `caption` are plain text, not HTML."""

    source: str
    name: str
    title: str
    caption: str = ""
    colour: str = ""


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of every image of a run; a field that is None is not known (yet).

    Attributes:
        pixels: (N, C, H, W) uint8.
        names: N names.
        labels: (N,) ints.
        confidence, agreement: (N,) floats 0–1.
        truth: (N,) names of the true classes.
    """

    pixels: np.ndarray
    names: Sequence[str]
    labels: np.ndarray | None = None
    confidence: np.ndarray | None = None
    agreement: np.ndarray | None = None
    truth: np.ndarray | None = None


def picture(pixels: np.ndarray) -> Image.Image:
    """The image (C, H, W) uint8, no larger than a thumbnail."""
    channels = np.asarray(pixels).transpose(1, 2, 0)
    image = Image.fromarray(channels[..., 0] if channels.shape[2] == 1 else channels)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC)
    return image


def data_uri(pixels: np.ndarray) -> str:
    """The image (C, H, W) uint8 as a data URI: exact PNG when tiny, else WebP."""
    image = picture(pixels)
    kind = "png" if max(image.size) <= PIXELATED else "webp"
    file = io.BytesIO()
    image.save(file, kind, **({} if kind == "png" else {"quality": 82}))
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def tiles(known: Known, ids: Sequence[int] | np.ndarray, *, captions: bool = True) -> list[Tile]:
    """A tile for each image of `ids`, in that order."""
    return [_tile(known, int(index), captions) for index in ids]


def _tile(known: Known, index: int, captions: bool) -> Tile:
    lines, short, colour = [str(known.names[index])], [], ""
    if known.labels is not None:
        label = int(known.labels[index])
        lines.append(f"cluster {label}")
        short.append(str(label))
        colour = cluster_colour(label)
    if known.confidence is not None:
        lines.append(f"confidence {known.confidence[index]:.3f}")
        short.append(f"{known.confidence[index]:.2f}")
    if known.agreement is not None:
        lines.append(f"agreement {known.agreement[index]:.2f}")
        short.append(f"{known.agreement[index]:.2f}")
    if known.truth is not None:
        lines.append(f"truth: {known.truth[index]}")
    source = data_uri(known.pixels[index])
    caption = " · ".join(short) if captions else ""
    return Tile(source, lines[0], "\n".join(lines), caption, colour)


def pages(count: int, per_page: int) -> int:
    """How many pages `count` pictures fill, at least one."""
    return max(1, -(-count // per_page))


def page_slice(page: int, per_page: int) -> slice:
    """The pictures of `page`, which counts from 1."""
    return slice((page - 1) * per_page, page * per_page)
