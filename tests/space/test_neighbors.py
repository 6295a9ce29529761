from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
import pytest

from engine.space import neighbors as neighbors_module
from engine.space.neighbors import Neighbors, nearest

Find = Callable[[np.ndarray, int], Neighbors]


@pytest.fixture(params=["faiss", "torch", "torch in blocks"])
def find(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Find:
    """`nearest` by each of its methods; a block of 70 entries is a handful of rows."""
    if request.param != "faiss":
        monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    if request.param == "torch in blocks":
        monkeypatch.setattr(neighbors_module, "BLOCK_ENTRIES", 70)
    return nearest


def random_features(count: int = 30) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, 5)).astype(np.float32) * rng.uniform(0.1, 9, (count, 1))


def test_four_directions_by_hand(find: Find) -> None:
    angles = np.radians([0, 30, 100, 180])
    lengths = np.array([[1], [4], [0.5], [2]])
    found = find(np.stack((np.cos(angles), np.sin(angles)), 1) * lengths, 2)
    assert found.ids.tolist() == [[1, 2], [0, 2], [1, 3], [2, 1]]
    apart = np.radians([[30, 100], [30, 70], [70, 80], [80, 150]])
    np.testing.assert_allclose(found.similarity, np.cos(apart), atol=1e-6)


def test_neighbours_are_those_of_brute_force(find: Find) -> None:
    features = random_features()
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    found = find(features, 7)
    assert found.ids.tolist() == np.argsort(-cosine, axis=1)[:, :7].tolist()
    np.testing.assert_allclose(found.similarity, -np.sort(-cosine, axis=1)[:, :7], atol=1e-5)
    assert (found.ids.dtype, found.similarity.dtype) == (np.int32, np.float32)


def test_no_image_is_its_own_neighbour_even_among_exact_copies(find: Find) -> None:
    features = np.repeat(random_features(3), 12, axis=0)
    found = find(features, 5)
    assert found.ids.shape == (36, 5)
    assert not (found.ids == np.arange(36)[:, None]).any()
    assert (found.ids // 12 == np.arange(36)[:, None] // 12).all()
    assert all(len(set(row)) == 5 for row in found.ids.tolist())


@pytest.mark.parametrize("k", [9, 10, 500])
def test_more_neighbours_than_images_are_all_others(k: int, find: Find) -> None:
    found = find(random_features(10), k)
    assert found.ids.shape == found.similarity.shape == (10, 9)
    assert [sorted([row, *ids]) for row, ids in enumerate(found.ids.tolist())] == [[*range(10)]] * 10


def test_two_images_have_each_other(find: Find) -> None:
    assert find(random_features(2), 3).ids.tolist() == [[1], [0]]


def test_a_feature_of_zeros_is_unlike_all(find: Find) -> None:
    features = random_features(6)
    features[2] = 0
    found = find(features, 5)
    assert np.isfinite(found.similarity).all()
    assert not found.similarity[2].any()


def test_features_are_left_as_they_were(find: Find) -> None:
    features = random_features()
    before = features.copy()
    find(features, 3)
    assert np.array_equal(features, before)


def test_approximate_neighbours_are_nearly_all_of_the_exact_ones() -> None:
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(20, 32))[rng.integers(20, size=3_000)] + rng.normal(size=(3_000, 32))).astype("f4")
    exact, found = nearest(features, 20), nearest(features, 20, exact_images=2_900)
    share = np.mean([len(set(a) & set(b)) for a, b in zip(exact.ids.tolist(), found.ids.tolist(), strict=True)]) / 20
    assert share > 0.95
    assert not np.array_equal(exact.ids, found.ids)  # or nothing was approximate
