"""The images that a model is asked about: one file, the paths on a stream, or any source."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any, cast

from engine.data.listing import BlockSource, FileSource, Listing
from engine.data.skipped import Skipped
from engine.data.truth import Truth
from engine.errors import RunError, SourceError
from engine.formats.images import HEAD_BYTES, image_ending, sniffed
from engine.models.model import Model
from engine.models.streaming import Told, of_blocks, of_files
from engine.sources.open_source import BUILT_IN, as_typed, source_of

STREAM = "-"


@dataclass(frozen=True, eq=False)
class Asked:
    """Images and what is known about them.

    Attributes:
        told: what the model says of them, batch by batch.
        skipped: files that are no images the app reads, with the reason.
        truth: their true classes, where there are any and they were asked for.
        total: how many there are; None where nobody knows yet.
    """

    told: Iterator[Told]
    skipped: tuple[Skipped, ...] = ()
    truth: Truth | None = None
    total: int | None = None


def asked(model: Model, what: str, stream: IO[str], *, labels: bool = False, root: str | None = None) -> Asked:
    """The images that `what` names: "-" for the paths on the lines of `stream`, an image file, or a source.

    Nothing is decoded before it is asked for, and nothing is kept in the cache.

    Raises:
        SourceError: when there are no such images.
        RunError: when labels are asked of images that have none.
    """
    if what == STREAM or _one_image(what):
        if labels:
            raise RunError("single files have no labels to compare with: leave out --labels, or name a folder")
        # One at a time: the program that writes the paths may wait for each answer.
        files = _lines(stream) if what == STREAM else iter([(what, what)])
        return Asked(of_files(model, files, _as_path, together=1), total=None if what == STREAM else 1)
    what = as_typed(what)
    if what in BUILT_IN:
        opened = BUILT_IN[what]()
        return Asked(of_blocks(model, opened.images.ids, [opened.images.pixels]), (), opened.truth, len(opened.images))
    source = source_of(what, labels=labels, root=as_typed(root) if root else None)
    listing = source.listing()
    truth, total = listing.truth, len(listing.names)
    place = _place(what)
    if hasattr(source, "reader"):
        told = of_files(model, _paired(listing, place), cast(FileSource, source).reader())
    else:
        told = of_blocks(model, listing.names, cast(BlockSource, source).blocks())
    skipped = tuple(Skipped(os.path.join(place, one.name), one.reason) for one in listing.skipped)
    return Asked(told, skipped, truth, total)


def _one_image(what: str) -> bool:
    """Whether `what` is the path of an image file."""
    path = os.path.expanduser(what)
    if not os.path.isfile(path):
        return False
    if image_ending(path):
        return True
    with open(path, "rb") as file:
        return bool(sniffed(file.read(HEAD_BYTES)))


def _as_path(key: str) -> str:
    """The reader of single files, by their path; raises SourceError for a folder."""
    path = os.path.expanduser(key)
    if os.path.isdir(path):
        raise SourceError("a folder, not an image")
    return path


def _lines(stream: IO[str]) -> Iterator[tuple[str, str]]:
    for line in stream:
        path = line.rstrip("\r\n")
        if path:
            yield path, path


def _place(what: str) -> str:
    """The folder that `what` names, "" for any other source: the names of its images then are paths."""
    path = what.partition(":")[2] if what.startswith(("folder:", "imagefolder:")) else what
    return path if os.path.isdir(os.path.expanduser(path)) else ""


def _paired(listing: Listing, place: str) -> Iterable[tuple[str, Any]]:
    for name, key in zip(listing.names, listing.keys, strict=True):
        yield os.path.join(place, name), key
