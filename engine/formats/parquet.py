"""Parquet files within bounds. A value that repeats is stored once: a kilobyte may stand for hundreds of gigabytes.

Texts and bytes are therefore read as their file has them, each distinct value once, and written out only when it is
known how many bytes that makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from engine.formats.bounds import CELL_MEMORY, PARQUET, check_columns, check_growth, check_memory

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

# Rows that are written out at a time.
ROWS = 4096
# What is as large as what it holds is believed.
PLAINLY = "write it again without compression and dictionaries"
_NUMBER_BYTES = 8
_TEXTS = frozenset({"NONE", "STRING", "ENUM", "JSON", "BSON"})


def by_value(source: Path | IO[bytes]) -> ParquetFile:
    """The file, whose columns of texts and bytes are read as their distinct values and the place of each row's."""
    from pyarrow.parquet import ParquetFile, read_metadata

    schema = read_metadata(source).schema
    columns = [schema.column(number) for number in range(len(schema))]
    texts = [
        one.path
        for one in columns
        if one.physical_type == "BYTE_ARRAY" and one.max_repetition_level == 0 and one.logical_type.type in _TEXTS
    ]
    return ParquetFile(source, read_dictionary=texts)


def read(
    file: ParquetFile, where: object, length: int, columns: Sequence[str] | None = None, group: int | None = None
) -> pa.Table:
    """The table in a file `by_value` of `length` bytes, or one row group of it, written out.

    Args:
        where: what the file is called in sentences.

    Raises:
        SourceError: for one that is too wide, or would fill the memory.
        pyarrow.ArrowException: for a damaged one.
    """
    import pyarrow as pa

    groups = range(file.num_row_groups) if group is None else [group]
    _check(file, where, length, columns, groups)
    found = file.read_row_groups(list(groups), columns=None if columns is None else list(columns))
    if not found.columns:
        return found  # a table of no columns still has its rows
    check_written_out(found.columns, where, length)
    return pa.table([_plain(one) for one in found.columns], names=found.column_names)


def check_written_out(columns: Sequence[pa.ChunkedArray], where: object, length: int) -> None:
    """Raises SourceError for texts and bytes that repeat more than is believed of a file of `length` bytes."""
    check_growth(where, length, sum(_letters(chunk) for one in columns for chunk in one.chunks), PARQUET, PLAINLY)


def check_group(file: ParquetFile, where: object, column: str) -> None:
    """Raises SourceError where a row group of `column`, which is kept in memory at a time, is too large for it."""
    about, most = file.metadata, 0
    for group in range(about.num_row_groups):
        parts = [about.row_group(group).column(number) for number in range(about.num_columns)]
        sizes = (one.total_uncompressed_size for one in parts if one.path_in_schema.split(".")[0] == column)
        most = max(most, sum(sizes))
    check_memory(where, 2 * most, "images in one row group", "save it with smaller ones (row_group_size)")


def _check(file: ParquetFile, where: object, length: int, columns: Sequence[str] | None, groups: Sequence[int]) -> None:
    """By what the footer says: how many values there are."""
    about, cells, needed = file.metadata, 0, 0
    wanted = None if columns is None else set(columns)
    check_columns(where, about.num_columns if wanted is None else len(wanted))
    for group in groups:
        row_group = about.row_group(group)
        for number in range(about.num_columns):
            one = row_group.column(number)
            if wanted is None or one.path_in_schema.split(".")[0] in wanted:
                cells += one.num_values
                needed += one.num_values * (CELL_MEMORY if one.physical_type == "BYTE_ARRAY" else _NUMBER_BYTES)
    check_growth(where, length, _NUMBER_BYTES * cells, PARQUET, PLAINLY)
    check_memory(where, needed, f"{cells:,} cells", "split it, or keep fewer columns")


def _letters(array: Any) -> int:
    import pyarrow.compute as pc
    from pyarrow import types

    if types.is_struct(array.type):
        return sum(_letters(array.field(number)) for number in range(array.type.num_fields))
    if not types.is_dictionary(array.type):
        return 0
    lengths = pc.binary_length(array.dictionary).cast("int64")
    return int(pc.sum(pc.take(lengths, array.indices)).as_py() or 0)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    chunks = [
        _decoded(chunk.slice(start, ROWS)) for chunk in column.chunks for start in range(0, max(1, len(chunk)), ROWS)
    ]
    return pa.chunked_array(chunks, chunks[0].type) if chunks else column


def _decoded(array: Any) -> Any:
    import pyarrow as pa
    from pyarrow import types

    if types.is_dictionary(array.type):
        return array.dictionary_decode()
    if types.is_struct(array.type):
        names = [array.type.field(number).name for number in range(array.type.num_fields)]
        return pa.StructArray.from_arrays([_decoded(one) for one in array.flatten()], names, mask=array.is_null())
    return array
