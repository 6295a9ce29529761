"""The benchmark of forecasts compares correctly; the quality of forecasts is not tested."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import pieces, report, sources
from benchmarks.pieces import Options


def pair(ahead: float, took: float, low: float = 0, high: float = 100) -> dict[str, Any]:
    return {
        "forecast": {"total": ahead, "low": low, "high": high, "memory": 3e6, "disk": 2e6},
        "took": {"seconds": {"total": took}, "memory": 4e6, "disk": 2e6},
    }


def test_too_long_is_as_wrong_as_too_short() -> None:
    assert sources.error_of(pair(20, 40)) == sources.error_of(pair(40, 20)) == 2


def test_the_table_tells_the_worst_and_what_lay_within_its_range() -> None:
    row = sources.forecast_table({"digits": [pair(30, 20), pair(40, 40), pair(50, 60, high=55)]})
    cells = [cell.strip() for cell in row.splitlines()[2].split("|")[1:-1]]
    assert cells == ["digits", "40 ± 10 (30)", "0 to 85", "40 ± 20 (20)", "1.50 ×", "2 of 3", "3 / 4", "2 / 2"]


def test_a_forecast_and_its_run_come_to_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((report, "RESULTS"), (pieces, "WORK")):
        monkeypatch.setattr(module, name, tmp_path)
    monkeypatch.setattr(sources, "DRAWN", 40)
    monkeypatch.setattr(sources, "PROBE_SECONDS", 0.2)
    monkeypatch.setattr(sources, "SETTINGS", {"drawn": ("reliable.confidence=0.1",)})
    monkeypatch.setattr(sources, "apart", lambda act, *asked: act(*asked))
    tiny = ("encoder.width=4", "features.epochs=1", "heads.heads=2", "heads.epochs=1", "joint.steps=2")
    sources.measure(Options(device="cpu", seeds=1, assignments=tiny))
    found = json.loads((tmp_path / "sources-cpu.json").read_text())["forecasts"]["drawn"][0]
    assert set(found) == {"forecast", "took"}
    assert found["took"]["seconds"]["total"] > 0
    assert f"{sources.error_of(found):.2f} ×" in (tmp_path / "sources-cpu.md").read_text()
