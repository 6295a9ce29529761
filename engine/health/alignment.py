"""Lays pairs of small pictures on top of each other, and measures how much then still differs.

A map (2, 3) takes a point (x, y, 1) of the second picture of a pair to the point of the first that shows the
same; points are counted from the middle, in sides of the picture.
"""

from __future__ import annotations

import math

import numpy as np

from engine.health.measures import LUMA

# Levels (of 255) at which light or dark is cut off: what was beyond cannot be known.
DARKEST, LIGHTEST = 2, 253
# The gain that brightening or another contrast may have.
GAINS = (0.4, 2.5)
# How far one step of the alignment may go: beyond, the gradient says nothing.
STEP = 0.06
# So much of the identity keeps apart what a picture cannot tell apart.
DAMPING = 1e-3
# Of a picture's blocks, the share that may differ more: edges that the alignment has not met. But no single one may
# differ by more than this many times as much, nor in its mean colour: that is another print on the same shirt.
SPARED, SPARED_TIMES = 0.1, 1.5
BLOCKS = 8
# Levels of noise, JPEG's above all, that are no difference.
NOISE = 6.0
# By so much of its contrast the mean of a block changes where the alignment is not exact.
MEAN_SHARE = 0.3
# Blocks whose points lie outside the other picture by more than half say nothing.
BLOCK_SHOWN = 0.5


def start_maps(count: int) -> np.ndarray:
    """(count, 2, 3) float32: maps of pictures that lie exactly on each other."""
    return np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1))


# Changes of a map, in the order of its entries: any affine one, and those of size and place alone.
AFFINE = np.eye(6, dtype=np.float32)
SIZE_AND_PLACE = np.array([[1, 0, 0, 0, 1, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1]], np.float32)


def aligned(
    first: np.ndarray, second: np.ndarray, maps: np.ndarray, steps: int, changes: np.ndarray = AFFINE
) -> np.ndarray:
    """The maps (P, 2, 3) after some steps of Gauss and Newton towards the best.

    Args:
        first, second: (P, 3, S, S) float32, levels from 0 to 255.
        maps: (P, 2, 3) to start from; what they miss by must be small in pixels.
        changes: (f, 6), what may change.

    Brightness and contrast are solved for as well (Lucas and Kanade, 1981; Baker and Matthews, 2004).
    """
    luma, wanted = (np.tensordot(one, LUMA, (1, 0)) for one in (first, second))
    side = luma.shape[-1]
    down, right = np.gradient(luma, axis=(1, 2))
    slopes = np.stack([luma, side * right, side * down], 1)
    x, y = _points(side)[:2]
    wanted = wanted.reshape(len(wanted), side * side)
    for _ in range(steps):
        seen, inside = sampled(slopes, maps)
        level, over, under = seen[:, 0], seen[:, 1], seen[:, 2]
        entries = np.stack([over * x, over * y, over, under * x, under * y, under], 1)
        lit = np.stack([-wanted, -np.ones_like(wanted)], 1)
        rows = np.concatenate([changes @ entries, lit], 1) * inside[:, None]
        change = _solved(rows, level)[:, : len(changes)] @ changes
        maps = maps + np.clip(change.reshape(-1, 2, 3), -STEP, STEP)
    return maps


def _solved(rows: np.ndarray, level: np.ndarray) -> np.ndarray:
    """(P, f) float32: what solves rows (P, f, n) · it = −level (P, n) best."""
    normal = rows @ rows.transpose(0, 2, 1)
    size = np.sqrt(np.maximum(np.einsum("pii->pi", normal), 1e-6))
    normal = normal / (size[:, :, None] * size[:, None]) + DAMPING * np.eye(rows.shape[1], dtype=np.float32)
    right = (rows @ level[:, :, None]) / size[:, :, None]
    return np.asarray(-np.linalg.solve(normal, right)[..., 0] / size, np.float32)


def sampled(pictures: np.ndarray, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (P, C, S, S) as the second ones of their pairs would see them, by bilinear interpolation.

    Returns:
        (P, C, S·S) float32, and (P, S·S) bool: which points lie inside the picture.
    """
    count, channels, side, _ = pictures.shape
    at = maps @ _points(side)
    inside = (np.abs(at) <= 0.5).all(1)
    at = np.clip((at + 0.5) * side - 0.5, 0, side - 1.001)
    whole = at.astype(np.int32)
    right, down = (at - whole).transpose(1, 0, 2)
    corner = whole[:, 1] * side + whole[:, 0] + side * side * np.arange(count, dtype=np.int32)[:, None]
    seen = np.empty((channels, count, side * side), np.float32)
    for channel in range(channels):
        levels = np.ascontiguousarray(pictures[:, channel], np.float32).ravel()
        a, b, c, d = (levels.take(corner + step) for step in (0, 1, side, side + 1))
        above, below = a + (b - a) * right, c + (d - c) * right
        seen[channel] = above + (below - above) * down
    return seen.transpose(1, 0, 2), inside


def _points(side: int) -> np.ndarray:
    """(3, side²) float32: x, y and 1 of a picture's pixels."""
    steps = ((np.arange(side) + 0.5) / side - 0.5).astype(np.float32)
    return np.stack([np.tile(steps, side), np.repeat(steps, side), np.ones(side * side, np.float32)])


def shared(maps: np.ndarray, side: int) -> np.ndarray:
    """(P, 2) float32: the share of the first picture, and of the second, that both of a pair show."""
    inside = (np.abs(maps @ _points(side)) <= 0.5).all(1).mean(1)
    return np.stack([inside * np.abs(np.linalg.det(maps[:, :, :2])), inside], 1).astype(np.float32)


def difference(
    first: np.ndarray, second: np.ndarray, maps: np.ndarray, *, blocks: int = BLOCKS, noise: float | np.ndarray = NOISE
) -> np.ndarray:
    """(P,) float32: how much pairs of pictures (P, 3, S, S) differ that `maps` (P, 2, 3) lay on each other.

    The error that is left after brightness, contrast and tint are fitted is compared, block by block, with the
    contrast that both have there. The value is that of the worst block but for a tenth of them, which may have half as
    much again: 0 is nothing; parts of different things have about 1.4, flat ones of different colours much more.
    `noise` is that of each pair (P,), or of all.
    """
    seen, inside = sampled(first, maps)
    wanted = second.reshape(seen.shape)
    fitted, gain = _fitted(seen, wanted, inside)
    error = np.clip(fitted, 0, 255) - wanted
    error = np.where(seen >= LIGHTEST, np.maximum(error, 0), np.where(seen <= DARKEST, np.minimum(error, 0), error))
    shown = _means(inside[:, None].astype(np.float32), blocks)[:, 0]

    def means(values: np.ndarray) -> np.ndarray:
        return _means(values * inside[:, None], blocks) / np.maximum(shown, 1e-6)[:, None]

    def contrast(values: np.ndarray) -> np.ndarray:
        return np.maximum(means(values**2) - means(values) ** 2, 0).mean(1)

    # A paler picture has paler errors, too: noise counts as in the middle between the two.
    both, noise = np.sqrt(contrast(fitted) * contrast(wanted)), (noise * np.sqrt(gain))[:, None]
    apart = np.sqrt(means(error**2).mean(1) / (both + noise**2))
    tinted = np.sqrt((means(error) ** 2).mean(1)) / (MEAN_SHARE * np.sqrt(both) + noise)
    counted = shown >= BLOCK_SHOWN
    apart, tinted = (np.sort(np.where(counted, one, -np.inf), axis=1)[:, ::-1] for one in (apart, tinted))
    usual = np.take_along_axis(apart, (SPARED * counted.sum(1)).astype(np.int64)[:, None], 1)[:, 0]
    found = np.maximum(usual, np.maximum(apart[:, 0], tinted[:, 0]) / SPARED_TIMES)
    return np.where(counted.any(1), found, np.inf).astype(np.float32)


def _fitted(seen: np.ndarray, wanted: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first pictures (P, 3, n) with one gain, and the offset of each channel, as the second have them.

    Levels at the ends do not count, since they may have been cut off. Where nearly all are, nothing is fitted.
    """
    middle = [(one > DARKEST) & (one < LIGHTEST) for one in (seen, wanted)]
    counted = (inside[:, None] & middle[0] & middle[1]).astype(np.float32)
    many = counted.sum(2)
    whole = np.maximum(many, 1)
    means = [(one * counted).sum(2) / whole for one in (seen, wanted)]
    own, other = (
        np.sqrt((((one - mean[:, :, None]) * counted) ** 2).sum((1, 2)))
        for one, mean in zip((seen, wanted), means, strict=True)
    )
    enough = many.min(1) >= 0.05 * inside.shape[1]
    gain = np.where(enough, np.clip(other / np.maximum(own, 1e-6), *GAINS), 1).astype(np.float32)
    offset = np.where(enough[:, None], means[1] - gain[:, None] * means[0], 0)
    return gain[:, None, None] * seen + offset[:, :, None], gain


def _means(values: np.ndarray, blocks: int) -> np.ndarray:
    """(P, C, blocks²): the mean of each block of pictures (P, C, S·S)."""
    count, channels, points = values.shape
    side = math.isqrt(points)
    each = side // blocks
    return values.reshape(count, channels, blocks, each, blocks, each).mean((3, 5)).reshape(count, channels, blocks**2)


def halved(pictures: np.ndarray) -> np.ndarray:
    """Pictures (P, C, S, S) at half their side."""
    count, channels, side, _ = pictures.shape
    return pictures.reshape(count, channels, side // 2, 2, side // 2, 2).mean((3, 5))
