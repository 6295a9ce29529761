"""Random numbers for views: one or more for each image of a batch, on its device."""

from __future__ import annotations

import torch


def uniform(like: torch.Tensor, low: float, high: float, generator: torch.Generator, columns: int = 0) -> torch.Tensor:
    """(M,) or, with `columns`, (M, columns) numbers in low–high for the M images of `like`."""
    shape = (len(like), columns) if columns else (len(like),)
    return torch.rand(shape, generator=generator, device=like.device) * (high - low) + low


def chosen(like: torch.Tensor, probability: float, generator: torch.Generator) -> torch.Tensor:
    """(M,) bool: true with `probability` for each image of `like`."""
    return uniform(like, 0, 1, generator) < probability
