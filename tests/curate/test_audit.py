"""Wilson's interval against published values, and how many more images to review."""

from __future__ import annotations

import pytest

from engine.curate.audit import more_needed, wilson


def test_known_intervals() -> None:
    # Newcombe 1998, table I: 81 of 263 and 0 of 20, Wilson without correction.
    assert (wilson(81, 263).low, wilson(81, 263).high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert (wilson(0, 20).low, wilson(0, 20).high) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(20, 20).low == pytest.approx(1 - 0.1611, abs=5e-5)


def test_nothing_looked_at_says_nothing() -> None:
    found = wilson(0, 0)
    assert (found.low, found.high, found.value) == (0.0, 1.0, None)


@pytest.mark.parametrize(("right", "total"), [(0, 0), (5, 10), (48, 50), (10, 10)])
def test_as_many_more_as_are_needed_and_not_one_less(right: int, total: int) -> None:
    more = more_needed(right, total, size=100_000, half=0.05)
    share = right / total if total else 0.5

    def half(count: int) -> float:
        found = wilson(round(share * count), count)
        return (found.high - found.low) / 2

    assert half(total + more) <= 0.05
    assert more == 0 or half(total + more - 1) > 0.05


def test_never_more_than_there_are() -> None:
    assert more_needed(3, 6, size=20) == 14
    assert more_needed(20, 20, size=20) == 0
