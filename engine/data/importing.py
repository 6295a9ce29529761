"""From a source to its store: list, decode what is new, in parallel, and keep it.

Memory stays bounded whatever the set: images go from a worker's batch to the file, and nobody holds the
whole. Small imports are decoded by threads, large ones by processes, since decoding small images is mostly
Python; a process also takes a crash of a decoder with it.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from engine.data.decode import decode, fit
from engine.data.images import fingerprint_of
from engine.data.listing import BlockSource, FileSource, Listing, Reader, Source
from engine.data.store import ImageStore, Stored
from engine.errors import SourceError, Stopped

# From so many images on, starting processes pays.
MANY = 2_000
# Images that a worker takes at a time, and the bytes that these may have decoded.
BATCH, BATCH_BYTES = 64, 2**23
# Batches in hand per worker: few, so that a pause or a stop is soon felt.
AHEAD = 3
BLOCK_BYTES = 2**25
# What shall be left on the disk.
SPARE_BYTES = 2**28

Progress = Callable[[int, int], None]
Stop = Callable[[], bool]


def import_images(source: Source, size: int | None, *, progress: Progress, stop: Stop) -> Stored:
    """The images of `source`, squares of `size` pixels, decoded now as far as they are not kept.

    Args:
        size: None leaves the images of a `BlockSource` as they are.
        progress: called with the numbers of images decoded and to decode.
        stop: asked between batches; it may wait, for a pause.

    Raises:
        SourceError: when there is nothing usable, or the disk is full.
        Stopped: when `stop()` said so; what was kept before is kept still.
    """
    store = ImageStore(source, size)
    with store.locked(stop):
        kept, stamp = store.load(), source.stamp()
        asked = source.labels
        if kept is not None and stamp and (kept.stamp, kept.labelled) == (stamp, asked):
            return kept
        listing = source.listing()
        if kept is not None and _same(kept.listing, listing):
            again = replace(kept, listing=listing, stamp=stamp, labelled=asked)
            store.relist(again)
            return again
        draft = store.draft()
        try:
            made = _Import(source, listing, size, draft, progress, stop).run(kept)
            return store.replace(draft, replace(made, stamp=stamp, labelled=asked))
        except OSError as error:
            raise SourceError(
                f"the images cannot be kept in {store.folder.parent} ({error.strerror or error}): "
                "free some space, or name another place with SPICE_EXPLORER_CACHE"
            ) from None
        finally:
            store.discard(draft)


def _same(one: Listing, other: Listing) -> bool:
    return one.names == other.names and np.array_equal(one.stamps, other.stamps)


class _Import:
    """One import. Rows of the file are those of the listing until the end, when gaps are closed."""

    def __init__(
        self, source: Source, listing: Listing, size: int | None, draft: Path, progress: Progress,
        stop: Stop,
    ) -> None:  # fmt: skip
        self.source, self.listing, self.size = source, listing, size
        self.pixels, self.progress, self.stop = draft / "pixels.npy", progress, stop
        count = len(listing.names)
        self.good, self.coloured = np.zeros(count, bool), np.zeros(count, bool)
        self.extents = np.zeros((count, 2), np.int32)
        self.stamps = listing.stamps.copy()
        self.reasons: dict[int, str] = {}

    def run(self, kept: Stored | None) -> Stored:
        shape = self._from_files(kept) if hasattr(self.source, "reader") else self._from_blocks()
        if not self.good.any():
            first = min(self.reasons)
            raise SourceError(
                f"none of the {len(self.good):,} images in {self.source.text} can be read; the first "
                f"is {self.listing.names[first]}: {self.reasons[first]}"
            )
        channels = 3 if self.coloured.any() else 1
        _closed(self.pixels, self.good, shape, channels)
        listing = replace(self.listing, stamps=self.stamps, keys=())
        pixels = np.load(self.pixels, mmap_mode="r", allow_pickle=False)
        names = [name for name, ok in zip(listing.names, self.good, strict=True) if ok]
        fingerprint = fingerprint_of(pixels.shape, names, _blocks_of(self.pixels))
        return Stored(
            listing,
            "",
            False,
            self.good,
            self.reasons,
            self.extents[self.good],
            fingerprint,
            pixels,
        )

    # -- encoded files -------------------------------------------------------------------------

    def _from_files(self, kept: Stored | None) -> tuple[int, ...]:
        assert self.size is not None, "files have all sizes: one is chosen"
        shape = (3, self.size, self.size)
        _reserve(self.pixels, len(self.good), shape)
        todo = ~self._reuse(kept, shape)
        places = np.flatnonzero(todo)
        reader = cast(FileSource, self.source).reader()
        done = 0
        for batch in self._decoded(reader, places):
            self.good[batch.places], self.coloured[batch.places] = batch.good, batch.coloured
            self.extents[batch.places] = batch.extents
            self.reasons |= batch.reasons
            self.stamps[batch.changed] = -1  # written to meanwhile: it is read again the next time
            done += len(batch.places)
            self.progress(done, len(places))
        return shape

    def _reuse(self, kept: Stored | None, shape: tuple[int, ...]) -> np.ndarray:
        """(L,) bool: the images that are kept from before, and are copied."""
        names = self.listing.names
        if kept is None or kept.pixels.shape[2:] != shape[1:]:
            return np.zeros(len(names), bool)
        before = {name: place for place, name in enumerate(kept.listing.names)}
        old = np.array([before.get(name, -1) for name in names])
        same = (old >= 0) & (kept.listing.stamps[old] == self.listing.stamps).all(1)
        self.reasons = {
            int(place): kept.reasons[int(old[place])]
            for place in np.flatnonzero(same & ~kept.good[old])
        }
        places = np.flatnonzero(same & kept.good[old])
        rows = (np.cumsum(kept.good) - 1)[old[places]]
        self.good[places], self.extents[places] = True, kept.extents[rows]
        file = _Rows(self.pixels, shape)
        step = max(1, BLOCK_BYTES // int(np.prod(shape)))
        for start in range(0, len(places), step):
            part = slice(start, start + step)
            block = kept.pixels[rows[part]]
            self.coloured[places[part]] = _coloured(block)
            file.write(places[part], np.broadcast_to(block, (len(block), *shape)))
        return same

    def _decoded(self, reader: Reader, places: np.ndarray) -> Iterator[_Batch]:
        """Decoded batches as they come; raises Stopped, or SourceError when a process dies."""
        assert self.size is not None
        worker = (reader, self.pixels, self.size)
        size = max(1, min(BATCH, BATCH_BYTES // (3 * self.size**2)))
        batches = (places[start : start + size] for start in range(0, len(places), size))
        keys, stamps = self.listing.keys, self.listing.stamps
        pending: deque[Future[_Batch]] = deque()
        workers = os.cpu_count() or 1
        with _executor(worker, len(places), workers) as (pool, task):
            try:
                for batch in batches:
                    if self.stop():
                        raise Stopped
                    pending.append(
                        pool.submit(task, batch, [keys[i] for i in batch], stamps[batch])
                    )
                    if len(pending) >= AHEAD * workers:
                        yield pending.popleft().result()
                while pending:
                    if self.stop():
                        raise Stopped
                    yield pending.popleft().result()
            finally:
                for one in pending:
                    one.cancel()

    # -- arrays --------------------------------------------------------------------------------

    def _from_blocks(self) -> tuple[int, ...]:
        done, shape, file = 0, (), None
        for block in cast(BlockSource, self.source).blocks():
            if self.stop():
                raise Stopped
            part = slice(done, done + len(block))
            self.extents[part] = block.shape[3], block.shape[2]
            pixels = block if self.size is None else resized(block, self.size)
            if file is None:
                shape = (3, *pixels.shape[2:])
                _reserve(self.pixels, len(self.good), shape)
                file = _Rows(self.pixels, shape)
            self.good[part], self.coloured[part] = True, _coloured(pixels)
            file.write(
                np.arange(done, done + len(block)), np.broadcast_to(pixels, (len(block), *shape))
            )
            done += len(block)
            self.progress(done, len(self.good))
        if done != len(self.good):
            raise SourceError(
                f"{self.source.text} announced {len(self.good):,} images and holds {done:,}"
            )
        return shape


def resized(block: np.ndarray, size: int) -> np.ndarray:
    """The middle squares of images (m, C, H, W) uint8, as (m, C, size, size) uint8."""
    import torch
    import torch.nn.functional as F

    height, width = block.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = torch.from_numpy(block[:, :, top : top + side, left : left + side].copy())
    if side == size:
        return square.numpy()
    scaled = F.interpolate(square.float(), (size, size), mode="bicubic", antialias=True)
    return scaled.round_().clamp_(0, 255).byte().numpy()


def _coloured(block: np.ndarray) -> np.ndarray:
    """(m,) bool: which of the images (m, C, H, W) are not grey."""
    return (block != block[:, :1]).any(axis=(1, 2, 3))


# -- workers -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Batch:
    """What became of m images.

    Attributes:
        places: (m,) of the listing.
        good, coloured: (m,) bool.
        extents: (m, 2) int32.
        reasons: of those that are not good, by place.
        changed: places of files that were written to since they were listed.
    """

    places: np.ndarray
    good: np.ndarray
    coloured: np.ndarray
    extents: np.ndarray
    reasons: dict[int, str]
    changed: list[int]


class _Worker:
    """Decodes batches into the file."""

    def __init__(self, reader: Reader, pixels: Path, size: int) -> None:
        self.reader, self.size = reader, size
        self.file = _Rows(pixels, (3, size, size))

    def __call__(self, places: np.ndarray, keys: list[Any], stamps: np.ndarray) -> _Batch:
        block = np.zeros((len(places), self.size, self.size, 3), np.uint8)
        good, extents = np.zeros(len(places), bool), np.zeros((len(places), 2), np.int32)
        reasons: dict[int, str] = {}
        changed = []
        for row, place in enumerate(places.tolist()):
            try:
                data = self.reader(keys[row])
                image, extents[row] = decode(data, self.size)
                block[row] = np.asarray(fit(image, self.size).convert("RGB"))
                good[row] = True
                if isinstance(data, Path) and stamp_of(data) != tuple(stamps[row]):
                    changed.append(place)
            except (SourceError, MemoryError) as error:
                reasons[place] = str(error) or "more pixels than there is memory for"
        pixels = np.ascontiguousarray(block.transpose(0, 3, 1, 2))
        self.file.write(places[good], pixels[good])
        return _Batch(places, good, _coloured(pixels), extents, reasons, changed)


def stamp_of(path: Path) -> tuple[int, int] | None:
    """Bytes and time (ns) of a file; None when it is gone."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns


_worker: _Worker | None = None


def _begin(*worker: Any) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the process that asked
    warnings.simplefilter("ignore")
    _worker = _Worker(*worker)


def _work(*batch: Any) -> _Batch:
    assert _worker is not None, "the process was begun"
    return _worker(*batch)


@contextmanager
def _executor(
    worker: tuple[Any, ...], images: int, workers: int
) -> Iterator[tuple[Executor, Callable[..., _Batch]]]:
    """Threads or processes, and what they are to do with a batch."""
    if images < MANY:
        with warnings.catch_warnings(), ThreadPoolExecutor(workers, "spice-import") as threads:
            warnings.simplefilter("ignore")  # a file is either good enough to decode or listed
            yield threads, _Worker(*worker)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        workers, context, initializer=_begin, initargs=worker
    ) as processes:  # fmt: skip
        try:
            yield processes, _work
        except BrokenProcessPool:
            raise SourceError(
                "a process that decoded images was ended from outside, perhaps for want of memory: "
                "close other programs, or choose a smaller size"
            ) from None


# -- the file ----------------------------------------------------------------------------------


class _Rows:
    """Rows of an .npy file of uint8 (rows, *shape), written from any thread or process.

    They are written, not mapped, so that they do not count as memory of this process.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.path, self.length = path, int(np.prod(shape))
        with path.open("rb") as file:
            self.offset = _skip_header(file)

    def write(self, places: np.ndarray, pixels: np.ndarray) -> None:
        """Row `places[i]` becomes `pixels[i]`; neighbours are written at once."""
        if not len(places):
            return
        breaks = np.flatnonzero(np.diff(places) != 1) + 1
        with self.path.open("r+b", buffering=0) as file:
            for first, last in zip([0, *breaks], [*breaks, len(places)], strict=True):
                file.seek(self.offset + int(places[first]) * self.length)
                file.write(np.ascontiguousarray(pixels[first:last]).data)


def _reserve(path: Path, rows: int, shape: tuple[int, ...]) -> None:
    """An .npy file of so many empty rows; raises SourceError when the disk has no room for them."""
    needed, free = rows * int(np.prod(shape)), shutil.disk_usage(path.parent).free
    if needed + SPARE_BYTES > free:
        raise SourceError(
            f"{rows:,} images of {shape[2]} × {shape[1]} pixels need {needed / 1e9:,.1f} GB, but only "
            f"{free / 1e9:,.1f} GB are free in {path.parent.parent}: choose a smaller size, free some "
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


def _closed(path: Path, good: np.ndarray, shape: tuple[int, ...], channels: int) -> None:
    """Moves the good rows together, with one channel if all are grey, and cuts off the rest.

    Rows only ever move towards the beginning, so that one file and little memory are enough.
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


def _blocks_of(path: Path) -> Iterator[bytes]:
    """The pixels in a file, without mapping it."""
    with path.open("rb") as file:
        _skip_header(file)
        while block := file.read(BLOCK_BYTES):
            yield block
