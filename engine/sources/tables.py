"""Images listed in a table: a CSV, JSON lines or Parquet file with their paths, or Parquet with the images."""

from __future__ import annotations

import os
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.data.columns import plain, read_table, shown, truth_of
from engine.data.decode_image import IMAGE_ENDINGS, MOST_BYTES
from engine.data.listing import Listing, Reader
from engine.data.skipped import Skipped
from engine.data.truth import Truth
from engine.errors import SourceError
from engine.sources.archives import file_stamp
from engine.sources.folders import FolderReader, existing_file, existing_folder, readable

if TYPE_CHECKING:
    import pandas as pd

# Usual names of the column that holds the path.
PATHS = ("path", "file", "file_name", "filename", "filepath", "file_path", "image_path", "image", "img")
# Rows to look at, to recognize a column of paths by its content.
LOOKED_AT = 100


@dataclass(frozen=True)
class _Column:
    """The column of a Parquet file that contains the images: bytes, or {bytes, path} if `nested`."""

    name: str
    nested: bool


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
        self._bytes = _bytes_column(self.path)

    def stamp(self) -> str:
        return file_stamp([self.path]) if self._bytes else ""

    def reader(self) -> Reader:
        return ParquetReader(self.path, self._bytes) if self._bytes else FolderReader(self.root)

    def listing(self) -> Listing:
        found = self._inside(self._bytes) if self._bytes else self._named()
        if not found.names:
            first = f"; the first is {found.skipped[0].name}: {found.skipped[0].reason}" if found.skipped else ""
            hint = "" if self._bytes else f" below {self.root}: give the folder that its paths start from"
            raise SourceError(f"{self.path} lists no usable image{hint}{first}")
        return found

    # -- paths ---------------------------------------------------------------------------------

    def _named(self) -> Listing:
        table = read_table(self.path.read_bytes(), self.path.name)
        column = path_column(table, self.path)
        rows: dict[str, tuple[int, tuple[int, int]]] = {}
        skipped = []
        for row, value in enumerate(table[column]):
            name = f"row {row + 1}"
            try:
                if not isinstance(value, str) or not value.strip():
                    raise SourceError("no path")
                name = value.strip()
                key, stamp = self._file(name)
                if key in rows:
                    raise SourceError(f"listed twice: row {rows[key][0] + 1} has it already")
                rows[key] = row, stamp
            except SourceError as error:
                skipped.append(Skipped(readable(name), str(error)))
        keys = list(rows)
        names = tuple(readable(key) for key in keys)
        stamps = np.array([stamp for _, stamp in rows.values()], np.int64).reshape(-1, 2)
        kept = plain(table.iloc[[row for row, _ in rows.values()]].drop(columns=column))
        truth = self._truth(kept, len(names))
        return Listing(names, stamps, keys, tuple(skipped), truth, tuple(shown(kept)))

    def _file(self, text: str) -> tuple[str, tuple[int, int]]:
        """The path relative to the root, and the stamp, of the file at `text`; raises SourceError."""
        if "\0" in text:
            raise SourceError("a path with a zero byte")
        if "://" in text:
            raise SourceError("an address, not a path: download the images first")
        inside = os.path.realpath(self.root)
        path = os.path.realpath(os.path.join(inside, text))
        if not path.startswith(inside + os.sep):
            raise SourceError(f"outside {self.root}: give the folder that the paths start from")
        try:
            about = os.stat(path)
        except OSError as error:
            raise SourceError(error.strerror or str(error)) from None
        if not os.path.isfile(path):
            raise SourceError("not a regular file")
        return os.path.relpath(path, inside).replace(os.sep, "/"), (about.st_size, about.st_mtime_ns)

    def _truth(self, rows: pd.DataFrame, count: int) -> Truth | None:
        if not self.labels or not count:
            return None
        found = truth_of(rows)
        if found is None:
            raise SourceError(
                f"labels were requested, but {self.path} has no column label, class, category or target "
                "with the class of every image: open it without labels"
            )
        return found

    # -- the images themselves -----------------------------------------------------------------

    def _inside(self, column: _Column) -> Listing:
        import pandas as pd
        from pyarrow import parquet, types

        names: list[str] = []
        keys, stamps, skipped, tables = [], [], [], []
        known: set[str] = set()
        with parquet.ParquetFile(self.path) as file:
            # Other columns of images or vectors would have to fit in memory, and are never shown.
            others = [one.name for one in file.schema_arrow if not (types.is_nested(one.type) or _is_binary(one.type))]
            row = 0
            for group in range(file.num_row_groups):
                values = _encoded(file, group, column)
                other = file.read_row_group(group, columns=others).to_pandas()
                kept = []
                for place, (content, path) in enumerate(values):
                    name = readable(path) if path and path not in known else f"row-{row:07d}"
                    row += 1
                    if not content:
                        skipped.append(Skipped(name, "no image in this row"))
                    elif len(content) > MOST_BYTES:
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
        self._group, self._values = -1, []  # type: tuple[int, list[tuple[bytes, str | None]]]

    def __getstate__(self) -> tuple[Path, _Column]:
        return self.path, self.column

    def __setstate__(self, state: tuple[Path, _Column]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def __call__(self, key: tuple[int, int]) -> bytes:
        from pyarrow import parquet

        group, place = key
        with self._guard:
            if group != self._group:
                with parquet.ParquetFile(self.path) as file:
                    self._values, self._group = _encoded(file, group, self.column), group
            return self._values[place][0]


def _bytes_column(path: Path) -> _Column | None:
    """The column of a Parquet file that contains images; None if there is none, and for other tables."""
    if path.suffix.lower() != ".parquet":
        return None
    try:
        from pyarrow import ArrowException, parquet, types
    except ImportError:
        raise SourceError("reading Parquet needs pyarrow: pip install pyarrow, or save the table as CSV") from None
    try:
        schema = parquet.read_schema(path)
    except (ArrowException, OSError) as error:
        reason = (str(error).splitlines() or ["not Parquet"])[0]
        raise SourceError(f"{path} cannot be read as a Parquet table: {reason}") from None
    for entry in schema:
        if _is_binary(entry.type):
            return _Column(entry.name, nested=False)
        if types.is_struct(entry.type) and {"bytes"} <= {one.name for one in entry.type}:
            return _Column(entry.name, nested=True)
    return None


def _is_binary(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _encoded(file: Any, group: int, column: _Column) -> list[tuple[bytes, str | None]]:
    values = file.read_row_group(group, columns=[column.name]).column(0).to_pylist()
    if column.nested:
        return [((one or {}).get("bytes") or b"", (one or {}).get("path")) for one in values]
    return [(one or b"", None) for one in values]


def path_column(table: pd.DataFrame, where: Path) -> Any:
    """The column of `table` with the paths of images, recognized by its name or content; raises SourceError."""
    by_name = {str(title).lower(): title for title in table.columns}
    found = [by_name[name] for name in PATHS if name in by_name]
    found += [title for title in table.columns if title not in found]
    for title in found:
        values = [one for one in table[title].head(LOOKED_AT) if isinstance(one, str)]
        images = [one for one in values if os.path.splitext(one)[1].lower() in IMAGE_ENDINGS]
        if values and 2 * len(images) >= len(values):
            return title
    listed = ", ".join(map(repr, list(table.columns)[:8])) or "none"
    raise SourceError(
        f"no column of {where} holds paths of images or images: found {listed}; expected a column "
        "such as path, with names that end in .jpg or .png"
    )
