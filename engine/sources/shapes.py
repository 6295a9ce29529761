"""Drawn shapes on cluttered backgrounds: a built-in set with misleading colours.

The class of an image is its shape. The colour is chosen independently, from as many colours as there are
classes, and is more salient: features that encode colour cluster by colour, and features that have learned
to ignore it cluster by shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

IMAGES, SIDE = 960, 32
CLASSES = ("ring", "triangle", "bar", "cross")
COLOURS = ("orange", "violet", "blue", "green")
BLOCK = 1000  # images drawn at a time, to limit memory
FINE = 2  # a pixel is the mean of FINE × FINE points
DIRECTIONS = 720  # number of directions in which outlines are tabulated
HOLE = 0.62  # the hole of a ring, as a share of its radius
DOTS = 4  # ellipses in the background of an image
GRAIN = 0.05  # standard deviation of the noise (white is 1)
# Hues lie on a circle round grey, with equal luma, so that brightness does not give the colour away.
_TO_YIQ = np.array(((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)))
_FROM_YIQ = np.linalg.inv(_TO_YIQ)


@dataclass(frozen=True, eq=False)
class Shapes:
    """N drawn images with their shapes and colours.

    Attributes:
        pixels: (N, 3, 32, 32) uint8, RGB.
        ids: N distinct names.
        classes: (N,) int64, indices into `CLASSES`.
        colours: (N,) uint16, indices into `COLOURS`, independent of the class.
    """

    pixels: np.ndarray
    ids: tuple[str, ...]
    classes: np.ndarray
    colours: np.ndarray


def shapes(seed: int = 0, images: int = IMAGES) -> Shapes:
    """Draws `images` pictures, the same for the same `seed`. Every pair of class and colour occurs equally
    often, give or take one."""
    chance = np.random.default_rng(seed)
    number = chance.permutation(images)
    classes, colours = number % len(CLASSES), number // len(CLASSES) % len(COLOURS)
    pixels = np.empty((images, 3, SIDE, SIDE), np.uint8)
    for start in range(0, images, BLOCK):
        part = slice(start, start + BLOCK)
        pixels[part] = _picture(classes[part], colours[part], chance)
    ids = tuple(f"shape-{index:04d}" for index in range(images))
    return Shapes(pixels, ids, classes, colours.astype(np.uint16))


def _picture(classes: np.ndarray, colours: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """(M, 3, 32, 32) uint8: one shape per image, of the given class in the given colour (each (M,))."""
    draw = _Draw(chance, len(classes))
    fine = draw.background()
    for _ in range(DOTS):
        paint = _paint(draw.number(0, 1), draw.number(0.2, 0.8), 0.25)
        fine = np.where(draw.dot()[:, None], paint, fine)
    hue = colours[:, None, None] / len(COLOURS) + draw.number(-0.03, 0.03)
    paint = _paint(hue, draw.number(0.57, 0.63), 0.28)
    fine = np.where(draw.shape(classes)[:, None], paint, fine)
    pixels = fine.reshape(len(classes), 3, SIDE, FINE, SIDE, FINE).mean((3, 5))
    pixels += GRAIN * chance.standard_normal(pixels.shape, np.float32)
    return (pixels * 255).round().clip(0, 255).astype(np.uint8)


class _Draw:
    """Draws random parts of M images on a fine grid whose axes, right and down, go from −½ to ½."""

    def __init__(self, chance: np.random.Generator, images: int) -> None:
        self.chance, self.images = chance, images
        axis = ((np.arange(SIDE * FINE) + 0.5) / (SIDE * FINE) - 0.5).astype(np.float32)
        self.x, self.y = axis[None, None, :], axis[None, :, None]

    def number(self, low: float, high: float) -> np.ndarray:
        """(M, 1, 1) float32, uniform."""
        return self.chance.uniform(low, high, (self.images, 1, 1)).astype(np.float32)

    def background(self) -> np.ndarray:
        """(M, 3, h, w) float32: dark and slightly tinted, with a gradient and waves."""
        angle, waves = self.number(0, math.pi), self.number(1, 6)
        along = np.cos(angle) * self.x + np.sin(angle) * self.y
        wave = np.sin(2 * math.pi * (waves * along + self.number(0, 1)))
        slope = self.number(-0.05, 0.05) * self.x + self.number(-0.05, 0.05) * self.y
        light = self.number(0.25, 0.35) + slope + self.number(0, 0.05) * wave
        return light[:, None] + _paint(self.number(0, 1), 0, self.number(0, 0.03))

    def dot(self) -> np.ndarray:
        """(M, h, w) bool: an ellipse with random position and rotation, up to three times as long as wide."""
        x, y = self.x - self.number(-0.5, 0.5), self.y - self.number(-0.5, 0.5)
        radius, longer, angle = self.number(0.04, 0.1), self.number(1, 3), self.number(0, math.pi)
        along = (np.cos(angle) * x + np.sin(angle) * y) / longer
        across = np.cos(angle) * y - np.sin(angle) * x
        return along**2 + across**2 < radius**2

    def shape(self, classes: np.ndarray) -> np.ndarray:
        """(M, h, w) bool: the area of the shape, with random position, size and rotation."""
        x, y = self.x - self.number(-0.12, 0.12), self.y - self.number(-0.12, 0.12)
        turn, size = self.number(-25, 25) / 360, self.number(0.23, 0.32)
        direction = (np.arctan2(y, x) / (2 * math.pi) + turn) * DIRECTIONS
        place = direction.astype(np.int32) % DIRECTIONS
        inner, outer = (radii[classes[:, None, None], place] for radii in _radii())
        distance = np.sqrt(x**2 + y**2) / size
        return (distance >= inner) & (distance < outer)


def _paint(hue: np.ndarray, luma: np.ndarray | float, chroma: np.ndarray | float) -> np.ndarray:
    """(M, 3, 1, 1) float32: RGB of hues (in turns), luma and chroma, each (M, 1, 1) or a number."""
    turn = 2 * math.pi * hue
    yiq = np.broadcast_arrays(luma, chroma * np.cos(turn), chroma * np.sin(turn))
    return (np.stack(yiq, -1) @ _FROM_YIQ.T).reshape(-1, 3, 1, 1).astype(np.float32)


def _radii() -> tuple[np.ndarray, np.ndarray]:
    """Inner and outer radius of each shape in every direction from its centre, two (classes, DIRECTIONS)
    float32. All shapes have the area of a circle of radius 1, so that size does not give the class away."""
    width, arm = 0.22, 0.36
    triangle = ((0, -1), (math.sqrt(3) / 2, 0.5), (-math.sqrt(3) / 2, 0.5))
    bar = ((-width, -1), (width, -1), (width, 1), (-width, 1))
    corner = ((arm, -1), (arm, -arm), (1, -arm))
    quarters = ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))
    cross = [(a * x + b * y, c * x + d * y) for a, b, c, d in quarters for x, y in corner]
    outlines = {
        "ring": np.ones(DIRECTIONS),
        "triangle": _outline(triangle),
        "bar": _outline(bar),
        "cross": _outline(cross),
    }
    outer = np.stack([outlines[name] for name in CLASSES])
    inner = outer * [[HOLE if name == "ring" else 0] for name in CLASSES]
    size = np.sqrt((outer**2 - inner**2).mean(1, keepdims=True))
    return (inner / size).astype(np.float32), (outer / size).astype(np.float32)


def _outline(corners: object) -> np.ndarray:
    """(DIRECTIONS,) distance from the centre to the edge of the polygon with these corners.

    Its whole edge must be visible from the centre: then each ray crosses one side.
    """
    start = np.asarray(corners, float)[:, :, None]
    side = np.roll(start, -1, 0) - start
    turn = 2 * math.pi * np.arange(DIRECTIONS) / DIRECTIONS
    x, y = np.cos(turn), np.sin(turn)
    # distance · (x, y) = start + share · side
    with np.errstate(divide="ignore", invalid="ignore"):
        slant = x * side[:, 1] - y * side[:, 0]
        distance = (start[:, 0] * side[:, 1] - start[:, 1] * side[:, 0]) / slant
        share = (start[:, 0] * y - start[:, 1] * x) / slant
    hit = (distance > 0) & (share >= -1e-9) & (share <= 1 + 1e-9)
    return np.where(hit, distance, np.inf).min(0)
