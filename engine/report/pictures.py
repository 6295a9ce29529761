"""The pictures of a report: of whole originals where their thumbnails are kept, else the pixels that were trained on.
Originals are never opened, so a report can be made when they are gone."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from engine.data.images import ImageSet
from engine.data.origin import Origin
from engine.data.thumbnail_store import ThumbnailStore
from engine.data.thumbnails import TINY_SIDE, as_image, jpeg, pictured, resembles
from engine.lesson.bundle import MOST_SIDE

QUALITY = 80


class Pictures:
    """The pictures of a run's images."""

    def __init__(self, images: ImageSet, origin: Origin | None, known: tuple[np.ndarray, np.ndarray] | None) -> None:
        """`known`: stamps and extents of the originals, as `RunFolder.originals` has them."""
        self._images, self._origin = images, origin
        self._stamps = None if known is None else known[0]
        self._pictured = np.zeros(len(images), bool) if known is None else pictured(known[1], images.size)

    def squares(self, ids: np.ndarray) -> np.ndarray:
        """(m, C, H, W) uint8: the middle square of each original, or else what was trained on; all of one size."""
        pixels, bodies = self._images.pixels, self._bodies(ids)
        if not any(bodies):
            return np.asarray(pixels[ids])
        out = np.empty((len(ids), 3, MOST_SIDE, MOST_SIDE), np.uint8)
        for row, (one, body) in enumerate(zip(ids.tolist(), bodies, strict=True)):
            image = as_image(pixels[one]) if body is None else _opened(body)
            fitted = ImageOps.fit(image.convert("RGB"), (MOST_SIDE, MOST_SIDE), Image.Resampling.HAMMING)
            out[row] = np.asarray(fitted).transpose(2, 0, 1)
        return out

    def addresses(self, ids: Sequence[int], side: int) -> dict[int, str]:
        """By image, a data: address of its picture within a square of `side` pixels; tiny ones are kept to the bit."""
        chosen = np.array(sorted(set(ids)), np.int64)
        return {
            one: _address(as_image(self._images.pixels[one]) if body is None else _opened(body).convert("RGB"), side)
            for one, body in zip(chosen.tolist(), self._bodies(chosen), strict=True)
        }

    def _bodies(self, ids: np.ndarray) -> list[bytes | None]:
        """The thumbnails that are kept of images `ids`, None for the others."""
        found: list[bytes | None] = [None] * len(ids)
        asked = np.flatnonzero(self._pictured[ids])
        if self._origin is None or self._stamps is None or not len(asked):
            return found
        wanted = ids[asked]
        with ThumbnailStore(self._origin.place) as store:
            kept = store.bodies([self._images.ids[one] for one in wanted.tolist()], self._stamps[wanted])
        for place, one, body in zip(asked.tolist(), wanted.tolist(), kept, strict=True):
            if body is not None and resembles(body, self._images.pixels[one]):
                found[place] = body
        return found


def _opened(body: bytes) -> Image.Image:
    return Image.open(io.BytesIO(body), formats=("JPEG",))


def _address(image: Image.Image, side: int) -> str:
    if max(image.size) <= TINY_SIDE:
        out = io.BytesIO()
        image.save(out, "PNG", optimize=True)
        return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode('ascii')}"
    image.thumbnail((side, side), Image.Resampling.HAMMING)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg(image, QUALITY)).decode('ascii')}"
