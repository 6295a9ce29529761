from __future__ import annotations

import numpy as np
import pytest

from engine.errors import TrainingError
from engine.stages.decided_labels import FixedLabels

LABELS = np.array([2, 0, 1, 0])
MASK = np.array([True, False, False, False])
REFUSED = np.array([False, True, True, False])


def test_decided_labels_take_the_place_of_others() -> None:
    fixed = FixedLabels(LABELS, MASK, REFUSED)
    assert len(fixed) == 4
    assert fixed.over(np.array([0, 0, 0, 1])).tolist() == [2, 0, 0, 1]


def test_a_label_is_refused_only_where_it_is_that_one() -> None:
    fixed = FixedLabels(LABELS, MASK, REFUSED)
    assert fixed.refuses(np.array([2, 0, 0, 0])).tolist() == [False, True, False, False]


def test_where_nothing_was_said_nothing_changes() -> None:
    none = FixedLabels.none(4)
    assert none.over(LABELS).tolist() == LABELS.tolist()
    assert not none.refuses(none.labels).any()


@pytest.mark.parametrize(
    "wrong",
    [
        (LABELS, MASK[:3], REFUSED),
        (LABELS.astype(np.int32), MASK, REFUSED),
        (LABELS, MASK, REFUSED.astype(np.uint8)),
        (LABELS[:, None], MASK, REFUSED),
    ],
)
def test_arrays_that_do_not_fit_are_refused(wrong: tuple[np.ndarray, ...]) -> None:
    with pytest.raises(TrainingError, match="expected int64, bool and bool, one of each per image"):
        FixedLabels(*wrong)


def test_no_label_is_right_and_wrong_at_once() -> None:
    with pytest.raises(TrainingError, match="both decided and rejected, or below 0"):
        FixedLabels(LABELS, MASK, MASK)
    with pytest.raises(TrainingError, match="both decided and rejected, or below 0"):
        FixedLabels(LABELS - 1, MASK, REFUSED)
