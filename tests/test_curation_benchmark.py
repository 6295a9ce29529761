"""The benchmark `curation`: the vote with which suggestions are compared."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.baselines import votes
from benchmarks.baselines.votes import voted


def unit(*degrees: float) -> np.ndarray:
    """Images on a circle, by angle."""
    angles = np.deg2rad(np.array(degrees))
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def test_an_image_gets_the_class_of_the_decided_images_it_is_like() -> None:
    features = unit(0, 5, 90, 95, 2, 93, 40)
    classes, agreement = voted(features, np.arange(4), np.array([7, 7, 4, 4]), np.arange(4, 7))
    assert classes.tolist() == [7, 4, 7]
    assert agreement[0] > 0.99
    assert agreement[1] > 0.99
    assert 0.5 < agreement[2] < 0.99


def test_a_decided_image_does_not_vote_on_itself() -> None:
    features = unit(0, 1, 90, 91, 2)  # the last is decided to be in the other class
    decided = np.arange(5)
    classes, _ = voted(features, decided, np.array([0, 0, 1, 1, 1]), decided)
    assert classes[2:].tolist() == [1, 1, 0]


def test_votes_are_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 8)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    decided, classes = np.arange(40), rng.integers(0, 5, 40)
    whole = voted(features, decided, classes, np.arange(200))
    monkeypatch.setattr(votes, "BLOCK", 7)
    parts = voted(features, decided, classes, np.arange(200))
    assert whole[0].tolist() == parts[0].tolist()
    np.testing.assert_allclose(whole[1], parts[1], atol=1e-5)
    assert ((whole[1] > 0) & (whole[1] <= 1)).all()
