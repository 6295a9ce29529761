from __future__ import annotations

import numpy as np

from engine.space.neighbors import nearest
from engine.space.projection import principal_map, umap_map


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
    found = umap_map(features, nearest(features, 12), seed=3)
    assert found.shape == (40, 2)
    one, other = found[:20], found[20:]
    gap = np.linalg.norm(one.mean(0) - other.mean(0))
    assert gap > 2 * max(one.std(0).max(), other.std(0).max())
    assert np.array_equal(found, umap_map(features, nearest(features, 12), seed=3))
    assert np.isfinite(umap_map(features[18:22], nearest(features[18:22], 30), seed=0)).all()
