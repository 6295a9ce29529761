"""Images that agree with a few decisions, checked by hand for images on a line."""

from __future__ import annotations

import numpy as np

from engine.curate.propagation import agreeing

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
