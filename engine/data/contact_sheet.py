"""Many images in one picture."""

from __future__ import annotations

import numpy as np
from PIL import Image


def contact_sheet(pixels: np.ndarray, columns: int) -> Image.Image:
    """Draws images ((n, C, H, W) uint8, n ≥ 1) row by row, unscaled; the rest of the last row is black."""
    count, channels, height, width = pixels.shape
    rows = -(-count // columns)
    board = np.zeros((rows * columns, channels, height, width), np.uint8)
    board[:count] = pixels
    board = board.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    flat = board.reshape(rows * height, columns * width, channels)
    return Image.fromarray(flat[..., 0] if channels == 1 else flat)
