"""A run that a report can be checked against."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.runs.folder import RunFolder
from tests.report.made import made


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return made(tmp_path / "runs" / "mine")
