"""Pixels on disk: written completely, or with an error."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest

from engine.data.pixel_file import PixelFile, reserve

SHAPE = (3, 64, 64)
PIXELS = np.random.default_rng(0).integers(0, 255, (8, *SHAPE), np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    reserve(tmp_path / "store" / "pixels.npy", 16, SHAPE)
    return tmp_path / "store" / "pixels.npy"


def test_rows_are_written_where_they_belong(path: Path) -> None:
    places = np.array([1, 2, 3, 9, 12, 13, 14, 15])
    PixelFile(path, SHAPE).write(places, PIXELS)
    there = np.load(path)
    assert np.array_equal(there[places], PIXELS)
    assert not np.delete(there, places, 0).any()


def test_a_row_that_is_written_in_part_is_an_error(path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The system writes up to this limit and reports how much it wrote; only the next byte fails.
    resource.setrlimit(resource.RLIMIT_FSIZE, (5 * PIXELS[0].nbytes, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            PixelFile(path, SHAPE).write(np.arange(8), PIXELS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
