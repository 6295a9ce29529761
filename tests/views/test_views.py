"""Properties of all three kinds of views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from engine.config import ContrastiveViews, JointViews, StrongViews, ViewSettings, WeakViews
from engine.presets import GLYPH_VIEWS, PAPER, preset
from engine.views import contrastive_view, strong_view, weak_view

View = Callable[[torch.Tensor, torch.Generator], torch.Tensor]

VIEWS: dict[str, Callable[..., torch.Tensor]] = {
    "contrastive": contrastive_view,
    "weak": weak_view,
    "strong": strong_view,
    "joint": strong_view,
}
NOTHING = {
    "contrastive": ContrastiveViews(crop=1, flip=0, jitter=0, grey=0, blur=0),
    "weak": WeakViews(flip=0, shift=0),
    "strong": StrongViews(flip=0, operations=0, cutout=0),
    "joint": JointViews(flip=0, operations=0, cutout=0, edge="black"),
}


@pytest.fixture(params=VIEWS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


SETTINGS = {"photographs": ViewSettings(), "glyphs": GLYPH_VIEWS, "the paper's": PAPER.views}


@pytest.fixture(params=SETTINGS)
def view(kind: str, request: pytest.FixtureRequest) -> View:
    """Every kind of view, with the settings for grey and for colour images."""
    settings = SETTINGS[request.param]
    return lambda x, chance: VIEWS[kind](x, getattr(settings, kind), chance)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=seeded(9))


@pytest.mark.parametrize("shape", [(16, 1, 8, 8), (16, 3, 32, 32), (16, 3, 12, 20), (16, 1, 9, 5)])
def test_shape_type_and_range_stay(view: View, shape: tuple[int, ...]) -> None:
    x = noise(*shape)
    x[:, :, ::2] = x[:, :, ::2].round()  # also black and white, where clipping shows
    out = view(x, seeded(0))
    assert out.shape == x.shape
    assert out.dtype == torch.float32
    assert out.isfinite().all()
    assert out.min() >= -1e-5
    assert out.max() <= 1 + 1e-5


def test_what_was_given_is_not_changed(view: View) -> None:
    x = noise(8, 3, 16, 16)
    before = x.clone()
    view(x, seeded(0))
    assert torch.equal(x, before)


def test_the_same_seed_gives_the_same_view_and_another_seed_another(view: View) -> None:
    x = noise(8, 3, 16, 16)
    assert torch.equal(view(x, seeded(1)), view(x, seeded(1)))
    assert not torch.equal(view(x, seeded(1)), view(x, seeded(2)))


def test_torch_s_own_generator_is_left_alone(view: View) -> None:
    torch.manual_seed(3)
    view(noise(4, 3, 16, 16), seeded(0))
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(1))


def test_copies_of_an_image_get_views_of_their_own(view: View) -> None:
    out = view(noise(1, 3, 32, 32).expand(12, -1, -1, -1), seeded(0))
    different = {tuple(one.flatten().tolist()) for one in out}
    assert len(different) >= 6  # a small shift has only 25 outcomes


def test_an_image_s_view_does_not_depend_on_its_company(view: View) -> None:
    x, other = noise(6, 3, 16, 16), noise(6, 3, 16, 16)
    other[1:] = 1 - other[1:]
    torch.testing.assert_close(view(x, seeded(0))[0], view(other, seeded(0))[0])


@pytest.mark.parametrize("shape", [(6, 1, 8, 8), (6, 3, 15, 10)])
def test_settings_of_nothing_change_nothing(kind: str, shape: tuple[int, ...]) -> None:
    x = noise(*shape)
    out = VIEWS[kind](x, NOTHING[kind], seeded(0))
    torch.testing.assert_close(out, x, atol=1e-5, rtol=0)


FLIPPABLE: dict[str, Callable[[int], Any]] = {
    "contrastive": lambda flip: ContrastiveViews(flip=flip, crop=0.5),
    "weak": lambda flip: WeakViews(flip=flip, shift=0.2),
    "strong": lambda flip: StrongViews(flip=flip, tones="light", cutout=0.2),
    "joint": lambda flip: JointViews(flip=flip, tones="light", cutout=0.2, padding=2),
}


@pytest.mark.parametrize("flip", [0, 1])
def test_flip_says_whether_left_and_right_change_places(kind: str, flip: int) -> None:
    """A ramp from dark to bright keeps its direction under everything except a flip."""
    ramp = torch.linspace(0.2, 0.8, 16).expand(200, 3, 16, 16)
    out = VIEWS[kind](ramp, FLIPPABLE[kind](flip), seeded(0))
    rises = out[..., 8:].mean((1, 2, 3)) - out[..., :8].mean((1, 2, 3))
    assert ((rises < 0) if flip else (rises > 0)).all()


# As they were when stages 2 and 3 had the same strong views, without a choice of tones, edges and padding: of 12 views
# the mean product with a ramp.
RECORDED = {
    ("weak", 3): [-0.0081, -0.1165, -0.0036, 0.0664, -0.0809, -0.014, -0.1136, 0.108, 0.0015, -0.006, -0.0816, -0.0272],
    ("weak", 1): [
        -1.5791,
        -1.3727,
        -1.3631,
        -1.3206,
        -1.2433,
        -1.3686,
        -1.4447,
        -1.2971,
        -1.6492,
        -1.7153,
        -1.4642,
        -1.2039,
    ],
    ("strong", 3): [
        -0.0039,
        -0.1358,
        0.0174,
        0.1776,
        -0.0323,
        -0.0567,
        -0.0695,
        0.0122,
        -0.0785,
        0.1092,
        -0.0602,
        0.0121,
    ],
    ("strong", 1): [
        -1.9619,
        -1.4586,
        -1.3529,
        -1.7863,
        -1.2955,
        -1.3864,
        -1.4536,
        -0.7106,
        -1.0662,
        -1.7277,
        -1.4879,
        -1.0586,
    ],
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["quick", "fast", "shapes", "photos"])
def test_presets_of_our_own_have_the_views_that_were_recorded_in_both_stages(name: str, channels: int) -> None:
    views, x = preset(name, channels=channels).views, noise(12, 3, 4, 4)[:, :channels]
    ramp = torch.linspace(-4, 4, 48).view(3, 4, 4)[:channels]
    stages = {"weak": weak_view(x, views.weak, seeded(0)), "strong": strong_view(x, views.strong, seeded(0))}
    for kind, view in stages.items():
        found = (view * ramp).mean((1, 2, 3))
        torch.testing.assert_close(found, torch.tensor(RECORDED[kind, channels]), atol=2e-3, rtol=0)
    assert torch.equal(strong_view(x, views.joint, seeded(0)), stages["strong"])
