"""Your columns: values for the images from a table, for display, never for training."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.data.skipped import Skipped
from engine.data.truth import Truth, class_truth
from engine.errors import SourceError

if TYPE_CHECKING:
    import pandas as pd

# Text columns, and columns of few distinct whole numbers, are categories; other numbers lie on a scale.
MOST_CATEGORIES, FEW_NUMBERS = 1000, 24
MOST_COLUMNS = 20
# Every float64 from here on is a whole number, so being one tells nothing.
WHOLE = 2.0**53
MISSING = "(none)"
NOTHING = (
    "apart from the images' names, the table has no column of numbers, "
    f"or of at most {MOST_CATEGORIES:,} different texts"
)
# Types of composite values: a box, an embedding, an encoded image.
NESTED = (dict, list, np.ndarray, bytes)
# The tables in Hugging Face's image folders.
METADATA = frozenset({"metadata.csv", "metadata.jsonl", "metadata.parquet"})
# Usual names of the column that holds the class.
LABELS = ("label", "class", "category", "target", "y", "labels", "class_name")


@dataclass(frozen=True, eq=False)
class ImageColumn:
    """One value per image.

    Attributes:
        values: (N,) float32, NaN where the table has no finite value; or (N,) uint16, indices into
            `names`.
        names: names of the categories; None for numbers.
    """

    title: str
    values: np.ndarray
    names: tuple[str, ...] | None = None


def read_table(content: bytes, file: str) -> pd.DataFrame:
    """The table in `content`, whose file name `file` tells CSV, JSON lines or Parquet; raises SourceError."""
    import pandas as pd

    try:
        if file.lower().endswith(".parquet"):
            return pd.read_parquet(io.BytesIO(content))
        if file.lower().endswith(".jsonl"):
            return pd.read_json(io.BytesIO(content), lines=True)
        return _read_csv(content)
    except (ValueError, OSError, ImportError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SourceError(f"{file} cannot be read as a table ({reason}): expected CSV, JSON lines or Parquet") from None


def _read_csv(content: bytes) -> pd.DataFrame:
    """Reads words such as NA and None as missing in columns of numbers, and as names in columns of text."""
    import pandas as pd

    table = pd.read_csv(io.BytesIO(content), keep_default_na=False, na_values=[""], low_memory=False)
    numbers = pd.read_csv(io.BytesIO(content), low_memory=False).select_dtypes("number")
    for title in numbers.dropna(axis=1, how="all"):
        table[title] = numbers[title].to_numpy()
    return table


def columns_of(table: pd.DataFrame, images: Sequence[str]) -> list[ImageColumn]:
    """The columns of the table, in the order of `images` (N ids); an image without a row has no values.

    The table may name images by their ids, or by the last part of the ids if no two are equal.

    Raises:
        SourceError: if no column contains names of images, an image has two rows, or no column can
            be shown.
    """
    found = shown(rows_of(table, images))
    if not found:
        raise SourceError(NOTHING)
    return found


def rows_of(table: pd.DataFrame, images: Sequence[str]) -> pd.DataFrame:
    """The rows of the table for the N `images`, in their order; raises SourceError like `columns_of`,
    except when no column can be shown."""
    table = plain(table)
    key, images = key_column(table, [str(one) for one in images])
    rows = table.dropna(subset=[key])
    names = rows[key].astype(str)
    twice = names[names.duplicated()]
    if len(twice):
        raise SourceError(f"the table has several rows for {twice.iloc[0]!r}: keep only one of them")
    return rows.set_index(names).drop(columns=key).reindex(images)


def shown(rows: pd.DataFrame) -> list[ImageColumn]:
    """The first columns of `plain` rows (one per image) that can be shown."""
    found = (_column(title, rows[title]) for title in rows.columns[:MOST_COLUMNS])
    return [one for one in found if one is not None]


def truth_of(rows: pd.DataFrame) -> Truth | None:
    """The classes in the `plain` rows, from a column with a usual name that has a value in every row;
    None if there is no such column.

    Raises:
        SourceError: if there are too many classes.
    """
    from pandas.api.types import is_float_dtype

    for wanted in LABELS:
        for title in rows.columns:
            values = rows[title]
            if title.lower() != wanted or values.isna().any():
                continue
            if is_float_dtype(values):
                if not _all_whole(values.to_numpy(np.float64)):
                    continue
                values = values.astype("int64")
            return class_truth(values.tolist())
    return None


def plain(table: pd.DataFrame) -> pd.DataFrame:
    """The columns with one value per row, each title once. Columns of boxes, vectors or bytes cannot be
    shown, and searching them for names takes minutes."""
    from pandas.api.types import is_numeric_dtype

    table = table.loc[:, ~table.columns.duplicated()].rename(columns=str)
    kept = [
        title
        for title, values in table.items()
        if is_numeric_dtype(values) or not any(isinstance(one, NESTED) for one in values)
    ]
    return table[kept]


def key_column(table: pd.DataFrame, ids: list[str]) -> tuple[str, list[str]]:
    """The column that contains the most names of images, and the images' names as spelt there.

    Raises:
        SourceError: if no column contains any.
    """
    last = [one.rsplit("/", 1)[-1] for one in ids]
    for names in (ids, last) if len(set(last)) == len(last) else (ids,):
        hits = {title: int(table[title].astype(str).isin(names).sum()) for title in table.columns}
        best = max(hits, key=lambda title: hits[title], default=None)
        if best is not None and hits[best]:
            return best, names
    listed = ", ".join(map(repr, list(table.columns)[:8])) or "none"
    raise SourceError(f"no column of the table contains names of this run's images, such as {ids[0]!r}: found {listed}")


def _column(title: str, values: pd.Series) -> ImageColumn | None:
    """None if the column is empty or has too many distinct texts."""
    import pandas as pd
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    if is_numeric_dtype(values) and not is_bool_dtype(values):
        numbers = values.to_numpy(np.float64, na_value=np.nan)
        with np.errstate(over="ignore"):
            stored = numbers.astype(np.float32)
        finite = np.isfinite(stored)  # JSON has no NaN or infinity
        stored[~finite] = np.nan
        known = numbers[finite]
        if not len(known):
            return None
        if len(np.unique(known)) > FEW_NUMBERS or not _all_whole(known):
            return ImageColumn(title, stored)
        values = pd.Series(np.where(finite, numbers, np.nan)).astype("Int64")
    distinct = values.nunique()
    if not distinct:
        return None
    if distinct > MOST_CATEGORIES:
        return None
    texts = values.astype("string").fillna(MISSING)
    codes, names = texts.factorize(sort=False)
    order = np.argsort(np.asarray(names, dtype=object), kind="stable")
    rank = np.empty(len(order), np.uint16)
    rank[order] = np.arange(len(order))
    return ImageColumn(title, rank[codes], tuple(str(names[place]) for place in order))


def _all_whole(numbers: np.ndarray) -> bool:
    """Whether all numbers are whole, and small enough for float64 to tell."""
    return bool(((numbers == np.round(numbers)) & (np.abs(numbers) < WHOLE)).all())


def metadata_columns(
    root: Path, tables: Sequence[str], names: Sequence[str], *, labels: bool
) -> tuple[tuple[ImageColumn, ...], Truth | None, list[Skipped]]:
    """Reads the metadata files `tables` (paths below `root`) about the images `names` there.

    Returns:
        The columns; the classes, if `labels`; and the files that could not be used.
    """
    if not tables:
        return (), None, []
    import pandas as pd

    parts, odd = [], []
    for path in tables:
        try:
            table = read_table((root / path).read_bytes(), path)
            if "file_name" not in table:
                raise SourceError("there is no column file_name in it")
        except OSError as error:
            odd.append(Skipped(path, error.strerror or str(error)))
            continue
        except SourceError as error:
            odd.append(Skipped(path, str(error)))
            continue
        folder = path.rpartition("/")[0]
        table["file_name"] = [f"{folder}/{one}" if folder else str(one) for one in table["file_name"]]
        parts.append(table)
    if not parts:
        return (), None, odd
    try:
        rows = rows_of(pd.concat(parts, ignore_index=True), names)
    except SourceError as error:
        return (), None, [*odd, Skipped(tables[0], str(error))]
    columns = tuple(shown(rows))
    if not columns:
        odd.append(Skipped(tables[0], NOTHING))
    return columns, truth_of(rows) if labels else None, odd


def of_images(columns: Sequence[ImageColumn], images: np.ndarray) -> tuple[ImageColumn, ...]:
    """The columns for some of the images: (m,) ids or (N,) bool."""
    return tuple(ImageColumn(one.title, one.values[images], one.names) for one in columns)
