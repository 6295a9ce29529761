"""Images that agree with a few decisions, checked by hand for images on a line."""

from __future__ import annotations

import numpy as np
import pytest

from engine.curate import propagation
from engine.curate.propagation import agreeing, voted

# Six images on a line; the neighbours of each are the two beside it (at the ends, the next two).
NEIGHBORS = np.array([[1, 2], [0, 2], [1, 3], [2, 4], [3, 5], [4, 3]])
NOBODY = np.zeros(6, bool)


def ids(*places: int) -> np.ndarray:
    return np.array(places, np.int64)


def test_those_whose_neighbours_are_seeds_join_and_no_others() -> None:
    assert agreeing(ids(0, 2), NOBODY, NOBODY, NEIGHBORS, 1.0).tolist() == [1]


def test_who_joins_makes_others_join() -> None:
    found = agreeing(ids(0), NOBODY, NOBODY, NEIGHBORS, 0.5)
    assert sorted(found.tolist()) == [1, 2, 3, 4, 5]
    assert found[0] == 1


def test_members_by_the_model_count_as_agreeing() -> None:
    own = np.array([False, False, False, True, False, False])
    assert agreeing(ids(1), own, NOBODY, NEIGHBORS, 1.0).tolist() == [2, 0]


def test_decided_images_are_not_touched_and_stop_nothing() -> None:
    decided = np.array([False, False, True, False, False, False])
    assert agreeing(ids(0), NOBODY, decided, NEIGHBORS, 0.5).tolist() == [1]


def test_no_seed_or_no_agreement_gives_nobody() -> None:
    assert agreeing(ids(), NOBODY, NOBODY, NEIGHBORS, 0.1).tolist() == []
    assert agreeing(ids(5), NOBODY, NOBODY, NEIGHBORS, 1.0).tolist() == []


def test_those_that_agree_most_come_first() -> None:
    neighbors = np.array([[1, 2, 3], [0, 2, 3], [0, 4, 5], [0, 1, 5], [5, 2, 3], [4, 2, 3]])
    found = agreeing(ids(0, 1), NOBODY, NOBODY, neighbors, 0.33)
    assert found[:2].tolist() == [3, 2]


# -- votes of decided images ---------------------------------------------------------------------


def unit(*degrees: float) -> np.ndarray:
    """Images on a circle, by angle."""
    angles = np.deg2rad(np.array(degrees))
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def test_an_image_gets_the_class_of_the_decided_images_it_is_like() -> None:
    features = unit(0, 5, 90, 95, 2, 93, 40)
    classes, agreement = voted(features, ids(0, 1, 2, 3), ids(7, 7, 4, 4), ids(4, 5, 6))
    assert classes.tolist() == [7, 4, 7]
    assert agreement[0] > 0.99
    assert agreement[1] > 0.99
    assert 0.5 < agreement[2] < 0.99


def test_a_decided_image_does_not_vote_on_itself() -> None:
    features = unit(0, 1, 90, 91, 2)  # the last is decided to be in the other class
    decided = ids(0, 1, 2, 3, 4)
    classes, _ = voted(features, decided, ids(0, 0, 1, 1, 1), decided)
    assert classes[2:].tolist() == [1, 1, 0]


def test_votes_are_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 8)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    decided, classes = np.arange(40), rng.integers(0, 5, 40)
    whole = voted(features, decided, classes, np.arange(200))
    monkeypatch.setattr(propagation, "BLOCK", 7)
    parts = voted(features, decided, classes, np.arange(200))
    assert whole[0].tolist() == parts[0].tolist()
    np.testing.assert_allclose(whole[1], parts[1], atol=1e-5)
    assert ((whole[1] > 0) & (whole[1] <= 1)).all()
