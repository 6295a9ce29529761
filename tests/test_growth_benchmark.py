"""The benchmark of growth: its arithmetic and its table are right; what it measures is not tested."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import growth, pieces
from benchmarks.__main__ import NAMES, SUITES, TAKES_OPTIONS
from benchmarks.pieces import Options, Pieces


def test_growth_is_a_benchmark_of_the_cpu() -> None:
    assert "growth" in NAMES
    assert "growth" in SUITES["cpu"]
    assert "growth" in TAKES_OPTIONS


def test_an_exponent_is_that_of_the_last_two_sizes() -> None:
    assert growth.exponent([1, 10, 100], [5.0, 2.0, 200.0]) == pytest.approx(2)
    assert growth.exponent([10, 100], [0.0, 3.0]) is None
    assert growth.exponent([10], [3.0]) is None


def test_a_step_is_not_tried_with_more_images_than_would_end_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "WORK", tmp_path)
    asked: list[int] = []

    def squared(_name: str, images: int) -> dict[str, Any]:
        asked.append(images)
        return {"seconds": 9.0, "processor": images**2 / 1e8, "megabytes": images / 1000}

    monkeypatch.setattr(growth, "measured", squared)
    found = dict(growth.growing("a step", Pieces("growth", Options(device="cpu")), 10**6))
    assert asked == [1_000, 10_000, 100_000]  # 0.01, 1 and 100 s; the next would take 10,000
    body = growth.body_of({"a step": found})
    assert "| a step | 1,000 | 9.00 | 0.01 |  | 1 |  |" in body
    assert "| a step | 100,000 | 9.00 | 100.00 | 2.00 | 100 | 1.00 |" in body


@pytest.mark.parametrize("name", ["a frame of stage 1", "choice of 10 heads, K = 10", "names, one of them long"])
def test_a_step_runs(name: str) -> None:
    assert growth.STEPS[name](200)() is not None
