"""Images in NumPy files: an array in .npy, or an .npz with images, names and labels."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from engine.data.listing import Listing
from engine.data.truth import Truth, class_truth
from engine.errors import SourceError
from engine.sources.archives import DAMAGED, file_stamp
from engine.sources.folders import existing_file, readable

IMAGES = ("images", "image", "x", "X", "data", "pixels", "x_train", "imgs", "arr_0")
LABELS = ("labels", "label", "y", "Y", "targets", "target", "y_train")
NAMES = ("names", "ids", "files", "filenames", "paths")
BLOCK_BYTES = 2**24
# The most bytes to read of the names or labels, which are read whole.
MOST_SMALL = 2**30
# The usual bit depths of images.
BITS = (1, 8, 10, 12, 14, 16)
# How far resizing can overshoot 0 and 1: bicubic interpolation reaches -0.45 and 1.45 (from its weights
# midway between pixels, in both directions).
OVERSHOOT = 0.5


@dataclass(frozen=True)
class _Layout:
    """How the images are stored in an array.

    Attributes:
        shape: (N, …) as stored.
        channels_last: whether it is (N, H, W, C) instead of (N, C, H, W) or (N, H, W).
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    channels_last: bool


class ArraySource:
    """The images in an array: (N, H, W), (N, H, W, C) or (N, C, H, W). Nothing is ever unpickled.

    Floats range from 0 to 1 or from 0 to 255. Resizing may have left values slightly outside 0 to 1;
    they are clipped. Whole numbers have 1, 8, 10, 12, 14 or 16 bits, the fewest that fit the largest
    value in the array: cameras and scanners store 12 bits in 16.
    """

    side: int | None = None

    def __init__(self, text: str, path: str, *, labels: bool = False) -> None:
        self.path, self.labels = existing_file(path, "a .npy or .npz file"), labels
        self.text, self.place = readable(text), f"arrays:{readable(os.path.abspath(self.path))}"
        self._scaled = "", 1.0  # the file's stamp, and what it was found to need

    def stamp(self) -> str:
        return file_stamp([self.path])

    def listing(self) -> Listing:
        count = self._layout().shape[0]
        names = self._small(NAMES, count)
        if names is not None and (names.dtype.kind != "U" or len(set(names.tolist())) != count):
            names = None
        listed = names.tolist() if names is not None else [f"image-{i:06d}" for i in range(count)]
        stamps = np.zeros((count, 2), np.int64)
        stamps[:, 0], stamps[:, 1] = np.arange(count), self.path.stat().st_mtime_ns
        return Listing(tuple(map(readable, listed)), stamps, truth=self._truth(count))

    def blocks(self, first: int = 0) -> Iterator[np.ndarray]:
        layout, stamp = self._layout(), self.stamp()
        if self._scaled[0] != stamp:
            self._scaled = stamp, self._scale(layout)
        scale = self._scaled[1]
        for part in self._parts(layout, first):
            yield _as_pixels(part, layout, scale)

    # -- reading -------------------------------------------------------------------------------

    def _truth(self, count: int) -> Truth | None:
        found = self._small(LABELS, count) if self.labels else None
        if self.labels and found is None:
            raise SourceError(
                f"labels were requested, but {self.path} has none (expected an array named "
                "labels or y): open it without labels"
            )
        return None if found is None else class_truth(found.tolist())

    def _layout(self) -> _Layout:
        member = self._member(IMAGES, dimensions=3)
        with self._opened(member) as file:
            shape, fortran, dtype = _header(file, self.path)
            there = self._bytes(member) - file.tell()
        if int(np.prod(shape, dtype=object)) * dtype.itemsize > there:
            raise SourceError(f"{self.path} is truncated: it announces {dtype} of shape {shape} but contains less")
        if fortran and len(shape) > 1:
            raise SourceError(f"{self.path} stores its array in column order: save it with numpy.ascontiguousarray")
        if dtype.kind not in "buif":
            raise SourceError(f"{self.path} holds {dtype}: expected whole numbers or floats")
        if len(shape) not in (3, 4) or min(shape) < 1:
            hint = "; for features use features.source=import:FILE" if len(shape) == 2 else ""
            raise SourceError(f"{self.path} has shape {shape}: expected (N, H, W), (N, H, W, C) or (N, C, H, W){hint}")
        last = len(shape) == 4 and shape[3] in (1, 3, 4)
        if len(shape) == 4 and not last and shape[1] not in (1, 3, 4):
            raise SourceError(f"{self.path} has shape {shape}: expected 1, 3 or 4 channels, last or second")
        return _Layout(shape, dtype, last)

    def _parts(self, layout: _Layout, first: int = 0) -> Iterator[np.ndarray]:
        """The array block after block, as it is stored, from the image `first` on."""
        row = int(np.prod(layout.shape[1:]))
        size = max(1, BLOCK_BYTES // (row * layout.dtype.itemsize))
        with self._opened(self._member(IMAGES, dimensions=3)) as file:
            _header(file, self.path)
            file.seek(first * row * layout.dtype.itemsize, os.SEEK_CUR)
            for start in range(first, layout.shape[0], size):
                count = min(size, layout.shape[0] - start)
                content = file.read(count * row * layout.dtype.itemsize)
                if len(content) != count * row * layout.dtype.itemsize:
                    raise SourceError(
                        f"{self.path} is truncated: {layout.shape[0]:,} images were announced, "
                        f"{start:,} to {start + count:,} are there"
                    )
                yield np.frombuffer(content, layout.dtype).reshape(count, *layout.shape[1:])

    def _scale(self, layout: _Layout) -> float:
        """The factor that scales the values to 0–255; raises SourceError if they cannot be colours."""
        if layout.dtype == np.uint8:
            return 1.0
        low, high, seen = np.inf, -np.inf, 0
        for part in self._parts(layout):
            finite = np.isfinite(part).reshape(len(part), -1).all(1)
            if not finite.all():
                first = seen + int(finite.argmin())
                raise SourceError(
                    f"{self.path} contains values that are NaN or infinite, the first in "
                    f"image {first:,}: expected 0 to 1, or 0 to 255"
                )
            low, high, seen = min(low, part.min()), max(high, part.max()), seen + len(part)
        scale = _whole_scale(low, high) if layout.dtype.kind in "ui" else _float_scale(low, high)
        if scale is None:
            raise SourceError(
                f"{self.path} holds values from {low:g} to {high:g}: expected 0 to 1, 0 to 255, or "
                "whole numbers from 0 to 65,535"
            )
        return scale

    def _small(self, wanted: tuple[str, ...], count: int) -> np.ndarray | None:
        """Another array in an .npz, with one value per image; None if there is none."""
        member = self._member(wanted)
        if member is None or self.path.suffix.lower() != ".npz":
            return None
        with self._opened(member) as file:
            shape, _, dtype = _header(file, self.path)
            if shape[:1] != (count,) or len(shape) != 1:
                raise SourceError(
                    f"{self.path} has {count:,} images but {member.removesuffix('.npy')} of shape "
                    f"{shape}: expected one each"
                )
            return np.frombuffer(file.read(min(MOST_SMALL, count * dtype.itemsize)), dtype)

    def _member(self, wanted: tuple[str, ...], dimensions: int = 1) -> str | None:
        """The array in an .npz with one of the names, or else the only one with at least `dimensions`."""
        if self.path.suffix.lower() != ".npz":
            return None
        try:
            with zipfile.ZipFile(self.path) as archive:
                inside = [name for name in archive.namelist() if name.endswith(".npy")]
        except (*DAMAGED, OSError) as error:
            raise SourceError(f"{self.path} cannot be read as an .npz file: {error}") from None
        for name in wanted:
            if f"{name}.npy" in inside:
                return f"{name}.npy"
        if dimensions == 1:
            return None
        large = [name for name in inside if self._dimensions(name) >= dimensions]
        if len(large) == 1:
            return large[0]
        listed = ", ".join(name.removesuffix(".npy") for name in inside) or "none"
        raise SourceError(
            f"{self.path} holds the arrays {listed}: expected one named images, with three or four dimensions"
        )

    def _bytes(self, member: str | None) -> int:
        if member is None:
            return self.path.stat().st_size
        with zipfile.ZipFile(self.path) as archive:
            return archive.getinfo(member).file_size

    def _dimensions(self, member: str) -> int:
        with self._opened(member) as file:
            return len(_header(file, self.path)[0])

    @contextlib.contextmanager
    def _opened(self, member: str | None) -> Iterator[IO[bytes]]:
        try:
            if member is None:
                with self.path.open("rb") as file:
                    yield file
            else:
                with zipfile.ZipFile(self.path) as archive, archive.open(member) as inside:
                    yield inside
        except (*DAMAGED, RuntimeError, NotImplementedError) as error:
            raise SourceError(f"{self.path} is damaged: {error}") from None


def _whole_scale(low: float, high: float) -> float | None:
    """The factor that scales whole numbers to 0–255; None if there is none. Arrays of 0 and 1 are masks."""
    tops = (2**bits - 1 for bits in BITS)
    top = next((top for top in tops if high <= top), None)
    return None if low < 0 or top is None else 255 / top


def _float_scale(low: float, high: float) -> float | None:
    """The factor that scales floats to 0–255, apart from an overshoot; None if there is none."""
    if low >= 0:
        return 255.0 if high <= 1 + OVERSHOOT else 1.0 if high <= 255 else None
    # Images centred on 0 do not reach 1; clipping would lose half of their values.
    return 255.0 if low >= -OVERSHOOT and 1 <= high <= 1 + OVERSHOOT else None


def _header(file: IO[bytes], path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type of the array that follows; raises SourceError, also for pickles."""
    formats = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(file)
        shape, fortran, dtype = formats[version](file)
    except (ValueError, KeyError, EOFError) as error:
        raise SourceError(f"{path} is not a NumPy array ({error}): expected .npy or .npz") from None
    if dtype.hasobject:
        raise SourceError(f"{path} holds Python objects, which could run code: save plain numbers instead")
    return shape, fortran, dtype


def _as_pixels(part: np.ndarray, layout: _Layout, scale: float) -> np.ndarray:
    """A block as (m, C, H, W) uint8, with transparency laid on white."""
    if part.ndim == 3:
        part = part[:, None]
    elif layout.channels_last:
        part = part.transpose(0, 3, 1, 2)
    pixels = part
    if part.dtype != np.uint8:
        pixels = np.clip(np.round(part.astype(np.float32) * scale), 0, 255)
    if pixels.shape[1] == 4:
        opacity = pixels[:, 3:].astype(np.float32) / 255
        pixels = np.round(pixels[:, :3] * opacity + 255 * (1 - opacity))
    return np.ascontiguousarray(pixels.astype(np.uint8))
