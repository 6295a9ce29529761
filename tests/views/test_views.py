"""Properties of all three kinds of views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from engine.config import ContrastiveViews, StrongViews, ViewSettings, WeakViews
from engine.presets import GLYPH_VIEWS
from engine.views import contrastive_view, strong_view, weak_view

View = Callable[[torch.Tensor, torch.Generator], torch.Tensor]

VIEWS: dict[str, Callable[..., torch.Tensor]] = {
    "contrastive": contrastive_view,
    "weak": weak_view,
    "strong": strong_view,
}
NOTHING = {
    "contrastive": ContrastiveViews(crop=1, flip=0, jitter=0, grey=0, blur=0),
    "weak": WeakViews(flip=0, shift=0),
    "strong": StrongViews(flip=0, operations=0, cutout=0),
}


@pytest.fixture(params=VIEWS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["photographs", "glyphs"])
def view(kind: str, request: pytest.FixtureRequest) -> View:
    """Every kind of view, with the settings for grey and for colour images."""
    settings = ViewSettings() if request.param == "photographs" else GLYPH_VIEWS
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
}


@pytest.mark.parametrize("flip", [0, 1])
def test_flip_says_whether_left_and_right_change_places(kind: str, flip: int) -> None:
    """A ramp from dark to bright keeps its direction under everything except a flip."""
    ramp = torch.linspace(0.2, 0.8, 16).expand(200, 3, 16, 16)
    out = VIEWS[kind](ramp, FLIPPABLE[kind](flip), seeded(0))
    rises = out[..., 8:].mean((1, 2, 3)) - out[..., :8].mean((1, 2, 3))
    assert ((rises < 0) if flip else (rises > 0)).all()
