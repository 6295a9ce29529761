"""Serialises a lesson: arrays and pictures as plain JSON values, places instead of image numbers."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from typing import Any

import numpy as np

from engine.data.contact_sheet import contact_sheet

# The kinds of number that the player reads.
KINDS = {"u8": "<u1", "u16": "<u2", "u32": "<u4", "i32": "<i4", "f32": "<f4"}
COLUMNS = 32
# Larger pictures are scaled down to this side.
MOST_SIDE = 64
# Up to this side a picture is kept to the bit: of so few pixels, loss would be seen.
EXACT_SIDE, QUALITY = 16, 80
# Images that a lesson shows at most.
MOST_IMAGES = 2_000


def packed(array: np.ndarray, kind: str) -> dict[str, Any]:
    """An array as {"shape", "dtype", "data"}: base64 of its bytes, little-endian.

    Args:
        kind: of `KINDS`.
    """
    own = np.ascontiguousarray(array, KINDS[kind])
    data = base64.b64encode(own.tobytes()).decode("ascii")
    return {"shape": list(np.shape(array)), "dtype": kind, "data": data}


def unpacked(value: dict[str, Any]) -> np.ndarray:
    """What `packed` packed."""
    data = np.frombuffer(base64.b64decode(value["data"]), KINDS[value["dtype"]])
    return data.reshape(value["shape"])


def sprite(pixels: np.ndarray, columns: int = COLUMNS) -> dict[str, Any]:
    """Many small pictures in one WebP, row after row: {"data", "columns", "width", "height", "count"}.

    Args:
        pixels: (n, C, H, W) uint8, n ≥ 1; `width` and `height` are those of one picture in the sheet.
    """
    small = _thumbnails(pixels)
    count, _, height, width = small.shape
    exact, content = max(height, width) <= EXACT_SIDE, io.BytesIO()
    sheet = contact_sheet(small, columns).convert("RGB")
    sheet.save(content, "webp", lossless=exact, quality=QUALITY)
    data = base64.b64encode(content.getvalue()).decode("ascii")
    return {"data": data, "columns": columns, "width": width, "height": height, "count": count}


def _thumbnails(pixels: np.ndarray) -> np.ndarray:
    """(n, C, h, w) uint8: pictures (n, C, H, W) scaled down to sides of at most 64."""
    import torch
    import torch.nn.functional as F

    height, width = pixels.shape[2:]
    scale = MOST_SIDE / max(height, width)
    if scale >= 1:
        return np.asarray(pixels)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    parts = [
        F.interpolate(torch.from_numpy(np.array(part)).float(), size, mode="bilinear", antialias=True)
        .round()
        .clamp(0, 255)
        .byte()
        .numpy()
        for part in np.array_split(pixels, -(-len(pixels) // 256))
    ]
    return np.concatenate(parts)


class Cast:
    """The images that a lesson shows, and the place of each.

    A set of up to 2,000 is shown completely, in its order. From a larger set, the lesson shows the images that
    its steps request, in the order of request, and fills up with a sample.
    """

    def __init__(self, images: int, most: int = MOST_IMAGES) -> None:
        self.images, self.most = images, min(images, most)
        self._place: dict[int, int] = {}
        if self.whole:
            self._place = {one: one for one in range(images)}

    @property
    def whole(self) -> bool:
        return self.images == self.most

    @property
    def ids(self) -> np.ndarray:
        """(n,) int64: the run's numbers of the images, in the order of their places."""
        return np.fromiter(self._place, np.int64, len(self._place))

    def places(self, ids: np.ndarray) -> list[int]:
        """Where images `ids` (m,) stand; images for which there is no room any more are left out."""
        for one in np.asarray(ids).tolist():
            if one not in self._place and len(self._place) < self.most:
                self._place[one] = len(self._place)
        return [self._place[one] for one in np.asarray(ids).tolist() if one in self._place]

    def rows(self, table: Iterable[np.ndarray]) -> list[list[int]]:
        """`places` of each row of a table of ids."""
        return [self.places(row) for row in table]

    def fill(self, labels: np.ndarray | None, seed: int) -> None:
        """Takes extra images at random, of every cluster as large a share as it has of all.

        Args:
            labels: (N,) in 0..K−1; None where there are none, which makes it one cluster.
        """
        if self.whole:
            return
        order = np.random.default_rng(seed).permutation(self.images)
        if labels is not None:
            # By how far an image stands within its cluster: any beginning has even shares.
            own = labels[order]
            sizes = np.bincount(own)
            by_cluster = np.argsort(own, kind="stable")
            rank = np.empty(len(order))
            rank[by_cluster] = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
            order = order[np.argsort((rank + 0.5) / sizes[own], kind="stable")]
        others = order[~np.isin(order, self.ids)]
        self.places(others[: self.most - len(self._place)])


def finite(value: float) -> float | None:
    """A number as JSON allows it: None for one that is infinite or none at all."""
    number = round(float(value), 6)
    return number if np.isfinite(number) else None
