"""Layouts of windows against those of images that were really cut, and the pairs that they propose."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from engine.health.candidates import WHOLE, candidates, layouts, starts, tiny_pictures, windows_of
from engine.health.measures import measured

COUNT, SIDE = 120, 40


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(COUNT, 3, SIDE, SIDE))
    soft = gaussian_filter(noise, (0, 0, 4, 4))
    return (128 + 40 * soft / soft.std()).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def low(pixels: np.ndarray) -> np.ndarray:
    return measured(pixels).low


def test_there_are_so_many_windows_and_all_lie_inside() -> None:
    windows = windows_of(0.8, 3)
    assert len(set(windows)) == 9
    assert {round(top, 3) for top, _, _ in windows} == {0, 0.1, 0.2}
    assert windows_of(0.86, 2)[-1] == pytest.approx((0.14, 0.14, 0.86))


def test_the_layout_of_a_window_is_that_of_the_image_cut_from_it(pixels: np.ndarray, low: np.ndarray) -> None:
    cut = measured(np.ascontiguousarray(pixels[:, :, 4:36, 8:40])).low
    there = layouts(low, (0.1, 0.2, 0.8))
    assert (there * layouts(cut, WHOLE)).sum(2).min() > 0.9
    assert (layouts(low, WHOLE) * layouts(cut, WHOLE)).sum(2).mean() < 0.8


@pytest.mark.parametrize("channels", [1, 3])
def test_the_layout_in_a_mirror_is_that_of_the_mirrored_image(channels: int, pixels: np.ndarray) -> None:
    pixels = pixels[:, :channels]
    turned = measured(np.ascontiguousarray(pixels[..., ::-1])).low
    there = layouts(measured(pixels).low, WHOLE, mirrored=True)
    assert there == pytest.approx(layouts(turned, WHOLE), abs=1e-4)


def test_layouts_know_no_brightness_and_no_contrast() -> None:
    pixels = np.random.default_rng(3).integers(0, 100, (4, 3, 16, 16), dtype=np.uint8)
    lit = layouts(measured(2 * pixels + 40).low, WHOLE)
    assert layouts(measured(pixels).low, WHOLE) == pytest.approx(lit, abs=1e-4)


def test_tiny_pictures_are_the_picture_without_its_details(pixels: np.ndarray, low: np.ndarray) -> None:
    tiny = tiny_pictures(low, 20)
    blocks = pixels.reshape(COUNT, 3, 20, 2, 20, 2).mean((3, 5))
    assert np.abs(tiny - blocks).mean() < 8  # their contrast is 40
    assert tiny.mean((2, 3)) == pytest.approx(pixels.mean((2, 3)), abs=0.1)


def test_copies_meet_what_they_were_made_from(pixels: np.ndarray) -> None:
    cut = np.repeat(np.repeat(pixels[:5, :, 2:34, 4:36], 5, 2), 5, 3)[:, :, 2::4, 2::4]  # to 40 pixels again
    every = np.concatenate([pixels, cut, pixels[5:10, :, :, ::-1]])
    found = candidates(measured(every).low, np.arange(len(every)))
    assert found is not None
    pairs = {
        (int(min(pair)), int(max(pair))): bool(mirrored)
        for pair, mirrored in zip(found.pairs, found.mirrored, strict=True)
    }
    for copy in range(5):
        assert pairs[copy, COUNT + copy] is False
        assert pairs[5 + copy, COUNT + 5 + copy] is True
    assert len(pairs) == len(found)
    assert len(found) < 3 * len(every)


def test_only_the_images_asked_for_are_paired(low: np.ndarray) -> None:
    every = np.concatenate([low, low])
    found = candidates(every, np.array([3, 7, COUNT + 7]))
    assert found is not None
    assert [sorted(pair) for pair in found.pairs.tolist()] == [[7, COUNT + 7]]


def test_pairs_begin_in_their_best_direction_window_and_mirror(pixels: np.ndarray) -> None:
    cut = np.repeat(np.repeat(pixels[:1, :, 8:40, 8:40], 5, 2), 5, 3)[:, :, 2::4, 2::4]
    low = measured(np.concatenate([cut, pixels, pixels[2:3, :, :, ::-1]])).low
    found = starts(low, np.array([[0, 1], [COUNT + 1, 3], [3, COUNT + 1], [4, 5]]))
    order = np.argsort(found.pairs.min(1))
    assert [sorted(pair) for pair in found.pairs[order].tolist()] == [[0, 1], [3, COUNT + 1], [4, 5]]
    assert found.pairs[order][0].tolist() == [1, 0]  # the second is cut from the first
    assert found.maps[order][0] == pytest.approx(np.array([[0.82, 0, 0.09], [0, 0.82, 0.09]]))
    assert found.mirrored[order][:2].tolist() == [False, True]


def test_a_search_can_be_stopped(low: np.ndarray) -> None:
    assert candidates(low, np.arange(COUNT), stop=lambda: True) is None


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_images_have_few_pairs(count: int, low: np.ndarray) -> None:
    found = candidates(low, np.arange(count))
    assert found is not None
    assert len(found) == 0
