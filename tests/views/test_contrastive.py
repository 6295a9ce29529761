from __future__ import annotations

import pytest
import torch

from engine.config import ContrastiveViews
from engine.presets import GLYPH_VIEWS
from engine.views import contrastive_view

NOTHING: dict[str, float] = {
    "crop": 1,
    "flip": 0,
    "jitter": 0,
    "brightness": 0,
    "contrast": 0,
    "saturation": 0,
    "hue": 0,
    "grey": 0,
    "blur": 0,
}


def view(x: torch.Tensor, **changes: float) -> torch.Tensor:
    """A view with only `changes` enabled."""
    settings = ContrastiveViews(**(NOTHING | changes))
    return contrastive_view(x, settings, torch.Generator().manual_seed(0))


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize(
    "changes",
    [
        {"crop": 0.3},
        {"rotation": 20},
        {"zoom": 0.4},
        {"shift": 0.2},
        {"shear": 0.3},
        {"flip": 1},
        {"jitter": 1, "brightness": 0.4},
        {"jitter": 1, "contrast": 0.4},
        {"jitter": 1, "saturation": 0.4},
        {"jitter": 1, "hue": 0.1},
        {"grey": 1},
        {"blur": 1},
        {"gamma": 0.5},
        {"noise": 0.2},
    ],
    ids=lambda changes: [*changes][-1],
)
def test_each_setting_alone_changes_nearly_every_image(changes: dict[str, float]) -> None:
    x = noise(20, 3, 24, 24)
    change = (view(x, **changes) - x).abs().amax((1, 2, 3))
    assert (change > 1e-3).sum() >= 18  # a factor drawn near 1 shows little


@pytest.mark.parametrize(("size", "half"), [((8, 12), (4, 6)), ((9, 5), (4, 2)), ((1, 1), (1, 1))], ids=str)
def test_a_shrunken_view_has_half_the_side(size: tuple[int, int], half: tuple[int, int]) -> None:
    settings, chance = GLYPH_VIEWS.contrastive, torch.Generator().manual_seed(0)
    out = contrastive_view(noise(5, 1, *size), settings, chance, shrink=2)
    assert out.shape == (5, 1, *half)


def test_a_shrunken_view_of_one_colour_is_of_that_colour() -> None:
    settings = ContrastiveViews(**(NOTHING | {"crop": 0.2, "flip": 0.5, "rotation": 30}))
    x = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).expand(6, 3, 8, 8)
    out = contrastive_view(x, settings, torch.Generator().manual_seed(0), shrink=2)
    torch.testing.assert_close(out, x[..., :4, :4])


def test_colours_change_only_in_the_images_that_jitter_chose() -> None:
    x = noise(1, 3, 8, 8).expand(400, -1, -1, -1)
    change = (view(x, jitter=0.25, brightness=0.5) - x).abs().amax((1, 2, 3))
    assert 70 < (change > 1e-4).sum() < 130


def test_brightness_stays_within_its_limit() -> None:
    x = torch.full((500, 3, 4, 4), 0.5)
    factors = view(x, jitter=1, brightness=0.4)[:, 0, 0, 0] / 0.5
    assert 0.6 - 1e-5 <= factors.min() < 0.62
    assert 1.38 < factors.max() <= 1.4 + 1e-5


def test_gamma_stays_within_its_limit_and_keeps_black_and_white() -> None:
    x = torch.tensor([0, 0.5, 1]).view(1, 1, 1, 3).repeat(500, 1, 1, 1)
    out = view(x, gamma=1)[:, 0, 0]
    torch.testing.assert_close(
        out[:, [0, 2]], torch.tensor([[0.0, 1]]).expand(500, 2), atol=1e-3, rtol=0
    )  # a root amplifies the rounding of the sampling
    assert 0.25 - 1e-5 <= out[:, 1].min() < 0.27
    assert 0.68 < out[:, 1].max() <= 0.5**0.5 + 1e-5


def test_noise_stays_within_its_limit() -> None:
    deviation = view(torch.full((300, 1, 16, 16), 0.5), noise=0.1).std((1, 2, 3))
    assert deviation.min() < 0.01
    assert 0.09 < deviation.max() < 0.12


def test_a_crop_of_an_image_shows_nothing_from_outside() -> None:
    """In an image that is half black and half white, every crop contains only the two."""
    x = torch.zeros(100, 1, 16, 16)
    x[..., 8:] = 1
    columns = view(x, crop=0.1)[:, 0].mean(1)
    assert (columns.diff(dim=1) >= -1e-5).all()
    assert (columns[:, 0] > 0.99).any()
    assert (columns[:, -1] < 0.01).any()


def test_a_grey_image_has_one_channel_s_worth_of_colour() -> None:
    out = view(noise(10, 3, 8, 8), grey=1)
    torch.testing.assert_close(out[:, 0], out[:, 1])
    torch.testing.assert_close(out[:, 0], out[:, 2])
