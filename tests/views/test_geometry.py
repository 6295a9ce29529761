from __future__ import annotations

import math

import torch

from engine.views.geometry import Placement, crop_window, mirrored, shifted, warp

NUMBERS = torch.arange(16.0).view(1, 1, 4, 4)


def placed(**changes: float) -> Placement:
    """One whole image, except for `changes`."""
    values = {"width": 1, "height": 1, "x": 0, "y": 0, "angle": 0, "shear_x": 0, "shear_y": 0}
    return Placement(**{name: torch.tensor([float(v)]) for name, v in (values | changes).items()})


def close(found: torch.Tensor, wanted: object) -> None:
    wanted = torch.as_tensor(wanted, dtype=torch.float32).view_as(found)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_the_whole_image_is_the_image() -> None:
    close(warp(NUMBERS, placed()), NUMBERS)


def test_a_negative_width_is_a_mirror_image() -> None:
    close(warp(NUMBERS, placed(width=-1)), NUMBERS.flip(3))


def test_a_quarter_turn() -> None:
    x = torch.tensor([[1.0, 2], [3, 4]]).view(1, 1, 2, 2)
    close(warp(x, placed(angle=math.pi / 2)), [[2, 4], [1, 3]])
    close(warp(x, placed(angle=-math.pi / 2)), [[3, 1], [4, 2]])
    close(warp(NUMBERS, placed(angle=math.pi)), NUMBERS.flip(2, 3))


def test_a_quarter_turn_keeps_lengths_in_an_image_that_is_not_square() -> None:
    lying, upright = torch.zeros(1, 1, 5, 9), torch.zeros(1, 1, 5, 9)
    lying[0, 0, 2, 3:6] = 1
    upright[0, 0, 1:4, 4] = 1
    close(warp(lying, placed(angle=math.pi / 2)), upright)


def test_a_window_moved_by_a_pixel_repeats_the_edge() -> None:
    close(warp(NUMBERS, placed(x=2 / 4))[0, 0, 0], [1, 2, 3, 3])
    close(warp(NUMBERS, placed(y=-2 / 4))[0, 0, :, 0], [0, 0, 4, 8])


def test_half_the_side_shows_the_mean_of_every_four_pixels() -> None:
    close(warp(NUMBERS, placed(), shrink=2), [[2.5, 4.5], [10.5, 12.5]])
    close(warp(NUMBERS, placed(width=-1), shrink=2), [[4.5, 2.5], [12.5, 10.5]])


def test_a_shear_moves_rows_against_each_other() -> None:
    x = torch.tensor([[0.0, 1, 2]] * 3).view(1, 1, 3, 3)
    close(warp(x, placed(shear_x=1)), [[0, 0, 1], [0, 1, 2], [1, 2, 2]])
    close(warp(x.transpose(2, 3), placed(shear_y=1)), [[0, 0, 1], [0, 1, 2], [1, 2, 2]])


def test_a_window_of_a_quarter_shows_only_that_quarter() -> None:
    x = torch.zeros(1, 1, 8, 8)
    x[0, 0, :4, 4:] = 1
    close(warp(x, placed(width=0.5, height=0.5, x=0.5, y=-0.5))[0, 0, 1:7, 1:7], torch.ones(36))


def test_a_random_crop_lies_inside_the_image_and_keeps_its_share(chance: torch.Generator) -> None:
    width, height, x, y = crop_window(torch.empty(2000, 1, 1, 1), 0.2, chance)
    assert (x.abs() + width <= 1 + 1e-6).all()
    assert (y.abs() + height <= 1 + 1e-6).all()
    uncut = (width < 1) & (height < 1)
    area, aspect = (width * height)[uncut], (width / height)[uncut]
    assert 0.2 - 1e-6 <= area.min() < 0.22
    assert 0.75 - 1e-6 <= aspect.min() < 0.77
    assert 1.3 < aspect.max() <= 4 / 3 + 1e-6
    assert (width * height).max() > 0.95
    assert x.min() < -0.4
    assert x.max() > 0.4


def test_a_crop_that_keeps_all_is_the_whole_image(chance: torch.Generator) -> None:
    width, height, x, y = crop_window(torch.empty(50, 1, 1, 1), 1, chance)
    assert torch.equal(torch.stack((width, height)), torch.ones(2, 50))
    assert torch.stack((x, y)).abs().max() == 0


def test_a_shift_mirrors_what_enters() -> None:
    x = torch.arange(4.0).view(1, 1, 1, 4)
    for pixels, row in {1: [1, 0, 1, 2], -1: [1, 2, 3, 2], 2: [2, 1, 0, 1], 0: [0, 1, 2, 3]}.items():
        close(shifted(x, torch.tensor([[pixels, 0]])), row)
        close(shifted(x.transpose(2, 3), torch.tensor([[0, pixels]])), row)


def test_every_image_is_shifted_on_its_own_and_all_channels_together() -> None:
    x = torch.arange(2 * 3 * 9.0).view(2, 3, 3, 3)
    out = shifted(x, torch.tensor([[1, 0], [0, 0]]))
    close(out[0, :, :, 1:], x[0, :, :, :2])
    close(out[1], x[1])


def test_a_shift_may_be_longer_than_the_image() -> None:
    x = torch.arange(3.0).view(1, 1, 1, 3)
    close(shifted(x, torch.tensor([[4, 7]])), [0, 1, 2])
    close(shifted(x, torch.tensor([[5, 0]])), [1, 0, 1])


def test_a_shift_repeats_the_edge_or_brings_in_black() -> None:
    x = torch.arange(1, 5.0).view(1, 1, 1, 4)
    repeated = {1: [1, 1, 2, 3], -2: [3, 4, 4, 4], 5: [1, 1, 1, 1], 0: [1, 2, 3, 4]}
    black = {1: [0, 1, 2, 3], -2: [3, 4, 0, 0], 5: [0, 0, 0, 0], 0: [1, 2, 3, 4]}
    for pixels in repeated:
        right, down = torch.tensor([[pixels, 0]]), torch.tensor([[0, pixels]])
        close(shifted(x, right, "repeat"), repeated[pixels])
        close(shifted(x, right, "black"), black[pixels])
        close(shifted(x.transpose(2, 3), down, "repeat"), repeated[pixels])
        close(shifted(x.transpose(2, 3), down, "black"), black[pixels])


def test_beyond_the_edge_is_its_last_pixel_or_black() -> None:
    close(warp(NUMBERS, placed(x=2 / 4), edge="repeat")[0, 0, 0], [1, 2, 3, 3])
    close(warp(NUMBERS + 1, placed(x=2 / 4), edge="black")[0, 0, 0], [2, 3, 4, 0])
    close(warp(NUMBERS + 1, placed(), edge="black"), NUMBERS + 1)


def test_mirrored_says_for_each_image(chance: torch.Generator) -> None:
    x = torch.empty(1000, 1, 1, 1)
    assert mirrored(x, 0, chance).eq(1).all()
    assert mirrored(x, 1, chance).eq(-1).all()
    assert 440 < mirrored(x, 0.5, chance).eq(-1).sum() < 560
