"""The strong view: several random operations, a blanked square (Cutout) and a small shift."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from engine.config import StrongViews
from engine.views.chance import uniform
from engine.views.geometry import Placement, mirrored, moves, shifted, warp
from engine.views.tone import autocontrasted, equalised, posterised, recolour, sharpened, solarised

GEOMETRY = ("rotate", "shear_x", "shear_y", "shift_x", "shift_y")
LIGHT = ("identity", "brightness", "contrast", "sharpness")
HEAVY = ("saturation", "autocontrast", "equalise", "posterise", "solarise")


def strong_view(x: torch.Tensor, settings: StrongViews, generator: torch.Generator) -> torch.Tensor:
    """`settings.operations` operations drawn for each image, a mirror image or not, Cutout, and a shift by whole
    pixels (a random crop after padding).

    Source: the paper's section IV-B (RandAugment's list, arXiv 1909.13719). Operations drawn for an
    image act in a fixed order, so that the geometric ones are a single resampling of the batch; an
    operation drawn twice acts once. The mirror image is part of that resampling too: since all operations turn, shear
    and shift to both sides alike, views are as likely as if it came last, as the authors have it in stage 3.
    """
    drawn = _draw(x, settings, generator)
    x = warp(x, _placement(x, settings, drawn, generator), edge=settings.edge)
    x = _light_tones(x, settings, drawn, generator)
    if settings.tones == "all" and settings.operations:
        x = _heavy_tones(x, settings, drawn, generator)
    if settings.cutout:
        x = cut_out(x, settings.cutout, generator)
    if settings.padding:
        x = shifted(x, moves(x, settings.padding, settings.padding, generator), settings.edge)
    return x


def _draw(x: torch.Tensor, settings: StrongViews, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """For each operation (M,) bool: was it drawn for the image?"""
    names = GEOMETRY + LIGHT + (HEAVY if settings.tones == "all" else ())
    count = max(1, settings.operations)
    picks = torch.randint(len(names), (len(x), count), generator=generator, device=x.device)
    hit = torch.zeros(len(x), len(names), dtype=torch.bool, device=x.device)
    hit.scatter_(1, picks, settings.operations > 0)
    return dict(zip(names, hit.unbind(1), strict=True))


def _placement(
    x: torch.Tensor, settings: StrongViews, drawn: dict[str, torch.Tensor], generator: torch.Generator
) -> Placement:
    def amount(name: str, most: float) -> torch.Tensor:
        return drawn[name] * uniform(x, -most, most, generator)

    one = torch.ones(len(x), device=x.device)
    return Placement(
        width=mirrored(x, settings.flip, generator),
        height=one,
        x=amount("shift_x", 2 * settings.shift),
        y=amount("shift_y", 2 * settings.shift),
        angle=amount("rotate", math.radians(settings.rotation)),
        shear_x=amount("shear_x", settings.shear),
        shear_y=amount("shear_y", settings.shear),
    )


def _light_tones(
    x: torch.Tensor, settings: StrongViews, drawn: dict[str, torch.Tensor], generator: torch.Generator
) -> torch.Tensor:
    def factor(name: str) -> torch.Tensor:
        return 1 + drawn[name] * uniform(x, settings.lowest_factor - 1, settings.highest_factor - 1, generator)

    if settings.operations == 0:
        return x
    saturation = factor("saturation") if "saturation" in drawn else torch.ones_like(x[:, 0, 0, 0])
    x = recolour(x, brightness=factor("brightness"), contrast=factor("contrast"), saturation=saturation)
    return sharpened(x, factor("sharpness"))


def _heavy_tones(
    x: torch.Tensor, settings: StrongViews, drawn: dict[str, torch.Tensor], generator: torch.Generator
) -> torch.Tensor:
    bits = uniform(x, 4, 8, generator)
    threshold = uniform(x, settings.solarise, 1, generator)
    operations: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "autocontrast": autocontrasted,
        "equalise": equalised,
        "posterise": lambda y: posterised(y, bits),
        "solarise": lambda y: solarised(y, threshold),
    }
    for name, operation in operations.items():
        x = torch.where(drawn[name].view(-1, 1, 1, 1), operation(x), x)
    return x


def cut_out(x: torch.Tensor, most: float, generator: torch.Generator) -> torch.Tensor:
    """A square of up to `most` of the side, at a random place, filled with the image's mean."""
    height, width = x.shape[-2:]
    half = uniform(x, 0, most, generator) * min(height, width) / 2
    centre = uniform(x, 0, 1, generator, columns=2)
    rows = torch.arange(height, device=x.device) + 0.5 - centre[:, :1] * height
    columns = torch.arange(width, device=x.device) + 0.5 - centre[:, 1:] * width
    inside = (rows.abs() < half[:, None])[:, :, None] & (columns.abs() < half[:, None])[:, None, :]
    return torch.where(inside[:, None], x.mean((2, 3), keepdim=True), x)
