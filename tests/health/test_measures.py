"""Measures of images, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from engine.data.images import ImageSet
from engine.health import measures
from engine.health.measures import measure, measured


def grey(*rows: list[int]) -> np.ndarray:
    """One grey image (1, 1, H, W)."""
    return np.array(rows, np.uint8)[None, None]


def of(pixels: np.ndarray) -> ImageSet:
    return ImageSet(pixels, tuple(f"{index}" for index in range(len(pixels))), "drawn")


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (50, 3, 12, 16), dtype=np.uint8)


def test_ends_pass_over_specks() -> None:
    page = np.full((1, 1, 20, 20), 200, np.uint8)
    page[0, 0, 0, :2] = 0, 255  # 400 pixels: two of each kind are specks
    page[0, 0, 1, :5] = 10
    found = measured(page)
    assert found.darkest.tolist() == [10]
    assert found.brightest.tolist() == [200]


def test_luma_weighs_the_colours() -> None:
    red = np.zeros((1, 3, 4, 4), np.uint8)
    red[:, 0] = 100
    assert measured(red).brightest.tolist() == [30]


def test_contrast_is_that_of_the_channel_that_varies_most() -> None:
    image = np.full((1, 3, 2, 2), 50, np.uint8)
    image[0, 2, 0] = 70
    assert measured(image).contrast == pytest.approx([10])


def test_sharpness_by_hand() -> None:
    # Laplacian inside the border: 4·9 − 0 = 36 in the middle, −9 at its four sides, 0 at the corners.
    image = np.zeros((1, 1, 5, 5), np.uint8)
    image[0, 0, 2, 2] = 9
    inside = np.array([36, -9, -9, -9, -9, 0, 0, 0, 0], float)
    luma = np.array([9] + 24 * [0], float)
    assert measured(image).sharpness == pytest.approx([inside.var() / luma.var()])


def test_an_image_too_small_for_a_laplacian_is_not_unsharp() -> None:
    assert measured(grey([0, 255])).sharpness.tolist() == [np.inf]


def test_texture_tells_directions_apart() -> None:
    standing = measured(grey(*[[0, 80, 0, 80]] * 4)).texture[0]
    lying = measured(grey([0] * 4, [80] * 4, [0] * 4, [80] * 4)).texture[0]
    assert standing[:3] == pytest.approx(np.log1p([40, 0, 0]))
    assert lying[:3] == pytest.approx(np.log1p([0, 40, 0]))


def test_the_lowest_frequency_is_the_mean() -> None:
    low = measured(grey([0, 255], [255, 0])).low
    assert low.shape == (1, 1, 8, 8)
    assert low[0, 0, 0, 0] == pytest.approx(0.5)
    assert low[0, 0, 0, 1] == pytest.approx(0, abs=1e-7)  # both columns have the same mean
    assert low[0, 0, 1, 1] == pytest.approx(-0.5)
    assert not low[0, 0, 2:].any()  # two rows have two frequencies


def test_low_frequencies_keep_the_energy_of_an_image_of_eight_by_eight() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 1, 8, 8), dtype=np.uint8)
    energy = (measured(pixels).low ** 2).sum((1, 2, 3))
    assert energy == pytest.approx(((pixels / 255) ** 2).mean((1, 2, 3)), rel=1e-4)


def test_digests_are_equal_where_all_pixels_are(noise: np.ndarray) -> None:
    noise[7], noise[8] = noise[3], noise[3]
    noise[8, 2, -1, -1] ^= 1
    digest = measured(noise).digest
    assert digest[7].tolist() == digest[3].tolist()
    assert len(np.unique(digest, axis=0)) == 49


def test_blocks_change_nothing(noise: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measured(noise)
    monkeypatch.setattr(measures, "BLOCK_BYTES", 3 * noise[0].nbytes)
    seen: list[tuple[int, int]] = []
    found = measure(of(noise), progress=lambda *now: seen.append(now))
    assert found is not None
    assert found.digest.tolist() == whole.digest.tolist()
    assert found.sharpness == pytest.approx(whole.sharpness)
    assert found.low == pytest.approx(whole.low, abs=1e-6)
    assert len(seen) > 1
    assert seen[-1] == (50, 50)


def test_measuring_stops_between_blocks(noise: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "BLOCK_BYTES", 1)
    seen: list[int] = []
    assert measure(of(noise), progress=lambda done, _: seen.append(done), stop=lambda: bool(seen)) is None
    assert len(seen) == 1
