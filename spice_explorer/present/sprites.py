"""Thumbnails of many images in one picture, 32 × 32 of them."""

from __future__ import annotations

import numpy as np
from PIL import Image

from engine.data.contact_sheet import contact_sheet

COLUMNS = 32
EACH = COLUMNS * COLUMNS
# Larger images are scaled down to this side.
MOST_SIDE = 64
# Up to this side thumbnails are drawn as squares, not blurred.
SHARP = 32


def sheets(images: int) -> int:
    return -(-images // EACH)


def ids_of(sheet: int, images: int) -> slice:
    """The images on a sheet."""
    return slice(sheet * EACH, min(images, (sheet + 1) * EACH))


def sheet(pixels: np.ndarray) -> Image.Image:
    """Images (n, C, H, W) uint8, n ≤ 1,024, in 32 columns and no larger than the hover card needs."""
    image, (height, width) = contact_sheet(pixels, COLUMNS), pixels.shape[2:]
    if max(height, width) <= MOST_SIDE:
        return image
    rows = -(-len(pixels) // COLUMNS)
    return image.resize((COLUMNS * MOST_SIDE, rows * MOST_SIDE), Image.Resampling.BICUBIC)
