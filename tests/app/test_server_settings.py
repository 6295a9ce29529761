"""Settings that the server needs, however and from wherever it is started."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETTINGS = (ROOT / ".streamlit" / "config.toml").read_text("utf-8").splitlines()


@pytest.mark.parametrize(
    "line",
    [
        'address = "127.0.0.1"',
        "gatherUsageStats = false",
        'fileWatcherType = "none"',
        "postScriptGC = false",
        'showErrorDetails = "none"',
    ],
)
def test_the_server_is_private_and_leaves_training_alone(line: str) -> None:
    assert line in SETTINGS


def test_the_settings_are_found_from_any_folder() -> None:
    beside = ROOT / "spice_explorer" / ".streamlit" / "config.toml"
    assert beside.read_text("utf-8").splitlines() == SETTINGS
