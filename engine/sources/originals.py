"""Originals: the files, members and arrays that a run's images were made from, found by the images' names."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np

from engine.data.decode_image import content_of, upright
from engine.data.image_store import cache
from engine.data.listing import BlockSource, FileSource, Reader, Source
from engine.data.origin import Origin
from engine.data.thumbnail_store import ThumbnailStore
from engine.data.thumbnails import as_image, thumbnail
from engine.errors import SourceError
from engine.formats.stamps import stamp_of
from engine.sources.browser_image import FileFacts, facts_of
from engine.sources.folders import FolderReader, on_system, readable
from engine.sources.open_source import BUILT_IN, kind_and_path, origin_of, source_of
from engine.sources.sets import SETS
from engine.sources.tars import TarSource

# Sources whose listings are kept in memory: of a large archive one takes some hundred MB.
MOST_LISTED = 3
# Originals that are decoded at a time: of one that is no JPEG, and as large as is allowed, it takes up to 1 GB.
MOST_MAKERS = 4


@dataclass(frozen=True)
class Original:
    """What an image was made from, as it is now.

    Attributes:
        content: of the file; of an image in an array, a PNG.
        stamp: as `Listing` has it.
        where: the file that it is, or that it is in.
    """

    content: bytes
    stamp: tuple[int, int]
    where: Path


@dataclass(frozen=True)
class Facts:
    """What is known of an original.

    Attributes:
        file: what its file says.
        length: of its content in bytes.
        where: the file that it is, or that it is in; valid text.
        modified: when that file was last written to, in seconds since 1970.
        stamp: as `Listing` has it.
    """

    file: FileFacts
    length: int
    stamp: tuple[int, int]
    where: str
    modified: float | None


def gone(origin: Origin) -> str:
    """Why the originals cannot be read, as a sentence for the user; "" while their source is there."""
    try:
        _source(origin)
    except SourceError as error:
        return str(error)
    return ""


def origin_named(text: str) -> Origin | None:
    """Where the source of a run is that remembers only what it was called; None where it may have no
    originals: it is built in, or arrays that are not there now."""
    if text in BUILT_IN or (text in SETS and not (cache() / "sets" / text).is_dir()):
        return None
    try:
        return origin_of(text, source_of(text))
    except SourceError:
        kind, path = kind_and_path(text) or ("arrays", "")
        return None if kind in ("arrays", *SETS) else Origin(f"{kind}:{path}", "", f"{kind}:{path}")


def places(origin: Origin, names: Sequence[str]) -> list[str]:
    """The file that each original is, or is in, whether or not it is there; valid text."""
    try:
        opened = Originals(origin)
    except SourceError:
        kind, path = kind_and_path(origin.text) or ("", origin.text)
        of_their_own = kind in ("folder", "imagefolder")
        return [readable(os.path.join(path, name) if of_their_own else path) for name in names]
    return [opened.place(name) for name in names]


def read_original(origin: Origin, name: str) -> Original:
    """The original of the image called `name`.

    Raises:
        SourceError: in a sentence for the user, when it, or all of the source, is not there any more.
    """
    source = _source(origin)
    root = _root(source)
    if root is not None:
        path = _file(root, name)
        content, stamp = content_of(path)
        return Original(content, stamp, Path(path))
    listed = _listed(origin, source)
    row = listed.row(name)
    if listed.reader is None:
        out = io.BytesIO()
        as_image(listed.arrays([row])[row]).save(out, "PNG", compress_level=1)
        content = out.getvalue()
    else:
        content = cast(bytes, listed.reader(listed.keys[row]))
    return Original(content, listed.stamp(row), _where(origin))


def facts(origin: Origin, name: str) -> Facts:
    """What is known of the original called `name`; raises SourceError as `read_original` does."""
    found = read_original(origin, name)
    modified = None
    with contextlib.suppress(OSError):
        modified = found.where.stat().st_mtime
    return Facts(facts_of(found.content), len(found.content), found.stamp, readable(str(found.where)), modified)


def stamps_now(origin: Origin, names: Sequence[str]) -> np.ndarray:
    """(m, 2) int64: the stamps that the originals have now, -1 for those that are not there.

    Raises:
        SourceError: when the source is not there.
    """
    source = _source(origin)
    root, stamps = _root(source), np.full((len(names), 2), -1, np.int64)
    listed = None if root is not None else _listed(origin, source)
    for place, name in enumerate(names):
        with contextlib.suppress(SourceError, OSError):
            if root is not None:
                about = os.stat(_file(root, name))
                stamps[place] = stamp_of(about)
            elif listed is not None:
                stamps[place] = listed.stamp(listed.row(name))
    return stamps


def make_thumbnails(origin: Origin, names: Sequence[str], stamps: np.ndarray) -> list[bytes | None]:
    """Makes thumbnails of originals that still have their `stamps` (m, 2), and keeps them.

    None stands for those that have changed, or are not there any more.
    """
    try:
        source = _source(origin)
        listed = None if _root(source) is not None else _listed(origin, source)
        if listed is not None and listed.reader is None:
            made = _of_arrays(listed, names, stamps)
        else:
            asked = zip(names, map(tuple, stamps.tolist()), strict=True)
            made = list(_makers().map(lambda each: _of_file(origin, *each), asked))
    except SourceError:
        return [None] * len(names)
    rows = [row for row, body in enumerate(made) if body is not None]
    with ThumbnailStore(origin.place) as store:
        store.add([names[row] for row in rows], stamps[rows], [made[row] or b"" for row in rows])
    return made


@lru_cache
def _makers() -> ThreadPoolExecutor:
    """The threads that make thumbnails for all who ask: first come, first served, in bounded memory."""
    return ThreadPoolExecutor(min(MOST_MAKERS, os.cpu_count() or 1), "spice-thumbnails")


def _of_file(origin: Origin, name: str, stamp: tuple[int, int]) -> bytes | None:
    try:
        found = read_original(origin, name)
        return thumbnail(upright(found.content, 1)[0]) if found.stamp == stamp else None
    except (SourceError, MemoryError, OSError, ValueError):
        return None


def _of_arrays(listed: _Listed, names: Sequence[str], stamps: np.ndarray) -> list[bytes | None]:
    """All in one pass through the arrays, which begin with the first."""
    rows = []
    for name, stamp in zip(names, stamps.tolist(), strict=True):
        row = listed.rows.get(name, -1)
        rows.append(row if row >= 0 and listed.stamp(row) == tuple(stamp) else -1)
    found = listed.arrays([row for row in rows if row >= 0])
    return [thumbnail(as_image(found[row])) if row in found else None for row in rows]


class Originals:
    """The originals of one source, opened once for many of them."""

    def __init__(self, origin: Origin) -> None:
        """Raises SourceError, in a sentence for the user, when the source is not there any more."""
        self._source = _source(origin)
        self._root, self._where = _root(self._source), _where(origin)
        self._real = "" if self._root is None else os.path.realpath(self._root)
        self._listed = None if self._root is not None else _listed(origin, self._source)

    @property
    def root(self) -> Path | None:
        """The folder below which each of them is a file of its own; None where they are in an archive, a table or an
        array."""
        return self._root

    @property
    def arrays(self) -> bool:
        """Whether they are arrays, which have no encoded form."""
        return self._listed is not None and self._listed.reader is None

    def place(self, name: str) -> str:
        """The file that the original `name` is, or is in, whether or not it is there; valid text."""
        if self._root is None:
            return readable(str(self._where))
        return f"{readable(str(self._root))}{os.sep}{name}"

    def path(self, name: str) -> Path:
        """Its own file; raises SourceError when it is not there, or is outside the source."""
        assert self._root is not None
        return Path(_file(self._root, name, self._real))

    def content(self, name: str) -> bytes:
        """What its file, or its part of an archive or a table, holds; raises SourceError when it is not there."""
        if self._listed is None:
            return content_of(str(self.path(name)))[0]
        assert self._listed.reader is not None
        found = self._listed.reader(self._listed.keys[self._listed.row(name)])
        return content_of(found)[0] if isinstance(found, str) else found

    def pixels(self, names: Sequence[str]) -> list[np.ndarray]:
        """(C, H, W) uint8 of each of some originals that are `arrays`; raises SourceError when one is not there."""
        assert self._listed is not None
        rows = [self._listed.row(name) for name in names]
        found = self._listed.arrays(rows)
        return [found[row] for row in rows]


# -- finding -----------------------------------------------------------------------------------


def _source(origin: Origin) -> Source:
    named = kind_and_path(origin.text)
    path = named[1] if named is not None else ""
    try:
        return source_of(origin.text, root=origin.root or None)
    except SourceError as error:
        if path and not os.path.lexists(path):
            raise SourceError(
                f"{readable(path)} is not there any more: it was moved, renamed or deleted, or is on a disk "
                "that is not connected"
            ) from None
        raise SourceError(f"the originals cannot be opened: {error}") from None
    except OSError as error:
        raise SourceError(f"{readable(path)} cannot be opened: {error.strerror or error}") from None


def _root(source: Source) -> Path | None:
    """The folder below which the images are files, each called by its path."""
    if isinstance(source, TarSource) or not hasattr(source, "reader"):
        return None
    reader = cast(FileSource, source).reader()
    return reader.root if isinstance(reader, FolderReader) else None


def _where(origin: Origin) -> Path:
    named = kind_and_path(origin.text)
    return Path(named[1] if named is not None else origin.text)


def _file(root: Path, name: str, real: str = "") -> str:
    """The path of the image `name` below `root`, whose real path is `real` where that is known; raises SourceError
    for one that is not there, or not below it."""
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\0" in part or (os.sep != "/" and os.sep in part) for part in parts):
        raise SourceError(f"{name!r} is not the name of an image in {root}")
    path = str(root)
    for part in parts:
        path = os.path.join(path, _entry(path, on_system(part)))
    if not os.path.lexists(path):
        raise SourceError(f"{name} is not in {readable(str(root))} any more: it was moved, renamed or deleted")
    if not os.path.realpath(path).startswith(os.path.join(real or os.path.realpath(root), "")):
        raise SourceError(f"{name} leads out of {readable(str(root))}: it is not read")
    return path


def _entry(folder: str, part: str) -> str:
    """What is called `part` in `folder`; names that are no valid text are called otherwise than they are."""
    if "\\x" not in part:
        return part
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return next((one.name for one in sorted(entries, key=_name) if readable(one.name) == part), part)
    return part


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


# -- archives and arrays -----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Listed:
    """The listing of a source whose images are no files of their own, and what reads them.

    `reader` is None for arrays; `of` is the source's stamp.
    """

    source: Source
    of: str
    reader: Reader | None
    rows: dict[str, int]
    keys: Sequence[Any]
    stamps: np.ndarray

    def row(self, name: str) -> int:
        if name not in self.rows:
            raise SourceError(f"{name} is not in {self.source.text} any more")
        return self.rows[name]

    def stamp(self, row: int) -> tuple[int, int]:
        one, two = self.stamps[row].tolist()
        return one, two

    def arrays(self, rows: Sequence[int]) -> dict[int, np.ndarray]:
        """(C, H, W) uint8 of each of the rows of a source of arrays."""
        found: dict[int, np.ndarray] = {}
        wanted = sorted(set(rows))
        done = wanted[0] if wanted else 0
        for block in cast(BlockSource, self.source).blocks(done) if wanted else ():
            for row in wanted[len(found) :]:
                if row >= done + len(block):
                    break
                found[row] = block[row - done].copy()
            if len(found) == len(wanted):
                break
            done += len(block)
        return found


@dataclass
class _Place:
    """Where the listing of one source is kept; only one thread at a time makes it."""

    guard: threading.Lock = field(default_factory=threading.Lock)
    listed: _Listed | None = None


_kept: OrderedDict[Origin, _Place] = OrderedDict()
_guard = threading.Lock()


def _listed(origin: Origin, source: Source) -> _Listed:
    """The source's listing, made again when the source has changed."""
    with _guard:
        place = _kept.setdefault(origin, _Place())
        _kept.move_to_end(origin)
        while len(_kept) > MOST_LISTED:
            _kept.popitem(last=False)
    with place.guard:
        stamp = source.stamp()
        if place.listed is None or place.listed.of != stamp:
            listing = source.listing()
            reader = cast(FileSource, source).reader() if hasattr(source, "reader") else None
            rows = {name: row for row, name in enumerate(listing.names)}
            place.listed = _Listed(source, stamp, reader, rows, listing.keys, listing.stamps)
        return place.listed
