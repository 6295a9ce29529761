"""Rows of a damaged decision log, read from the pages of its file, without SQLite.

SQLite gives up where one page is damaged; what it needs to find a row (the file's first page, the pages that lead to
others) need not be whole for the row itself to be. So every page that looks like a leaf of a table is read, in the
file and in what was committed to its log of writes (`-wal`), and of what is found the rows that have as many values as
a decision, of the right kinds, and, where they were written with one, their checksum. Rows are only ever added, so that
an old copy of a page says nothing that is not so. https://www.sqlite.org/fileformat.html
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from engine.curate.decisions import ACTIONS, CLASSES, COLUMN_NAMES, IDS, LATER, row_sum

PAGE = 4096
LEAF = 0x0D
# Whole numbers in this many bytes, by the code of their kind.
_WIDTHS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_WAL_HEADER, _FRAME_HEADER = 32, 24
# The place of the one column of numbers with a fraction in a record; SQLite keeps whole ones as such.
_TIME = 1 + COLUMN_NAMES.index("time")
Values = tuple[Any, ...]
# What is added to a log's name for the empty file beside it.
NOTED = "-decided"
GONE = "is gone, and the decisions in it: put back a copy of it; the next decision begins a new log"


def note_decided(log: Path) -> None:
    """Notes beside a log that it holds decisions: a log that is gone can tell nobody. What cannot be noted is left."""
    note = log.with_name(log.name + NOTED)
    with suppress(OSError):
        if not note.exists():
            note.touch()


def is_gone(log: Path) -> bool:
    """Whether decisions were made in a log that is not there any more."""
    return log.with_name(log.name + NOTED).exists() and not log.exists()


def trouble_of_log(file: Path) -> str:
    """What is wrong with a log, "" if it is as it was written; nothing is written, moved or locked for long."""
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
            return _unlike(connection) if found == "ok" else f"it is damaged ({found})"
    except sqlite3.OperationalError as error:
        return f"it cannot be opened ({error})"
    except sqlite3.DatabaseError as error:
        return f"it is damaged ({error})"


def _unlike(connection: sqlite3.Connection) -> str:
    row = unlike(connection)
    return "" if row is None else f"it is damaged (row {row} is not as it was written)"


def unlike(connection: sqlite3.Connection) -> int | None:
    """The first row that is not as it was written, None if all are, as far as that was recorded."""
    there = {one[1] for one in connection.execute("PRAGMA table_info(decisions)")}
    if "crc" not in there:
        return None
    for row in connection.execute(f"SELECT row, {', '.join(COLUMN_NAMES)} FROM decisions WHERE crc IS NOT NULL"):
        if row_sum(row[1:-1]) != row[-1]:
            return int(row[0])
    return None


def readable_rows(file: Path) -> dict[int, Values]:
    """The rows that can be read, by number and in its order, with a value for every column, None for those that the
    log of an earlier version does not have."""
    found: dict[int, Values] = {}
    for pages in (_wal_pages(file.with_name(f"{file.name}-wal")), _pages(file)):
        for row, values in _rows(pages):
            found.setdefault(row, values)
    return dict(sorted(found.items()))


def _pages(file: Path) -> dict[int, bytes]:
    content = file.read_bytes() if file.exists() else b""
    return {1 + start // PAGE: content[start : start + PAGE] for start in range(0, len(content) - PAGE + 1, PAGE)}


def _wal_pages(file: Path) -> dict[int, bytes]:
    """The pages that were committed to the log of writes, each as it was last."""
    content = file.read_bytes() if file.exists() else b""
    salt, committed, waiting = content[16:24], dict[int, bytes](), dict[int, bytes]()
    for start in range(_WAL_HEADER, len(content) - _FRAME_HEADER - PAGE + 1, _FRAME_HEADER + PAGE):
        number, size = struct.unpack(">II", content[start : start + 8])
        if content[start + 8 : start + 16] != salt:
            break  # of an earlier round
        waiting[number] = content[start + _FRAME_HEADER : start + _FRAME_HEADER + PAGE]
        if size:  # the last of a transaction
            committed |= waiting
            waiting = {}
    return committed


def _rows(pages: dict[int, bytes]) -> Iterator[tuple[int, Values]]:
    for number, page in pages.items():
        start = 100 if number == 1 else 0
        if page[start] != LEAF:
            continue
        count = struct.unpack(">H", page[start + 3 : start + 5])[0]
        for place in range(start + 8, min(start + 8 + 2 * count, PAGE - 1), 2):
            try:
                row, values = _cell(pages, page, struct.unpack(">H", page[place : place + 2])[0])
            except (IndexError, KeyError, ValueError, struct.error, OverflowError):
                continue  # this one is damaged
            if _is_decision(row, values):
                yield row, values + (None,) * (len(COLUMN_NAMES) - len(values))


def _cell(pages: dict[int, bytes], page: bytes, place: int) -> tuple[int, Values]:
    """A row of a leaf: how long it is, its number, and its values, of which the end may be on other pages."""
    length, place = _number(page, place)
    row, place = _number(page, place)
    if length > PAGE - 35:
        least = (PAGE - 12) * 32 // 255 - 23
        here = least + (length - least) % (PAGE - 4)
        here = here if here <= PAGE - 35 else least
        content = bytearray(page[place : place + here])
        follow = struct.unpack(">I", page[place + here : place + here + 4])[0]
        while len(content) < length:
            content += pages[follow][4 : 4 + length - len(content)]
            follow = struct.unpack(">I", pages[follow][:4])[0]
    else:
        content = bytearray(page[place : place + length])
    if len(content) != length:
        raise ValueError("the row is cut off")
    return row, _values(bytes(content))


def _values(record: bytes) -> Values:
    """What is in a record: first the kinds of all values, then these. The row's number stands outside."""
    end, place = _number(record, 0)
    kinds = []
    while place < end:
        kind, place = _number(record, place)
        kinds.append(kind)
    values: list[Any] = []
    for number, kind in enumerate(kinds):
        width = (kind - 12) // 2 if kind >= 12 else 8 if kind == 7 else _WIDTHS.get(kind, 0)
        part = record[place : place + width]
        if len(part) != width:
            raise ValueError("the row is cut off")
        place += width
        value = _value(kind, part)
        values.append(float(value) if number == _TIME and isinstance(value, int) else value)
    return tuple(values[1:])


def _value(kind: int, part: bytes) -> Any:
    if kind == 0:
        return None
    if kind == 7:
        return struct.unpack(">d", part)[0]
    if kind in (8, 9):
        return kind - 8
    if kind in (10, 11):
        raise ValueError("no such kind")
    if kind < 12:
        return int.from_bytes(part, "big", signed=True)
    return part if kind % 2 == 0 else part.decode("utf-8")


def _number(content: bytes, place: int) -> tuple[int, int]:
    """A whole number of one to nine bytes, and where it ends."""
    value = 0
    for index in range(9):
        byte = content[place + index]
        if index == 8:
            return value << 8 | byte, place + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + index + 1
    raise ValueError("no number")


# The columns that are never empty, and what they hold.
_KINDS = {"time": float, "reviewer": str, "visit": str, "action": str, "seen": int, "text": str}
_KINDS |= {"images": bytes, "old": bytes, "stage": str}


def _is_decision(row: int, values: Values) -> bool:
    missing = len(COLUMN_NAMES) - len(values)
    if not 0 <= missing <= len(LATER) or row < 1:
        return False
    named = dict(zip(COLUMN_NAMES, values, strict=False))
    if not all(isinstance(named[name], kind) for name, kind in _KINDS.items()) or named["action"] not in ACTIONS:
        return False
    if named.get("crc") is not None:
        return row_sum(values[:-1]) == named["crc"]
    images, old, new = named["images"], named["old"], named["new"] or b""
    return not (len(images) % IDS.itemsize or len(old) % CLASSES.itemsize or len(new) % CLASSES.itemsize)
