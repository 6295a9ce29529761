"""The tables in Hugging Face's image folders, in a folder or an archive: metadata.csv, .jsonl or .parquet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.data.columns import NOTHING, ImageColumn, class_column, gaps_of, read_table, rows_of, shown, without_class
from engine.data.skipped import Skipped
from engine.data.truth import Truth, class_truth
from engine.errors import SourceError
from engine.formats.identity import LABELS, matched, plain_path, text_of, the_column, usual
from engine.formats.tables import headless

if TYPE_CHECKING:
    import pandas as pd

METADATA = frozenset({"metadata.csv", "metadata.jsonl", "metadata.parquet"})
KEY = "file_name"


def is_metadata(name: str) -> bool:
    """Whether a file of this name, without its folder, is such a table, whatever its case.

    >>> is_metadata("Metadata.CSV"), is_metadata("my_metadata.csv")
    (True, False)
    """
    return name.lower() in METADATA


@dataclass(frozen=True, eq=False)
class Metadata:
    """What the tables say about a source's images.

    Attributes:
        truth: the classes, if they were requested and are there.
        odd: the tables that could not be used.
        notes: as `Listing` has them.
    """

    columns: tuple[ImageColumn, ...] = ()
    truth: Truth | None = None
    odd: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()


def metadata_of(read: Callable[[str], bytes], tables: Sequence[str], names: Sequence[str], *, labels: bool) -> Metadata:
    """Reads the files `tables` (paths, which `read` reads) about the images `names`.

    Raises:
        SourceError: if `labels` are requested, and a table has them, but not for every image, or not clearly.
    """
    parts, odd, notes = _parts(read, tables)
    if not parts:
        return Metadata(odd=tuple(odd))
    import pandas as pd

    table, where = pd.concat(parts, ignore_index=True), _named(tables)
    try:
        notes += _strangers(where, table, names)
        rows = rows_of(table, names, KEY)
    except SourceError as error:
        if labels and any(usual(title) in LABELS for title in table.columns):  # class folders are not what was meant
            raise SourceError(
                f"labels were requested, but {where} cannot be used: {error}; or open the images without labels"
            ) from None
        return Metadata(odd=(*odd, Skipped(where, str(error))), notes=tuple(notes))
    columns = tuple(shown(rows))
    if not columns:
        odd.append(Skipped(where, NOTHING))
    return Metadata(columns, class_of_rows(rows, names, where) if labels else None, tuple(odd), tuple(notes))


def _parts(read: Callable[[str], bytes], tables: Sequence[str]) -> tuple[list[pd.DataFrame], list[Skipped], list[str]]:
    """The tables that can be used, those that cannot, and notes."""
    parts, odd, notes = [], [], []
    for path in tables:
        try:
            part, nameless = _part(read(path), path)
            parts.append(part)
            if nameless:
                notes.append(f"{path} names no file in {nameless:,} of its rows, which are not used")
        except OSError as error:
            odd.append(Skipped(path, error.strerror or str(error)))
        except SourceError as error:
            odd.append(Skipped(path, str(error)))
    return parts, odd, notes


def _named(tables: Sequence[str]) -> str:
    """
    >>> _named(["metadata.csv"]), _named(["a/metadata.csv", "b/metadata.csv"])
    ('metadata.csv', 'the table a/metadata.csv or one of 1 more')
    """
    return tables[0] if len(tables) == 1 else f"the table {tables[0]} or one of {len(tables) - 1:,} more"


def _part(content: bytes, path: str) -> tuple[pd.DataFrame, int]:
    """The table with paths from the source's root in the column KEY, and how many rows name no file."""
    table = read_table(content, path.rpartition("/")[2])
    titles = [title for title in table.columns if usual(title) == KEY]
    if headless(table):
        raise SourceError("it has no header: expected a first line such as file_name,label")
    if not titles:
        raise SourceError("there is no column file_name in it")
    table = table.rename(columns={the_column(titles, (KEY,), "name images"): KEY})
    there = table[KEY].notna() & (table[KEY].map(text_of).str.strip() != "")
    table = table[there].copy()
    folder = path.rpartition("/")[0]
    names = [plain_path(text_of(one)) for one in table[KEY]]
    table[KEY] = [f"{folder}/{name}" for name in names] if folder else names
    return table, int((~there).sum())


def _strangers(path: str, table: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """A note about files that the tables name and that are not there; raises SourceError if none is."""
    missing = table[KEY][matched(table[[KEY]], names).places < 0].tolist()
    if not missing:
        return []
    return [f"{path} names {len(missing):,} files that are not there or no image, the first {missing[0]}"]


def class_of_rows(rows: pd.DataFrame, names: Sequence[str], where: str) -> Truth | None:
    """The classes in the rows (one per image) from `where`; None if there is no column of classes; raises SourceError
    if it has gaps."""
    title = class_column(rows)
    if title is None:
        return None
    gaps = gaps_of(rows[title])
    if gaps.any():
        raise SourceError(
            f"labels were requested, but {where} does not have them for all images{without_class(rows)}, the first "
            f"{names[int(gaps.argmax())]}: add them, or open the images without labels"
        )
    return class_truth(rows[title].tolist(), f"the column {title} of {where}")
