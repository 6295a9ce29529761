"""Neighbours against brute force; groups and hashes by hand."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from engine.health import likeness
from engine.health.likeness import bits_apart, groups_of, mirrored, nearest, shape_vectors
from engine.health.measures import measured

needs_faiss = pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="needs faiss")


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)


def brute(points: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    ids = np.argsort(distance, axis=1)[:, :k]
    return ids, np.take_along_axis(distance, ids, 1)


def test_neighbours_agree_with_brute_force_across_blocks(points: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likeness, "QUERIES", 70)
    seen: list[tuple[int, int]] = []
    near = nearest(points, 4, progress=lambda *now: seen.append(now))
    ids, distance = brute(points, 4)
    assert near is not None
    assert near.ids.tolist() == ids.tolist()
    assert near.distance == pytest.approx(distance, abs=1e-3)
    assert seen == [(70, 300), (140, 300), (210, 300), (280, 300), (300, 300)]


@needs_faiss
def test_cells_find_nearly_all_and_never_the_image_itself(points: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likeness, "EXACT_IMAGES", 100)
    near = nearest(points, 4)
    assert near is not None
    assert np.mean(near.ids == brute(points, 4)[0]) > 0.95
    assert not (near.ids == np.arange(300)[:, None]).any()


@needs_faiss
def test_a_point_whose_cells_hold_too_few_gets_its_neighbours_all_the_same(
    points: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likeness, "EXACT_IMAGES", 100)
    monkeypatch.setattr(likeness, "CELLS_ASKED", 1)
    near = nearest(points, 40)  # 17 cells of about 18 points
    assert near is not None
    assert near.ids.min() >= 0
    assert np.isfinite(near.distance).all()


def test_equal_points_do_not_name_themselves() -> None:
    near = nearest(np.ones((5, 3), np.float32), 2)
    assert near is not None
    assert near.ids.shape == (5, 2)
    assert near.distance.max() == 0


@pytest.mark.parametrize(("count", "k"), [(1, 0), (2, 1)])
def test_few_points_have_few_neighbours(count: int, k: int) -> None:
    near = nearest(np.eye(count, 3, dtype=np.float32), 10)
    assert near is not None
    assert near.ids.shape == near.distance.shape == (count, k)


def test_a_search_can_be_stopped(points: np.ndarray) -> None:
    assert nearest(points, 4, stop=lambda: True) is None


def test_pairs_join_to_groups() -> None:
    groups = groups_of(np.array([[0, 3], [3, 5], [1, 1]]), 6)
    assert groups[0] == groups[3] == groups[5]
    assert len({int(groups[index]) for index in (0, 1, 2, 4)}) == 4


def test_no_pairs_are_groups_of_one() -> None:
    assert sorted(groups_of(np.zeros((0, 2), np.int64), 3).tolist()) == [0, 1, 2]


def test_bits_apart() -> None:
    one, other = np.array([0, 0b1011, 2**64 - 1], np.uint64), np.array([0, 0b0010, 0], np.uint64)
    assert bits_apart(one, other).tolist() == [0, 2, 64]


def test_a_shape_in_the_mirror_is_the_shape_of_the_mirrored_image() -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (4, 3, 20, 24), dtype=np.uint8)
    turned = shape_vectors(measured(np.ascontiguousarray(pixels[..., ::-1])))
    assert mirrored(shape_vectors(measured(pixels))) == pytest.approx(turned, abs=1e-4)


def test_shapes_know_no_brightness_and_no_contrast() -> None:
    pixels = np.random.default_rng(3).integers(0, 100, (4, 1, 16, 16), dtype=np.uint8)
    lit = shape_vectors(measured(2 * pixels + 40))
    assert shape_vectors(measured(pixels)) == pytest.approx(lit, abs=1e-4)
