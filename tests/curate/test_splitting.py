from __future__ import annotations

import numpy as np

from engine.curate.splitting import two_means


def test_two_groups_come_apart_and_the_smaller_goes() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(0, 0.05, (30, 4)).astype(np.float32)
    vectors[:20, 0] += 1
    vectors[20:, 1] += 1
    assert two_means(vectors, seed=0).tolist() == [False] * 20 + [True] * 10


def test_lengths_do_not_matter() -> None:
    vectors = np.array([[1, 0], [9, 0], [0, 1], [0, 7], [5, 0.1]], np.float32)
    assert two_means(vectors, seed=0).tolist() == [False, False, True, True, False]


def test_images_that_are_all_the_same_still_leave_one_on_each_side() -> None:
    assert two_means(np.ones((4, 3), np.float32), seed=0).tolist() == [False, False, False, True]
    assert two_means(np.zeros((2, 3), np.float32), seed=0).tolist() == [False, True]
