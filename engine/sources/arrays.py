"""Images in NumPy files: an array in .npy, or an .npz with images, names and labels."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from engine import npy
from engine.data.listing import Listing
from engine.data.truth import Truth, class_truth, measures
from engine.errors import SourceError, sized
from engine.formats import zip_members
from engine.formats.bounds import IMAGE_BYTES, ZIP, check_growth, check_images, check_memory
from engine.formats.depth import float_scale, whole_scale
from engine.formats.identity import text_of
from engine.formats.stamps import file_stamp, stamp_of
from engine.sources.archives import DAMAGED
from engine.sources.folders import SPLITS, existing_file, readable

# The usual names of the arrays, the best first.
_USUAL = "images image x X data pixels x_train X_train train_images train_x imgs arr_0"
IMAGES = tuple(_USUAL.split())
LABELS = ("labels", "label", "y", "Y", "targets", "target", "classes", "y_train", "train_labels", "train_y")
# The labels and names of one split belong to the images of that split: parts of the names of arrays.
_OF_IMAGES, _OF_LABELS = ("images", "image", "imgs", "data", "x", "X"), ("labels", "label", "targets", "y", "Y")
NAMES = ("names", "ids", "files", "filenames", "paths")
BLOCK_BYTES = 2**24


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
        notes = self._unread()
        listed, why = self._names(count)
        if why:
            notes.append(f"{why}: the images are numbered")
        stamps = np.zeros((count, 2), np.int64)
        stamps[:, 0], stamps[:, 1] = np.arange(count), stamp_of(self.path.stat())[1]
        return Listing(tuple(map(readable, listed)), stamps, truth=self._truth(count), notes=tuple(notes))

    def blocks(self, first: int = 0) -> Iterator[np.ndarray]:
        layout, stamp = self._layout(), self.stamp()
        if self._scaled[0] != stamp:
            self._scaled = stamp, self._scale(layout)
        scale = self._scaled[1]
        for part in self._parts(layout, first):
            yield _as_pixels(part, layout, scale)

    # -- reading -------------------------------------------------------------------------------

    def _names(self, count: int) -> tuple[list[str], str]:
        """The images' names, by number if the file has none that are distinct; and why not, if it has others."""
        numbered, member = [f"image-{i:06d}" for i in range(count)], self._partner(NAMES, NAMES)
        if member is None:
            return numbered, ""
        try:
            names = [text_of(one) for one in self._small(member, count).tolist()]
        except SourceError as error:
            return numbered, f"its {_array(member)} are not used ({error})"
        if len(set(names)) != count or not all(name.strip() for name in names):
            return numbered, f"its {_array(member)} are not used, because some are equal or empty"
        return names, ""

    def _truth(self, count: int) -> Truth | None:
        if not self.labels:
            return None
        member = self._partner(_OF_LABELS, LABELS)
        if member is None:
            raise SourceError(
                f"labels were requested, but {self.path} has none (expected an array named "
                "labels or y): open it without labels"
            )
        self._check_rivals(member, count)
        values = self._small(member, count)
        if values.dtype.kind == "f" and measures(values[~np.isnan(values)]):
            raise SourceError(
                f"labels were requested, but {_array(member)} of {self.path} holds measures, not classes: open it "
                "without labels"
            )
        return class_truth(values.tolist(), f"the array {_array(member)}")

    def _check_rivals(self, member: str, count: int) -> None:
        """Raises SourceError if another array is as good a name for the classes, and divides the images otherwise."""
        if _array(member) not in LABELS or {part.lower() for part in _array(member).split("_")} & SPLITS:
            return  # it is called like the images, or is of their split
        images, inside = _array(self._member(IMAGES, dimensions=3)), self._inside()
        for name in (f"{one}.npy" for one in LABELS if not _of_another(one, images)):
            if name == member or name not in inside or self._shape(name)[:1] != (count,):
                continue
            if not self._say_the_same(member, name, count):
                raise SourceError(
                    f"labels were requested, but the arrays {_array(member)} and {_array(name)} of {self.path} say "
                    "different things: keep one of them, or open the file without labels"
                )

    def _say_the_same(self, member: str, name: str, count: int) -> bool:
        """Whether two arrays divide the images equally; also if the second holds no classes, such as boxes."""
        try:
            two = [np.unique(self._small(one, count), return_inverse=True)[1].ravel() for one in (member, name)]
        except SourceError:
            return True
        both = np.unique(np.stack(two), axis=1).shape[1]
        return all(one.max() + 1 == both for one in two)

    def _partner(self, parts: tuple[str, ...], usual: tuple[str, ...]) -> str | None:
        """The array in an .npz that says something about the images; None if there is none."""
        images = _array(self._member(IMAGES, dimensions=3))
        return self._member((*_partners(images, parts), *(one for one in usual if not _of_another(one, images))))

    def _unread(self) -> list[str]:
        """Notes about other arrays of images, such as another split."""
        used = self._member(IMAGES, dimensions=3)
        if used is None:
            return []
        others = []
        for member in self._inside():
            with suppress(SourceError):
                if member != used and len(self._shape(member)) >= 3:
                    others.append(f"{_array(member)} ({self._shape(member)[0]:,})")
        if not others:
            return []
        return [f"of {self.path.name}, only the array {_array(used)} is read, not {', '.join(others)}"]

    def _layout(self) -> _Layout:
        member = self._member(IMAGES, dimensions=3)
        with self._opened(member) as file:
            shape, fortran, dtype = _header(file, self.path)
            there = self._bytes(member) - file.tell()
        if _bytes_of(shape, dtype) > there:
            raise SourceError(f"{self.path} is truncated: it announces {dtype} of shape {shape} but contains less")
        if fortran and len(shape) > 1:
            raise SourceError(f"{self.path} stores its array in column order: save it with numpy.ascontiguousarray")
        if dtype.kind not in "buif":
            raise SourceError(f"{self.path} holds {dtype}: expected whole numbers or floats")
        if len(shape) not in (3, 4) or min(shape) < 1:
            hint = "; for features use features.source=import:FILE" if len(shape) == 2 else ""
            raise SourceError(f"{self.path} has shape {shape}: expected (N, H, W), (N, H, W, C) or (N, C, H, W){hint}")
        if len(shape) == 3 and shape[2] in (3, 4) and shape[1] > 2 * shape[2]:
            raise SourceError(
                f"{self.path} has shape {shape}, which is a single image: expected many, of shape (N, H, W, C)"
            )
        check_images(self.path, shape[0])
        each = _bytes_of(shape[1:], dtype)
        if each > IMAGE_BYTES:
            raise SourceError(
                f"{self.path} has shape {shape}: an image of it holds {sized(each)}, allowed are {sized(IMAGE_BYTES)}; "
                "cut or scale them"
            )
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
        if layout.dtype == np.uint8:  # unless it holds masks of 0 and 1, the first images tell
            return 255.0 if all(part.max() <= 1 for part in self._parts(layout)) else 1.0
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
        scale = whole_scale(low, high) if layout.dtype.kind in "ui" else float_scale(low, high)
        if scale is None:
            raise SourceError(
                f"{self.path} holds values from {low:g} to {high:g}: expected 0 to 1, 0 to 255, or "
                "whole numbers from 0 to 65,535"
            )
        return scale

    def _small(self, member: str, count: int) -> np.ndarray:
        """(count,) the array `member`, with one value per image; classes may be one-hot. Raises SourceError."""
        with self._opened(member) as file:
            shape, fortran, dtype = _header(file, self.path)
            size = _bytes_of(shape, dtype)
            if shape[:1] != (count,) or len(shape) > 2:
                raise SourceError(
                    f"{self.path} has {count:,} images but {_array(member)} of shape {shape}: expected one each"
                )
            check_memory(self.path, 3 * size, _array(member), "keep one short value an image")
            values = np.frombuffer(file.read(size), dtype).reshape(shape, order="F" if fortran else "C")
        if len(shape) == 1 or shape[1] == 1:
            return values.reshape(count)
        if dtype.kind in "buif" and np.isin(values, (0, 1)).all() and (values.sum(1) == 1).all():
            return values.argmax(1)
        raise SourceError(
            f"{self.path} has {count:,} images but {_array(member)} of shape {shape}: expected one each, or one-hot"
        )

    def _inside(self) -> list[str]:
        """The members of an .npz that are arrays; none of another file."""
        if self.path.suffix.lower() != ".npz":
            return []
        try:
            with zipfile.ZipFile(self.path) as archive:
                return [name for name in archive.namelist() if name.endswith(".npy")]
        except (*DAMAGED, OSError) as error:
            raise SourceError(f"{self.path} cannot be read as an .npz file: {error}") from None

    def _member(self, wanted: tuple[str, ...], dimensions: int = 1) -> str | None:
        """The array in an .npz with one of the names, or else the only one with at least `dimensions`; None in an
        .npy."""
        inside = self._inside()
        if self.path.suffix.lower() != ".npz":
            return None
        for name in wanted:
            if f"{name}.npy" in inside:
                return f"{name}.npy"
        if dimensions == 1:
            return None
        large = [name for name in inside if self._dimensions(name) >= dimensions]
        if len(large) == 1:
            return large[0]
        listed = ", ".join(map(_array, inside)) or "none"
        raise SourceError(
            f"{self.path} holds the arrays {listed}: expected one named images, with three or four dimensions"
        )

    def _bytes(self, member: str | None) -> int:
        if member is None:
            return self.path.stat().st_size
        with zipfile.ZipFile(self.path) as archive:
            return archive.getinfo(member).file_size  # which `_opened` has not believed

    def _shape(self, member: str) -> tuple[int, ...]:
        with self._opened(member) as file:
            return _header(file, self.path)[0]

    def _dimensions(self, member: str) -> int:
        """0 for an array that cannot be read."""
        with suppress(SourceError):
            return len(self._shape(member))
        return 0

    @contextlib.contextmanager
    def _opened(self, member: str | None) -> Iterator[IO[bytes]]:
        try:
            if member is None:
                with self.path.open("rb") as file:
                    yield file
            else:
                with zipfile.ZipFile(self.path) as archive:
                    about = archive.getinfo(member)
                    there = min(about.compress_size, self.path.stat().st_size)
                    check_growth(
                        f"{self.path}, array {_array(member)},",
                        there,
                        about.file_size,
                        ZIP,
                        "save it without compression, with numpy.savez",
                    )
                    with zip_members.opened(archive, about) as inside:
                        yield inside
        except (*DAMAGED, RuntimeError, NotImplementedError) as error:
            raise SourceError(f"{self.path} is damaged: {error}") from None


def _bytes_of(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Of an array; of a shape that is announced it may be more than numpy can count."""
    return int(np.prod(shape, dtype=object)) * dtype.itemsize


def _array(member: str | None) -> str:
    """The name of an array in an .npz."""
    return (member or "").removesuffix(".npy")


def _of_another(name: str, images: str) -> bool:
    """Whether an array belongs to another split than the images.

    >>> _of_another("y_train", "x_test"), _of_another("y_train", "images"), _of_another("labels", "x_test")
    (True, False, False)
    """
    own, others = ({part.lower() for part in one.split("_")} & SPLITS for one in (images, name))
    return bool(own and others and own != others)


def _partners(images: str, of: tuple[str, ...]) -> tuple[str, ...]:
    """The names that another array, one of `of`, about the same split as the images may have, before any others.

    >>> _partners("x_train", ("labels", "y")), _partners("test_images", ("labels",))
    (('labels_train', 'y_train'), ('test_labels',))
    """
    parts = images.split("_")
    return tuple(
        "_".join([*parts[:place], label, *parts[place + 1 :]])
        for place, part in enumerate(parts)
        if part in _OF_IMAGES
        for label in of
    )


def _header(file: IO[bytes], path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type of the array that follows; raises SourceError, also for pickles."""
    usual = npy.header_of(file)
    if usual is not None:
        return usual
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
    if part.dtype != np.uint8 or scale != 1:  # in place: a single image may be large
        pixels = part.astype(np.float32)
        pixels *= np.float32(scale)
        np.clip(np.round(pixels, out=pixels), 0, 255, out=pixels)
    if pixels.shape[1] == 4:
        opacity = pixels[:, 3:].astype(np.float32) / 255
        pixels = np.round(pixels[:, :3] * opacity + 255 * (1 - opacity))
    return np.ascontiguousarray(pixels.astype(np.uint8))
