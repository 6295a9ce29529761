"""What tells whether a file has changed, without reading it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def stamp_of(about: os.stat_result) -> tuple[int, int]:
    """Size, and a hash of the times and the inode, which is never -1.

    The time of modification alone can lie: it is kept when files are swapped, copied with their times, or restored.
    """
    return about.st_size, hash((about.st_mtime_ns, about.st_ctime_ns, about.st_ino))


def file_stamp(paths: Iterable[Path]) -> str:
    """A text that changes when one of the files does."""
    return " ".join("{}-{}".format(*stamp_of(path.stat())) for path in paths)
