"""External vectors: features computed elsewhere, read from a file instead of training stage 1.

A file is read, checked and copied as float32 block by block, so it may be larger than memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import npy
from engine.config import IMPORT
from engine.data.images import ImageSet
from engine.errors import SourceError, out_of_memory
from engine.formats.identity import LABELS, NAMES, matched, usual

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BLOCK_BYTES = 2**26
# The largest number that float32 holds, and the smallest that it holds exactly.
MOST, LEAST = float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny)
# Vectors with numbers between these have squares that can be added up in float32.
TOO_SHORT, TOO_LONG = 1e-12, 1e12
# Digits of float32 by which directions are told apart.
DIGITS = 7
# Indices of images, (m,) int64, and their vectors, (m, D) of any number type.
Blocks = Iterable[tuple[np.ndarray, np.ndarray]]
Store = Callable[[tuple[int, int]], np.ndarray]


def import_vectors(
    source: str, images: ImageSet, store: Store | None = None, *, clusters: int = 2
) -> np.ndarray | None:
    """The vectors in "import:FILE.npy" or "import:FILE.parquet", one row per image, in their order.

    A Parquet file with a column of image names (ids, or their last parts) is matched by name and may
    have more rows; any other file must have N rows in the order of the images. All are multiplied by one number
    if their squares would not fit into 32-bit floats: what counts is their directions.

    Args:
        store: creates the (N, D) float32 array to fill and return; without it the file is only
            checked.
        clusters: how many directions are needed at least.

    Raises:
        SourceError: if the file is missing, does not contain N×D numbers for these images, a number
            is not finite, a row is zero, or there are too few directions.
    """
    path = vectors_path(source)
    columns, blocks = (_npy if path.suffix.lower() == ".npy" else _parquet)(path, images)
    if columns < 2:
        raise SourceError(
            f"{path} has {columns} number{'' if columns == 1 else 's'} an image: expected vectors of at least 2"
        )
    vectors = None if store is None else store((len(images), columns))
    judged = _Judged(clusters)
    for rows, values in blocks:
        judged.take(rows, values)
        if vectors is not None:
            with np.errstate(over="ignore"):
                vectors[rows] = values.astype(np.float32)
    judged.complain(path, images)
    if vectors is not None and not TOO_SHORT < judged.longest < TOO_LONG:
        length = max(1, BLOCK_BYTES // (4 * columns))
        for start in range(0, len(vectors), length):
            vectors[start : start + length] *= np.float32(1 / judged.longest)
    return vectors


@dataclass
class _Judged:
    """What is wrong with vectors, judged by their directions, in float64."""

    clusters: int
    wrong: list[int] = field(default_factory=list)
    zero: list[int] = field(default_factory=list)
    longest: float = 0.0
    directions: set[bytes] = field(default_factory=set)
    first: np.ndarray | None = None
    different: bool = False

    def take(self, rows: np.ndarray, values: np.ndarray) -> None:
        exact = values.astype(np.float64)
        if self.first is None and len(exact):
            self.first = exact[0].copy()
        self.different = self.different or bool((exact != self.first).any())
        largest = np.abs(exact).max(1, initial=0)
        bad = ~np.isfinite(exact).all(1) | (largest > MOST)
        zero = largest < LEAST
        self.wrong += rows[bad].tolist()
        self.zero += rows[zero].tolist()
        good = np.flatnonzero(~bad & ~zero)
        if not len(good):
            return
        self.longest = max(self.longest, float(largest[good].max()))
        step = 256
        for start in range(0, len(good), step):
            if len(self.directions) >= self.clusters:
                return
            some = exact[good[start : start + step]]
            some /= np.abs(some).max(1, keepdims=True)  # so that squares neither vanish nor overflow
            some /= np.linalg.norm(some, axis=1, keepdims=True)
            self.directions |= {row.tobytes() for row in np.round(some, DIGITS) + 0.0}

    def complain(self, path: Path, images: ImageSet) -> None:
        """Raises SourceError if the vectors cannot be used."""
        for places, what in (
            (self.wrong, "contain values that are too large for 32-bit floats or not finite"),
            (self.zero, "are zero, which points nowhere"),
        ):
            if places:
                raise SourceError(
                    f"{len(places):,} of the {len(images):,} vectors in {path} {what}, the first that of "
                    f"{images.ids[min(places)]}: exclude these images, or compute their vectors again"
                )
        if len(images) > 1 and not self.different:
            raise SourceError(
                f"all {len(images):,} vectors in {path} are the same: use vectors that differ between images"
            )
        # Of a single direction, stage 2 says it, as of the features of a network.
        if 1 < len(self.directions) < min(self.clusters, len(images)):
            raise SourceError(
                f"the {len(images):,} vectors in {path} have only {len(self.directions)} different directions, for "
                f"{self.clusters} clusters: choose fewer clusters, or use other vectors"
            )


def vectors_path(source: str) -> Path:
    """The file in "import:FILE"; raises SourceError if it is missing or of another kind."""
    text = source.removeprefix(IMPORT)
    path = Path(text).expanduser() if text else Path()
    if path.suffix.lower() not in (".npy", ".parquet"):
        raise SourceError(f"features.source is {source!r}: expected import:FILE.npy or .parquet")
    if not path.is_file():
        raise SourceError(f"there is no file {text}: check the path of the vectors")
    return path


# -- arrays ------------------------------------------------------------------------------------


def _npy(path: Path, images: ImageSet) -> tuple[int, Blocks]:
    try:
        array = npy.mapped(path, "r")
    except (ValueError, EOFError, OSError) as error:
        if out_of_memory(error):
            raise
        reason = str(error).splitlines()[0]
        if "allow_pickle" in reason or "Python objects" in reason:
            reason = "it contains Python objects, which are never loaded"
        raise SourceError(f"{path} cannot be read as an array ({reason}): save numbers with numpy.save") from None
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind not in "fiu":
        kind = f"{array.dtype} of shape {array.shape}" if hasattr(array, "dtype") else "an archive"
        raise SourceError(f"{path} is {kind}: expected real numbers of shape ({len(images):,}, D), a row an image")
    if len(array) != len(images):
        raise SourceError(
            f"{path} has {len(array):,} rows, but {images.source} has {len(images):,} images: expected "
            "one row an image, in their order (a .parquet with a column of their names may hold more)"
        )
    return array.shape[1], _row_blocks(array)


def _row_blocks(array: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    length = max(1, BLOCK_BYTES // max(1, 4 * array.shape[1]))
    for start in range(0, len(array), length):
        block = array[start : start + length]
        yield np.arange(start, start + len(block)), block


# -- tables ------------------------------------------------------------------------------------


def _parquet(path: Path, images: ImageSet) -> tuple[int, Blocks]:
    import pyarrow.parquet as pq

    with _readable(path):
        file = pq.ParquetFile(path)
        columns = _number_columns(file.schema_arrow, path)
        places = _places(file, path, images)
        width = _width(file, columns)
    return width, _table_blocks(file, columns, places, width, path, len(images))


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if out_of_memory(error):  # ArrowException stands for that, too
            raise
        raise SourceError(
            f"{path} cannot be read as a table ({str(error).splitlines()[0]}): expected Parquet"
        ) from None


def _number_columns(schema: pa.Schema, path: Path) -> list[str]:
    """The columns that make up a vector: one column of lists, or all columns of numbers but pandas' index, names
    and classes."""
    import pyarrow.types as kinds

    def is_list(kind: Any) -> bool:
        lists = (kinds.is_list, kinds.is_large_list, kinds.is_fixed_size_list)
        return any(one(kind) for one in lists) and is_number(kind.value_type)

    def is_number(kind: Any) -> bool:
        return bool(kinds.is_floating(kind) or kinds.is_integer(kind))

    index = (schema.pandas_metadata or {}).get("index_columns", [])
    lists = [field.name for field in schema if is_list(field.type)]
    numbers = [
        field.name
        for field in schema
        if is_number(field.type) and field.name not in index and not _names(field) and not _labels(field)
    ]
    if len(lists) > 1:
        raise SourceError(
            f"{path} has several columns of lists ({', '.join(lists[:4])}): keep only the one with the vectors"
        )
    kinds_of = {bool(kinds.is_integer(schema.field(name).type)) for name in numbers}
    if not lists and len(kinds_of) > 1:
        whole = next(name for name in numbers if kinds.is_integer(schema.field(name).type))
        raise SourceError(
            f"{path} has columns of floats and of whole numbers, such as {whole!r}: remove those that are not part of "
            "the vector, or save all of them as floats"
        )
    if not lists and not numbers:
        found = ", ".join(f"{field.name} ({field.type})" for field in list(schema)[:4])
        raise SourceError(f"{path} has no column of numbers or of lists of numbers: found {found}")
    return lists or numbers


def _places(file: pq.ParquetFile, path: Path, images: ImageSet) -> np.ndarray:
    """(rows of the table,) int64: the image of each row, or N for rows of no image."""
    # A number called id names an image, and is no number of a vector.
    named = [field.name for field in file.schema_arrow if _is_text(field.type) or _names(field)]
    rows, count = file.metadata.num_rows, len(images)
    if not named:
        if rows != count:
            raise SourceError(
                f"{path} has {rows:,} rows, but {images.source} has {count:,} images: expected one row "
                "an image, in their order, or a column with the images' names"
            )
        return np.arange(rows)
    # If no column names images, the order could only be guessed: `matched` raises.
    match = matched(file.read(columns=named).to_pandas(ignore_metadata=True), list(images.ids))
    places = np.where(match.places < 0, count, match.places)
    many = np.bincount(places, minlength=count + 1)[:count]
    if (many == 0).any():
        raise SourceError(
            f"{path} has no row for {int((many == 0).sum()):,} of the {count:,} images, the first "
            f"{images.ids[int((many == 0).argmax())]}: expected a vector for each"
        )
    if (many > 1).any():
        first = int((many > 1).argmax())
        name = file.read(columns=[match.title]).column(0)[int((places == first).argmax())].as_py()
        raise SourceError(f"{path} has several rows for {name!r}: keep only one of them")
    return places


def _is_text(kind: Any) -> bool:
    import pyarrow.types as kinds

    if kinds.is_dictionary(kind):
        kind = kind.value_type
    tests = (kinds.is_string, kinds.is_large_string, kinds.is_string_view, kinds.is_binary, kinds.is_large_binary)
    return any(one(kind) for one in tests)


def _names(field: Any) -> bool:
    """Whether a column of numbers names images; pandas makes floats of whole numbers with a gap."""
    import pyarrow.types as kinds

    return bool(kinds.is_integer(field.type) or kinds.is_floating(field.type)) and usual(field.name) in NAMES


def _labels(field: Any) -> bool:
    """Whether a column of whole numbers is the class; y may be a coordinate."""
    import pyarrow.types as kinds

    return bool(kinds.is_integer(field.type)) and usual(field.name) in LABELS and usual(field.name) != "y"


def _width(file: pq.ParquetFile, columns: list[str]) -> int:
    """D: the number of columns of numbers, or the length of the first list."""
    import pyarrow.types as kinds

    if kinds.is_nested(file.schema_arrow.field(columns[0]).type):
        first = next(file.iter_batches(batch_size=1, columns=columns), None)
        value = None if first is None or not len(first) else first.column(0)[0].as_py()
        return len(value or ())
    return len(columns)


def _table_blocks(
    file: pq.ParquetFile, columns: list[str], places: np.ndarray, width: int, path: Path, images: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    start, length = 0, max(1, BLOCK_BYTES // max(1, 4 * width))
    with _readable(path):
        for batch in file.iter_batches(batch_size=length, columns=columns):
            rows = places[start : start + len(batch)]
            start += len(batch)
            wanted = rows < images
            yield rows[wanted], _matrix(batch, columns, width, path)[wanted]


def _matrix(batch: pa.RecordBatch, columns: list[str], width: int, path: Path) -> np.ndarray:
    """A batch of rows as (m, D) float64; missing values are NaN."""
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    first = batch.column(batch.schema.get_field_index(columns[0]))
    if not kinds.is_nested(first.type):
        each = [batch.column(batch.schema.get_field_index(name)) for name in columns]
        return np.stack([one.cast("float64").to_numpy(zero_copy_only=False) for one in each], axis=1)
    lengths = pc.fill_null(pc.list_value_length(first), 0).to_numpy(zero_copy_only=False)
    if (lengths != width).any():
        other = int(lengths[lengths != width][0])
        raise SourceError(
            f"the lists of {columns[0]!r} in {path} have {width} and {other} numbers: expected as many for every image"
        )
    flat = pc.list_flatten(first).cast("float64").to_numpy(zero_copy_only=False)
    return flat.reshape(len(batch), width)
