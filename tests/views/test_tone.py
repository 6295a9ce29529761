from __future__ import annotations

import pytest
import torch
from torchvision.transforms import functional as reference

from engine.views.tone import autocontrasted, blurred, equalised, hue_matrix, posterised, recolour, sharpened, solarised

LUMA = torch.tensor([0.299, 0.587, 0.114])


def image(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows).view(1, 1, len(rows), -1)


def noise(channels: int = 3, side: int = 32) -> torch.Tensor:
    """(4, C, side, side) of 8-bit levels in 0–1."""
    chance = torch.Generator().manual_seed(0)
    levels = torch.randint(40, 200, (4, channels, side, side), generator=chance)
    return levels.float() / 255


def bytes_of(x: torch.Tensor) -> torch.Tensor:
    return (x * 255).round().to(torch.uint8)


def recoloured(x: torch.Tensor, **changes: float | bool) -> torch.Tensor:
    """x with the same changes for every image."""
    values = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0} | changes
    return recolour(x, **{name: torch.full((len(x),), value) for name, value in values.items()})


def close(found: torch.Tensor, wanted: object, atol: float = 1e-5) -> None:
    wanted = torch.as_tensor(wanted, dtype=torch.float32)
    torch.testing.assert_close(found, wanted.view_as(found), atol=atol, rtol=0)


def test_brightness_is_a_factor_cut_at_white() -> None:
    close(recoloured(image([0.1, 0.4, 0.8]), brightness=1.5), [0.15, 0.6, 1])


def test_contrast_spreads_from_the_mean() -> None:
    close(recoloured(image([0.3, 0.5, 0.7]), contrast=2.0), [0.1, 0.5, 0.9])
    close(recoloured(image([0.3, 0.5, 0.7]), contrast=0.0), [0.5, 0.5, 0.5])


def test_brightness_comes_before_contrast() -> None:
    close(recoloured(image([0.2, 0.6]), brightness=0.5, contrast=2.0), [0.0, 0.4])


def test_grey_of_pure_colours_is_their_luma() -> None:
    x = torch.eye(3).view(3, 3, 1, 1)
    close(recoloured(x, grey=True), LUMA.view(3, 1).expand(3, 3))
    close(recoloured(x, saturation=0.0), LUMA.view(3, 1).expand(3, 3))


def test_each_image_has_its_own_factor() -> None:
    x = torch.full((2, 3, 1, 1), 0.4)
    one = torch.ones(2)
    out = recolour(x, brightness=torch.tensor([0.5, 2]), contrast=one, saturation=one)
    close(out[:, 0].flatten(), [0.2, 0.8])


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
@pytest.mark.parametrize("factor", [0.4, 1.0, 1.7])
def test_a_factor_does_what_torchvision_s_does(name: str, factor: float) -> None:
    adjust = getattr(reference, f"adjust_{name}")
    x = noise()
    wanted = torch.stack([adjust(one, factor) for one in x])
    close(recoloured(x, **{name: factor}), wanted, atol=2e-4)  # its luma of red is 0.2989


def test_a_full_turn_of_hue_changes_nothing() -> None:
    close(recoloured(noise(), hue=1.0), noise(), atol=1e-4)
    close(recoloured(noise(), hue=0.0), noise())


def test_a_turn_of_hue_keeps_the_luma_and_moves_the_colour() -> None:
    x = torch.tensor([0.6, 0.5, 0.4]).view(1, 3, 1, 1)
    for turns in (0.1, 0.25, -0.4):
        out = recoloured(x, hue=turns)
        assert (out - x).abs().max() > 0.05
        close((out.flatten() @ LUMA), x.flatten() @ LUMA)


def test_three_thirds_of_a_turn_of_hue_are_a_full_one() -> None:
    third = hue_matrix(torch.tensor([1 / 3]))[0]
    assert (third @ torch.tensor([1.0, 0, 0])).argmax() != 0
    close(third @ third @ third, torch.eye(3), atol=1e-4)


def test_blur_keeps_a_constant_image_and_the_mass_of_a_point() -> None:
    close(blurred(torch.full((2, 3, 20, 9), 0.3), torch.tensor([0.5, 2])), torch.full((2, 3, 20, 9), 0.3))
    point = torch.zeros(1, 1, 45, 45)
    point[0, 0, 22, 22] = 1
    out = blurred(point, torch.tensor([1.0]))
    assert out.sum().item() == pytest.approx(1, abs=1e-5)
    assert out[0, 0, 22, 22] < 0.2
    close(out, out.transpose(2, 3))
    close(out, out.flip(3))


def test_blur_with_sigma_0_keeps_an_image_beside_one_that_is_blurred() -> None:
    x = noise()[:2]
    out = blurred(x, torch.tensor([0.0, 1.5]))
    close(out[0], x[0])
    assert (out[1] - x[1]).abs().max() > 0.05


def test_blur_is_torchvision_s_away_from_the_edge() -> None:
    x = noise(side=40)
    wanted = reference.gaussian_blur(x, [5, 5], [0.8, 0.8])
    close(blurred(x, torch.full((4,), 0.8))[..., 2:-2, 2:-2], wanted[..., 2:-2, 2:-2])


def test_sharpness_goes_from_the_blur_through_the_image_and_beyond() -> None:
    x = noise()
    close(sharpened(x, torch.ones(4)), x)
    soft = sharpened(x, torch.zeros(4))
    close(soft, blurred(x, torch.ones(4)))
    close(sharpened(x, torch.full((4,), 1.5)), (1.5 * x - 0.5 * soft).clamp(0, 1))


def test_autocontrast_stretches_each_channel_to_black_and_white() -> None:
    close(autocontrasted(image([0.25, 0.5, 0.75])), [0, 0.5, 1])
    x = torch.tensor([[0.2, 0.4], [0.5, 1.0], [0.3, 0.3]]).view(1, 3, 1, 2)
    close(autocontrasted(x), [[0, 1], [0, 1], [0.3, 0.3]])


def test_a_flat_channel_stays_flat_even_with_the_rounding_of_a_warp() -> None:
    close(autocontrasted(image([0.5, 0.5 + 1e-7, 0.5 - 1e-7])), [0.5, 0.5, 0.5])


def test_autocontrast_is_torchvision_s() -> None:
    wanted = reference.autocontrast(bytes_of(noise())).float() / 255
    close(autocontrasted(noise()), wanted, atol=1.01 / 255)


def test_equalise_gives_every_level_its_share() -> None:
    close(equalised(image([0.1, 0.1, 0.2, 0.9])), [0, 0, 0.5, 1])
    close(equalised(image([0.2, 0.2, 0.3, 0.3])), [0, 0, 1, 1])
    close(equalised(image([0.4, 0.4, 0.4])), [0.4, 0.4, 0.4])


def test_equalise_is_torchvision_s_but_for_its_whole_steps() -> None:
    x = noise(side=128) ** 2
    wanted = reference.equalize(bytes_of(x)).float() / 255
    close(equalised(x), wanted, atol=6 / 255)


def test_posterise_cuts_the_lowest_bits() -> None:
    x = image([0b10110111 / 255, 0b00001111 / 255, 1, 0])
    close(posterised(x, torch.tensor([4.0])) * 255, [0b10110000, 0, 0b11110000, 0], atol=1e-3)
    close(posterised(x, torch.tensor([1.0])) * 255, [0b10000000, 0, 0b10000000, 0], atol=1e-3)


def test_posterise_does_not_fall_a_level_for_the_rounding_of_a_warp() -> None:
    x = torch.arange(256).view(1, 1, 16, 16) / 255
    for wobble in (-1e-6, 0, 1e-6):
        close(posterised((x + wobble).clamp(0, 1), torch.tensor([8.0])), x)


@pytest.mark.parametrize("bits", [1, 4, 7, 8])
def test_posterise_is_torchvision_s(bits: int) -> None:
    wanted = reference.posterize(bytes_of(noise()), bits)
    assert torch.equal(bytes_of(posterised(noise(), torch.full((4,), float(bits)))), wanted)


def test_solarise_inverts_what_is_above_the_threshold() -> None:
    close(solarised(image([0.2, 0.5, 0.6, 1]), torch.tensor([0.5])), [0.2, 0.5, 0.4, 0])


@pytest.mark.parametrize("level", [1, 100, 200])
def test_solarise_is_torchvision_s(level: int) -> None:
    # torchvision also inverts values equal to the threshold: half a level lower, both agree.
    wanted = reference.solarize(bytes_of(noise()), level)
    found = solarised(noise(), torch.full((4,), (level - 0.5) / 255))
    assert torch.equal(bytes_of(found), wanted)
