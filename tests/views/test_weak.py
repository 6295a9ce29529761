from __future__ import annotations

import torch

from engine.config import WeakViews
from engine.views import weak_view


def point(height: int, width: int) -> torch.Tensor:
    """500 copies of a black image with a white point in the middle."""
    x = torch.zeros(500, 1, height, width)
    x[:, :, height // 2, width // 2] = 1
    return x


def test_an_image_moves_by_whole_pixels_up_to_its_reach(chance: torch.Generator) -> None:
    out = weak_view(point(9, 21), WeakViews(flip=0, shift=0.2), chance)
    assert out.sum((1, 2, 3)).eq(1).all()
    _, _, rows, columns = out.nonzero(as_tuple=True)
    # A fifth of 9 and of 21 pixels, rounded.
    assert set((rows - 4).tolist()) == set(range(-2, 3))
    assert set((columns - 10).tolist()) == set(range(-4, 5))


def test_every_shift_is_as_likely_as_any_other(chance: torch.Generator) -> None:
    _, _, rows, _ = weak_view(point(9, 9), WeakViews(flip=0, shift=0.2), chance).nonzero(as_tuple=True)
    counts = rows.bincount(minlength=9)[2:7]
    assert counts.min() > 70
    assert counts.max() < 130


def test_about_the_asked_share_is_mirrored_and_nothing_else_changes(chance: torch.Generator) -> None:
    x = torch.rand(1, 3, 6, 6, generator=chance).expand(400, -1, -1, -1)
    out = weak_view(x, WeakViews(flip=0.25, shift=0), chance)
    turned = (out == x.flip(3)).flatten(1).all(1)
    assert torch.equal(out[~turned], x[~turned])
    assert 70 < turned.sum() < 130
