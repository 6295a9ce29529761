"""Your columns: values for the images from a table, for display, never for training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.data.truth import Truth, class_text, class_truth, measures
from engine.errors import SourceError
from engine.formats import tables
from engine.formats.identity import LABELS, matched, the_column, usual
from engine.formats.images import image_ending

if TYPE_CHECKING:
    import pandas as pd

# Text columns, and columns of few distinct whole numbers, are categories; other numbers lie on a scale.
MOST_CATEGORIES, FEW_NUMBERS = 1000, 24
MOST_COLUMNS = 20
MISSING = "(none)"
NOTHING = (
    "apart from the images' names, the table has no column of numbers, "
    f"or of at most {MOST_CATEGORIES:,} different texts"
)
# Types of composite values: a box, an embedding, an encoded image.
NESTED = (dict, list, np.ndarray, bytes)
# The longest bytes that may be a class or a name.
MOST_BYTES = 256


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


def read_table(content: bytes, file: str, images: Sequence[str] = ()) -> pd.DataFrame:
    """The table in `content`, whose file name `file` tells CSV, JSON lines or Parquet; raises SourceError.

    A CSV that begins with the name of an image, such as one of `images`, has no header, and loses no row.
    """
    names = frozenset(images)
    return tables.read_table(content, file, lambda text: text in names or image_ending(text))


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


def rows_of(table: pd.DataFrame, images: Sequence[str], key: str | None = None) -> pd.DataFrame:
    """The rows of the table for the N `images`, in their order; raises SourceError like `columns_of`,
    except when no column can be shown.

    Args:
        key: the column that names the images, where that is certain.
    """
    table, images = plain(table), [str(one) for one in images]
    match = matched(table if key is None else table[[key]], images)
    known = match.places >= 0
    rows = table[known].drop(columns=match.title)
    rows = rows.set_index(match.places[known])
    again = rows.index[rows.index.duplicated()]
    if len(again):
        rows = rows.loc[~rows.reset_index().duplicated().to_numpy()]  # the same row twice says one thing
        again = rows.index[rows.index.duplicated()]
    if len(again):
        first = str(table[match.title][match.places == again[0]].iloc[0])
        raise SourceError(f"the table has several rows for {first!r}: keep only one of them")
    return rows.reindex(range(len(images)))


def shown(rows: pd.DataFrame) -> list[ImageColumn]:
    """The first columns of `plain` rows (one per image) that can be shown."""
    found = (_column(title, rows[title]) for title in rows.columns[:MOST_COLUMNS])
    return [one for one in found if one is not None]


def truth_of(rows: pd.DataFrame, where: str) -> Truth | None:
    """The classes in the `plain` rows from `where`, from the first column with a usual title that holds classes; None
    if there is none, or it has no value in some row.

    Raises:
        SourceError: if there are too many classes.
    """
    title = class_column(rows)
    if title is None or gaps_of(rows[title]).any():
        return None
    return class_truth(rows[title].tolist(), f"the column {title} of {where}")


def class_column(rows: pd.DataFrame) -> str | None:
    """The title of the column that holds classes; measures are none."""
    from pandas.api.types import is_float_dtype

    def holds_classes(title: str) -> bool:
        values = rows[title].dropna()
        return len(values) > 0 and not (is_float_dtype(values) and measures(values.to_numpy(np.float64)))

    found = [title for title in rows.columns if usual(title) in LABELS and holds_classes(title)]
    return the_column(found, LABELS, "hold the class") if found else None


def gaps_of(classes: pd.Series) -> np.ndarray:
    """(rows,) bool: which cells hold no class; a blank text is none."""
    missing = classes.isna().tolist()
    return np.array([gap or not class_text(one) for one, gap in zip(classes.tolist(), missing, strict=True)], bool)


def without_class(rows: pd.DataFrame) -> str:
    """Why the rows have no truth, to be put in brackets; "" if nothing like a class is there."""
    title = class_column(rows)
    if title is not None:
        gaps = int(gaps_of(rows[title]).sum())
        return f" (column {title!r} is empty for {gaps:,} of {len(rows):,} images)" if gaps else ""
    measures = [str(title) for title in rows.columns if usual(title) in LABELS]
    return f" (column {measures[0]!r} holds measures, or nothing)" if measures else ""


def plain(table: pd.DataFrame) -> pd.DataFrame:
    """The columns with one value per row, each title once; short bytes are texts. Columns of boxes, vectors or other
    bytes cannot be shown, and searching them for names takes minutes."""
    from pandas.api.types import is_numeric_dtype

    table = table.loc[:, ~table.columns.duplicated()].rename(columns=str)
    kept: dict[str, pd.Series] = {}
    for title, values in table.items():
        single = values if is_numeric_dtype(values) else _single(values)
        if single is not None:
            kept[str(title)] = single
    return table[list(kept)].assign(**kept)


def _single(values: pd.Series) -> pd.Series | None:
    """The values with bytes as texts; None if one of them is composite."""
    if not any(isinstance(one, NESTED) for one in values):
        return values
    if not all(isinstance(one, bytes) and len(one) <= MOST_BYTES for one in values.dropna()):
        return None
    try:
        return values.map(lambda one: one.decode() if isinstance(one, bytes) else one)
    except UnicodeDecodeError:
        return None


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
        if len(np.unique(known)) > FEW_NUMBERS or measures(known):
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


def of_images(columns: Sequence[ImageColumn], images: np.ndarray) -> tuple[ImageColumn, ...]:
    """The columns for some of the images: (m,) ids or (N,) bool."""
    return tuple(ImageColumn(one.title, one.values[images], one.names) for one in columns)
