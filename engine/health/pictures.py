"""Whole pictures of images, to compare them by: of their originals, or the squares that are trained on."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from engine.data.decode_image import UNREADABLE
from engine.data.images import ImageSet
from engine.data.origin import Fit, Origin
from engine.data.thumbnail_store import ThumbnailStore
from engine.data.thumbnails import as_image, pictured
from engine.sources.open_source import Opened
from engine.sources.originals import make_thumbnails

# Pictures are compared at this side in pixels.
SIDE = 64


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures of m images, each stretched to a square, and what the square that is trained on is in them.

    Attributes:
        levels: (m, 3, 64, 64) uint8.
        square: (m, 2) float32, the width and height of that square, in those of the picture: below 1 where it
            shows less, above 1 where it has a border; 1 where the picture is that square.
        side: (m,) float32, the longer side of what it was made from in pixels.
        whole: (m,) bool, false where the original is larger than the picture, and gone.
    """

    levels: np.ndarray
    square: np.ndarray
    side: np.ndarray
    whole: np.ndarray


# The pictures of the images with these numbers (m,).
Look = Callable[[np.ndarray], Pictures]


def squares(images: ImageSet, ids: np.ndarray) -> Pictures:
    """What is trained on, of the images `ids` (m,) that have no originals apart from it."""
    found = _nothing(len(ids))
    found.side[:] = max(images.size)
    for row, index in enumerate(ids.tolist()):
        found.levels[row] = _levels(as_image(images.pixels[index]))
    return found


def originals(opened: Opened, ids: np.ndarray) -> Pictures:
    """Thumbnails of the originals of the images `ids` (m,), as far as they are kept or can be made; otherwise what is
    trained on."""
    images, origin, extents, stamps = opened.images, opened.origin, opened.extents, opened.stamps
    if origin is None or extents is None or stamps is None:
        return squares(images, ids)
    found, shown = _nothing(len(ids)), pictured(extents[ids], images.size)
    wanted = np.flatnonzero(shown)
    bodies = _bodies(origin, [images.ids[index] for index in ids[wanted].tolist()], stamps[ids[wanted]])
    for row, body in zip(wanted.tolist(), bodies, strict=True):
        picture = None if body is None else _decoded(body)
        found.whole[row] = picture is not None
        if picture is not None:
            found.levels[row], found.square[row] = picture, _square(extents[ids[row]], origin.fit)
            found.side[row] = extents[ids[row]].max()
    rest = np.flatnonzero(~shown | ~found.whole)
    found.levels[rest], found.side[rest] = squares(images, ids[rest]).levels, max(images.size)
    return found


def _nothing(count: int) -> Pictures:
    levels, square = np.zeros((count, 3, SIDE, SIDE), np.uint8), np.ones((count, 2), np.float32)
    return Pictures(levels, square, np.ones(count, np.float32), np.ones(count, bool))


def look_at(opened: Opened) -> Look:
    """How the pictures of a source are seen."""
    return partial(originals, opened)


def _bodies(origin: Origin, names: Sequence[str], stamps: np.ndarray) -> list[bytes | None]:
    """The thumbnails that are kept, or made now."""
    with ThumbnailStore(origin.place) as store:
        bodies = store.bodies(names, stamps)
    missing = [row for row, body in enumerate(bodies) if body is None]
    if missing:
        made = make_thumbnails(origin, [names[row] for row in missing], stamps[missing])
        for row, body in zip(missing, made, strict=True):
            bodies[row] = body
    return bodies


def _decoded(body: bytes) -> np.ndarray | None:
    try:
        with Image.open(io.BytesIO(body), formats=("JPEG",)) as file:
            file.draft(None, (SIDE, SIDE))
            return _levels(file)
    except UNREADABLE:
        return None


def _levels(image: Image.Image) -> np.ndarray:
    """(3, 64, 64) uint8 of an image of any width and height."""
    return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.HAMMING)).transpose(2, 0, 1)


def _square(extent: np.ndarray, fit: Fit) -> np.ndarray:
    """(2,) the square that is trained on, in widths and heights of the original."""
    if fit == "squeeze":
        return np.ones(2, np.float32)
    side = extent.min() if fit == "crop" else extent.max()
    return np.asarray(side / extent, np.float32)
