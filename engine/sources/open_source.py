"""Opens a source by its text ("digits", "folder:photos", "photos.zip"): an `ImageSet` and, if any, a `Truth`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np

from engine.data.columns import ImageColumn, of_images
from engine.data.image_store import Stored, Waiting
from engine.data.images import ImageSet
from engine.data.import_images import Progress, Stop, import_images
from engine.data.listing import Source
from engine.data.origin import FITS, Fit, Origin
from engine.data.skipped import Skipped
from engine.data.truth import Truth
from engine.errors import SourceError
from engine.formats.depth import Depth, Kind
from engine.formats.images import image_ending
from engine.sources.arrays import ArraySource
from engine.sources.folders import FolderSource
from engine.sources.metadata import is_metadata
from engine.sources.sets import SETS, set_source
from engine.sources.shapes import CLASSES, COLOURS
from engine.sources.shapes import shapes as drawn_shapes
from engine.sources.tables import TableSource
from engine.sources.tars import TarSource, tarfile_like
from engine.sources.zips import ZipSource

# Prefixes of the path, and the sources they select.
KINDS: dict[str, Callable[..., Source]] = {
    "folder": FolderSource,
    "imagefolder": FolderSource,
    "zip": ZipSource,
    "tar": TarSource,
    "webdataset": TarSource,
    "table": TableSource,
    "arrays": ArraySource,
}
DIGITS, SHAPES = "digits", "shapes"
LEAST_SIDE, MOST_SIDE = 4, 1024


@dataclass(frozen=True, eq=False)
class Opened:
    """An opened source.

    Attributes:
        truth: the true classes, if the source has them and they were requested.
        skipped: files that could not be used.
        extents: (N, 2) int32, width and height of each original image; None if no image was scaled.
        columns: other values that the source has for its images.
        origin: where the originals are; None where there are none apart from the images.
        stamps: (N, 2) int64 of the originals, as `Listing` has them.
        extra: extra images for stage 1 only, with the same size and channels.
        notes: sentences about what is not used, or differently from what one might expect.
        depths: with which values of more than 8 bits became these pixels, and masks.
    """

    images: ImageSet
    truth: Truth | None = None
    skipped: tuple[Skipped, ...] = ()
    extents: np.ndarray | None = None
    columns: tuple[ImageColumn, ...] = ()
    origin: Origin | None = None
    stamps: np.ndarray | None = None
    extra: ImageSet | None = None
    notes: tuple[str, ...] = ()
    depths: Mapping[Kind, Depth] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.truth is not None and len(self.truth.labels) != len(self.images):
            raise SourceError(
                f"{self.images.source} has {len(self.images)} images but "
                f"{len(self.truth.labels)} true labels: expected one each"
            )


def open_source(
    source: str,
    *,
    size: int | None = None,
    labels: bool = False,
    root: str | None = None,
    fit: Fit = "crop",
    progress: Progress = lambda _done, _total: None,
    stop: Stop = lambda: False,
    waiting: Waiting = lambda _waits: None,
) -> Opened:
    """Opens `source`; its decoded images are cached, so that it opens at once the next time.

    Args:
        source: "digits", "shapes", KIND:PATH, the name of a set, NAME:PATH, or just a path.
        size: the side in pixels to scale images to. By default 32, or the set's own size; arrays are not
            scaled by default.
        labels: use the classes that come with the images (subfolders, a column, .cls files, an array)
            as truth. Benchmark sets and built-in sets always have their truth.
        root: the folder that the paths in a table start from, by default the table's own.
        fit: how images become squares: "crop" keeps their middle, "pad" all of each on a border of its
            mean colour, "squeeze" all of each without regard to its aspect.
        progress: called with the number of images decoded and the number to decode.
        stop: called regularly; it may block, for a pause.
        waiting: called with True when another import of the same images has to finish first, and
            with False when it has.

    Raises:
        SourceError: in one sentence, if there are no usable images.
        Stopped: if `stop()` is true.
    """
    source, root = as_typed(source), as_typed(root) if root else root
    if size is not None and not LEAST_SIDE <= size <= MOST_SIDE:
        raise SourceError(f"size is {size}: allowed from {LEAST_SIDE} to {MOST_SIDE} pixels")
    if fit not in FITS:
        raise SourceError(f"fit is {fit!r}: expected {', '.join(FITS)}")
    if source in BUILT_IN:
        return BUILT_IN[source]()
    found = source_of(source, labels=labels, root=root)
    bring = partial(import_images, how=fit, progress=progress, stop=stop, waiting=waiting)
    stored = bring(found, size or found.side)
    opened = replace(_opened(found.text, stored), origin=origin_of(source, found, root, fit))
    further = getattr(found, "extra", None)
    if further is None:
        return opened
    extra = bring(further, size or further.side, thumbnails=False)
    return replace(opened, extra=_opened(further.text, extra).images)


def as_typed(text: str) -> str:
    """A path without what people copy with it: blanks, quotes, and the file:// of an address.

    >>> as_typed(" '/my photos' "), as_typed("file:///my%20photos"), as_typed("zip:'a b.zip'")
    ('/my photos', '/my photos', 'zip:a b.zip')
    """
    kind, colon, path = text.strip().partition(":")
    if colon and kind in {*KINDS, *SETS} and path.strip() and not os.path.lexists(text):
        return f"{kind}:{as_typed(path)}"
    if os.path.lexists(os.path.expanduser(text)):
        return text
    text = text.strip()
    if len(text) > 2 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    address = urlsplit(text) if text.lower().startswith("file://") else None
    return url2pathname(address.path) if address is not None and address.netloc in ("", "localhost") else text


def source_of(text: str, *, labels: bool = False, root: str | None = None) -> Source:
    """The source that `text` names, not yet opened; raises SourceError if there is none."""
    kind, colon, path = text.partition(":")
    if kind in SETS:
        if colon and not path:
            raise SourceError(f"the path is missing after {text}: write {kind}:PATH, or {kind} alone")
        return set_source(kind, path or None)
    if not (kind in KINDS and path):
        kind, path = _kind_of(text), text
    further = {"root": root} if kind == "table" else {}
    return KINDS[kind](f"{kind}:{path}", path, labels=labels, **further)


def origin_of(text: str, source: Source, root: str | None = None, fit: Fit = "crop") -> Origin:
    """Where the `source` that `text` names is, whatever the working directory is later."""
    kind, colon, _ = source.text.partition(":")
    # A set that was named alone is in the cache, and is not to be downloaded again by those who look at it.
    whole = f"{kind}:{absolute(text.removeprefix(f'{kind}:'))}" if colon else source.place
    return Origin(whole, absolute(root) if root else "", source.place, fit)


def kind_and_path(text: str) -> tuple[str, str] | None:
    """Kind and absolute path in a text such as "zip:~/a.zip", whether or not the file exists; None if the
    text does not name both."""
    kind, _, path = text.partition(":")
    return (kind, absolute(path)) if path and kind in {*KINDS, *SETS} else None


def absolute(path: str) -> str:
    """The absolute path: the same for "~/photos" and "~/photos/"."""
    return os.path.abspath(os.path.expanduser(path))


def _kind_of(text: str) -> str:
    """The kind of source, recognized by its path; raises SourceError."""
    path = Path(os.path.expanduser(text))
    name = path.name.lower()
    if path.is_dir():
        return "folder"
    if path.is_file():
        if tarfile_like(path):
            return "tar"
        endings = {
            ".zip": "zip",
            ".csv": "table",
            ".parquet": "table",
            ".tsv": "table",
            ".jsonl": "table",
            ".ndjson": "table",
            ".npy": "arrays",
            ".npz": "arrays",
        }
        if path.suffix.lower() in endings and not is_metadata(name):
            return endings[path.suffix.lower()]
        if image_ending(name):
            raise SourceError(f"{text} is one image: open the folder that it is in")
        if is_metadata(name):
            raise SourceError(f"{text} describes a folder of images: open that folder")
        raise SourceError(
            f"{text} is not a supported kind of file: expected a folder, .zip, .tar, .csv, .tsv, .parquet, .npy or .npz"
        )
    known = [*(f"{kind}:PATH" for kind in KINDS), *BUILT_IN, *SETS]
    raise SourceError(f"there is no folder or file {text}: check the path (other sources are {', '.join(known)})")


def _opened(text: str, stored: Stored) -> Opened:
    """The stored images that could be decoded."""
    images = ImageSet(stored.pixels, stored.names, text, stored.fingerprint)
    truth, good = stored.listing.truth, stored.good
    return Opened(
        images,
        None if truth is None else truth.of(good),
        stored.skipped,
        stored.extents,
        of_images(stored.listing.columns, good),
        stamps=stored.listing.stamps[good],
        notes=stored.notes,
        depths=stored.depths,
    )


def digits() -> Opened:
    """scikit-learn's 1,797 handwritten digits, 8×8 grey, 10 classes, with their truth."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    ids = tuple(f"digit-{index:04d}" for index in range(len(pixels)))
    truth = Truth(bunch.target.astype(np.int64), tuple("0123456789"))
    return Opened(ImageSet(pixels, ids, DIGITS), truth)


def shapes() -> Opened:
    """960 drawn shapes, 32×32 in colour, 4 classes, with their truth; the colours, which are independent
    of the class, are a column."""
    drawn = drawn_shapes()
    colours = ImageColumn("colour", drawn.colours, COLOURS)
    images = ImageSet(drawn.pixels, drawn.ids, SHAPES)
    return Opened(images, Truth(drawn.classes, CLASSES), columns=(colours,))


# The sets that need neither a file nor a download.
BUILT_IN: dict[str, Callable[[], Opened]] = {DIGITS: digits, SHAPES: shapes}


__all__ = [
    "BUILT_IN",
    "DIGITS",
    "KINDS",
    "SHAPES",
    "Opened",
    "absolute",
    "as_typed",
    "digits",
    "kind_and_path",
    "open_source",
    "shapes",
    "source_of",
]
