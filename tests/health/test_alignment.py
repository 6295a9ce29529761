"""Maps and differences of pictures that were moved, lit and changed by known amounts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from engine.health.alignment import NOISE, SIZE_AND_PLACE, aligned, difference, halved, sampled, shared, start_maps

SIDE = 64


@pytest.fixture
def pictures() -> np.ndarray:
    """(6, 3, 64, 64) soft noise in colour, levels round 128."""
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(6, 3, SIDE, SIDE)), (0, 0, 3, 3))
    return (128 + 40 * noise / noise.std()).clip(10, 245).astype(np.float32)


def moved(maps: np.ndarray, size: float = 1.0, right: float = 0.0, down: float = 0.0) -> np.ndarray:
    maps = maps.copy()
    maps[:, 0, 0] = maps[:, 1, 1] = size
    maps[:, 0, 2], maps[:, 1, 2] = right, down
    return maps


def test_a_map_that_changes_nothing_shows_the_picture_itself(pictures: np.ndarray) -> None:
    seen, inside = sampled(pictures, start_maps(6))
    assert seen.reshape(pictures.shape) == pytest.approx(pictures, abs=0.1)
    assert inside.all()


def test_a_map_to_the_right_shows_what_is_there(pictures: np.ndarray) -> None:
    seen, inside = sampled(pictures, moved(start_maps(6), right=4 / SIDE))
    seen, inside = seen.reshape(pictures.shape), inside.reshape(6, SIDE, SIDE)
    assert seen[..., :-5] == pytest.approx(pictures[..., 4:-1], abs=0.1)
    assert inside[..., :-4].all()
    assert not inside[..., -4:].any()


@pytest.mark.parametrize("changes", [None, SIZE_AND_PLACE], ids=["affine", "size and place"])
def test_the_map_of_a_window_is_found_from_nearby_in_any_light(pictures: np.ndarray, changes: np.ndarray) -> None:
    wanted = moved(start_maps(6), size=0.9, right=0.03, down=-0.02)
    window = 0.6 * sampled(pictures, wanted)[0].reshape(pictures.shape) + 30
    more = {} if changes is None else {"changes": changes}
    maps = aligned(pictures, window, moved(start_maps(6), size=0.92, right=0.02), 12, **more)
    assert maps == pytest.approx(wanted, abs=0.003)
    assert difference(pictures, window, maps).max() < 0.1
    assert shared(maps, SIDE) == pytest.approx(np.tile([0.81, 1.0], (6, 1)), abs=0.01)


def test_other_pictures_differ(pictures: np.ndarray) -> None:
    assert difference(pictures, pictures[::-1], start_maps(6)).min() > 1.2


def test_the_difference_is_the_same_from_both_sides(pictures: np.ndarray) -> None:
    noisy = (0.5 * pictures + np.random.default_rng(1).normal(0, 5, pictures.shape)).astype(np.float32)
    there, back = difference(pictures, noisy, start_maps(6)), difference(noisy, pictures, start_maps(6))
    assert there == pytest.approx(back, rel=0.05)


def test_levels_that_were_cut_off_are_no_difference(pictures: np.ndarray) -> None:
    bright = np.clip(2 * pictures, 0, 255)
    assert (bright == 255).mean() > 0.3
    for one, other in ((pictures, bright), (bright, pictures)):
        assert difference(one, other, start_maps(6)).max() < 0.3


def test_one_block_of_another_thing_counts(pictures: np.ndarray) -> None:
    """An eighth of the width and height: another print on the same shirt."""
    changed = pictures.copy()
    changed[:, :, 24:32, 24:32] = [[[255]], [[0]], [[0]]]
    assert difference(pictures, changed, start_maps(6)).min() > 0.8
    assert difference(pictures, pictures, start_maps(6)).max() < 0.01


def test_another_colour_of_the_same_brightness_counts() -> None:
    grey, red = (np.full((1, 3, SIDE, SIDE), 128, np.float32) for _ in range(2))
    grey[..., :8], red[..., :8] = 40, 40  # what both have keeps the tint from being fitted
    red[:, :, 16:48, 16:48] = np.array([200, 105, 84], np.float32)[:, None, None]
    assert difference(grey, red, start_maps(1))[0] > 2


def test_pictures_without_anything_in_common_differ_beyond_measure(pictures: np.ndarray) -> None:
    assert np.isinf(difference(pictures, pictures, moved(start_maps(6), right=2.0))).all()


def test_no_pairs_are_no_maps(pictures: np.ndarray) -> None:
    none = pictures[:0]
    assert aligned(none, none, start_maps(0), 2).shape == (0, 2, 3)
    assert difference(none, none, start_maps(0)).shape == (0,)


def test_half_of_a_picture_is_the_mean_of_its_pixels() -> None:
    picture = np.array([0, 2, 4, 6], np.float32).reshape(1, 1, 2, 2)
    assert halved(picture).tolist() == [[[[3]]]]


def test_what_is_noise_in_a_tiny_picture_is_a_difference_in_a_large_one(pictures: np.ndarray) -> None:
    grainy = pictures + np.random.default_rng(2).normal(0, 8, pictures.shape).astype(np.float32)
    usual = difference(pictures, grainy, start_maps(6))
    tiny = difference(pictures, grainy, start_maps(6), noise=2 * NOISE)
    each = difference(pictures, grainy, start_maps(6), noise=np.where(np.arange(6) % 2, NOISE, 2 * NOISE))
    assert (tiny < 0.9 * usual).all()
    assert each == pytest.approx(np.where(np.arange(6) % 2, usual, tiny), rel=1e-5)
