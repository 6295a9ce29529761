"""The benchmarks count and write what they say; what they measure is not for tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import digits, report
from engine.data.sources import open_source


def test_spread_is_mean_deviation_and_lowest() -> None:
    assert report.spread([0.9, 1.0, 0.8]) == "0.900 ± 0.100 (0.800)"


def test_results_carry_where_they_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    report.write("speed", "Speed", {"ratio": 2}, report.table(["a"], [[1]]))
    data = json.loads((tmp_path / "results" / "speed.json").read_text())
    assert data["ratio"] == 2
    assert {"date", "commit", "device", "libraries"} <= data.keys()
    text = (tmp_path / "results" / "speed.md").read_text()
    assert "# Speed\n\n| a |\n| --- |\n| 1 |\n" in text
    assert "python -m benchmarks speed" in text


def test_a_reliable_set_is_judged_class_by_class(tmp_path: Path) -> None:
    truth = open_source("digits").truth
    assert truth is not None
    labels = (truth.labels + 3) % 10  # the same groups under other names
    verdicts = np.zeros(len(labels), np.uint8)
    first = np.flatnonzero(truth.labels == 4)
    verdicts[first[len(first) // 2 :]] = 1  # half of the fours are rejected
    wrong = np.flatnonzero(truth.labels == 7)[:10]
    labels[wrong] = labels[truth.labels == 1][0]  # ten sevens are called one
    (tmp_path / "reliable-heads").mkdir()
    np.save(tmp_path / "reliable-heads" / "labels.npy", labels)
    np.save(tmp_path / "reliable-heads" / "verdicts.npy", verdicts)
    found = digits.reliable_sets(tmp_path)["heads"]
    trusted = int((verdicts == 0).sum())
    assert found["coverage"] == pytest.approx(trusted / 1797)
    assert found["purity"] == pytest.approx((trusted - 10) / trusted)
    assert found["least_class"] == pytest.approx((len(first) // 2) / len(first))
