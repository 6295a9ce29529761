"""The benchmark of unequal classes draws the right images and judges them; its runs are not tested."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import long_tail
from engine.sources.open_source import digits


def test_classes_shrink_in_equal_proportions_down_to_the_ratio() -> None:
    found = long_tail.long_tailed(digits(), 10)
    assert found.truth is not None
    counts = np.bincount(found.truth.labels)
    assert counts[0] == 174  # the smallest class of the digits
    assert counts[-1] == 17
    assert (counts[1:] / counts[:-1]) == pytest.approx(10 ** (-1 / 9), abs=0.02)
    every = digits()
    assert every.truth is not None
    places = [every.images.ids.index(one) for one in found.images.ids]
    assert np.array_equal(every.images.pixels[places], found.images.pixels)
    assert np.array_equal(every.truth.labels[places], found.truth.labels)


def test_the_worst_class_is_judged_by_its_own_cluster() -> None:
    truth = np.array([0] * 6 + [1] * 4 + [2] * 2)
    labels = np.array([5, 5, 5, 5, 5, 5, 2, 2, 2, 5, 2, 0])
    found = long_tail.judged(labels, truth)
    assert found["acc"] == pytest.approx(10 / 12)
    assert found["worst"] == pytest.approx(1 / 2)
    missing = long_tail.judged(np.array([0] * 6 + [1] * 6), truth)
    assert missing["worst"] == 0
