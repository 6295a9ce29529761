"""The cache of thumbnails: one SQLite file per source, shared by all sizes and runs.

    thumbnails/PLACE.sqlite     name, stamp (`Listing.stamps`) and thumbnail of each image

Any number of threads and processes may read and write. Nothing depends on it: what is missing, because the
file was damaged, removed, or gave way to others, is made again. All of it can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from engine.data.image_store import cache
from engine.errors import disk_cure, reason_of

log = logging.getLogger(__name__)

ELSEWHERE = "name another place with SPICE_EXPLORER_CACHE"
# How many GB the thumbnails of all sources may take together.
LIMIT, GIGABYTES = "SPICE_EXPLORER_THUMBNAILS", 4.0
FORMAT = 1
BUSY_SECONDS = 5.0
# Blobs of about 15 kB are read the fastest from pages of 8 kB.
PAGE_BYTES = 8192
# The log of writes is moved into the file when it has so many pages: 16 MB.
LOG_PAGES = 2048
# Written bytes after which the sizes of all files are looked at.
LOOK_BYTES = 2**26
# The time of a file's last use is written down once in so many seconds.
USED_SECONDS = 600.0
# Rows that give way at a time when a single source has too many.
GIVING_WAY = 64
# Names in one question.
ASKED = 400

_CREATE = """
CREATE TABLE IF NOT EXISTS thumbnails
(name TEXT, bytes INTEGER, time INTEGER, body BLOB, PRIMARY KEY (name, bytes, time))
"""
_BESIDE = ("", "-wal", "-shm", "-journal")
Answer = TypeVar("Answer")


def folder() -> Path:
    return cache() / "thumbnails"


def limit() -> int:
    """How many bytes all thumbnails may take: $SPICE_EXPLORER_THUMBNAILS in GB, by default 4."""
    try:
        return int(float(os.environ.get(LIMIT) or GIGABYTES) * 1e9)
    except (ValueError, OverflowError):
        return int(GIGABYTES * 1e9)


class ThumbnailStore:
    """The thumbnails of one source. Used in a `with` block, or closed; it can be sent to other processes.

    No method raises: a store that cannot be read or written is one without thumbnails. The log says once
    that they cannot be kept.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self.path = folder() / f"{hashlib.blake2b(place.encode(), digest_size=12).hexdigest()}.sqlite"
        self._guard = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._written = LOOK_BYTES

    def __getstate__(self) -> str:
        return self.place

    def __setstate__(self, place: str) -> None:
        self.__init__(place)  # type: ignore[misc]

    def __enter__(self) -> ThumbnailStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._guard:
            connection, self._connection = self._connection, None
            if connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    connection.close()

    # -- reading -------------------------------------------------------------------------------

    def bodies(self, names: Sequence[str], stamps: np.ndarray) -> list[bytes | None]:
        """The thumbnail of each of the m images with these `stamps` (m, 2), None where there is none."""
        rows = self._rows("name, bytes, time, body", names)
        found = {row[:3]: row[3] for row in rows if _whole(row[3])}
        return [found.get(key) for key in _keys(names, stamps)]

    def present(self, names: Sequence[str], stamps: np.ndarray) -> np.ndarray:
        """(m,) bool: which of the images have a thumbnail."""
        there = set(self._rows("name, bytes, time", names))
        return np.fromiter((key in there for key in _keys(names, stamps)), bool, len(names))

    def _rows(self, columns: str, names: Sequence[str]) -> list[tuple[Any, ...]]:
        def ask(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
            found: list[tuple[Any, ...]] = []
            for start in range(0, len(names), ASKED):
                part = list(names[start : start + ASKED])
                marks = ", ".join("?" * len(part))
                found += connection.execute(f"SELECT {columns} FROM thumbnails WHERE name IN ({marks})", part)
            return found

        return self._try(ask, create=False) or []

    # -- writing -------------------------------------------------------------------------------

    def wanted(self, names: Sequence[str], stamps: np.ndarray) -> np.ndarray:
        """(m,) bool: of which images an import shall make thumbnails: those that have none, while those of
        this source do not yet take all the room there is."""
        if _size(self.path) >= limit():
            return np.zeros(len(names), bool)
        return ~self.present(names, stamps)

    def add(self, names: Sequence[str], stamps: np.ndarray, bodies: Sequence[bytes]) -> None:
        """Keeps thumbnails; the oldest of this source, and then other sources, make room for them."""
        size = sum(map(len, bodies))
        if not bodies or size > limit():
            return

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            try:
                _make_room(connection, size)
                rows = [(*key, body) for key, body in zip(_keys(names, stamps), bodies, strict=True)]
                connection.executemany("INSERT OR REPLACE INTO thumbnails VALUES (?, ?, ?, ?)", rows)
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

        self._try(write, create=True)
        self._written += size
        if self._written >= LOOK_BYTES:
            self._written = 0
            trim(self.path)

    # -- the file ------------------------------------------------------------------------------

    def _try(self, ask: Callable[[sqlite3.Connection], Answer], *, create: bool) -> Answer | None:
        """The answer; None when the file cannot be used. A damaged file is removed, and made again."""
        with self._guard:
            for _ in range(2):
                try:
                    connection = self._opened(create)
                    return None if connection is None else ask(connection)
                except (sqlite3.OperationalError, OSError, UnicodeError, OverflowError) as error:
                    self.close()  # busy, on a full disk, or removed by someone else
                    if create and "locked" not in str(error):
                        _tell_once(str(folder()), *_told(error))
                    return None
                except sqlite3.DatabaseError:
                    self.close()
                    _unlink(self.path)
            return None

    def _opened(self, create: bool) -> sqlite3.Connection | None:
        there = self.path.exists()
        if not there:
            self.close()  # the folder was deleted under an open file
            if not create:
                return None
            self.path.parent.mkdir(parents=True, exist_ok=True)
        if self._connection is None:
            if there:
                _touch(self.path)
            self._connection = _connect(self.path)
        return self._connection


@lru_cache
def _tell_once(place: str, reason: str, cure: str) -> None:
    log.warning(
        "thumbnails cannot be kept in %s (%s): they are made again whenever they are shown; %s", place, reason, cure
    )


def _told(error: Exception) -> tuple[str, str]:
    """What the system, or SQLite, says of an error, and what to do."""
    if isinstance(error, OSError):
        return reason_of(error), disk_cure(error, ELSEWHERE)
    full = "free some space or " if "full" in str(error) else ""
    return str(error), f"{full}{ELSEWHERE}"


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        with contextlib.suppress(sqlite3.OperationalError):  # another process is just about to
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, FORMAT):
            raise sqlite3.DatabaseError(f"thumbnails of format {found}")
        if found == 0:
            connection.execute(_CREATE)
            connection.execute(f"PRAGMA user_version = {FORMAT}")
        return connection
    except BaseException:
        connection.close()
        raise


def _make_room(connection: sqlite3.Connection, needed: int) -> None:
    """Removes the oldest rows where the file would become too large."""
    most = limit()
    while _used(connection) + needed > most:
        rows = f"SELECT rowid FROM thumbnails ORDER BY rowid LIMIT {GIVING_WAY}"
        if not connection.execute(f"DELETE FROM thumbnails WHERE rowid IN ({rows})").rowcount:
            return


def _used(connection: sqlite3.Connection) -> int:
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _keys(names: Sequence[str], stamps: np.ndarray) -> Iterator[tuple[str, int, int]]:
    return ((name, one, two) for name, (one, two) in zip(names, stamps.tolist(), strict=True))


def _whole(body: Any) -> bool:
    """Whether it begins and ends as a JPEG does."""
    return isinstance(body, bytes) and body[:2] == b"\xff\xd8" and body[-2:] == b"\xff\xd9"


# -- all sources -----------------------------------------------------------------------------------


def trim(used: Path) -> None:
    """Removes the sources that were not used for the longest time, until the rest is within the limit.

    The source in the file `used` stays, and so do those that are open.
    """
    with contextlib.suppress(OSError):
        files = sorted(folder().glob("*.sqlite"), key=lambda file: file.stat().st_mtime)
        total = sum(map(_size, files))
        for file in files:
            if total <= limit():
                return
            size = _size(file)
            if file != used and _removed(file):
                total -= size


def _removed(path: Path) -> bool:
    """Removes a file, unless it is open: who reads or writes it would spoil the next one of its name."""
    try:
        connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        try:
            alone = connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0] == "delete"
        finally:
            connection.close()
        if not alone:
            return False
    except sqlite3.OperationalError:
        return False
    except sqlite3.DatabaseError:
        pass  # damaged: of no use to anyone
    _unlink(path)
    return True


def _size(path: Path) -> int:
    size = 0
    for ending in _BESIDE:
        with contextlib.suppress(OSError):
            size += os.stat(f"{path}{ending}").st_size
    return size


def _unlink(path: Path) -> None:
    for ending in _BESIDE:
        with contextlib.suppress(OSError):
            os.unlink(f"{path}{ending}")


def _touch(path: Path) -> None:
    """Writes down that the file is used now; its own time alone would not tell of readers."""
    with contextlib.suppress(OSError):
        if time.time() - path.stat().st_mtime > USED_SECONDS:
            os.utime(path)
