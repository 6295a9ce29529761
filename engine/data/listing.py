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
        names: N distinct valid texts that name an image for good.
        stamps: (N, 2) int64, equal as long as an image's content is: its bytes and its time, or
            its checksum. An image with the name and the stamp it had is not decoded again.
        keys: N values by which the source's reader finds an image; empty for a `BlockSource`.
        skipped: what cannot be used, as far as that is seen without reading it.
        truth: the class of each of the N, where the source has one and was asked for it.
        columns: what else the source says of each of the N.
    """

    names: tuple[str, ...]
    stamps: np.ndarray
    keys: Sequence[Any] = ()
    skipped: tuple[Skipped, ...] = ()
    truth: Truth | None = None
    columns: tuple[ImageColumn, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.names)
        if len(set(self.names)) != count:
            raise SourceError(f"{len(set(self.names))} distinct names for {count} images")
        if self.stamps.shape != (count, 2) or (self.keys and len(self.keys) != count):
            raise SourceError(f"stamps of shape {self.stamps.shape} and {len(self.keys)} keys for {count} images")


class Source(Protocol):
    """Where images come from.

    Attributes:
        text: what the user named, such as "folder:photos"; valid text.
        place: the same for the same images, however they were named: kind and absolute path.
        side: the side in pixels of its images where the user does not choose one; None leaves
            them as they are.
        labels: whether the user wants the labels that are there, for scores.
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
        """Changes whenever anything in the source does and is quick to find, or is "": then only
        the listing tells. Raises SourceError when nothing is there."""
        ...

    def listing(self) -> Listing:
        """Raises SourceError, in a sentence for the user, when there is nothing usable."""
        ...


class Reader(Protocol):
    """Reads encoded images. It is sent to other processes, and called by several threads."""

    def __call__(self, key: Any) -> str | bytes:
        """The path, or the content, of one image; raises SourceError with the reason."""
        ...


class FileSource(Source, Protocol):
    """Images as encoded files of any size: JPEG, PNG, …"""

    def reader(self) -> Reader: ...


class BlockSource(Source, Protocol):
    """Images as arrays, all of one size."""

    def blocks(self, first: int = 0) -> Iterator[np.ndarray]:
        """(m, C, H, W) uint8, C = 1 or 3, together the images of the listing from number `first` on."""
        ...
