"""Measures every image, without judging it: tone, contrast, sharpness, texture, layout.

Everything is measured at the stored size, which is what training sees: a picture that is sharp at 4000
pixels and soft at 32 counts as soft.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np

from engine.data.images import ImageSet

Progress = Callable[[int, int], None]
Stop = Callable[[], bool]
# Pixels of a block of images: few enough for its float32 copies to stay in the processor's cache.
BLOCK_BYTES = 2**19
# Rec. 601, as JPEG and Pillow weigh the three colours.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# The share of an image's pixels that is passed over as specks when its darkest and brightest are asked.
SPECKS = 0.005
# Side of the square of lowest frequencies that describe an image's layout.
LOW = 8
TEXTURE_LEVELS = 3


@dataclass(frozen=True, eq=False)
class Measures:
    """The measurements of N images.

    Attributes:
        darkest, brightest: (N,) uint8, the luma below and above which only specks lie.
        contrast: (N,) float32, the standard deviation of the channel that varies most, 0–127.
        sharpness: (N,) float32, variance of the Laplacian over variance of the luma: 20 for white
            noise, about 1 for a small photograph, near 0 for a smooth gradient; inf where an image
            is too small to tell.
        texture: (N, T) float32, logarithm of the mean size of edges at scales of 1, 2 and 4 pixels
            in three directions.
        low: (N, C, 8, 8) float32, the lowest frequencies of each channel (orthonormal DCT, over 255
            and the square root of the number of pixels).
        digest: (N, 2) uint64, equal exactly where all pixels are.
    """

    darkest: np.ndarray
    brightest: np.ndarray
    contrast: np.ndarray
    sharpness: np.ndarray
    texture: np.ndarray
    low: np.ndarray
    digest: np.ndarray

    def __len__(self) -> int:
        return len(self.digest)


def measure(
    images: ImageSet, *, progress: Progress = lambda _done, _total: None, stop: Stop = lambda: False
) -> Measures | None:
    """Measures all images, a block in the memory at a time; None when it was stopped."""
    found: list[Measures] = []
    pixels, count = images.pixels, len(images)
    each = max(1, BLOCK_BYTES // (pixels[:1].nbytes or 1))
    # numpy lets go of Python's lock, so that threads share the work; a few blocks ahead, not all.
    threads = min(4, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, count, each * threads):
            if stop():
                return None
            end = min(count, start + each * threads)
            blocks = (np.asarray(pixels[at : min(at + each, end)]) for at in range(start, end, each))
            found += pool.map(measured, blocks)
            progress(end, count)
    return Measures(**dict(_joined(found)))


def _joined(parts: list[Measures]) -> Iterator[tuple[str, np.ndarray]]:
    for field in fields(Measures):
        yield field.name, np.concatenate([getattr(part, field.name) for part in parts])


def measured(pixels: np.ndarray) -> Measures:
    """What one block of images (m, C, H, W) uint8 measures."""
    channels = pixels.astype(np.float32)
    luma = channels[:, 0] if pixels.shape[1] == 1 else np.tensordot(channels, LUMA, (1, 0))
    darkest, brightest = _ends(luma)
    low = _lowest(channels)
    return Measures(
        darkest, brightest, channels.std((2, 3)).max(1), _sharpness(luma), _texture(luma), low, _digests(pixels)
    )


def _ends(luma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The darkest and the brightest of each image's luma (m, H, W), specks apart."""
    count, each = len(luma), luma[0].size
    levels = np.rint(luma).astype(np.int32).reshape(count, -1)
    levels += 256 * np.arange(count, dtype=np.int32)[:, None]
    below = np.bincount(levels.reshape(-1), minlength=256 * count).reshape(count, 256).cumsum(1)
    specks = int(SPECKS * each)
    darkest, brightest = (below <= specks).sum(1), (below < each - specks).sum(1)
    return darkest.astype(np.uint8), brightest.astype(np.uint8)


def _sharpness(luma: np.ndarray) -> np.ndarray:
    if min(luma.shape[1:]) < 3:
        return np.full(len(luma), np.inf, np.float32)
    laplacian = 4 * luma[:, 1:-1, 1:-1]
    laplacian -= luma[:, :-2, 1:-1]
    laplacian -= luma[:, 2:, 1:-1]
    laplacian -= luma[:, 1:-1, :-2]
    laplacian -= luma[:, 1:-1, 2:]
    # At least one level squared: of an image without any contrast nothing can be said.
    return np.asarray(laplacian.var((1, 2)) / np.maximum(luma.var((1, 2)), 1), np.float32)


def _texture(luma: np.ndarray) -> np.ndarray:
    """Mean sizes of Haar details: vertical, horizontal and diagonal edges at each scale."""
    sizes: list[np.ndarray] = []
    for _ in range(TEXTURE_LEVELS):
        height, width = (side // 2 * 2 for side in luma.shape[1:])
        if min(height, width) < 2:
            break
        a, b, c, d = (luma[:, y:height:2, x:width:2] for y in (0, 1) for x in (0, 1))
        left, right, falling = a + c - b - d, a + b - c - d, a + d - b - c
        sizes += [np.abs(one).mean((1, 2)) / 4 for one in (left, right, falling)]
        luma = (a + b + c + d) / 4
    return np.log1p(np.array(sizes, np.float32).reshape(len(sizes), len(luma))).T


def _lowest(channels: np.ndarray) -> np.ndarray:
    height, width = channels.shape[2:]
    found = _cosines(height) @ channels @ _cosines(width).T
    return np.asarray(found / (255 * np.sqrt(height * width)), np.float32)


def _cosines(side: int) -> np.ndarray:
    """(8, side) the lowest frequencies of the orthonormal DCT; rows of 0 where there are none."""
    k, x = np.arange(LOW)[:, None], np.arange(side)[None]
    rows = np.cos(np.pi * (2 * x + 1) * k / (2 * side)) * np.sqrt(2 / side)
    rows[0] /= np.sqrt(2)
    rows[side:] = 0
    return rows.astype(np.float32)


def _digests(pixels: np.ndarray) -> np.ndarray:
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1)
    found = b"".join(hashlib.blake2b(row.data, digest_size=16).digest() for row in rows)
    return np.frombuffer(found, np.uint64).reshape(-1, 2)
