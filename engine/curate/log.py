"""The decision log of a run on disk: SQLite, one committed row per action.

Any number of threads and processes may write. Each action is validated and written in one transaction,
against the fold of everything committed before it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.curate.curation import FOLDED, Curation
from engine.curate.decisions import (
    AUDIT,
    CLASSES,
    COLUMN_NAMES,
    COLUMNS,
    IDS,
    INSERT,
    LATER,
    Decision,
    decision_of,
    values_of,
)
from engine.curate.entries import STATES
from engine.curate.judging import Model, judged
from engine.curate.provenance import Provenance
from engine.curate.read_only import Times, opened_to_read, size_of, times
from engine.curate.salvage import Values, note_decided, readable_rows, unlike
from engine.errors import DecisionError, LogBusyError

FILE = "decisions.sqlite"
FORMAT = 3
# Earlier formats lack some of the columns `LATER`. They are read as they are, and get them with the first decision that
# is added.
READ = ("1", "2", "3")
# In `about`: how many rows were saved from the damaged log that was there before.
SAVED = "saved"
# How long a writer waits for another before it gives up.
BUSY_SECONDS = 5.0
_DAMAGE = ("malformed", "not a database", "file is encrypted")


def damaged_logs(folder: Path) -> list[str]:
    """Names of the logs in a folder that were found damaged and moved aside, the oldest first."""
    return sorted(one.name for one in folder.glob("decisions.damaged-*.sqlite"))


def rows_saved(folder: Path) -> int:
    """How many rows the log in a folder has from the last damaged one; 0 where there was none."""
    try:
        with contextlib.closing(sqlite3.connect(f"{(folder / FILE).absolute().as_uri()}?mode=ro", uri=True)) as log:
            found = log.execute("SELECT value FROM about WHERE name = ?", (SAVED,)).fetchone()
    except sqlite3.Error:
        return 0
    return int(found[0]) if found else 0


class DecisionLog:
    """The log of a run folder and its fold, kept up to date row by row.

    If the file is removed or replaced, the fold is rebuilt from the new contents.

    Attributes:
        curation: the fold.
    """

    def __init__(self, folder: Path, *, images: int, clusters: int, fingerprint: str) -> None:
        """Opens the log, or begins one with the first decision.

        Raises:
            DecisionError: when it cannot be read, or is about other images.
        """
        self.path = folder / FILE
        self._about = {"images": str(images), "clusters": str(clusters), "fingerprint": fingerprint}
        self._guard = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None  # the one that is open
        self._complete = False  # it has the columns `LATER`; it cannot lose them again
        self._as_it_was: Times | None = None  # of a log that can only be read
        self._noted = False
        self.curation = Curation(images, clusters)
        if self.path.exists():
            self.refresh()
            self._note()

    # -- reading -------------------------------------------------------------------------------

    def refresh(self) -> np.ndarray:
        """Folds decisions committed since by others; returns the images (m,) affected."""
        with self._guard, self._plainly():
            if self.path.exists():
                return self._refresh()
            if self.curation.row:
                self.close()
                self.curation = self._nothing()
            return np.zeros(0, np.int64)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Curation]:
        """The fold of everything that is committed by now. No thread adds to it until the block ends, so
        that all that is read there is right up to the same row."""
        with self._guard:
            self.refresh()
            yield self.curation

    def _refresh(self) -> np.ndarray:
        connection = self._open()
        try:
            with self._snapshot(connection):
                asked = f"SELECT {self._there(connection)} FROM decisions WHERE row > ? ORDER BY row"
                return self.curation.take(connection.execute(asked, (self.curation.row,)))
        except BaseException:
            self.curation = self._nothing()  # it may have taken half of a row
            raise

    @contextlib.contextmanager
    def _snapshot(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Until the end of the block, an incomplete log that is read stays as it is: another program may be about to
        complete it and to add rows that have values in the new columns."""
        if self._complete or connection.in_transaction:
            yield
            return
        connection.execute("BEGIN")
        try:
            yield
        finally:
            with contextlib.suppress(sqlite3.Error):  # the error that ended the block is the one to tell
                connection.execute("COMMIT")

    def _there(self, connection: sqlite3.Connection) -> str:
        """The columns that the fold reads, NULL for those that the log does not have."""
        missing = self._missing(connection)
        return ", ".join("NULL" if name in missing else name for name in FOLDED.split(", ")) if missing else FOLDED

    def _missing(self, connection: sqlite3.Connection) -> list[str]:
        """The columns `LATER` that an earlier version's log lacks."""
        if self._complete:
            return []
        found = {row[1] for row in connection.execute("PRAGMA table_info(decisions)")}
        missing = [name for name in LATER if name not in found]
        self._complete = not missing
        return missing

    def _completed(self, connection: sqlite3.Connection) -> None:
        """Adds the columns that are missing; the rows stay as they are."""
        missing = self._missing(connection)
        for name in missing:
            connection.execute(f"ALTER TABLE decisions ADD COLUMN {name} {LATER[name]}")
        if missing:
            connection.execute("UPDATE about SET value = ? WHERE name = 'format'", (str(FORMAT),))

    def _nothing(self) -> Curation:
        return Curation(len(self.curation), self.curation.clusters)

    def decisions(self, after: int = 0, most: int = -1) -> list[Decision]:
        """The committed decisions with rows above `after`, oldest first, `most` at the most."""
        with self._guard, self._plainly():
            if not self.path.exists():
                return []
            asked = "SELECT * FROM decisions WHERE row > ? ORDER BY row LIMIT ?"
            cursor = self._open().execute(asked, (after, most))
            cursor.row_factory = sqlite3.Row
            return [decision_of(row) for row in cursor]

    def times(self) -> dict[int, float]:
        """When each row was written, in seconds since 1970."""
        with self._guard, self._plainly():
            if not self.path.exists():
                return {}
            return dict(self._open().execute("SELECT row, time FROM decisions"))

    def audited(self) -> dict[int, tuple[int, int]]:
        """For each class, how many of the images that had it were found right in an audit, and of
        how many that were looked at; the last answer about an image that stands counts. Answers from before the labels
        of many images became others do not count, unless that was undone."""
        counts: dict[int, tuple[int, int]] = {}
        for class_, right in self._audit_answers().values():
            before = counts.get(class_, (0, 0))
            counts[class_] = before[0] + right, before[1] + 1
        return counts

    def _audit_answers(self) -> dict[int, tuple[int, bool]]:
        """For each image that was looked at in an audit, the class that it had, and whether it was right."""
        with self._guard, self._plainly():
            if not self.path.exists():
                return {}
            connection = self._open()
            drawn = "text = ? AND action != 'new class'"  # whose text is its name
            drawn += "" if "among" in self._missing(connection) else " OR among IS NOT NULL"
            asked = f"SELECT row, action, images, old, class FROM decisions WHERE {drawn} ORDER BY row"
            last: dict[int, tuple[int, bool]] = {}
            now, home = self.curation.labelling(self.curation.row), self.curation.home
            for row, action, images, old, given in connection.execute(asked, (AUDIT,)):
                counts = self.curation.labelling(row) == now
                if self.curation.stands(row) and self.curation.looked(row) and counts:
                    for image, class_ in zip(
                        np.frombuffer(images, IDS).tolist(), np.frombuffer(old, CLASSES).tolist(), strict=True
                    ):
                        same = action == "relabel" and home[given] == home[class_]  # its own class's key was pressed
                        last[image] = int(home[class_]), action == "accept" or same
            return last

    def close(self) -> None:
        with self._guard:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    # -- writing -------------------------------------------------------------------------------

    def commit(self, asked: Sequence[Decision], model: Model | None = None) -> tuple[list[Decision], np.ndarray]:
        """Judges decisions one after the other and writes them, all or none.

        What is known here is filled in: time, classes before, numbers of new classes, what an undo
        turns back, and what `model` says. A key that is there already is not written again.

        Returns:
            The decisions as committed, and the images (m,) about which something has changed since
            the log was last read, no matter who changed it.

        Raises:
            DecisionError: when one of them cannot be done, or the log cannot be written.
        """
        with self._guard, self._plainly():
            if self._as_it_was is not None:
                self.close()  # it may be possible to write by now
            connection = self._begun()
            committed = None
            try:
                self._completed(connection)
                changed = [self._refresh()]
                committed = self.curation.row
                done = [self._write(connection, one, model, changed) for one in asked]
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                self._complete = False  # the columns may have gone with it
                if self.curation.row != committed:
                    self._fold_anew()
                raise
            self._note()
            return done, np.unique(np.concatenate(changed))

    def _begun(self) -> sqlite3.Connection:
        """The log, with a transaction in which nobody else writes."""
        connection = self._open()
        try:
            connection.execute("BEGIN IMMEDIATE")
        except BaseException:
            if not self.curation.row:  # it was opened just now
                self._fold_anew()
            raise
        return connection

    def _write(
        self, connection: sqlite3.Connection, asked: Decision, model: Model | None, changed: list[np.ndarray]
    ) -> Decision:
        if asked.key is not None:
            cursor = connection.execute("SELECT * FROM decisions WHERE key = ?", (asked.key,))
            cursor.row_factory = sqlite3.Row
            if (row := cursor.fetchone()) is not None:
                return decision_of(row)
        whole = judged(self._without_newer(connection, replace(asked, time=time.time())), self.curation, model)
        row = connection.execute(INSERT, (None, *values_of(whole))).lastrowid
        changed.append(self._refresh())
        assert row is not None
        return replace(whole, row=row)

    def _without_newer(self, connection: sqlite3.Connection, asked: Decision) -> Decision:
        """Leaves images out at which the reviewer has looked since, and answered in another tab: a decision about many
        that were not looked at one by one must not replace what this page did not show."""
        images = np.asarray(asked.images, np.int64)
        many = asked.provenance == Provenance.VOTED or len(images) > 1
        if asked.provenance == Provenance.SEEN or asked.action not in STATES or not many:
            return asked
        if not np.isin(images, np.arange(len(self.curation))).all():
            return asked  # `judged` says what is wrong with it
        rows = self.curation.answered_since(images, asked.seen, asked.reviewer)
        if not rows.any():
            return asked
        find = "SELECT row FROM decisions WHERE row > ? AND reviewer = ? AND visit != ?"
        elsewhere = connection.execute(find, (asked.seen, asked.reviewer, asked.visit))
        keep = ~np.isin(rows, [row for (row,) in elsewhere])
        if not keep.any():
            raise DecisionError(
                f"you answered {'it' if len(keep) == 1 else f'all {len(keep):,} of them'} one by one since this page "
                "was drawn, and these answers stay"
            )
        new = None if asked.new is None else np.asarray(asked.new)[keep]
        return replace(asked, images=images[keep], new=new)

    def _note(self) -> None:
        if self.curation.row and not self._noted and self._as_it_was is None:
            note_decided(self.path)
            self._noted = True

    def _fold_anew(self) -> None:
        """After a failed transaction: the fold had taken rows that were never committed."""
        self.curation = self._nothing()
        with contextlib.suppress(sqlite3.Error):
            self._refresh()

    # -- the file ------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        """Opens the file at the path; if it was replaced, the fold is rebuilt."""
        if self._connection is not None and self._file != _identity(self.path):
            self.close()  # rows written to a removed file would be lost
        if self._as_it_was not in (None, times(self.path)):
            self.close()  # what others have written meanwhile is not seen by one that only reads
        if self._connection is None:
            try:
                self._connection = self._connected()
            except sqlite3.DatabaseError as error:
                if not _damaged(error):
                    raise
                self._connection = self._salvaged()
            self._file, self._complete, self.curation = _identity(self.path), False, self._nothing()
        return self._connection

    def _connected(self) -> sqlite3.Connection:
        self._as_it_was = None
        try:
            return self._writable()
        except sqlite3.OperationalError as error:
            if not size_of(self.path) or "locked" in str(error):
                raise
            self._as_it_was = times(self.path)
            try:
                connection = opened_to_read(self.path)
            except OSError:
                raise error from None
            self._prepare(connection)
            return connection

    def _writable(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Makes the tables of a new log; raises DecisionError when an old one is about other images."""
        there = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not there:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"CREATE TABLE IF NOT EXISTS decisions ({COLUMNS})")
            connection.execute("CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
            about = {"format": str(FORMAT), **self._about}
            connection.executemany("INSERT OR IGNORE INTO about VALUES (?, ?)", about.items())
            connection.execute("COMMIT")
        found = dict(connection.execute("SELECT name, value FROM about"))
        if found.get("format") not in READ:
            raise DecisionError(
                f"{self.path} has format {found.get('format')}, but this version reads {', '.join(READ)}"
            )
        if {name: found.get(name) for name in self._about} != self._about:
            raise DecisionError(
                f"{self.path} holds decisions about {found.get('images')} other images: move it "
                "away, and put back the log that belongs to this run"
            )
        if (trouble := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(f"database disk image is malformed ({trouble})")
        if (row := unlike(connection)) is not None:
            raise sqlite3.DatabaseError(f"database disk image is malformed (row {row} is not as it was written)")

    def _salvaged(self) -> sqlite3.Connection:
        """A new log, with every row that can be read from the damaged one, which is moved aside."""
        damaged = self._move_aside()
        rows = readable_rows(damaged)
        connection = self._connected()
        try:
            connection.execute("BEGIN IMMEDIATE")
            saved = [self._saves(connection, row, values) for row, values in rows.items()]
            connection.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (SAVED, str(sum(saved))))
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        return connection

    def _saves(self, connection: sqlite3.Connection, row: int, values: Values) -> bool:
        """Writes a row that was read from a damaged log, if it is one about these images."""
        images = np.frombuffer(values[COLUMN_NAMES.index("images")], IDS)
        if not (images < len(self.curation)).all():
            return False
        return connection.execute(INSERT.replace("INSERT", "INSERT OR IGNORE", 1), (row, *values)).rowcount == 1

    def _move_aside(self) -> Path:
        """Renames a damaged log, with what belongs to it, to one of `damaged_logs`; returns its path."""
        stamp, number = time.strftime("%Y%m%d-%H%M%S"), 0
        while (target := self.path.with_name(f"decisions.damaged-{stamp}-{number}.sqlite")).exists():
            number += 1
        for end in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                self.path.with_name(self.path.name + end).rename(target.with_name(target.name + end))
        return target

    @contextlib.contextmanager
    def _plainly(self) -> Iterator[None]:
        """Translates SQLite's errors into sentences."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise LogBusyError(f"{self.path} {_unwritable(str(error))}") from None
        except sqlite3.DatabaseError as error:
            self.close()  # opened again, what can be read of it is saved, and it is moved aside
            raise DecisionError(
                f"{self.path} was damaged ({error}): nothing was saved; reload the page to continue with all rows "
                "that can be read; the damaged log is kept next to the new one"
            ) from None


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file it is, whatever its name; None where none can be found."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_dev, about.st_ino


def _unwritable(text: str) -> str:
    """The meaning of SQLite's message, and what to do."""
    if "locked" in text or "busy" in text:
        return "is locked by another program: nothing was written; close that program, or try again"
    if "readonly" in text or "unable to open" in text:
        return "cannot be written: nothing was saved; make the run's folder writable, or copy the run to where it is"
    return f"cannot be written ({text}): nothing was saved"


def _damaged(error: sqlite3.DatabaseError) -> bool:
    return any(sign in str(error) for sign in _DAMAGE)
