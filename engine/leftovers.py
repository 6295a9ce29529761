"""What a process that was killed has left on the disk: found, and removed, by the next one.

A process that makes something to be renamed or removed again holds a lock on it, which the system drops when the
process is gone, however it ends. So what is locked is never touched, no matter whose it is.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

# An earlier version held no locks: what it left is certainly nobody's after this time.
UNLOCKED_SECONDS = 86_400.0
# Between making something and locking it passes a moment.
LEAST_SECONDS = 2.0
# In the name of what is locked from the moment on that it is there.
DRAFT = "-draft-"
TEMPORARY = ("spice-tar-", "spice-layout-", "spice-log-")


@contextlib.contextmanager
def holding(path: Path) -> Iterator[None]:
    """Until the end of the block, or of this process, `path` is not left over."""
    number = _locked(path)
    try:
        yield
    finally:
        if number is not None:
            os.close(number)


def hold(path: Path) -> int | None:
    """The same until the number that is returned is closed; None where nothing can be locked."""
    return _locked(path)


def temporary_folder(prefix: str) -> tuple[Path, int | None]:
    """A new folder for temporary files, with what `hold` returns; `prefix` is one of `TEMPORARY`."""
    assert prefix in TEMPORARY
    place = Path(tempfile.mkdtemp(prefix=prefix))
    return place, hold(place)


def let_go(place: Path, number: int | None) -> None:
    """Removes a temporary folder."""
    shutil.rmtree(place, ignore_errors=True)
    if number is not None:
        os.close(number)


def sweep(place: Path, pattern: str, *, unlocked: float = UNLOCKED_SECONDS) -> list[Path]:
    """Removes what matches `pattern` in a folder and belongs to no process that is still there; returns that.

    `unlocked`: names without `DRAFT` may be an earlier version's, which locked nothing: these have to be so many
    seconds old. Nothing is raised: what cannot be removed stays.
    """
    removed = []
    for one in sorted(_found(place, pattern)):
        with contextlib.suppress(OSError):
            ours = DRAFT in one.name or one.name.startswith(TEMPORARY)
            if _age(one) < (LEAST_SECONDS if ours else unlocked) or not _abandoned(one):
                continue
            shutil.rmtree(one) if one.is_dir() and not one.is_symlink() else one.unlink()
            removed.append(one)
    return removed


def _found(place: Path, pattern: str) -> list[Path]:
    try:
        return list(place.glob(pattern))
    except OSError:
        return []


def _age(path: Path) -> float:
    return time.time() - path.stat().st_mtime


def _locked(path: Path) -> int | None:
    if sys.platform == "win32":
        return None
    try:
        number = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # a disk without locks
        os.close(number)
        return None
    return number


def _abandoned(path: Path) -> bool:
    """Whether nobody holds it; where the disk knows no locks, only what is old enough is."""
    if sys.platform == "win32":
        return _age(path) > UNLOCKED_SECONDS
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return _age(path) > UNLOCKED_SECONDS
    finally:
        os.close(number)
    return True
