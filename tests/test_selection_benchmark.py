"""The benchmark of choosing without labels: its probe and its choice; its runs are not tested."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.baselines.linear_probe import generalised
from benchmarks.selection import chosen


def test_a_linear_probe_generalises_what_is_linear_and_nothing_else() -> None:
    chance = np.random.default_rng(0)
    centres = np.eye(3, 8)
    truth = chance.integers(0, 3, 600)
    unit = centres[truth] + 0.1 * chance.normal(size=(600, 8))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    shuffled, half = chance.permutation(truth), np.where(chance.random(600) < 0.5, chance.permutation(truth), truth)
    own, random, mixed, alone = generalised(unit, np.stack([truth, shuffled, half, 0 * truth]), 3)
    assert own > 0.99
    assert abs(random) < 0.1
    assert random < mixed < own
    assert alone == 0


def test_held_back_images_are_not_learned_from() -> None:
    chance = np.random.default_rng(1)
    unit = chance.normal(size=(60, 50))  # 50 directions can tell any 48 images apart by heart
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    found = generalised(unit, chance.integers(0, 2, (200, 60)), 2)
    assert abs(found.mean()) < 0.05


def test_of_equals_the_last_is_chosen_and_a_lost_cluster_loses() -> None:
    score = np.array([0.5, 0.9, 0.5, 0.9, 0.99])
    assert chosen(score, None) == 4
    assert chosen(score, [3, 3, 3, 3, 2]) == 3
    assert chosen(np.zeros(3), None) == pytest.approx(2)
