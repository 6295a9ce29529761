"""The benchmark of the estimated purity computes correctly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import estimates
from benchmarks.made import made_run
from engine import metrics
from engine.runs.results import load_reliable
from engine.sources.open_source import open_source

RUN = [
    {"own": True, "purity": 0.5, "ours": 0.6, "a b": 0.9},
    {"own": False, "purity": 0.7, "ours": 0.9, "a b": 0.8},
    {"own": False, "purity": 0.9, "ours": 0.8, "a b": 0.7},
]


def test_errors_are_points_too_high_or_too_low() -> None:
    assert estimates.errors([RUN], "ours") == pytest.approx([10, 20, -10])


def test_the_order_of_subsets_is_compared_within_a_run() -> None:
    assert estimates.rank_correlation([RUN, RUN[:2]], "ours") == pytest.approx((0.5 + 1) / 2)
    assert estimates.rank_correlation([RUN], "a b") == pytest.approx(-1)
    assert estimates.rank_correlation([RUN[:1]], "ours") is None


def test_tables_show_size_sign_and_worst() -> None:
    data = {"digits": {"heads": [RUN], "joint": [RUN[:2]]}}
    rows = estimates.by_case(data).splitlines()[2:]
    assert rows[0] == "| digits | 2 | 50 – 90 | +6.7 | 13.3 | +20.0 | 0.50 | 60.0 / 50.0 |"
    assert rows[1].startswith("| digits | 3 | 50 – 70 | +15.0 | 15.0 | +20.0 | 1.00 |")
    # Each case and stage counts the same, however many subsets it has.
    row = estimates.by_method(data, ["ours"]).splitlines()[2]
    assert row == "| ours | +10.8 | 14.2 | +20.0 | 0.75 |"


@pytest.mark.parametrize(("right", "clusters"), [(0.9, 2), (0.8, 10), (0.6, 4)])
def test_independent_mistakes_are_undone(right: float, clusters: int) -> None:
    same = right**2 + (1 - right) ** 2 / (clusters - 1)
    assert estimates.independent(same, clusters) == pytest.approx(right)


def test_dawid_skene_believes_the_heads_that_are_right_more_often() -> None:
    chance = np.random.default_rng(0)
    truth = chance.integers(0, 3, 900)
    good = [np.where(chance.random(900) < 0.95, truth, (truth + 1) % 3) for _ in range(2)]
    bad = [np.where(chance.random(900) < 0.5, truth, chance.integers(0, 3, 900)) for _ in range(2)]
    belief = estimates.dawid_skene(np.stack([*good, *bad]), truth, 3)
    both = (good[0] == truth) & (good[1] == truth)
    assert belief[both].min() > 0.9
    assert belief[(good[0] != truth) & (good[1] != truth)].max() < 0.1


def test_only_some_classes_keep_their_images_under_new_numbers() -> None:
    digits = open_source("digits")
    assert digits.truth is not None
    part = estimates.only(digits, ["3", "7"])
    assert part.truth is not None
    assert part.truth.class_names == ("3", "7")
    assert np.bincount(part.truth.labels).tolist() == [np.sum(digits.truth.labels == one) for one in (3, 7)]
    first = digits.truth.labels.tolist().index(7)
    place = part.truth.labels.tolist().index(1)
    assert np.array_equal(part.images.pixels[place], digits.images.pixels[first])


def test_the_first_point_of_a_run_is_its_own_reliable_set(tmp_path: Path) -> None:
    run = made_run(tmp_path / "made", images=500, clusters=4, features=16, neighbors=20, size=12)
    truth, found = run.truth(), estimates.points(run)
    assert truth is not None
    assert set(found) == {"heads", "joint"}
    first, own = found["joint"][0], load_reliable(run, "joint")
    assert [one["own"] for one in found["joint"]].count(True) == 1
    assert first["coverage"] == own.mask.mean()
    assert first["purity"] == metrics.purity(own.labels[own.mask], truth.labels[own.mask])
    least = min(one["coverage"] for one in found["joint"])
    assert least * 500 >= estimates.LEAST
