"""The weak view: a mirror image and a small shift, which barely change the picture."""

from __future__ import annotations

import torch

from engine.config import WeakViews
from engine.views.chance import uniform
from engine.views.geometry import mirrored, shifted


def weak_view(x: torch.Tensor, settings: WeakViews, generator: torch.Generator) -> torch.Tensor:
    """Each image mirrored or not and moved by whole pixels; what enters mirrors the edge.

    Source: FixMatch (arXiv 2001.07685), section 2.3, which the paper's section III follows.
    """
    reach = [round(settings.shift * side) for side in (x.shape[3], x.shape[2])]
    moves = [(uniform(x, -1, 1, generator) * (most + 0.5)).round().clamp(-most, most) for most in reach]
    x = shifted(x, torch.stack(moves, 1).long())
    if settings.flip:
        turned = mirrored(x, settings.flip, generator).view(-1, 1, 1, 1) < 0
        x = torch.where(turned, x.flip(3), x)
    return x
