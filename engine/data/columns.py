"""Columns of a table that someone has about the images: to look at, never to train from."""

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

# Texts, and whole numbers that are few, are categories; other numbers lie on a scale.
MOST_CATEGORIES, FEW_NUMBERS = 1000, 24
MOST_COLUMNS = 20
MISSING = "(none)"
# Tables that Hugging Face's image folders have beside the images.
METADATA = frozenset({"metadata.csv", "metadata.jsonl", "metadata.parquet"})
# What people call the column that holds the class.
LABELS = ("label", "class", "category", "target", "y", "labels", "class_name")


@dataclass(frozen=True, eq=False)
class ImageColumn:
    """One value an image.

    Attributes:
        values: (N,) float32, NaN where the table has none; or (N,) uint16, places in `names`.
        names: of the categories; None for numbers.
    """

    title: str
    values: np.ndarray
    names: tuple[str, ...] | None = None


def read_table(content: bytes, file: str) -> pd.DataFrame:
    """The table in a CSV or Parquet file called `file`; raises SourceError."""
    import pandas as pd

    try:
        if file.lower().endswith(".parquet"):
            return pd.read_parquet(io.BytesIO(content))
        if file.lower().endswith(".jsonl"):
            return pd.read_json(io.BytesIO(content), lines=True)
        return pd.read_csv(io.BytesIO(content))
    except (ValueError, OSError, ImportError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SourceError(
            f"{file} cannot be read as a table ({reason}): expected CSV, JSON lines or Parquet"
        ) from None


def columns_of(table: pd.DataFrame, images: Sequence[str]) -> list[ImageColumn]:
    """The table's columns, in the order of the `images` (N ids); images without a row have none.

    The table may name images by their ids, or by the last part of these where no two are the same.

    Raises:
        SourceError: when no column of the table holds names of images, an image has two rows, or
            nothing is left to show.
    """
    table = table.loc[:, ~table.columns.duplicated()].rename(columns=str)
    key, images = key_column(table, [str(one) for one in images])
    rows = table.dropna(subset=[key])
    names = rows[key].astype(str)
    twice = names[names.duplicated()]
    if len(twice):
        raise SourceError(f"the table has several rows for {twice.iloc[0]!r}: leave one of them")
    ordered = rows.set_index(names).drop(columns=key).reindex(images)
    found = [_column(str(title), ordered[title]) for title in ordered.columns[:MOST_COLUMNS]]
    kept = [one for one in found if one is not None]
    if not kept:
        raise SourceError(
            f"besides {key!r} the table has no column of numbers, or of at most "
            f"{MOST_CATEGORIES:,} different texts"
        )
    return kept


def key_column(table: pd.DataFrame, ids: list[str]) -> tuple[str, list[str]]:
    """The column that holds the most names of images, and the names as they are spelt there."""
    last = [one.rsplit("/", 1)[-1] for one in ids]
    for names in (ids, last) if len(set(last)) == len(last) else (ids,):
        hits = {title: int(table[title].astype(str).isin(names).sum()) for title in table.columns}
        best = max(hits, key=lambda title: hits[title], default=None)
        if best is not None and hits[best]:
            return best, names
    listed = ", ".join(map(repr, list(table.columns)[:8])) or "none"
    raise SourceError(
        f"no column of the table holds names of this run's images, such as {ids[0]!r}: "
        f"found {listed}"
    )


def _column(title: str, values: pd.Series) -> ImageColumn | None:
    """None for a column with too many texts, or nothing in it."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    distinct = values.nunique()
    if not distinct:
        return None
    if is_numeric_dtype(values) and not is_bool_dtype(values):
        numbers = values.to_numpy(np.float32, na_value=np.nan)
        whole = np.isfinite(numbers) & (numbers == np.round(numbers))
        if distinct > FEW_NUMBERS or not whole[~np.isnan(numbers)].all():
            return ImageColumn(title, numbers)
        values = values.astype("Int64")
    if distinct > MOST_CATEGORIES:
        return None
    texts = values.astype("string").fillna(MISSING)
    codes, names = texts.factorize(sort=False)
    order = np.argsort(np.asarray(names, dtype=object), kind="stable")
    rank = np.empty(len(order), np.uint16)
    rank[order] = np.arange(len(order))
    return ImageColumn(title, rank[codes], tuple(str(names[place]) for place in order))


def metadata_columns(
    root: Path, tables: Sequence[str], names: Sequence[str]
) -> tuple[tuple[ImageColumn, ...], list[Skipped]]:
    """What the metadata files `tables` (paths below `root`) say of the images `names` there, and
    what is wrong with those that say nothing."""
    if not tables:
        return (), []
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
        table["file_name"] = [
            f"{folder}/{one}" if folder else str(one) for one in table["file_name"]
        ]
        parts.append(table)
    if not parts:
        return (), odd
    try:
        return tuple(columns_of(pd.concat(parts, ignore_index=True), names)), odd
    except SourceError as error:
        return (), [*odd, Skipped(tables[0], str(error))]


def truth_of(columns: Sequence[ImageColumn]) -> Truth | None:
    """The column that holds the classes, by its name, if every image has one there."""
    for title in LABELS:
        for column in columns:
            if column.title.lower() == title and column.names is not None:
                names = np.array(column.names, dtype=object)
                if MISSING not in column.names:
                    return class_truth(names[column.values].tolist())
    return None


def of_images(columns: Sequence[ImageColumn], images: np.ndarray) -> tuple[ImageColumn, ...]:
    """The columns of some of the images: (m,) ids or (N,) bool."""
    return tuple(ImageColumn(one.title, one.values[images], one.names) for one in columns)
