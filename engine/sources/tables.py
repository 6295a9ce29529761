"""Images listed in a table: a CSV, JSON lines or Parquet file with their paths, or Parquet with the images."""

from __future__ import annotations

import os
import threading
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.data.columns import class_column, plain, read_table, shown, truth_of, without_class
from engine.data.listing import Listing, Reader
from engine.data.skipped import Skipped
from engine.data.truth import Truth, class_text
from engine.errors import SourceError, out_of_memory, sized
from engine.formats import parquet
from engine.formats.bounds import IMAGE_BYTES, Lookout, check_memory
from engine.formats.identity import LABELS, NAMES, by_content, spelling, text_of, the_column, usual
from engine.formats.images import HEAD_BYTES, image_ending, sniffed
from engine.formats.stamps import file_stamp, stamp_of
from engine.formats.tables import headless
from engine.sources.folders import FolderReader, existing_file, existing_folder, first_of, on_system, readable

if TYPE_CHECKING:
    import pandas as pd

# Rows to look at, to recognize a column of paths or images by its content.
LOOKED_AT, LOOKED_AT_IMAGES = 100, 16
# Usual titles of the column that holds the images themselves, the best first.
PICTURES = ("image", "img", "picture", "photo", "images", "jpg", "png", "webp", "pixels", "content", "bytes", "data")


# Titles of a column that names the image in its row, without those that may be of a class or of the image itself.
ROW_NAMES = tuple(one for one in NAMES if one not in ("image", "img", "name"))


@dataclass(frozen=True)
class _Column:
    """The column of a Parquet file that contains the images: bytes, or {bytes, path} if `nested`.

    If it is `outside`, the bytes are empty, and the images are files at the paths.
    """

    name: str
    nested: bool
    outside: bool = False


class TableSource:
    """The images in a table, in its order.

    Paths are relative to `root`, by default the table's own folder; nothing outside it is read.
    """

    side: int | None = 32

    def __init__(self, text: str, path: str, *, labels: bool = False, root: str | None = None) -> None:
        self.path = existing_file(path, "a CSV or Parquet table")
        self.root = existing_folder(root) if root else self.path.absolute().parent
        self.text, self.labels = readable(text), labels
        where = f"{os.path.abspath(self.path)} in {os.path.abspath(self.root)}"
        self.place = f"table:{readable(where)}"
        column = _image_column(self.path)
        self._bytes = None if column is None or column.outside else column
        self._paths = column.name if column is not None and column.outside else None

    def stamp(self) -> str:
        return file_stamp([self.path]) if self._bytes else ""

    def reader(self) -> Reader:
        return ParquetReader(self.path, self._bytes) if self._bytes else FolderReader(self.root)

    def listing(self) -> Listing:
        found = self._inside(self._bytes) if self._bytes else self._named()
        if not found.names:
            first = f"; the first is {first_of(found.skipped)}" if found.skipped else ""
            hint = "" if self._bytes else f" below {self.root}: give the folder that its paths start from"
            raise SourceError(f"{self.path} lists no usable image{hint}{first}")
        return found

    # -- paths ---------------------------------------------------------------------------------

    def _named(self) -> Listing:
        length = self.path.stat().st_size
        check_memory(self.path, 2 * length, f"{sized(length)} of cells", "split it")
        table = read_table(self.path.read_bytes(), self.path.name)
        if self._paths is None:
            column = path_column(table, self.path, self.root)
        else:
            column = self._paths
            table[column] = [None if one is None else one.get("path") for one in table[column]]
        bare = headless(table)
        said = f"{self.path.name} has no header: its first line is read as data, and its columns are numbered"
        rows: dict[str, tuple[int, tuple[int, int]]] = {}
        skipped, twice = [], []
        for row, value in enumerate(table[column]):
            name = f"row {row + 1}"
            try:
                if not isinstance(value, str) or not value.strip():
                    raise SourceError("no path")
                name = value.strip()
                key, stamp = self._file(name)
                if key in rows:
                    twice.append((rows[key][0], row))
                    raise SourceError(f"listed twice: row {rows[key][0] + 1} has it already")
                rows[key] = row, stamp
            except SourceError as error:
                skipped.append(Skipped(readable(name), str(error)))
        keys = list(rows)
        names = tuple(readable(key) for key in keys)
        stamps = np.array([stamp for _, stamp in rows.values()], np.int64).reshape(-1, 2)
        kept = plain(table.iloc[[row for row, _ in rows.values()]].drop(columns=column))
        if self.labels and twice:
            self._check_agreement(plain(table), twice, class_column(kept))
        truth = self._truth(kept, len(names), ", without a header: put a first line such as path,label" if bare else "")
        return Listing(names, stamps, keys, tuple(skipped), truth, tuple(shown(kept)), (said,) if bare else ())

    def _check_agreement(self, table: pd.DataFrame, twice: Sequence[tuple[int, int]], title: str | None) -> None:
        """Raises SourceError if two rows of one image have different classes."""
        classes = [] if title is None else table[title].tolist()
        for first, again in twice if classes else ():
            if class_text(classes[first]) != class_text(classes[again]):
                raise SourceError(
                    f"labels were requested, but {self.path} has two classes for one image, {classes[first]!r} in row "
                    f"{first + 1} and {classes[again]!r} in row {again + 1}: keep one row an image, or open it "
                    "without labels"
                )

    def _file(self, text: str) -> tuple[str, tuple[int, int]]:
        """The path relative to the root, and the stamp, of the file at `text`; raises SourceError."""
        if "\0" in text:
            raise SourceError("a path with a zero byte")
        if "://" in text:
            raise SourceError("an address, not a path: download the images first")
        inside = os.path.realpath(self.root)
        path = os.path.realpath(_existing(inside, on_system(text)))
        if not path.startswith(inside + os.sep):
            raise SourceError(f"outside {self.root}: give the folder that the paths start from")
        try:
            about = os.stat(path)
        except OSError as error:
            raise SourceError(error.strerror or str(error)) from None
        if not os.path.isfile(path):
            raise SourceError("not a regular file")
        return os.path.relpath(path, inside).replace(os.sep, "/"), stamp_of(about)

    def _truth(self, rows: pd.DataFrame, count: int, hint: str = "") -> Truth | None:
        if not self.labels or not count:
            return None
        found = truth_of(rows, self.path.name)
        if found is None:
            raise SourceError(
                f"labels were requested, but {self.path} has no column label, class, category or target "
                f"with the class of every image{without_class(rows) or _titles(rows, hint)}: open it without labels"
            )
        return found

    # -- the images themselves -----------------------------------------------------------------

    def _inside(self, column: _Column) -> Listing:
        import pandas as pd
        from pyarrow import types
        from pyarrow.parquet import ParquetFile

        names: list[str] = []
        keys, stamps, skipped, tables = [], [], [], []
        known: set[str] = set()
        length, lookout = self.path.stat().st_size, Lookout(self.path)
        with ParquetFile(self.path) as about, parquet.by_value(self.path) as file:
            parquet.check_group(file, self.path, column.name)
            # Other columns of images or vectors would have to fit in memory, and are never shown.
            others = [
                one.name
                for one in about.schema_arrow
                if not types.is_nested(one.type) and (not _is_binary(one.type) or usual(one.name) in LABELS)
            ]
            named, row = _names(file, about.schema_arrow, self.path), 0
            for group in range(file.num_row_groups):
                other = parquet.read(file, self.path, length, others, group).to_pandas()
                pictures = _encoded(file, group, column)
                parquet.check_written_out([pictures], self.path, length)
                kept = []
                for place, (content, path) in enumerate(_values(pictures, column)):
                    name = _unused(readable(path or (named[row] if named else "")), row, known)
                    row += 1
                    lookout.see(row)
                    if not content:
                        skipped.append(Skipped(name, "no image in this row"))
                    elif len(content) > IMAGE_BYTES:
                        skipped.append(Skipped(name, "too much for an image"))
                    else:
                        known.add(name)
                        names.append(name)
                        kept.append(place)
                        keys.append((group, place))
                        stamps.append((len(content), zlib.crc32(content)))
                tables.append(other.iloc[kept])
        rows = plain(pd.concat(tables, ignore_index=True)) if tables else pd.DataFrame()
        array = np.array(stamps, np.int64).reshape(-1, 2)
        truth = self._truth(rows, len(names))
        return Listing(tuple(names), array, keys, tuple(skipped), truth, tuple(shown(rows)))


class ParquetReader:
    """Reads images from a Parquet file, whose rows are stored in groups; keeps the last group in memory."""

    def __init__(self, path: Path, column: _Column) -> None:
        self.path, self.column = path, column
        self._guard = threading.Lock()
        self._group, self._values = -1, None  # type: tuple[int, Any]

    def __getstate__(self) -> tuple[Path, _Column]:
        return self.path, self.column

    def __setstate__(self, state: tuple[Path, _Column]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def __call__(self, key: tuple[int, int]) -> bytes:
        group, place = key
        with self._guard:
            if group != self._group:
                with parquet.by_value(self.path) as file:
                    self._values, self._group = _encoded(file, group, self.column), group
            return _value(self._values[place].as_py(), self.column)[0]


def _names(file: Any, schema: Any, path: Path) -> list[str]:
    """The names of the images in a titled column; none if there is none, or it has gaps or a name twice."""
    from pyarrow import types

    kinds = (types.is_string, types.is_large_string, types.is_integer)
    found = {usual(one.name): one.name for one in schema if any(kind(one.type) for kind in kinds)}
    for title in ROW_NAMES:
        if title in found:
            values = parquet.read(file, path, path.stat().st_size, [found[title]]).column(0).to_pylist()
            names = ["" if one is None else text_of(one) for one in values]
            if all(name.strip() for name in names) and len(set(names)) == len(names):
                return names
    return []


def _unused(path: str, row: int, known: set[str]) -> str:
    """The name of the image in a row: its path, unless there is none, or another image has it."""
    name = path if path and path not in known else f"row-{row:07d}"
    return name if name not in known else f"row-{row:07d} of {path or 'none'}"


def _image_column(path: Path) -> _Column | None:
    """The column of a Parquet file that contains images; None if there is none, and for other tables."""
    if path.suffix.lower() != ".parquet":
        return None
    try:
        from pyarrow import ArrowException, types
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise SourceError("reading Parquet needs pyarrow: pip install pyarrow, or save the table as CSV") from None
    try:
        with ParquetFile(path) as about, parquet.by_value(path) as file:
            found = {}
            for entry in about.schema_arrow:
                nested = types.is_struct(entry.type) and {"bytes"} <= {one.name for one in entry.type}
                if _is_binary(entry.type) or nested:
                    found[entry.name] = _Column(entry.name, nested)
            title = by_content(list(found), lambda name: _holds_images(file, found[name]), PICTURES, "hold images")
            if title is None:
                title = next((name for name in found if usual(name) in PICTURES), None)
            column = None if title is None else found[title]
            if column is not None and column.nested and not _is_there(file, column, 0):
                return _Column(column.name, nested=True, outside=_is_there(file, column, 1))
            return column
    except (ArrowException, OSError) as error:
        if out_of_memory(error):  # ArrowException stands for that, too
            raise
        reason = (str(error).splitlines() or ["not Parquet"])[0]
        raise SourceError(f"{path} cannot be read as a Parquet table: {reason}") from None


def _holds_images(file: Any, column: _Column) -> bool:
    """Whether any of the first values begins like an image, or is the path of one: some may be damaged."""
    return any(
        sniffed(content[:HEAD_BYTES]) if content else image_ending(path or "")
        for content, path in _first_values(file, column)
    )


def _is_there(file: Any, column: _Column, part: int) -> bool:
    """Whether the first values have bytes (part 0), or paths (part 1)."""
    return any(value[part] for value in _first_values(file, column))


def _first_values(file: Any, column: _Column) -> Iterator[tuple[bytes, str | None]]:
    first = next(file.iter_batches(batch_size=LOOKED_AT_IMAGES, columns=[column.name]), None)
    return iter(()) if first is None else _values(first.column(0), column)


def _is_binary(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _encoded(file: Any, group: int, column: _Column) -> Any:
    """The column of one row group, as pyarrow has it."""
    return file.read_row_group(group, columns=[column.name]).column(0)


def _values(values: Any, column: _Column) -> Iterator[tuple[bytes, str | None]]:
    """The content, empty if there is none, and the path of each image, one at a time."""
    return (_value(one.as_py(), column) for one in values)


def _value(value: Any, column: _Column) -> tuple[bytes, str | None]:
    if column.nested:
        return (value or {}).get("bytes") or b"", (value or {}).get("path")
    return value or b"", None


def _existing(root: str, text: str) -> str:
    """The path of a file below `root` that the table names as `text`, however it is spelt there."""
    path = os.path.join(root, text)
    if os.path.lexists(path):
        return path
    plain = spelling(readable(text))
    for one in map(on_system, (plain, unicodedata.normalize("NFD", plain))):
        if os.path.lexists(os.path.join(root, one)):
            return os.path.join(root, one)
    return path


def _titles(rows: pd.DataFrame, hint: str) -> str:
    """The titles and a hint, to be put in brackets."""
    return f" (found {', '.join(map(repr, list(rows.columns)[:8])) or 'no other column'}{hint})"


def path_column(table: pd.DataFrame, where: Path, root: Path) -> Any:
    """The column of `table` with the paths of images, recognized by its title and content; raises SourceError.

    Of several columns of paths, those whose files are below `root` count.
    """
    found = [title for title in table.columns if _paths_of_images(table[title])]
    there = [title for title in found if _leads_to_files(table[title], root)] if len(found) > 1 else []
    if found:
        return the_column(there or found, NAMES, "hold paths of images")
    listed = ", ".join(map(repr, list(table.columns)[:8])) or "none"
    lists = [
        title for title in table.columns if any(isinstance(one, (list, np.ndarray)) for one in table[title].head(9))
    ]
    hint = f"; {lists[0]!r} holds lists: expected one image a row" if lists else ""
    raise SourceError(
        f"no column of {where} holds paths of images or images: found {listed}{hint}; expected a column "
        "such as path, with names that end in .jpg or .png"
    )


def _paths_of_images(values: pd.Series) -> bool:
    texts = [one for one in values.head(LOOKED_AT) if isinstance(one, str)]
    return bool(texts) and 2 * sum(image_ending(one.strip()) for one in texts) >= len(texts)


def _leads_to_files(values: pd.Series, root: Path) -> bool:
    texts = [one for one in values.head(LOOKED_AT) if isinstance(one, str) and "\0" not in one]
    return any(os.path.isfile(_existing(str(root), on_system(one))) for one in texts)
