"""`ImageSet`: the images of a run, as bytes, without labels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from engine.errors import SourceError

BLOCK_BYTES = 2**24


@dataclass(frozen=True, eq=False)
class ImageSet:
    """N images of one size.

    Attributes:
        pixels: (N, C, H, W) uint8, C = 1 (grey) or 3 (RGB), in memory or memory-mapped.
        ids: N distinct strings that name an image for good (a path below the source's folder).
        source: what the user asked for, such as "digits" or "folder:photos".
        known_fingerprint: the fingerprint, where it was worked out before.

    Raises:
        SourceError: when shapes, types or ids do not fit together.
    """

    pixels: np.ndarray
    ids: tuple[str, ...]
    source: str
    known_fingerprint: str = ""

    def __post_init__(self) -> None:
        shape, kind = self.pixels.shape, self.pixels.dtype
        if len(shape) != 4 or shape[1] not in (1, 3) or kind != np.uint8:
            raise SourceError(f"the images are {kind} of shape {shape}: expected uint8 of shape (N, 1 or 3, H, W)")
        if shape[0] == 0:
            raise SourceError(f"{self.source} contains no images")
        if len(self.ids) != shape[0] or len(set(self.ids)) != shape[0]:
            raise SourceError(f"{len(set(self.ids))} distinct ids for {shape[0]} images: expected one each")

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def channels(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.pixels.shape[2]), int(self.pixels.shape[3])

    @cached_property
    def names(self) -> list[str]:
        """The last part of every id: a file's own name."""
        return [one.rsplit("/", 1)[-1] for one in self.ids]

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits of shape, ids and pixels: equal exactly when the sets are."""
        if self.known_fingerprint:
            return self.known_fingerprint
        return fingerprint_of(self.pixels.shape, self.ids, self._blocks())

    @property
    def file(self) -> Path | None:
        """The .npy file that holds these pixels and no others, and is named after their fingerprint;
        None where there is none: a file of another name may have come to hold other pixels."""
        name = getattr(self.pixels, "filename", None)
        if name is None or Path(name).name != pixels_named(self.fingerprint):
            return None
        return Path(name) if Path(name).exists() else None

    def _blocks(self) -> Iterator[memoryview]:
        step = max(1, BLOCK_BYTES // self.pixels[:1].nbytes)
        for start in range(0, len(self), step):
            yield np.ascontiguousarray(self.pixels[start : start + step]).data


def pixels_named(fingerprint: str) -> str:
    """The file name for the pixels with this fingerprint; it is never used for other pixels."""
    return f"pixels-{fingerprint}.npy"


def fingerprint_of(shape: tuple[int, ...], ids: Sequence[str], blocks: Iterable[bytes | memoryview]) -> str:
    """32 hex digits of the shape, ids and pixels (in blocks of bytes) of images."""
    digest = hashlib.blake2b(repr(tuple(shape)).encode(), digest_size=16)
    digest.update("\0".join(ids).encode())  # no file name holds a zero byte
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()
