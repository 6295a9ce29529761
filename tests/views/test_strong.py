from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from engine.config import JointViews, StrongViews
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
    out = _heavy_tones(x, StrongViews(), drawn, chance)
    chance.set_state(state)
    bits, threshold = uniform(x, 4, 8, chance), uniform(x, 0.3, 1, chance)
    by_hand = solarised(posterised(equalised(autocontrasted(x)), bits), threshold)
    torch.testing.assert_close(out[0], by_hand[0])
    assert torch.equal(out[1], x[1])


# Nothing but light tones, all of them drawn for nearly every image.
TONES = StrongViews(flip=0, operations=16, rotation=0, shear=0, shift=0, cutout=0, tones="light")


def extremes(settings: StrongViews, chance: torch.Generator) -> tuple[float, float]:
    """Darkest and brightest of 2,000 views of a flat grey image."""
    grey = strong_view(torch.full((2000, 3, 4, 4), 0.5), settings, chance)
    return float(grey.min()), float(grey.max())


def test_factors_below_one_only_darken_and_those_of_both_sides_do_both(chance: torch.Generator) -> None:
    darker = replace(TONES, lowest_factor=0.05, highest_factor=0.95)
    darkest, lightest = extremes(darker, chance)
    assert lightest <= 0.5 + 1e-6
    assert 0.025 <= darkest < 0.03
    darkest, lightest = extremes(TONES, chance)
    assert 0.05 <= darkest < 0.06
    assert 0.94 < lightest <= 0.95 + 1e-6


def test_factors_below_one_never_sharpen_nor_raise_contrast(chance: torch.Generator) -> None:
    x = torch.zeros(500, 1, 9, 9)
    x[..., 4:] = 0.8
    darker = replace(TONES, lowest_factor=0.05, highest_factor=0.95)
    for settings, rises in ((darker, False), (TONES, True)):
        out = strong_view(x, settings, chance)
        steepest = (out[..., 1:] - out[..., :-1]).amax((1, 2, 3))
        assert bool((steepest > 0.8 + 1e-6).any()) is rises


@pytest.mark.parametrize(("least", "inverted"), [(0.3, False), (0.0, True)])
def test_solarising_spares_what_is_below_its_lowest_threshold(
    least: float, inverted: bool, chance: torch.Generator
) -> None:
    x = torch.full((3000, 1, 4, 4), 0.2)
    still = replace(TONES, lowest_factor=1, highest_factor=1)
    settings = replace(still, tones="all", operations=4, solarise=least)
    assert bool((strong_view(x, settings, chance) > 0.5).any()) is inverted


def test_beyond_the_edge_is_black_or_the_edge_again(chance: torch.Generator) -> None:
    white = torch.ones(300, 3, 12, 12)
    moved = StrongViews(operations=16, cutout=0, tones="light", lowest_factor=1, highest_factor=1)
    assert torch.equal(strong_view(white, moved, chance).round(), white)
    black = strong_view(white, replace(moved, edge="black"), chance)
    assert ((black == 0).flatten(1).any(1)).float().mean() > 0.9
    assert black[:, :, 6, 6].mean() > 0.99


@pytest.mark.parametrize("side", [32, 96, 224])
def test_a_padded_crop_comes_last_and_moves_by_as_many_pixels_at_any_size(side: int, chance: torch.Generator) -> None:
    settings = JointViews(flip=0, operations=0, cutout=0, padding=4, edge="black")
    out = strong_view(torch.ones(150, 1, side, side), settings, chance)
    left, right = ((out == 0).all(2).flatten(1)[:, half].sum(1) for half in (slice(side // 2), slice(side // 2, None)))
    assert set((left - right).tolist()) == set(range(-4, 5))
    assert torch.equal(torch.minimum(left, right), torch.zeros_like(left))
    # What was blanked before is moved as well: a square that covers all leaves a flat image with black margins.
    whole = strong_view(torch.rand(20, 1, 8, 8, generator=chance), replace(settings, cutout=1), chance)
    assert ((whole == 0).all(2) | (whole == 0).all(3)).any()


def test_a_padded_crop_repeats_the_edge_where_views_do(chance: torch.Generator) -> None:
    settings = JointViews(flip=0, operations=0, cutout=0, padding=4)
    ramp = torch.arange(9.0).expand(200, 1, 9, 9) / 8
    out = strong_view(ramp, settings, chance)
    for view in out:
        move = int((view[0, 4, 4] * 8).round()) - 4
        expected = (torch.arange(9) + move).clamp(0, 8) / 8
        torch.testing.assert_close(view[0], expected.expand(9, 9))
