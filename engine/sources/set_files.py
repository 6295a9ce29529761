"""Images in the binary files of benchmark sets: CIFAR's pickles, STL-10's raw bytes, MNIST's idx."""

from __future__ import annotations

import gzip
import math
import pickle
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Protocol, cast

import numpy as np

from engine.errors import SourceError, out_of_memory
from engine.formats.bounds import SET, check_growth
from engine.formats.stamps import stamp_of

# About how many bytes to read at a time.
PIECE = 2**23


class Part(Protocol):
    """Some of a set's images, all of one size.

    Attributes:
        split: the split they belong to, such as "train".
        files: the files that contain them.
        labels: (m,) int64 from 0, one per image; all 0 if the set has no labels.

    All methods raise SourceError, with a sentence for the user, for unexpected or damaged files.
    """

    @property
    def split(self) -> str: ...

    @property
    def files(self) -> tuple[Path, ...]: ...

    @property
    def labels(self) -> np.ndarray: ...

    def blocks(self) -> Iterator[np.ndarray]:
        """The m images in blocks, (b, C, H, W) uint8."""
        ...


def about(path: Path) -> tuple[int, int]:
    """The stamp of a readable regular file, which begins with its size; raises SourceError for any other."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would block
            raise SourceError(f"{path} is not a regular file: download the set again")
        with path.open("rb"):
            return stamp_of(status)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from None


def checked(labels: np.ndarray, lowest: int, classes: int, path: Path) -> np.ndarray:
    """`labels` as int64 from 0; raises SourceError unless all are in lowest..lowest+classes-1."""
    outside = labels[(labels < lowest) | (labels >= lowest + classes)]
    if len(outside):
        raise SourceError(
            f"{path} holds the label {outside[0]}: expected {lowest} to {lowest + classes - 1}; download the set again"
        )
    return labels.astype(np.int64) - lowest


# -- CIFAR -------------------------------------------------------------------------------------


class _PlainPickle(pickle.Unpickler):
    """Unpickles dicts, lists, numbers and NumPy arrays only; rejects anything else."""

    _ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


@dataclass(frozen=True)
class CifarPart:
    """A pickle of 32×32 colour images: pixels (m, 3072) and labels."""

    path: Path
    split: str
    key: str
    classes: int

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    @cached_property
    def labels(self) -> np.ndarray:
        return self._load()[1]

    def blocks(self) -> Iterator[np.ndarray]:
        pixels = self._load()[0]
        step = PIECE // (3 * 32 * 32)
        yield from (pixels[start : start + step] for start in range(0, len(pixels), step))

    def _load(self) -> tuple[np.ndarray, np.ndarray]:
        about(self.path)
        try:
            with self.path.open("rb") as file:
                batch = _PlainPickle(file, encoding="bytes").load()
            data, labels = batch[b"data"], np.asarray(batch[self.key.encode()], np.int64)
            if data.dtype != np.uint8:
                raise ValueError(f"its pixels are {data.dtype}, not uint8")
            pixels = data.reshape(-1, 3, 32, 32)
            labels = labels.reshape(len(pixels))
        except KeyError as error:
            raise SourceError(f"{self.path} is not a CIFAR batch: it has no {error}") from None
        except Exception as error:  # a damaged pickle may raise anything
            if out_of_memory(error):
                raise
            raise SourceError(f"{self.path} is not a CIFAR batch: {error}") from None
        return pixels, checked(labels, 0, self.classes, self.path)


# -- STL-10 ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StlPart:
    """96×96 colour images in sequence, each channel stored column by column; labels from 1."""

    path: Path
    split: str
    label_path: Path | None
    classes: int

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,) if self.label_path is None else (self.path, self.label_path)

    @cached_property
    def labels(self) -> np.ndarray:
        count = len(self._columns())
        if self.label_path is None:
            return np.zeros(count, np.int64)
        size, _ = about(self.label_path)
        if size != count:
            raise SourceError(
                f"{self.label_path} holds {size:,} labels for the {count:,} images of "
                f"{self.path.name}: download the set again"
            )
        return checked(np.fromfile(self.label_path, np.uint8), 1, self.classes, self.label_path)

    def blocks(self) -> Iterator[np.ndarray]:
        columns = self._columns()
        step = PIECE // (3 * 96 * 96)
        for start in range(0, len(columns), step):
            yield np.ascontiguousarray(columns[start : start + step].transpose(0, 1, 3, 2))

    def _columns(self) -> np.ndarray:
        """(m, 3, W, H) uint8, memory-mapped: the unlabelled images take 2.8 GB."""
        size, _ = about(self.path)
        count, rest = divmod(size, 3 * 96 * 96)
        if rest or not count:
            raise SourceError(
                f"{self.path} is truncated or not from STL-10: its {size:,} bytes are not a whole number "
                "of images of 27,648 bytes; download the set again"
            )
        return np.memmap(self.path, np.uint8, "r", shape=(count, 3, 96, 96))


# -- MNIST -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class IdxPart:
    """Grey images and their labels in two idx files, plain or compressed (.gz)."""

    path: Path
    split: str
    label_path: Path
    classes: int

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path, self.label_path)

    @cached_property
    def labels(self) -> np.ndarray:
        with _idx(self.path, 3) as ((images, *_), _), _idx(self.label_path, 1) as ((count,), file):
            if images != count:
                raise SourceError(
                    f"{self.label_path} holds {count:,} labels for the {images:,} images of "
                    f"{self.path.name}: download the set again"
                )
            found = b"".join(_pieces(file, count, PIECE, self.label_path))
        return checked(np.frombuffer(found, np.uint8), 0, self.classes, self.label_path)

    def blocks(self) -> Iterator[np.ndarray]:
        with _idx(self.path, 3) as ((count, height, width), file):
            area = height * width
            step = PIECE // area * area
            for piece in _pieces(file, count * area, step, self.path):
                yield np.frombuffer(piece, np.uint8).reshape(-1, 1, height, width)


@contextmanager
def _idx(path: Path, dimensions: int) -> Iterator[tuple[tuple[int, ...], IO[bytes]]]:
    """The dimensions from the header of an idx file of uint8, and the file, positioned after the header."""
    size, _ = about(path)
    packed = path.suffix == ".gz"
    with cast(IO[bytes], gzip.open(path) if packed else path.open("rb")) as file:
        (magic,) = _pieces(file, 4, 4, path)
        if magic != bytes((0, 0, 8, dimensions)):
            raise SourceError(
                f"{path} begins with {magic.hex()}: expected 000008{dimensions:02}, as idx files "
                f"of bytes in {dimensions} dimension{'s' if dimensions > 1 else ''} do"
            )
        header = b"".join(_pieces(file, 4 * dimensions, PIECE, path))
        lengths = tuple(int(one) for one in np.frombuffer(header, ">u4"))
        told = len(magic + header) + math.prod(lengths)
        if 0 in lengths or math.prod(lengths[1:]) > PIECE:
            raise SourceError(f"{path} gives its lengths as {lengths}: expected small images")
        if packed:
            check_growth(path, size, told, SET, "unpack it with gzip -dk, beside it")
        elif size != told:
            raise SourceError(f"{path} holds {size:,} bytes where it says {told:,}: download the set again")
        yield lengths, file


def _pieces(file: IO[bytes], count: int, step: int, path: Path) -> Iterator[Any]:
    """Reads `count` bytes of a file, at most `step` at a time."""
    while count:
        try:
            piece = file.read(min(step, count))
        except (OSError, EOFError, zlib.error) as error:
            raise SourceError(f"{path} is damaged ({error}): download the set again") from None
        if len(piece) < min(step, count):
            raise SourceError(f"{path} is truncated: download the set again")
        count -= len(piece)
        yield piece
