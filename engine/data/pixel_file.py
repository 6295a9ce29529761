"""Pixels on disk: an .npy file that several workers fill row by row; gaps are closed at the end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from engine.errors import SourceError, sized

BLOCK_BYTES = 2**25
# The disk space to leave free.
SPARE_BYTES = 2**28


class PixelFile:
    """Rows of an .npy file of uint8 (rows, *shape), written from any thread or process.

    Writing, unlike a memory map, does not count as memory of this process.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.path, self.length = path, int(np.prod(shape))
        with path.open("rb") as file:
            self.offset = _skip_header(file)

    def write(self, places: np.ndarray, pixels: np.ndarray) -> None:
        """Writes `pixels[i]` to row `places[i]`; adjacent rows are written at once."""
        if not len(places):
            return
        breaks = np.flatnonzero(np.diff(places) != 1) + 1
        with self.path.open("r+b") as file:  # an unbuffered file may write only a part
            for first, last in zip([0, *breaks], [*breaks, len(places)], strict=True):
                file.seek(self.offset + int(places[first]) * self.length)
                file.write(np.ascontiguousarray(pixels[first:last]).data)


def reserve(path: Path, rows: int, shape: tuple[int, ...]) -> None:
    """Creates an .npy file of `rows` empty rows; raises SourceError if the disk is too full."""
    needed, free = rows * int(np.prod(shape)), shutil.disk_usage(path.parent).free
    if needed + SPARE_BYTES > free:
        raise SourceError(
            f"{rows:,} images of {shape[2]} × {shape[1]} pixels need {sized(needed + SPARE_BYTES)}, but only "
            f"{sized(free)} are free in {path.parent.parent}: choose a smaller size, free some "
            "space, or name another place with SPICE_EXPLORER_CACHE"
        )
    with path.open("wb") as file:
        _write_header(file, (rows, *shape))
        file.truncate(file.tell() + needed)


def _write_header(file: IO[bytes], shape: tuple[int, ...]) -> None:
    about = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, about)


def _skip_header(file: IO[bytes]) -> int:
    np.lib.format.read_magic(file)
    np.lib.format.read_array_header_1_0(file)
    return file.tell()


def close_gaps(path: Path, good: np.ndarray, shape: tuple[int, ...], channels: int) -> None:
    """Moves the good rows together, keeps the first `channels` of each, and truncates the file.

    Rows only move towards the beginning, so this works in place with little memory.
    """
    final = (int(good.sum()), channels, *shape[1:])
    length = int(np.prod(shape))
    step = max(1, BLOCK_BYTES // length)
    with path.open("r+b") as file:
        offset = target = _skip_header(file)
        moves = not good.all() or channels != shape[0]
        for start in range(0, len(good) if moves else 0, step):
            part = good[start : start + step]
            file.seek(offset + start * length)
            rows = np.frombuffer(file.read(len(part) * length), np.uint8).reshape(-1, *shape)
            kept = np.ascontiguousarray(rows[part][:, :channels])
            file.seek(target)
            file.write(kept.data)
            target += kept.nbytes
        if moves:
            file.truncate(target)
        file.seek(0)
        _write_header(file, final)
        assert file.tell() == offset, "numpy leaves room in the header for other shapes"


def blocks_of(path: Path) -> Iterator[bytes]:
    """Reads the pixels in a file without mapping it."""
    with path.open("rb") as file:
        _skip_header(file)
        while block := file.read(BLOCK_BYTES):
            yield block
