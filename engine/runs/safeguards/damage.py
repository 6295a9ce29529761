"""Which parts of a run can be shown; what is damaged is left out, and that is said in the log once."""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from pathlib import Path

from engine.checksums import LARGE_BYTES
from engine.data.images import ImageSet
from engine.errors import RunError
from engine.npy import texts_of
from engine.runs.files import load_array
from engine.runs.folder import PIXELS, RunFolder
from engine.runs.safeguards.cures import REMADE, cure_of

log = logging.getLogger(__name__)


def damage_of(folder: RunFolder, artefact: str) -> str:
    """What is wrong with an artefact, a sentence, as far as a page has to know; "" for one that is whole, or not there.

    It is read once a process, and again when one of its files has changed.
    """
    try:
        with os.scandir(folder.path / artefact) as entries:
            files = tuple(sorted(_identity(one) for one in entries))
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return str(error)
    return _damage(folder.path, artefact, files)


def is_whole(folder: RunFolder, artefact: str) -> bool:
    """Whether nothing is known to be wrong with an artefact."""
    return not damage_of(folder, artefact)


def to_make_again(folder: RunFolder) -> list[str]:
    """What training has made and is damaged."""
    return [artefact for artefact in REMADE if damage_of(folder, artefact)]


def exchanged(folder: RunFolder, artefact: str) -> list[str]:
    """The artefacts that this one was made of and that are others by now."""
    sums = folder.sums(artefact)
    if sums is None or not sums.of:
        return []
    now = folder.made_of(*sums.of)
    return [name for name, kept in sums.of.items() if name in now and now[name] != kept]


def of_others(names: list[str]) -> str:
    """What is wrong with an artefact that was made of others, and what to do."""
    return (
        f"it was made of other {' and '.join(names)} than those that are here now: put back a copy of "
        f"{'them' if len(names) > 1 else 'what was here'}, or start a new run"
    )


def pixels_trouble(folder: RunFolder, artefact: str, fingerprint: str) -> str:
    """Whether the pixels have this fingerprint; "" if so, else what is wrong. Raises OSError and ValueError."""
    file = folder.path / artefact / PIXELS
    if not file.exists():
        return f"{PIXELS} is missing"
    about = file.stat()
    same = _fingerprint(folder.path / artefact, (about.st_ino, about.st_mtime_ns, about.st_ctime_ns)) == fingerprint
    return "" if same else f"{PIXELS} has other images than those that the run was made with"


@lru_cache(maxsize=64)
def _fingerprint(place: Path, _identity: tuple[int, ...]) -> str:
    ids = texts_of(load_array(place / "ids.npy"))
    return ImageSet(load_array(place / PIXELS), ids, place.name).fingerprint


def _identity(entry: os.DirEntry[str]) -> tuple[str, int, int, int, int]:
    about = entry.stat()
    return entry.name, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


@lru_cache(maxsize=2**12)
def _damage(path: Path, artefact: str, _files: tuple[tuple[str, int, int, int, int], ...]) -> str:
    folder = RunFolder(path)
    try:
        folder.load(artefact)
        known = sums.images if (sums := folder.sums(artefact)) is not None else ""
        small = known and (path / artefact / PIXELS).stat().st_size <= LARGE_BYTES
        if small and (trouble := pixels_trouble(folder, artefact, known)):
            raise RunError(f"{path / artefact}: {trouble}: {cure_of(artefact)}")
    except (RunError, OSError) as error:
        log.warning("%s", error)
        return str(error)
    return ""
