"""Tables as people save them: CSV with any separator, JSON lines, Parquet. Nothing in them is changed or lost.

Cells of a CSV stay as they are written wherever they may be names: 007 and 1e5 are texts.
"""

from __future__ import annotations

import csv
import gc
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import SourceError, out_of_memory, sized
from engine.formats import parquet
from engine.formats.bounds import CELL_MEMORY, check_columns, check_gaps, check_memory
from engine.formats.identity import LABELS, NAMES, usual

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = (",", ";", "\t", "|")
# How much of a table tells its separator.
LOOKED_AT, LOOKED_AT_ROWS = 2**16, 50
# A cell may hold a long caption.
MOST_LETTERS = 2**27
SPLIT = "split it, or keep fewer columns"
# Numbers that are written back in the same way. An exponent without a sign is rather a code: 1e5.
WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
NUMBER = re.compile(r"-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-][0-9]+)?|[+-]?(inf|infinity)", re.IGNORECASE)
WHOLE_FLOAT = re.compile(r"-?[0-9]+\.0*")
# Words for a missing number, as in pandas; among texts they are texts.
_NO_NUMBERS = "#N/A #NA -1.#IND -1.#QNAN -NaN -nan 1.#IND 1.#QNAN <NA> N/A NA NULL NaN None n/a nan null"
NO_NUMBER = frozenset(_NO_NUMBERS.split())
# The titles that the columns of a table without a header get.
UNTITLED = "column {}"
# In `attrs` of such a table, whose titles might be those of another.
_HEADLESS = "headless"
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}

IsName = Callable[[str], bool]


def read_table(content: bytes, file: str, is_name: IsName = lambda _text: False) -> pd.DataFrame:
    """The table in `content`, whose file name `file` tells CSV, JSON lines or Parquet.

    Args:
        is_name: tells names of images. A CSV whose first row holds one has no header: that row is kept, and the
            columns are called "column 1", …

    Raises:
        SourceError: with the reason, and how to save the table.
    """
    ending = file.lower().rpartition(".")[2]
    read = {"parquet": _parquet, "jsonl": _json_lines, "ndjson": _json_lines}.get(ending)
    try:
        with _no_collection():
            check_memory("it", 2 * len(content), f"{sized(len(content))} of cells", SPLIT)
            if read is not None:
                return read(content)
            return _text_table(content, "\t" if ending == "tsv" else ",", is_name)
    except (ValueError, OSError, ImportError, csv.Error, SourceError) as error:
        if out_of_memory(error):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SourceError(f"{file} cannot be read as a table ({reason}): expected CSV, JSON lines or Parquet") from None


@contextmanager
def _no_collection() -> Iterator[None]:
    """Python would look through the lists of a large table for garbage again and again, which doubles the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def headless(table: pd.DataFrame) -> bool:
    """Whether the table was read as one without a header."""
    return bool(table.attrs.get(_HEADLESS))


def _parquet(content: bytes) -> pd.DataFrame:
    from pyarrow import ArrowException

    try:
        # Names that are the index of a pandas table are a column like any other.
        return parquet.read(parquet.by_value(io.BytesIO(content)), "it", len(content)).to_pandas(ignore_metadata=True)
    except ArrowException as error:
        if out_of_memory(error):  # ArrowException stands for that, too
            raise
        raise ValueError(str(error)) from None


def _json_lines(content: bytes) -> pd.DataFrame:
    import pandas as pd

    rows: list[dict[str, Any]] = []
    keys: set[str] = set()
    # Not by splitlines, which also breaks at letters that JSON leaves in texts, such as U+2028.
    for number, line in enumerate(re.split(r"\r\n|\r|\n", _decoded(content)), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number} is not JSON: {error}") from None
        except RecursionError:
            raise ValueError(f"line {number} is nested too deeply: expected values with names") from None
        if not isinstance(row, dict):
            raise ValueError(f"line {number} is not a JSON object")
        rows.append(row)
        keys |= row.keys()
        check_columns("it", len(keys))
    check_gaps("it", len(rows), len(keys), len(content))
    return pd.DataFrame(rows)


# -- text ----------------------------------------------------------------------------------------


def _decoded(content: bytes) -> str:
    """UTF-8, or what a byte order mark says; raises ValueError with the place that cannot be read."""
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"its encoding is not UTF-8: line {line} has the byte 0x{content[error.start]:02x}; save it as UTF-8, "
            "in Excel as “CSV UTF-8”"
        ) from None
    if "\0" in text:
        raise ValueError("it contains zero bytes, perhaps as UTF-16 without a mark; save it as UTF-8")
    return text


def _text_table(content: bytes, separator: str, is_name: IsName) -> pd.DataFrame:
    import pandas as pd

    text = _decoded(content)
    first = re.match(r"sep=(.)\r?\n", text)  # Excel's own mark
    if first:
        separator, text = first[1], text[first.end() :]
    else:
        separator = _separator(text, separator, is_name)
    # Separators in quotes make no cells, but are too few to matter.
    check_memory("it", CELL_MEMORY * (text.count(separator) + text.count("\n")), "so many cells", SPLIT)
    rows = _rows(text, separator)
    if not rows:
        raise ValueError("it is empty")
    (_, header), *body = rows
    titles, cells = _fitted(header, body, separator)
    bare = any(is_name(title.strip()) for title in titles)
    if bare:
        cells.insert(0, header)
        titles = [UNTITLED.format(number) for number in range(1, len(header) + 1)]
    _check_titles(titles)
    parts = zip(*cells, strict=True) if cells else ([] for _ in titles)
    columns = [_typed(list(part), title) for part, title in zip(parts, titles, strict=True)]
    table = pd.DataFrame(dict(enumerate(columns)))
    kept = [place for place, title in enumerate(titles) if title.strip() or columns[place].notna().any()]
    table = table[kept]
    table.columns = [titles[place].strip() or f"unnamed {place + 1}" for place in kept]
    table.attrs[_HEADLESS] = bare
    return table


def _rows(text: str, separator: str) -> list[tuple[int, list[str]]]:
    """The rows that are not blank, with the number of their last line; raises SourceError for too many columns."""
    limit = csv.field_size_limit(MOST_LETTERS)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        found: list[tuple[int, list[str]]] = []
        try:
            for row in reader:
                if row:
                    check_columns("it", len(row))
                    found.append((reader.line_num, row))
        except csv.Error as error:
            raise ValueError(f"line {reader.line_num}: {error}") from None
        return found
    finally:
        csv.field_size_limit(limit)


def _separator(text: str, usual_one: str, is_name: IsName) -> str:
    """The separator by which header and first rows have equally many cells, of several the one that brings out names
    of images; `usual_one` if that tells nothing."""
    lines = list(io.StringIO(text[:LOOKED_AT], newline=""))
    fitting, naming = [], []
    for one in SEPARATORS:
        try:
            rows = [row for row in islice(csv.reader(lines, delimiter=one), LOOKED_AT_ROWS) if row]
        except csv.Error:
            continue
        widths = [len(row) for row in rows]
        if len(text) > LOOKED_AT:
            widths = widths[:-1] or widths
        # A separator at the end of each row, or row names without a title, make one cell more.
        if widths and widths[0] > 1 and set(widths[1:]) <= {widths[0], widths[0] + 1}:
            fitting.append(one)
            if any(is_name(cell.strip()) for row in rows[:3] for cell in row):
                naming.append(one)
    best = naming or fitting
    return usual_one if usual_one in best or not best else best[0]


def _fitted(header: list[str], body: list[tuple[int, list[str]]], separator: str) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of equal number; raises ValueError for a row with more cells than titles."""
    width = len(header)
    numbered = all(len(row) == width + 1 and row[0].isdecimal() for _, row in body)
    if body and numbered and any(row[-1].strip() for _, row in body):
        return ["", *header], [row for _, row in body]  # R numbers its rows, without a title
    cells = []
    for line, row in body:
        if len(row) != width:
            if any(cell.strip() for cell in row[width:]):
                raise ValueError(
                    f"line {line} has {len(row)} cells, its header {width}; put texts that contain the separator "
                    f"{separator!r} in quotes"
                )
            row = row[:width] + [""] * (width - len(row))
        cells.append(row)
    return list(header), cells


def _check_titles(titles: Sequence[str]) -> None:
    """Raises ValueError for two columns of one title that names images or classes."""
    seen: set[str] = set()
    for title in titles:
        if title in seen and usual(title) in (*NAMES, *LABELS):
            raise ValueError(f"it has two columns called {title!r}; rename or remove one")
        seen.add(title)


def _typed(cells: list[str], title: str) -> pd.Series:
    """The cells of a column: numbers only if each of them would be written as it is here, except measures."""
    import pandas as pd

    texts = [cell if cell.strip() else None for cell in cells]
    first = next((one.strip() for one in texts if one is not None and one.strip() not in NO_NUMBER), None)
    if first is None or not NUMBER.fullmatch(first):
        return _texts(texts)
    numbers = [None if one is None or one.strip() in NO_NUMBER else one.strip() for one in texts]
    given = [one for one in numbers if one is not None]
    if not _all_match(NUMBER, given):
        return _texts(texts)
    if _all_match(WHOLE, given):
        whole = [None if one is None else int(one) for one in numbers]
        return pd.Series(whole, dtype="Int64" if None in whole else "int64")
    classes = usual(title) in LABELS and all(WHOLE_FLOAT.fullmatch(one) or WHOLE.fullmatch(one) for one in given)
    long = all(one.lstrip("-").isdecimal() for one in given)  # too long for a number
    infinite = not any(character.isdecimal() for one in given for character in one)  # rather words
    if classes or long or infinite or usual(title) in NAMES:
        return _texts(texts)
    return pd.Series([np.nan if one is None else float(one) for one in numbers], dtype="float64")


def _texts(texts: list[str | None]) -> pd.Series:
    import pandas as pd

    return pd.Series(texts, dtype="str") if any(texts) else pd.Series(texts)


def _all_match(pattern: re.Pattern[str], texts: Iterable[str]) -> bool:
    return all(map(pattern.fullmatch, texts))
