"""A source's listing of its images before decoding, and the readers for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from engine.data.columns import ImageColumn
from engine.data.skipped import Skipped
from engine.data.truth import Truth
from engine.errors import SourceError


@dataclass(frozen=True, eq=False)
class Listing:
    """The images of a source, in its order.

    Attributes:
        names: N distinct, permanent names, valid as UTF-8.
        stamps: (N, 2) int64, as `stamp_of` has them, or size and checksum. An image whose name and stamp have
            not changed is not decoded again.
        keys: N values that the source's reader takes; empty for a `BlockSource`.
        skipped: files that cannot be used, as far as that is known without decoding them.
        truth: the class of each image, if the source has classes and they were requested.
        columns: other values that the source has for each image.
        notes: sentences for the user about what is not used, or differently from what one might expect.
    """

    names: tuple[str, ...]
    stamps: np.ndarray
    keys: Sequence[Any] = ()
    skipped: tuple[Skipped, ...] = ()
    truth: Truth | None = None
    columns: tuple[ImageColumn, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.names)
        if len(set(self.names)) != count:
            raise SourceError(f"{len(set(self.names))} distinct names for {count} images")
        if self.stamps.shape != (count, 2) or (self.keys and len(self.keys) != count):
            raise SourceError(f"stamps of shape {self.stamps.shape} and {len(self.keys)} keys for {count} images")


class Source(Protocol):
    """Where images come from.

    Attributes:
        text: the source as the user named it, such as "folder:photos"; valid as UTF-8.
        place: kind and absolute path: equal for the same images, however the user named them.
        side: the default image size in pixels; None leaves the images unscaled.
        labels: whether the user wants the source's labels, for scores.
    """

    @property
    def text(self) -> str: ...
    @property
    def place(self) -> str: ...
    @property
    def side(self) -> int | None: ...
    @property
    def labels(self) -> bool: ...

    def stamp(self) -> str:
        """A text that changes when anything in the source does, if that is quick to compute; else "",
        and the listings are compared. Raises SourceError if the source is gone."""
        ...

    def listing(self) -> Listing:
        """Lists the images; raises SourceError, with a sentence for the user, if none is usable."""
        ...


class Reader(Protocol):
    """Reads encoded images. It must be picklable, and is called from several threads."""

    def __call__(self, key: Any) -> str | bytes:
        """The path or the content of one image; raises SourceError with the reason."""
        ...


class FileSource(Source, Protocol):
    """Images as encoded files of any size: JPEG, PNG, …"""

    def reader(self) -> Reader: ...


class BlockSource(Source, Protocol):
    """Images as arrays, all of one size."""

    def blocks(self, first: int = 0) -> Iterator[np.ndarray]:
        """(m, C, H, W) uint8, C = 1 or 3, together the images of the listing from number `first` on."""
        ...
