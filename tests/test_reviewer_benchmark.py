"""The benchmark `reviewer`: figures read from text, and how often they are true; the runs that are reviewed."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import reviewer
from benchmarks.made import made_kinds
from benchmarks.reviewer_figures import Reading, Stated, cell, counts, rows, shares, sought

NBSP = "\N{NO-BREAK SPACE}"


def share(stated: float, true: float, low: float | None, high: float | None, figure: str = "a share") -> Reading:
    return Reading(figure, "share", stated, true, low, high)


def test_shares_are_read_with_their_intervals() -> None:
    text = f"about 38.0{NBSP}% (24 – 54{NBSP}%) have the right one, and about 7.5{NBSP}% (0 – 100{NBSP}%) the label"
    assert shares(text) == [Stated(0.38, 0.24, 0.54), Stated(0.075, 0.0, 1.0)]
    assert shares(f"about 81{NBSP}% right") == []


def test_a_cell_is_read_whole_or_not_at_all() -> None:
    assert cell(f"96.0{NBSP}% (24 of 25; 80 – 99{NBSP}%)") == Stated(0.96, 0.8, 0.99)
    assert cell("not looked at") is None


def test_counts_are_read_by_who_said() -> None:
    assert counts("1,000 seen · 20 bulk · 3 rejected of 1,200") == {"seen": 1000, "bulk": 20, "rejected": 3}
    assert counts("100 seen, 1,100 voted") == {"seen": 100, "voted": 1100}
    assert counts("nothing decided of 1,200") == {}


def test_a_page_that_does_not_say_it_is_an_error() -> None:
    assert sought(r"(\d+) of (\d+)", "12 of 30 images") == ("12", "30")
    with pytest.raises(LookupError, match="does not say"):
        sought(r"(\d+) of (\d+)", "nothing")


def test_a_share_is_right_within_its_interval_and_a_count_only_exactly() -> None:
    assert share(0.5, 0.404, 0.41, 0.59).covered is False
    assert share(0.5, 0.406, 0.41, 0.59).covered is True, "the page rounds to whole per cent"
    assert share(0.5, 0.2, None, None).covered is None
    assert [Reading("n", "count", 12, true).covered for true in (12, 13)] == [True, False]


def test_a_share_may_be_wrong_once_in_ten_times_a_count_never() -> None:
    right, wrong = share(0.5, 0.5, 0.4, 0.6), share(0.5, 0.8, 0.4, 0.6)
    (nine,), (eight,) = rows([*[right] * 9, wrong]), rows([*[right] * 8, wrong, wrong])
    assert (nine.right, nine.total, nine.met) == (9, 10, True)
    assert eight.met is False
    assert nine.true == pytest.approx(0.53)
    assert nine.worst == pytest.approx(0.3)
    (count,) = rows([Reading("n", "count", 5, 5)] * 99 + [Reading("n", "count", 5, 6)])
    assert count.met is False
    (unknown,) = rows([share(0.5, 0.5, None, None)])
    assert (unknown.right, unknown.met) == (None, None)


def test_figures_keep_their_order() -> None:
    readings = [share(0.5, 0.5, 0, 1, name) for name in ("b", "a", "b")]
    assert [(one.figure, one.total) for one in rows(readings)] == [("b", 2), ("a", 1)]


def test_the_classes_are_unequal_and_some_images_mislead() -> None:
    looks = made_kinds(reviewer.IMAGES, reviewer.CLASSES, reviewer.FEATURES, 3, reviewer.UNEQUAL).main
    truth = reviewer.truth_of(3)
    assert np.array_equal(truth, reviewer.truth_of(3))
    sizes = np.bincount(truth, minlength=reviewer.CLASSES)
    assert sizes.max() > 2 * sizes.min() > 0
    assert 0.05 < (truth != looks).mean() < 0.3
