"""The contrastive view: two of them teach the encoder what stays the same when an image changes (stage 1)."""

from __future__ import annotations

import math

import torch

from engine.config import ContrastiveViews
from engine.views.chance import chosen, uniform
from engine.views.geometry import Placement, crop_window, mirrored, warp
from engine.views.tone import blurred, recolour


def contrastive_view(
    x: torch.Tensor, settings: ContrastiveViews, generator: torch.Generator, *, shrink: int = 1
) -> torch.Tensor:
    """A random crop, turn, mirror image, change of colour, blur and noise of each image.

    `shrink`: the view's sides are those of the image divided by it.

    Source: the paper's section III-A takes MoCo v2's list (arXiv 2003.04297); turns, zoom, shear,
    gamma and noise are ours, for glyphs, and off for photographs.
    """
    x = warp(x, _placement(x, settings, generator), shrink)
    if settings.jitter or settings.grey:
        x = _recoloured(x, settings, generator)
    if settings.gamma:
        limit = math.log1p(settings.gamma)
        x = x.pow(uniform(x, -limit, limit, generator).exp().view(-1, 1, 1, 1))
    if settings.blur:
        sigma = uniform(x, 0.1, 2, generator) * chosen(x, settings.blur, generator)
        x = blurred(x, sigma)
    if settings.noise:
        spread = uniform(x, 0, settings.noise, generator).view(-1, 1, 1, 1)
        x = x + spread * torch.randn(x.shape, generator=generator, device=x.device)
        x = x.clamp_(0, 1)
    return x


def _placement(x: torch.Tensor, settings: ContrastiveViews, generator: torch.Generator) -> Placement:
    width, height, centre_x, centre_y = crop_window(x, settings.crop, generator)
    zoom = math.log1p(settings.zoom)
    scale = uniform(x, -zoom, zoom, generator, columns=2).exp()
    shift = uniform(x, -2 * settings.shift, 2 * settings.shift, generator, columns=2)
    shear = uniform(x, -settings.shear, settings.shear, generator, columns=2)
    turn = math.radians(settings.rotation)
    return Placement(
        width=width * scale[:, 0] * mirrored(x, settings.flip, generator),
        height=height * scale[:, 1],
        x=centre_x + shift[:, 0],
        y=centre_y + shift[:, 1],
        angle=uniform(x, -turn, turn, generator),
        shear_x=shear[:, 0],
        shear_y=shear[:, 1],
    )


def _recoloured(x: torch.Tensor, settings: ContrastiveViews, generator: torch.Generator) -> torch.Tensor:
    changed = chosen(x, settings.jitter, generator).to(x.dtype)

    def factor(most: float) -> torch.Tensor:
        return 1 + changed * uniform(x, -most, most, generator)

    return recolour(
        x,
        brightness=factor(settings.brightness),
        contrast=factor(settings.contrast),
        saturation=factor(settings.saturation),
        hue=factor(settings.hue) - 1,
        grey=chosen(x, settings.grey, generator),
    )
