"""The cache of decoded images: one memory-mapped uint8 store per source and size.

    images/PLACE/index.json, index.npz   the listing, and which of its images could be decoded
    images/PLACE/pixels-FINGERPRINT.npy  (N, C, H, W) uint8

PLACE is a hash of the source's place and the image size. A store is always replaced as a whole, because a
run may have a hard link to its pixels; for the same reason nobody may write to these. The cache may be deleted at any
time, and a store that is damaged is imported again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from engine import npy
from engine.checksums import LARGE_BYTES
from engine.data.columns import ImageColumn
from engine.data.images import fingerprint_of, pixels_named
from engine.data.listing import Listing, Source
from engine.data.origin import Fit
from engine.data.pixel_file import blocks_of
from engine.data.skipped import Skipped
from engine.data.truth import Truth
from engine.errors import Stopped
from engine.formats.depth import Depth, Kind, Range, depths_of, said_of

CACHE = "SPICE_EXPLORER_CACHE"
# Raised when images come out of decoding differently, so that old stores are not used any more.
FORMAT = 5
# The pixels of a draft, before their fingerprint is known.
PIXELS = "pixels.npy"
WAIT_SECONDS = 0.2
WRITABLE = 0o222

# Called with True when another import of the same images has to finish first, and with False when it has.
Waiting = Callable[[bool], None]


def cache() -> Path:
    """The folder for data that can be recreated: $SPICE_EXPLORER_CACHE, or ~/.cache/spice-explorer."""
    return Path(os.environ.get(CACHE) or Path.home() / ".cache" / "spice-explorer").absolute()


@dataclass(frozen=True, eq=False)
class Stored:
    """The decoded images of a source.

    Attributes:
        listing: the source's listing, L images.
        stamp: the source's stamp at that time; "" if it has none.
        labelled: whether the labels were requested.
        good: (L,) bool, the N images that could be decoded.
        reasons: place in the listing → why it could not be decoded, for the others.
        extents: (N, 2) int32, width and height before cropping and scaling.
        fingerprint: `ImageSet.fingerprint` of the images.
        pixels: (N, C, H, W) uint8, memory-mapped copy-on-write.
        frames: place in the listing → how many pages or frames its file has, where there are several.
        ranges: place in the listing → the range of its values, if they have more than 8 bits or are all 0 or 1.
    """

    listing: Listing
    stamp: str
    labelled: bool
    good: np.ndarray
    reasons: dict[int, str]
    extents: np.ndarray
    fingerprint: str
    pixels: np.ndarray = field(repr=False)
    frames: dict[int, int] = field(default_factory=dict, repr=False)
    ranges: dict[int, Range] = field(default_factory=dict, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(np.array(self.listing.names, dtype=object)[self.good].tolist())

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        broken = [Skipped(self.listing.names[i], why) for i, why in sorted(self.reasons.items())]
        return tuple(sorted([*self.listing.skipped, *broken], key=lambda one: one.name))

    @property
    def depths(self) -> dict[Kind, Depth]:
        """The depths with which values of more than 8 bits, and masks, became these pixels."""
        return depths_of(self.ranges.values(), int(self.good.sum()))

    @property
    def notes(self) -> tuple[str, ...]:
        """As `Listing` has them, and those about classes, depths, pages and frames."""
        truth = self.listing.truth
        classes = () if truth is None else truth.note(self.listing.names)
        notes = (*self.listing.notes, *classes, *said_of(self.ranges.values(), int(self.good.sum())))
        if not self.frames:
            return notes
        first, count = min(self.frames.items())
        others = f", and {len(self.frames) - 1:,} more" if len(self.frames) > 1 else ""
        counted = f"{self.listing.names[first]} has {count:,}{others}"
        return (*notes, f"of files with several pages or frames, only the first is used: {counted}")


class ImageStore:
    """The place in the cache for the images of one source and size, made to squares in one way."""

    def __init__(self, source: Source, size: int | None, how: Fit) -> None:
        self.about = f"{source.place} at {size}" + ("" if how == "crop" else f", {how}")
        place = hashlib.blake2b(self.about.encode(), digest_size=12).hexdigest()
        self.folder = cache() / "images" / place

    @contextmanager
    def locked(self, stop: Callable[[], bool], waiting: Waiting) -> Iterator[None]:
        """Admits one import at a time. One that has to wait calls `waiting`, and raises Stopped if
        `stop()` is true."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        lock, waits = FileLock(self.folder.with_suffix(".lock"), thread_local=False), False
        while not lock.is_locked:
            try:
                lock.acquire(timeout=WAIT_SECONDS)
            except Timeout:
                if not waits:
                    waiting(True)
                waits = True
                if stop():
                    raise Stopped from None
        try:
            if waits:
                waiting(False)
            yield
        finally:
            lock.release()

    def load(self) -> Stored | None:
        """The stored images; None if there is no store, or it is damaged or has another format."""
        try:
            found = json.loads((self.folder / "index.json").read_text("utf-8"))
            if found["format"] != FORMAT or found["about"] != self.about:
                return None
            if found.pop("own", None) not in (None, _own(found)):
                return None
            with (self.folder / "index.npz").open("rb") as file:
                arrays = npy.unpacked(file)
            place = self.folder / pixels_named(found["fingerprint"])
            stored = _stored(found, arrays, npy.mapped(place))
            return stored if _same_pixels(place, stored) else None
        except (OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile):
            return None

    def draft(self) -> Path:
        """An empty folder for a new store; the remains of an interrupted import are removed."""
        draft = self.folder.with_suffix(".draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        return draft

    def discard(self, draft: Path) -> None:
        shutil.rmtree(draft, ignore_errors=True)

    def replace(self, draft: Path, made: Stored) -> Stored:
        """Replaces the store with the draft, which already contains the pixels."""
        self._write_index(draft, made)
        kept = (draft / PIXELS).rename(draft / pixels_named(made.fingerprint))
        kept.chmod(kept.stat().st_mode & ~WRITABLE)
        shutil.rmtree(self.folder, ignore_errors=True)
        draft.rename(self.folder)
        loaded = self.load()
        assert loaded is not None, "a store that was just written can be read"
        return loaded

    def relist(self, kept: Stored) -> None:
        """Stores a new listing of the same images, for instance one with labels."""
        draft = self.folder.with_suffix(".index")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        self._write_index(draft, kept)
        for name in ("index.npz", "index.json"):
            (draft / name).replace(self.folder / name)
        draft.rmdir()

    def _write_index(self, folder: Path, made: Stored) -> None:
        listing, truth = made.listing, made.listing.truth
        index = {
            "format": FORMAT,
            "about": self.about,
            "stamp": made.stamp,
            "labelled": made.labelled,
            "fingerprint": made.fingerprint,
            "names": listing.names,
            "skipped": [[one.name, one.reason] for one in listing.skipped],
            "reasons": {str(place): why for place, why in made.reasons.items()},
            "classes": None if truth is None else truth.class_names,
            "told": "" if truth is None else truth.told,
            "notes": listing.notes,
            "frames": {str(place): count for place, count in made.frames.items()},
            "ranges": {str(place): [one.low, one.high, one.kind] for place, one in made.ranges.items()},
            "columns": [[one.title, one.names] for one in listing.columns],
        }
        arrays = {"stamps": listing.stamps, "good": made.good, "extents": made.extents}
        if truth is not None:
            arrays["labels"] = truth.labels
        arrays |= {f"values-{i}": one.values for i, one in enumerate(listing.columns)}
        np.savez(folder / "index.npz", **arrays)  # type: ignore[arg-type]
        (folder / "index.json").write_text(json.dumps(index | {"own": _own(index)}), "utf-8")


def _own(index: dict[str, Any]) -> str:
    """The checksum of an index: names and classes that changed on the disk would be believed."""
    return hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()


def _same_pixels(place: Path, stored: Stored) -> bool:
    """Whether the pixels are those that were decoded, once a process; of many that takes too long here, and they are
    looked at before they are trained on."""
    about = place.stat()
    if about.st_size > LARGE_BYTES:
        return True
    return _fingerprint(place, stored.names, stored.pixels.shape, about.st_mtime_ns) == stored.fingerprint


@lru_cache(maxsize=16)
def _fingerprint(place: Path, names: tuple[str, ...], shape: tuple[int, ...], _modified: int) -> str:
    return fingerprint_of(shape, names, blocks_of(place))


def _stored(found: dict[str, Any], arrays: dict[str, np.ndarray], pixels: np.ndarray) -> Stored:
    truth = None
    if found["classes"] is not None:
        truth = Truth(arrays["labels"], tuple(found["classes"]), found["told"])
    columns = tuple(
        ImageColumn(title, arrays[f"values-{i}"], None if names is None else tuple(names))
        for i, (title, names) in enumerate(found["columns"])
    )
    skipped = tuple(Skipped(*one) for one in found["skipped"])
    names = tuple(found["names"])
    listing = Listing(names, arrays["stamps"], (), skipped, truth, columns, tuple(found["notes"]))
    frames = {int(place): count for place, count in found["frames"].items()}
    reasons = {int(place): why for place, why in found["reasons"].items()}
    good = arrays["good"]
    if good.shape != (len(names),) or len(pixels) != good.sum():
        raise ValueError("index and pixels belong to different images")
    ranges = {int(place): Range(*one) for place, one in found["ranges"].items()}
    return Stored(
        listing,
        found["stamp"],
        found["labelled"],
        good,
        reasons,
        arrays["extents"],
        found["fingerprint"],
        pixels,
        frames,
        ranges,
    )
