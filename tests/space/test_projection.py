from __future__ import annotations

import math

import numpy as np
import pytest

from engine.errors import SettingError
from engine.space.neighbors import nearest
from engine.space.projection import MapSettings, aligned, principal_map, umap_map


def test_the_quick_map_shows_the_two_widest_directions() -> None:
    corners = np.array([[9, 0, 1], [9, 0, -1], [-9, 0, 1], [-9, 0, -1]], np.float32)
    found = principal_map(corners)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.abs(found), [[9, 1]] * 4, atol=1e-5)
    assert np.sign(found[0, 0]) == np.sign(found[1, 0]) != np.sign(found[2, 0])


def test_a_single_feature_makes_a_map_on_a_line() -> None:
    found = principal_map(np.array([[1], [2], [6]], np.float32))
    np.testing.assert_allclose(np.abs(found), [[2, 0], [1, 0], [3, 0]], atol=1e-5)


def test_umap_keeps_two_groups_apart_and_repeats_itself() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(0, 0.1, (40, 6)).astype(np.float32)
    features[:20, 0] += 1
    features[20:, 1] += 1
    found = umap_map(features, nearest(features, 12), MapSettings(), seed=3)
    assert found.shape == (40, 2)
    one, other = found[:20], found[20:]
    gap = np.linalg.norm(one.mean(0) - other.mean(0))
    assert gap > 2 * max(one.std(0).max(), other.std(0).max())
    assert np.array_equal(found, umap_map(features, nearest(features, 12), MapSettings(), seed=3))
    assert np.isfinite(umap_map(features[18:22], nearest(features[18:22], 30), MapSettings(), seed=0)).all()


def test_a_map_begun_from_another_stays_near_it_and_tells_its_progress() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(0, 0.1, (60, 6)).astype(np.float32)
    features[np.arange(60), np.arange(60) % 3] += 1
    first = umap_map(features, nearest(features, 12), MapSettings(), seed=0)
    told: list[float] = []
    start = first * np.float32([1, -1])  # from scratch it would come out as `first`, its mirror image
    second = umap_map(features, nearest(features, 12), MapSettings(), seed=0, start=start, progress=told.append)
    # How close it stays depends on the processor's rounding; `first` itself would give -1.
    assert np.corrcoef(second[:, 1], start[:, 1])[0, 1] > 0.5
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_alignment_undoes_turning_mirroring_and_shifting_but_not_scale() -> None:
    points = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    turn = np.array([[0.6, -0.8], [-0.8, -0.6]], np.float32)
    found = aligned(points @ turn + 5, points)
    np.testing.assert_allclose(found, points, atol=1e-5)
    doubled = aligned(2 * points @ turn, points)
    np.testing.assert_allclose(doubled - doubled.mean(0), 2 * (points - points.mean(0)), atol=1e-4)


@pytest.mark.parametrize("asked", [(1, 0.1), (0, 0.1), (-3, 0.1), (1001, 0.1), (15, -0.1), (15, 1.1), (15, math.nan)])
def test_settings_that_umap_would_refuse_are_refused_in_words(asked: tuple[int, float]) -> None:
    with pytest.raises(SettingError, match="allowed from"):
        MapSettings(*asked)
