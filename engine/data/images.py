"""`ImageSet`: the images of a run, as uint8, without labels."""

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
        ids: N distinct, permanent names (such as paths below the source's folder).
        source: the source as the user named it, such as "digits" or "folder:photos".
        known_fingerprint: the fingerprint, if it was computed before; else "".

    Raises:
        SourceError: if shapes, types or ids do not fit together.
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
        """The last part of every id: the file name."""
        return [one.rsplit("/", 1)[-1] for one in self.ids]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of shape, ids and pixels (32 hex digits): equal for equal sets only."""
        if self.known_fingerprint:
            return self.known_fingerprint
        return fingerprint_of(self.pixels.shape, self.ids, self._blocks())

    @property
    def file(self) -> Path | None:
        """The .npy file of these pixels, if it is named after their fingerprint and exists; else None.
        The content of a file with any other name may have changed."""
        name = getattr(self.pixels, "filename", None)
        if name is None or Path(name).name != pixels_named(self.fingerprint):
            return None
        return Path(name) if Path(name).exists() else None

    def _blocks(self) -> Iterator[memoryview]:
        step = max(1, BLOCK_BYTES // self.pixels[:1].nbytes)
        for start in range(0, len(self), step):
            yield np.ascontiguousarray(self.pixels[start : start + step]).data


def pixels_named(fingerprint: str) -> str:
    """The file name for pixels with this fingerprint, never used for any others."""
    return f"pixels-{fingerprint}.npy"


def fingerprint_of(shape: tuple[int, ...], ids: Sequence[str], blocks: Iterable[bytes | memoryview]) -> str:
    """A hash of the shape, ids and pixels (in blocks of bytes) of images: 32 hex digits."""
    digest = hashlib.blake2b(repr(tuple(shape)).encode(), digest_size=16)
    digest.update("\0".join(ids).encode())  # file names contain no zero bytes
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()
