"""The weak view: a mirror image and a small shift, which barely change the picture."""

from __future__ import annotations

import torch

from engine.config import WeakViews
from engine.views.geometry import mirrored, moves, shifted


def weak_view(x: torch.Tensor, settings: WeakViews, generator: torch.Generator) -> torch.Tensor:
    """Each image mirrored or not and moved by whole pixels; `settings.edge` says what enters.

    Source: FixMatch (arXiv 2001.07685), section 2.3, which the paper's section III follows.
    """
    right, down = (round(settings.shift * side) + settings.padding for side in (x.shape[3], x.shape[2]))
    x = shifted(x, moves(x, right, down, generator), settings.edge)
    if settings.flip:
        turned = mirrored(x, settings.flip, generator).view(-1, 1, 1, 1) < 0
        x = torch.where(turned, x.flip(3), x)
    return x
