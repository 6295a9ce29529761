from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from engine.config import StrongViews
from engine.views import strong_view
from engine.views.chance import uniform
from engine.views.strong import _heavy_tones, cut_out
from engine.views.tone import autocontrasted, equalised, posterised, solarised


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(9))


def test_cutout_fills_one_small_rectangle_with_the_image_s_mean(chance: torch.Generator) -> None:
    x = noise(200, 3, 12, 20)
    out = cut_out(x, 0.5, chance)
    changed = (out != x).any(1)
    for before, after, inside in zip(x, out, changed, strict=True):
        rows, columns = inside.any(1), inside.any(0)
        assert torch.equal(inside, rows[:, None] & columns)
        assert max(rows.sum(), columns.sum()) <= math.ceil(0.5 * 12)
        mean = before.mean((1, 2))[:, None].expand(3, int(inside.sum()))
        torch.testing.assert_close(after[:, inside], mean)
    sides = changed.any(1).sum(1)
    assert sides.min() < 3
    assert sides.max() >= 5
    assert changed.any(0).all()  # every place is hit


def test_cutout_of_a_whole_side_never_leaves_the_image(chance: torch.Generator) -> None:
    assert torch.equal(cut_out(torch.ones(50, 1, 8, 8), 1, chance), torch.ones(50, 1, 8, 8))


@pytest.mark.parametrize(("tones", "operations"), [("light", 9), ("all", 14)])
def test_one_operation_in_so_many_is_to_leave_the_image(tones: Any, operations: int, chance: torch.Generator) -> None:
    x = noise(1, 3, 16, 16).expand(1400, -1, -1, -1)
    settings = StrongViews(flip=0, operations=1, cutout=0, tones=tones)
    change = (strong_view(x, settings, chance) - x).abs().amax((1, 2, 3))
    untouched = int((change < 1e-4).sum())
    assert 0.7 < untouched * operations / 1400 < 1.35


def test_more_operations_leave_fewer_images_untouched(chance: torch.Generator) -> None:
    x = noise(1, 3, 16, 16).expand(500, -1, -1, -1)
    changes = [
        (strong_view(x, StrongViews(flip=0, operations=n, cutout=0), chance) - x).abs().mean() for n in (0, 1, 4, 16)
    ]
    assert changes[0] < 1e-5
    assert changes == sorted(changes)


def test_light_tones_keep_the_order_of_brightness(chance: torch.Generator) -> None:
    """Solarising would reverse it and posterising would make steps; light operations do neither."""
    settings = StrongViews(flip=0, operations=16, rotation=0, shear=0, shift=0, cutout=0, tones="light")
    ramp = torch.linspace(0, 1, 16).expand(300, 1, 16, 16)
    assert (strong_view(ramp, settings, chance).diff(dim=3) >= -1e-5).all()


def test_all_tones_do_solarise(chance: torch.Generator) -> None:
    settings = StrongViews(flip=0, operations=4, rotation=0, shear=0, shift=0, cutout=0)
    ramp = torch.linspace(0, 1, 16).expand(300, 1, 16, 16)
    falling = (strong_view(ramp, settings, chance).diff(dim=3) < -0.1).flatten(1).any(1)
    assert 20 < falling.sum() < 150


def test_a_shift_stays_within_its_share_of_the_side(chance: torch.Generator) -> None:
    """Light operations can dim a point but not move it; only the shift does."""
    x = torch.zeros(600, 1, 21, 21)
    x[:, :, 10, 10] = 1
    settings = StrongViews(flip=0, operations=4, rotation=0, shear=0, shift=0.2, cutout=0, tones="light")
    peak = strong_view(x, settings, chance).flatten(1).argmax(1)
    far = torch.stack((peak // 21 - 10, peak % 21 - 10)).abs()
    assert far.max() == 4


def test_all_operations_drawn_for_an_image_act_one_after_the_other(chance: torch.Generator) -> None:
    x = noise(2, 3, 8, 8)
    names = ("autocontrast", "equalise", "posterise", "solarise")
    drawn = {name: torch.tensor([True, False]) for name in names}
    state = chance.get_state()
    out = _heavy_tones(x, drawn, chance)
    chance.set_state(state)
    bits, threshold = uniform(x, 4, 8, chance), uniform(x, 0.3, 1, chance)
    by_hand = solarised(posterised(equalised(autocontrasted(x)), bits), threshold)
    torch.testing.assert_close(out[0], by_hand[0])
    assert torch.equal(out[1], x[1])
