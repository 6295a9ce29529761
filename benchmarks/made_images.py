"""The images of a synthetic run: which clusters each image resembles, its pixels, and its truth."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engine.config import RunConfig
from engine.data.images import ImageSet
from engine.data.truth import Truth
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.sources.open_source import Opened

BLOCK = 8192  # images to generate at a time
UNEQUAL = 0.3  # the largest class may be so much larger than usual, the smallest so much smaller
OUTLIERS, MISTAKES = 0.01, 0.02  # shares of images that resemble no cluster, and of wrong truth


@dataclass(frozen=True, eq=False)
class Kinds:
    """What each of N images looks like.

    Attributes:
        main, other: (N,) int64, its cluster, and another that it resembles a little.
        mix: (N,) float32, how much it resembles the other: 0 to 0.5, small for most.
        outlier: (N,) bool, whether it resembles no cluster.
    """

    main: np.ndarray
    other: np.ndarray
    mix: np.ndarray
    outlier: np.ndarray


def kinds_of(images: int, centres: np.ndarray, rng: np.random.Generator, unequal: float = UNEQUAL) -> Kinds:
    """Draws clusters of uneven size, by up to `unequal` (below 1) of the usual one; each image leans towards one of the
    two clusters most similar to its own."""
    clusters = len(centres)
    share = rng.uniform(1 - unequal, 1 + unequal, clusters)
    main = rng.choice(clusters, images, p=share / share.sum())
    alike = centres @ centres.T - 2 * np.eye(clusters, dtype=np.float32)
    rivals = np.argsort(-alike, axis=1)[:, : min(2, clusters - 1)]
    other = rivals[main, rng.integers(rivals.shape[1], size=images)]
    mix = (0.5 * rng.random(images, np.float32) ** 3).astype(np.float32)
    return Kinds(main, other, mix, rng.random(images) < OUTLIERS)


def inputs(
    target: Path, kinds: Kinds, config: RunConfig, images: Opened, truth: bool, rng: np.random.Generator
) -> RunFolder:
    """Creates a hidden run folder next to `target`, with these images and, if asked for, their truth."""
    count, clusters = len(kinds.main), config.clusters
    found = None
    if truth:
        wrong = rng.random(count) < MISTAKES
        labels = np.where(wrong, rng.integers(clusters, size=count), kinds.main)
        found = Truth(labels, tuple(f"kind {number}" for number in range(clusters)))
    opened = replace(images, truth=found)
    return create_run(target.with_name(f".{target.name}-{os.getpid()}"), opened, config)


def drawn(kinds: Kinds, clusters: int, size: int, channels: int, rng: np.random.Generator) -> Opened:
    """An image for each of `kinds`, `size` pixels wide and high."""
    count = len(kinds.main)
    pixels = _pixels(kinds, clusters, size, channels, rng)
    ids = tuple(f"image-{number:07d}.png" for number in range(count))
    return Opened(ImageSet(pixels, ids, f"made:{count}"))


def _pixels(kinds: Kinds, clusters: int, size: int, channels: int, rng: np.random.Generator) -> np.ndarray:
    """(N, C, size, size) uint8: a shape in the colour of its cluster, placed randomly on a gradient."""
    out = np.empty((len(kinds.main), channels, size, size), np.uint8)
    grid = np.linspace(-1, 1, size, dtype=np.float32)
    for rows in blocks(len(out)):
        main, other, mix = kinds.main[rows], kinds.other[rows], kinds.mix[rows, None]
        centre = rng.uniform(-0.35, 0.35, (2, len(main), 1, 1)).astype(np.float32)
        across, down = grid[None, None, :] - centre[0], grid[None, :, None] - centre[1]
        inside = _shape(main % 5, across, down)[:, None]
        angle = (2 * np.pi * main / clusters).astype(np.float32)[:, None, None]
        slope = 0.5 + 0.25 * (np.cos(angle) * grid[None, None, :] + np.sin(angle) * grid[None, :, None])
        colours = ((1 - mix) * _colour(main) + mix * _colour(other))[:, :, None, None]
        picture = inside * colours + (1 - inside) * (0.55 * slope[:, None] * (1.3 - colours))
        picture = picture.mean(1, keepdims=True) if channels == 1 else picture
        picture[kinds.outlier[rows]] *= 0.3
        picture += 0.06 * normal(rng, *picture.shape)
        out[rows] = (255 * picture).clip(0, 255)
    return out


def _shape(kind: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """(M, size, size) float32: 1 inside a disc, square, diamond, ring or cross."""
    x, y = np.broadcast_arrays(np.abs(across), np.abs(down))
    circle, most = np.hypot(x, y), np.maximum(x, y)
    shapes = (
        circle < 0.5,
        most < 0.42,
        x + y < 0.6,
        (circle > 0.3) & (circle < 0.55),
        (np.minimum(x, y) < 0.16) & (most < 0.55),
    )
    return np.choose(kind[:, None, None], shapes).astype(np.float32)


def _colour(kind: np.ndarray) -> np.ndarray:
    """(M, 3) float32 in 0–1: hues separated by the golden angle."""
    hue = 2 * np.pi * (0.618 * kind[:, None] + np.arange(3) / 3)
    return (0.55 + 0.42 * np.cos(hue)).astype(np.float32)


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def blocks(count: int) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK))
