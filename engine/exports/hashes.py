"""Hashes of originals: of the bytes of each file, or of each member of an archive, as they are now."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from engine.errors import SourceError, Stopped
from engine.exports.labelled import Labelled
from engine.exports.pictures import lengths_of
from engine.sources.originals import Originals

COLUMN = "original_sha256"
# Bytes that are read at a time.
BLOCK = 2**20


def with_original_hashes(
    found: Labelled, *, progress: Callable[[int, int], None], stop: Callable[[], bool]
) -> Labelled:
    """With a column COLUMN: the SHA-256 of each original in hex digits, "" where it is gone or there is none, which a
    note says. Files are read in blocks, members of archives one at a time.

    Raises:
        Stopped: when `stop()` said so.
    """
    try:
        originals = None if found.origin is None else Originals(found.origin)
    except SourceError as error:
        return _with(found, [""] * len(found), [f"{error}; {COLUMN} is empty"])
    if originals is None or originals.arrays:
        return _with(found, [""] * len(found), [f"{found.images.source} has no original files: {COLUMN} is empty"])
    digests, lengths = [], []
    for place, row in enumerate(found.rows.tolist()):
        progress(place, len(found))
        digest, length = _hash(originals, found.images.ids[row], stop)
        digests.append(digest)
        lengths.append(length)
    return _with(found, digests, _notes(found, digests, lengths))


def _with(found: Labelled, digests: list[str], notes: list[str]) -> Labelled:
    return replace(found, table=found.table.assign(**{COLUMN: digests}), notes=(*found.notes, *notes))


def _notes(found: Labelled, digests: list[str], lengths: list[int]) -> list[str]:
    said = []
    if gone := digests.count(""):
        said.append(f"{gone:,} originals are gone or cannot be read: their {COLUMN} is empty")
    known = lengths_of(found)
    if known is not None:
        read = zip(digests, lengths, known[found.rows].tolist(), strict=True)
        if other := sum(digest != "" and length != before for digest, length, before in read):
            said.append(
                f"{other:,} originals have another size in bytes than when they were imported: their {COLUMN} is that "
                "of the file as it is now"
            )
    return said


def _hash(originals: Originals, name: str, stop: Callable[[], bool]) -> tuple[str, int]:
    """The digest of an original, and its length in bytes; "" and 0 of one that cannot be read."""
    if stop():
        raise Stopped
    try:
        if originals.root is not None:
            return _of_file(originals.path(name), stop)
        content = originals.content(name)
    except (SourceError, OSError):
        return "", 0
    return hashlib.sha256(content).hexdigest(), len(content)


def _of_file(path: Path, stop: Callable[[], bool]) -> tuple[str, int]:
    """Of a regular file; raises OSError or SourceError for any other."""
    digest, length = hashlib.sha256(), 0
    # Opening a pipe would block until something writes to it.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(handle, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise SourceError("not a regular file")
        while block := file.read(BLOCK):
            digest.update(block)
            length += len(block)
            if stop():
                raise Stopped
    return digest.hexdigest(), length
