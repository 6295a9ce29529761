"""A decision log where nothing can be written: a read-only folder, a full disk. SQLite would write even to share it."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from engine.leftovers import let_go, temporary_folder

# A file's size and time, None where there is none.
Times = list[tuple[int, int] | None]


def opened_to_read(path: Path) -> sqlite3.Connection:
    """A connection that writes nothing beside the log. What is not in the file itself yet, but in its log of writes, is
    read from a copy of both, and nobody sees what others write meanwhile: `times` tells of that.

    Raises:
        OSError: when there is no room for a copy either.
        sqlite3.Error: when it cannot be read.
    """
    wal, place, held, asked = path.with_name(f"{path.name}-wal"), None, None, "immutable=1"
    try:
        if size_of(wal):
            (place, held), asked = temporary_folder("spice-log-"), "mode=rw"
            shutil.copyfile(wal, place / wal.name)
            path = Path(shutil.copyfile(path, place / path.name))
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?{asked}", uri=True, isolation_level=None, check_same_thread=False
        )
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # opens the files
        connection.execute("PRAGMA query_only = 1")
        return connection
    finally:
        if place is not None:  # files that are open stay
            let_go(place, held)


def size_of(path: Path) -> int:
    """Of a file, 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def times(path: Path) -> Times:
    """What tells a log from the same before something was written to it."""
    files = [path, path.with_name(f"{path.name}-wal")]
    return [(one.stat().st_size, one.stat().st_mtime_ns) if one.exists() else None for one in files]
