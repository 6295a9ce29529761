"""Thumbnails of many images in one picture, 32 × 32 of them."""

from __future__ import annotations

import numpy as np
from PIL import Image

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


def draw(pixels: np.ndarray) -> Image.Image:
    """Images (n, C, H, W) uint8, n ≤ 1,024, row after row in 32 columns."""
    count, channels, height, width = pixels.shape
    rows = -(-count // COLUMNS)
    board = np.zeros((rows * COLUMNS, channels, height, width), np.uint8)
    board[:count] = pixels
    board = board.reshape(rows, COLUMNS, channels, height, width).transpose(0, 3, 1, 4, 2)
    flat = board.reshape(rows * height, COLUMNS * width, channels)
    image = Image.fromarray(flat[..., 0] if channels == 1 else flat)
    if max(height, width) <= MOST_SIDE:
        return image
    return image.resize((COLUMNS * MOST_SIDE, rows * MOST_SIDE), Image.Resampling.BICUBIC)
