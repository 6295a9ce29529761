"""Neighbours against brute force; groups by hand."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from engine.health import likeness
from engine.health.likeness import groups_of, index_of, nearest

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


@pytest.mark.parametrize("most_exact", [1000, pytest.param(100, marks=needs_faiss)])
def test_what_is_sought_may_be_others_than_the_vectors(points: np.ndarray, most_exact: int) -> None:
    sought = np.roll(points, 1, axis=0)
    near = nearest(points, 3, sought=sought, index=index_of(points, most_exact))
    assert near is not None
    assert near.ids[:, 0].tolist() == [299, *range(299)]
    assert near.distance[:, 0] == pytest.approx(0, abs=1e-3)
    assert not (near.ids == np.arange(300)[:, None]).any()


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
