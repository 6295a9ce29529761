from __future__ import annotations

from typing import get_args

import pytest
import torch

from engine.config import Preset, WeakViews
from engine.presets import preset
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


@pytest.mark.parametrize("name", ["paper", *(one for one in get_args(Preset) if one.startswith("paper-"))])
@pytest.mark.parametrize("side", [32, 64, 96, 224])
def test_the_paper_s_images_move_by_4_pixels_at_every_size_and_black_enters(
    name: str, side: int, chance: torch.Generator
) -> None:
    settings = preset(name, channels=3).views.weak
    assert settings.flip == 0.5
    out = weak_view(torch.ones(150, 1, side, side), settings, chance)
    for axis in (2, 3):
        black = (out == 0).all(axis).flatten(1)
        first, last = black[:, : side // 2].sum(1), black[:, side // 2 :].sum(1)
        assert set((first - last).tolist()) == set(range(-4, 5))
        assert torch.equal(torch.minimum(first, last), torch.zeros_like(first))


def test_padding_adds_to_the_share_of_the_side(chance: torch.Generator) -> None:
    _, _, rows, columns = weak_view(point(9, 21), WeakViews(flip=0, shift=0.2, padding=1), chance).nonzero(
        as_tuple=True
    )
    assert set((rows - 4).tolist()) == set(range(-3, 4))
    assert set((columns - 10).tolist()) == set(range(-5, 6))


def test_by_default_what_enters_is_a_mirror_of_the_edge(chance: torch.Generator) -> None:
    x = torch.arange(1, 9.0).expand(100, 1, 8, 8) / 8
    out = weak_view(x, WeakViews(flip=0, shift=0.25), chance)
    for view in out[:, 0, 0]:
        move = int((view[4] * 8).round()) - 5
        places = (torch.arange(8) + move).abs()
        torch.testing.assert_close(view, (1 + torch.minimum(places, 14 - places)) / 8)
