"""Imports a source into the cache: lists it, decodes new images in parallel, and stores them.

Memory use is bounded whatever the size of the set: each worker writes its batches straight to the file.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from engine import npy
from engine.data.decode_image import fitted
from engine.data.decode_pool import Batch, Decode, Decoder, Decoders, coloured
from engine.data.image_store import PIXELS, ImageStore, Stored, Waiting
from engine.data.images import fingerprint_of
from engine.data.listing import BlockSource, FileSource, Listing, Reader, Source
from engine.data.origin import Fit
from engine.data.pixel_file import BLOCK_BYTES, PixelFile, blocks_of, close_gaps, reserve
from engine.data.thumbnail_store import ThumbnailStore
from engine.data.thumbnails import as_image, pictured, thumbnail
from engine.errors import SourceError, Stopped, disk_cure, reason_of
from engine.formats.depth import USUAL_DEPTHS, Depth, Kind, Range, depth_for, depths_of

# The most images in a batch, bytes of their pixels, and bytes of their files: a batch of small images
# is large enough to be efficient, and a batch of photographs is done quickly.
BATCH, BATCH_BYTES, BATCH_FILE_BYTES = 256, 2**23, 2**22
# Batches in progress per worker: few, so that pausing and stopping take effect soon.
AHEAD = 3

Progress = Callable[[int, int], None]
Stop = Callable[[], bool]


def import_images(
    source: Source,
    size: int | None,
    how: Fit,
    *,
    thumbnails: bool = True,
    progress: Progress,
    stop: Stop,
    waiting: Waiting,
) -> Stored:
    """The images of `source`, squares of `size` pixels, decoded now as far as they are not kept.

    Args:
        size: None leaves the images of a `BlockSource` as they are.
        thumbnails: whether people will see the images: thumbnails of those that are larger are kept then.
        progress: called with the numbers of images decoded and to decode.
        stop: asked between batches; it may wait, for a pause.
        waiting: told when another import of the same images is waited for, and when no more.

    Raises:
        SourceError: if there are no usable images, or the disk is full.
        Stopped: if `stop()` is true; the cache stays as it was.
    """
    store = ImageStore(source, size, how)
    with store.locked(stop, waiting), Decoders(os.cpu_count() or 1) as decoders:
        kept, stamp = store.load(), source.stamp()
        if kept is not None and stamp and (kept.stamp, kept.labelled) == (stamp, source.labels):
            return kept
        if kept is None:
            decoders.expect()
        listing = source.listing()
        if kept is not None and _same(kept.listing, listing):
            again = replace(kept, listing=listing, stamp=stamp, labelled=source.labels)
            store.relist(again)
            return again
        draft = store.draft()
        try:
            with ThumbnailStore(source.place) if thumbnails else nullcontext() as kept_small:
                work = _Import(source, listing, size, how, draft, decoders, kept_small, progress, stop)
                made = work.run(kept)
            return store.replace(draft, replace(made, stamp=stamp, labelled=source.labels))
        except OSError as error:
            raise SourceError(
                f"the images cannot be kept in {store.folder.parent} ({reason_of(error)}): "
                f"{disk_cure(error, 'choose another folder with SPICE_EXPLORER_CACHE')}"
            ) from None
        finally:
            store.discard(draft)


def _same(one: Listing, other: Listing) -> bool:
    return one.names == other.names and np.array_equal(one.stamps, other.stamps)


class _Import:
    """One import. The file has a row for every image in the listing until the gaps are closed at the end."""

    def __init__(
        self,
        source: Source,
        listing: Listing,
        size: int | None,
        how: Fit,
        draft: Path,
        decoders: Decoders,
        thumbnails: ThumbnailStore | None,
        progress: Progress,
        stop: Stop,
    ) -> None:
        self.source, self.listing, self.size, self.how = source, listing, size, how
        self.decoders, self.thumbnails = decoders, thumbnails
        self.pixels, self.progress, self.stop = draft / PIXELS, progress, stop
        count = len(listing.names)
        self.good, self.coloured = np.zeros(count, bool), np.zeros(count, bool)
        self.extents = np.zeros((count, 2), np.int32)
        self.stamps = listing.stamps.copy()
        self.reasons: dict[int, str] = {}
        self.frames: dict[int, int] = {}
        self.ranges: dict[int, Range] = {}

    def run(self, kept: Stored | None) -> Stored:
        shape = self._from_files(kept) if hasattr(self.source, "reader") else self._from_blocks()
        if not self.good.any():
            first = min(self.reasons)
            raise SourceError(
                f"none of the {len(self.good):,} images in {self.source.text} can be read; the first "
                f"is {self.listing.names[first]}: {self.reasons[first]}"
            )
        channels = 3 if self.coloured.any() else 1
        close_gaps(self.pixels, self.good, shape, channels)
        listing = replace(self.listing, stamps=self.stamps, keys=())
        pixels = npy.mapped(self.pixels, "r")
        names = [name for name, ok in zip(listing.names, self.good, strict=True) if ok]
        fingerprint = fingerprint_of(pixels.shape, names, blocks_of(self.pixels))
        extents = self.extents[self.good]
        return Stored(
            listing, "", False, self.good, self.reasons, extents, fingerprint, pixels, self.frames, self.ranges
        )

    # -- encoded files -------------------------------------------------------------------------

    def _from_files(self, kept: Stored | None) -> tuple[int, ...]:
        assert self.size is not None, "files have all sizes: one is chosen"
        shape = (3, self.size, self.size)
        reserve(self.pixels, len(self.good), shape)
        todo = ~self._reuse(kept, shape)
        places = np.flatnonzero(todo)
        self.progress(0, len(places))
        reader = cast(FileSource, self.source).reader()
        done = 0
        before = {} if kept is None else kept.depths
        for batch in self._decoded(reader, places):
            self._take(batch)
            done += len(batch.places)
            self.progress(done, len(places))
        self._deepen(reader, {place for place in self.ranges if todo[place]}, before)
        return shape

    def _take(self, batch: Batch) -> None:
        self.good[batch.places], self.coloured[batch.places] = batch.good, batch.coloured
        self.extents[batch.places] = batch.extents
        self.reasons |= batch.reasons
        self.frames |= batch.frames
        self.ranges |= batch.ranges
        self.stamps[batch.changed] = -1  # modified meanwhile: decoded again by the next import

    def _deepen(self, reader: Reader, new: set[int], before: Mapping[Kind, Depth]) -> None:
        """Decodes the images of more than 8 bits, and masks, again, with the depth of the whole source, known only now;
        those that are reused only if it is another than `before`."""
        depths = depths_of(self.ranges.values(), int(self.good.sum()))
        again = [
            place
            for place, own in sorted(self.ranges.items())
            if depth_for(own, depths) != depth_for(own, USUAL_DEPTHS if place in new else before)
        ]
        for batch in self._decoded(reader, np.array(again, np.int64), depths) if again else ():
            self._take(batch)

    def _reuse(self, kept: Stored | None, shape: tuple[int, ...]) -> np.ndarray:
        """Copies unchanged images from the previous store; returns which (L,) bool."""
        names = self.listing.names
        if kept is None or kept.pixels.shape[2:] != shape[1:]:
            return np.zeros(len(names), bool)
        before = {name: place for place, name in enumerate(kept.listing.names)}
        old = np.array([before.get(name, -1) for name in names])
        same = (old >= 0) & (kept.listing.stamps[old] == self.listing.stamps).all(1)
        self.reasons = {int(place): kept.reasons[int(old[place])] for place in np.flatnonzero(same & ~kept.good[old])}
        places = np.flatnonzero(same & kept.good[old])
        self.frames = {int(place): kept.frames[int(old[place])] for place in places if int(old[place]) in kept.frames}
        self.ranges = {int(place): kept.ranges[int(old[place])] for place in places if int(old[place]) in kept.ranges}
        rows = (np.cumsum(kept.good) - 1)[old[places]]
        self.good[places], self.extents[places] = True, kept.extents[rows]
        file = PixelFile(self.pixels, shape)
        step = max(1, BLOCK_BYTES // int(np.prod(shape)))
        for start in range(0, len(places), step):
            part = slice(start, start + step)
            block = kept.pixels[rows[part]]
            self.coloured[places[part]] = coloured(block)
            file.write(places[part], np.broadcast_to(block, (len(block), *shape)))
        return same

    def _decoded(
        self, reader: Reader, places: np.ndarray, depths: Mapping[Kind, Depth] | None = None
    ) -> Iterator[Batch]:
        """Decodes the images at `places`, batch by batch; raises Stopped, and SourceError if a process dies."""
        assert self.size is not None
        most = max(1, min(BATCH, BATCH_BYTES // (3 * self.size**2)))
        keys, names, stamps, decoders = self.listing.keys, self.listing.names, self.listing.stamps, self.decoders
        decode: Decode = (
            decoders.of(reader, self.pixels, self.size, self.how, self.thumbnails, images=len(places))
            if depths is None
            else Decoder(reader, self.pixels, self.size, self.how, self.thumbnails, depths)
        )
        pending: deque[Future[Batch]] = deque()
        for part in in_batches(places, stamps[places, 0], most):
            self._go_on()
            batch = part, [keys[place] for place in part], [names[place] for place in part], stamps[part]
            pending.append(decoders.pool.submit(decode, *batch))
            if len(pending) >= AHEAD * decoders.workers:
                yield pending.popleft().result()
        while pending:
            self._go_on()
            yield pending.popleft().result()
        decoders.release()

    def _go_on(self) -> None:
        if self.stop():
            raise Stopped

    # -- arrays --------------------------------------------------------------------------------

    def _from_blocks(self) -> tuple[int, ...]:
        done, shape, file = 0, (), None
        self.progress(0, len(self.good))
        for block in self._blocks():
            self._go_on()
            part = slice(done, done + len(block))
            self.extents[part] = block.shape[3], block.shape[2]
            pixels = block if self.size is None else resized(block, self.size, self.how)
            if file is None:
                shape = (3, *pixels.shape[2:])
                reserve(self.pixels, len(self.good), shape)
                file = PixelFile(self.pixels, shape)
            self.good[part], self.coloured[part] = True, coloured(pixels)
            file.write(np.arange(done, done + len(block)), np.broadcast_to(pixels, (len(block), *shape)))
            if self.thumbnails is not None and pictured(self.extents[part][:1], pixels.shape[2:]):
                self._keep_thumbnails(self.thumbnails, part, block)
            done += len(block)
            self.progress(done, len(self.good))
        if done != len(self.good):
            raise SourceError(f"{self.source.text} announced {len(self.good):,} images but contains {done:,}")
        return shape

    def _keep_thumbnails(self, store: ThumbnailStore, part: slice, block: np.ndarray) -> None:
        names, stamps = self.listing.names[part], self.listing.stamps[part]
        rows = np.flatnonzero(store.wanted(names, stamps)).tolist()
        store.add([names[row] for row in rows], stamps[rows], [thumbnail(as_image(block[row])) for row in rows])

    def _blocks(self) -> Iterator[np.ndarray]:
        """The source's images in blocks (m, C, H, W) that are small both before and after scaling."""
        for block in cast(BlockSource, self.source).blocks():
            side = max(*block.shape[2:], self.size or 0)
            step = max(1, BLOCK_BYTES // (3 * side**2))
            yield from (block[start : start + step] for start in range(0, len(block), step))


def in_batches(places: np.ndarray, sizes: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Splits `places` (n,) into batches of at most `most` images and BATCH_FILE_BYTES of files, or a
    single larger file; `sizes` (n,) int64 are the bytes of the files."""
    ends, start = np.cumsum(sizes), 0
    while start < len(places):
        limit = BATCH_FILE_BYTES + (ends[start - 1] if start else 0)
        fitting = int(np.searchsorted(ends, limit, side="right"))
        end = min(max(fitting, start + 1), start + most)
        yield places[start:end]
        start = end


def resized(block: np.ndarray, size: int, how: Fit) -> np.ndarray:
    """Images (m, C, H, W) uint8 as squares (m, C, size, size) uint8."""
    height, width = block.shape[2:]
    if how == "squeeze":
        return _scaled(block, size, size)
    if how == "pad":
        return _padded(block, size)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return _scaled(block[:, :, top : top + side, left : left + side], size, size)


def _padded(block: np.ndarray, size: int) -> np.ndarray:
    """The whole of each image, on its mean colour."""
    width, height = fitted((block.shape[3], block.shape[2]), size, enlarge=True)
    whole = _scaled(block, height, width)
    mean = whole.mean((2, 3), keepdims=True).round().astype(np.uint8)
    square = np.ascontiguousarray(np.broadcast_to(mean, (*block.shape[:2], size, size)))
    top, left = (size - height) // 2, (size - width) // 2
    square[:, :, top : top + height, left : left + width] = whole
    return square


def _scaled(block: np.ndarray, height: int, width: int) -> np.ndarray:
    import torch
    import torch.nn.functional as F

    images = torch.from_numpy(block.copy())
    if images.shape[2:] == (height, width):
        return images.numpy()
    scaled = F.interpolate(images.float(), (height, width), mode="bicubic", antialias=True)
    return scaled.round_().clamp_(0, 255).byte().numpy()
