"""`python -m engine forecast`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.forecast import probe as measuring
from tests.test_command_line import TINY, do, refused


@pytest.fixture(autouse=True)
def _a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shortens the probe: a fifth of a second is enough for steps this small."""
    real = measuring.probe

    def brief(*arguments: Any, **named: Any) -> Any:
        return real(*arguments, **{**named, "seconds": 0.2})

    monkeypatch.setattr(measuring, "probe", brief)


def arguments(photos: Path, *more: str) -> list[str]:
    changes = ["encoder.backbone=small", *TINY]
    tiny = [part for one in changes for part in ("--set", one)]
    return ["forecast", f"folder:{photos}", "--clusters", "2", "--device", "cpu", *tiny, *more]


def test_every_preset_is_forecast_as_json(photos: Path) -> None:
    done = do(*arguments(photos, "--json"))
    assert (done.code, done.errors) == (0, [])
    assert done.summary["images"] == 40
    found = done.summary["presets"]
    assert list(found) == ["quick", "fast", "paper"]
    for one in found.values():
        assert one["low"] <= one["total"] <= one["high"]
        assert one["total"] == pytest.approx(sum(one["seconds"].values()), abs=0.01)
        assert list(one["seconds"]) == ["features", "heads", "joint", "rest"]
        assert (one["device"], one["gpu_memory"]) == ("cpu", None)
        # 40 images of 32 pixels, and their artefacts.
        assert one["disk"] > 40 * 3 * 32 * 32


def test_only_the_presets_that_are_named_stand_in_the_table(photos: Path) -> None:
    done = do(*arguments(photos, "--preset", "fast", "--preset", "quick"))
    assert done.code == 0
    assert [line.split()[0] for line in done.out] == ["time", "fast", "quick", "on"]
    assert "on cpu with 1 CPU threads" in done.out[3]


def test_settings_change_what_is_forecast(photos: Path) -> None:
    long = do(*arguments(photos, "--preset", "quick", "--set", "joint.steps=100000000", "--json"))
    short = do(*arguments(photos, "--preset", "quick", "--json"))
    seconds = [json.loads(one.out[0])["presets"]["quick"]["seconds"] for one in (long, short)]
    assert seconds[0]["joint"] > 1000 * seconds[1]["joint"]
    told = do(*arguments(photos, "--preset", "quick", "--set", "joint.steps=1000000000"))
    assert told.out[-1].startswith("quick takes about")


def test_a_forecast_that_cannot_be_made_is_one_sentence(photos: Path) -> None:
    assert "preset is 'slow'" in refused(*arguments(photos, "--preset", "slow"))
    message = refused("forecast", f"folder:{photos}", "--clusters", "41", "--device", "cpu")
    assert "clusters is 41" in message
    assert "choose from 2 to 40" in message
