"""Crops, rotations, shears, shifts and mirror images, combined in one affine map that is sampled once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F

from engine.views.chance import chosen, uniform


@dataclass(frozen=True)
class Placement:
    """The region of the input that each of M output images shows, in units of half a side (−1 to 1).

    Each attribute is (M,) float32: the extent of the window looked at (1 is all), its centre, the
    angle in radians and the shears.
    """

    width: torch.Tensor
    height: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor
    angle: torch.Tensor
    shear_x: torch.Tensor
    shear_y: torch.Tensor

    def matrix(self) -> torch.Tensor:
        """(M, 2, 3): from output to input coordinates, as `affine_grid` wants it."""
        cos, sin = self.angle.cos(), self.angle.sin()
        row_x = (self.width * (cos - self.shear_x * sin), self.height * (self.shear_x * cos - sin))
        row_y = (self.width * (sin + self.shear_y * cos), self.height * (cos - self.shear_y * sin))
        return torch.stack((*row_x, self.x, *row_y, self.y), dim=1).view(-1, 2, 3)


def warp(
    x: torch.Tensor, placement: Placement, shrink: int = 1, edge: Literal["repeat", "black"] = "repeat"
) -> torch.Tensor:
    """x seen through `placement`, bilinear; beyond its edge it is black, or its outermost pixels are repeated.

    The result's sides are those of x divided by `shrink`.
    """
    height, width = x.shape[-2:]
    matrix = placement.matrix().to(x.dtype)
    # Half a side is not the same length along both axes of an image that is not square.
    matrix[:, 0, 1] *= height / width
    matrix[:, 1, 0] *= width / height
    height, width = max(1, height // shrink), max(1, width // shrink)
    beyond = "zeros" if edge == "black" else "border"
    return F.grid_sample(x, _grid(matrix, height, width), padding_mode=beyond, align_corners=False)


def _grid(matrix: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(M, H, W, 2): `F.affine_grid`, but a sum along two axes instead of a product a pixel."""
    across, down = ((torch.arange(size, device=matrix.device) * 2 + 1) / size - 1 for size in (width, height))
    by_column = across.view(1, 1, -1, 1) * matrix[:, None, None, :, 0]
    by_row = down.view(1, -1, 1, 1) * matrix[:, None, None, :, 1] + matrix[:, None, None, :, 2]
    return by_column + by_row


def mirrored(x: torch.Tensor, probability: float, generator: torch.Generator) -> torch.Tensor:
    """(M,) float: −1 for an image to be mirrored, else 1."""
    return 1 - 2 * chosen(x, probability, generator).to(x.dtype)


def crop_window(
    x: torch.Tensor, least: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Width, height and centre of a random crop of `least`–1 of the area, each (M,), in −1–1.

    The aspect ratio is log-uniform in 3/4–4/3 as in the paper's crops; a side that would leave the
    image is cut to it.
    """
    ratio = math.log(4 / 3) if least < 1 else 0.0
    area = uniform(x, least, 1, generator)
    aspect = uniform(x, -ratio, ratio, generator).exp()
    width = (area * aspect).sqrt().clamp(max=1)
    height = (area / aspect).sqrt().clamp(max=1)
    centre = uniform(x, -1, 1, generator, columns=2)
    return width, height, centre[:, 0] * (1 - width), centre[:, 1] * (1 - height)


def moves(x: torch.Tensor, right: int, down: int, generator: torch.Generator) -> torch.Tensor:
    """(M, 2) int64: whole pixels to the right and down, each up to as many, in both directions alike."""
    drawn = [(uniform(x, -1, 1, generator) * (most + 0.5)).round().clamp(-most, most) for most in (right, down)]
    return torch.stack(drawn, 1).long()


def shifted(
    x: torch.Tensor, pixels: torch.Tensor, edge: Literal["mirror", "repeat", "black"] = "mirror"
) -> torch.Tensor:
    """x moved by whole `pixels` ((M, 2) int64: right, down); what enters is the image mirrored at its edge, its
    outermost pixels repeated, or black."""
    height, width = x.shape[-2:]
    columns = torch.arange(width, device=x.device) - pixels[:, :1]
    rows = torch.arange(height, device=x.device) - pixels[:, 1:]
    inside = _held(columns, width, edge), _held(rows, height, edge)
    flat = (inside[1][:, :, None] * width + inside[0][:, None, :]).view(len(x), 1, -1)
    moved = x.flatten(2).gather(2, flat.expand(-1, x.shape[1], -1)).view_as(x)
    if edge != "black":
        return moved
    seen = (rows == inside[1])[:, :, None] & (columns == inside[0])[:, None, :]
    return moved * seen[:, None]


def _held(places: torch.Tensor, size: int, edge: str) -> torch.Tensor:
    """Places outside 0..size-1 brought back: folded at the edges, or to the edge itself."""
    return _reflected(places, size) if edge == "mirror" else places.clamp(0, size - 1)


def _reflected(places: torch.Tensor, size: int) -> torch.Tensor:
    """Places outside 0..size-1 folded back at the edges (…2 1 0 1 2…)."""
    if size == 1:
        return torch.zeros_like(places)
    period = 2 * size - 2
    places = places.remainder(period)
    return torch.minimum(places, period - places)
