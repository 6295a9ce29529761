"""People's decisions about images: an append-only log in the run folder (`decisions.sqlite`).

Each action is one committed row that is never changed afterwards; an undo is another row. Labels are a fold
over the rows (`curation`), so two tabs or two processes can write at the same time without losing anything.
"""

from __future__ import annotations

import sqlite3
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from engine.curate.provenance import NAMES, Provenance, of_row
from engine.errors import DecisionError

Action = Literal[
    "accept",
    "reject",
    "relabel",
    "exclude",
    "rename",
    "recolour",
    "merge",
    "split",
    "new class",
    "note",
    "undo",
    "redo",
]
ACTIONS: tuple[Action, ...] = get_args(Action)
# What each column of the table holds; arrays are little-endian.
IDS, CLASSES, SURE = np.dtype("<u4"), np.dtype("<u2"), np.dtype("<f2")
MOST_LETTERS, MOST_NOTE_LETTERS = 60, 2_000
# The text of a decision that was made in an audit.
AUDIT = "audit"

COLUMNS = """
    row INTEGER PRIMARY KEY,      -- the order of all decisions; clocks may go backwards
    key TEXT UNIQUE,              -- said twice (a browser tries again), written once
    time REAL NOT NULL,           -- seconds since 1970, by the clock of the machine
    reviewer TEXT NOT NULL,
    visit TEXT NOT NULL,          -- the browser tab, or other program, that said it
    action TEXT NOT NULL,
    seen INTEGER NOT NULL,        -- the last row that the reviewer was shown
    class INTEGER,                -- the class that the action is about
    other INTEGER,                -- merge: the class that goes; split: the class that is split
    target INTEGER,               -- undo, redo: of which row
    text TEXT NOT NULL,           -- a name, a colour, a note
    images BLOB NOT NULL,         -- u4, the images that the action is about
    old BLOB NOT NULL,            -- u2, the class of each before
    new BLOB,                     -- accept: u2, the class of each that was found right
    said BLOB,                    -- u2, what the model said of each then
    sure BLOB,                    -- f2, and how sure it was, 0-1
    stage TEXT NOT NULL,          -- of the model: heads or joint
    provenance TEXT,              -- seen, bulk or voted; none in rows of earlier versions
    among INTEGER,                -- in an audit: from how many images of its class it was drawn
    crc INTEGER                   -- a checksum of all others but the row; none in rows of earlier versions
"""
COLUMN_NAMES = tuple(line.split()[0] for line in COLUMNS.strip().splitlines())[1:]
# Columns that a log of an earlier version gets with the first decision that is added to it.
LATER = {"provenance": "TEXT", "among": "INTEGER", "crc": "INTEGER"}
INSERT = f"INSERT INTO decisions VALUES (?, {', '.join('?' * len(COLUMN_NAMES))})"


@dataclass(frozen=True, eq=False)
class Decision:
    """One action of a reviewer; `row` is 0 until it is committed. See `COLUMNS` for each field.

    Attributes:
        images: (m,) uint32.
        old: (m,) uint16.
        new: (m,) uint16 of an accept: the class of each that was shown; by default the one it has.
        said, sure: (m,) uint16 and float16, what the model said then, where it had said anything.
        provenance: who vouches for it; nobody looked at the images unless that is said.
        among: of an answer in an audit: anything but None; the log fills in how many it stands for.
    """

    action: Action
    reviewer: str
    visit: str = ""
    seen: int = 0
    images: np.ndarray = field(default_factory=lambda: np.zeros(0, IDS))
    old: np.ndarray = field(default_factory=lambda: np.zeros(0, CLASSES))
    new: np.ndarray | None = None
    class_: int | None = None
    other: int | None = None
    target: int | None = None
    text: str = ""
    said: np.ndarray | None = None
    sure: np.ndarray | None = None
    stage: str = ""
    provenance: Provenance = Provenance.BULK
    among: int | None = None
    key: str | None = None
    row: int = 0
    time: float = 0.0

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise DecisionError(f"{self.action!r} is not an action: expected one of {', '.join(ACTIONS)}")


def values_of(one: Decision) -> tuple[object, ...]:
    """A decision as the values of a row, without the row's number."""
    values = (
        one.key,
        one.time,
        one.reviewer,
        one.visit,
        one.action,
        one.seen,
        one.class_,
        one.other,
        one.target,
        one.text,
        _bytes(one.images, IDS),
        _bytes(one.old, CLASSES),
        _bytes(one.new, CLASSES),
        _bytes(one.said, CLASSES),
        _bytes(one.sure, SURE),
        one.stage,
        NAMES[one.provenance],
        one.among,
    )
    return (*values, row_sum(values))


def row_sum(values: Sequence[object]) -> int:
    """The checksum of a row's values: SQLite notices damage to its own pages' order, not to what they hold."""
    return zlib.crc32(b"\0".join(one if isinstance(one, bytes) else str(one).encode() for one in values))


def _bytes(array: np.ndarray | None, kind: np.dtype) -> bytes | None:
    return None if array is None else np.asarray(array, kind).tobytes()


def decision_of(row: sqlite3.Row) -> Decision:
    """The decision that a row holds."""
    later = {name: row[name] for name in set(LATER).intersection(row.keys())}
    return Decision(
        action=row["action"],
        reviewer=row["reviewer"],
        visit=row["visit"],
        seen=row["seen"],
        images=np.frombuffer(row["images"], IDS),
        old=np.frombuffer(row["old"], CLASSES),
        new=_array(row["new"], CLASSES),
        class_=row["class"],
        other=row["other"],
        target=row["target"],
        text=row["text"],
        said=_array(row["said"], CLASSES),
        sure=_array(row["sure"], SURE),
        stage=row["stage"],
        provenance=of_row(later.get("provenance"), row["key"], len(row["images"]) // IDS.itemsize)[0],
        among=later.get("among"),
        key=row["key"],
        row=row["row"],
        time=row["time"],
    )


def _array(blob: bytes | None, kind: np.dtype) -> np.ndarray | None:
    return None if blob is None else np.frombuffer(blob, kind)


# -- what people type --------------------------------------------------------------------------


def plain_name(text: str, what: str) -> str:
    """A name as it is kept: composed, without spaces round it or doubled ones.

    Args:
        what: the thing that is named, for the error: "the class" or "the reviewer".

    Raises:
        DecisionError: for an empty or very long name, or one with control characters.
    """
    name = " ".join(part for part in unicodedata.normalize("NFC", text).split(" ") if part)
    odd = sorted({f"U+{ord(c):04X}" for c in name if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")})
    if odd:
        raise DecisionError(f"the name of {what} contains control characters ({', '.join(odd[:3])}): remove them")
    if not name:
        raise DecisionError(f"the name of {what} is empty: expected 1 to {MOST_LETTERS} letters")
    if len(name) > MOST_LETTERS:
        raise DecisionError(f"the name of {what} has {len(name):,} letters: expected at most {MOST_LETTERS}")
    return name


def plain_note(text: str) -> str:
    """A note as it is kept; raises DecisionError when it is empty or too long."""
    note = unicodedata.normalize("NFC", text).strip()
    if not 0 < len(note) <= MOST_NOTE_LETTERS:
        raise DecisionError(f"a note of {len(note):,} letters: expected 1 to {MOST_NOTE_LETTERS:,}")
    return note
