"""The decision log of a run on disk: SQLite, one committed row an action.

Any number of threads and processes may write. Each action is judged and written within one
transaction, by the fold of everything that was committed before it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engine.curate.curation import FOLDED, Class, Curation
from engine.curate.decisions import (
    CLASSES,
    COLUMNS,
    IDS,
    Decision,
    decision_of,
    plain_name,
    plain_note,
    values_of,
)
from engine.errors import DecisionError, LogBusyError

FILE = "decisions.sqlite"
# The text of a decision that was made in an audit.
AUDIT = "audit"
FORMAT = 1
# How long a writer waits for another before it gives up.
BUSY_SECONDS = 5.0
MOST_CLASSES = 65_535
_INSERT = f"INSERT INTO decisions VALUES (NULL, {', '.join('?' * 16)})"
_DAMAGE = ("malformed", "not a database", "file is encrypted")


@dataclass(frozen=True, eq=False)
class Model:
    """What a model says of all images: labels (N,) int, confidence (N,) float 0–1, and its stage."""

    labels: np.ndarray
    confidence: np.ndarray
    stage: str


class DecisionLog:
    """The log of a run folder and the fold of it, kept up to date row by row.

    Attributes:
        curation: the fold.
        moved_aside: where a damaged log was moved to when this one was begun, "" for nowhere.
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
        self.curation = Curation(images, clusters)
        self.moved_aside = ""
        if self.path.exists():
            self.refresh()

    # -- reading -------------------------------------------------------------------------------

    def refresh(self) -> np.ndarray:
        """Folds what others have committed since; returns the images (m,) that it is about."""
        with self._guard, self._plainly():
            if self._connection is None and not self.path.exists():
                return np.zeros(0, np.int64)
            return self._refresh()

    def _refresh(self) -> np.ndarray:
        asked = f"SELECT {FOLDED} FROM decisions WHERE row > ? ORDER BY row"
        return self.curation.take(self._open().execute(asked, (self.curation.row,)))

    def decisions(self, after: int = 0, most: int = -1) -> list[Decision]:
        """The committed decisions with rows above `after`, oldest first, `most` at the most."""
        with self._guard, self._plainly():
            if not self.path.exists():
                return []
            asked = "SELECT * FROM decisions WHERE row > ? ORDER BY row LIMIT ?"
            cursor = self._open().execute(asked, (after, most))
            cursor.row_factory = sqlite3.Row
            return [decision_of(row) for row in cursor]

    def audited(self) -> dict[int, tuple[int, int]]:
        """For each class, how many of the images that had it were found right in an audit, and of
        how many that were looked at; the last answer about an image that stands counts."""
        with self._guard, self._plainly():
            if not self.path.exists():
                return {}
            asked = "SELECT row, action, images, old FROM decisions WHERE text = ? ORDER BY row"
            last: dict[int, tuple[int, bool]] = {}
            for row, action, images, old in self._open().execute(asked, (AUDIT,)):
                if self.curation.stands(row):
                    for image, class_ in zip(np.frombuffer(images, IDS).tolist(), np.frombuffer(old, CLASSES).tolist(), strict=True):  # fmt: skip
                        last[image] = int(self.curation.home[class_]), action == "accept"
        counts: dict[int, tuple[int, int]] = {}
        for class_, right in last.values():
            before = counts.get(class_, (0, 0))
            counts[class_] = before[0] + right, before[1] + 1
        return counts

    def close(self) -> None:
        with self._guard:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    # -- writing -------------------------------------------------------------------------------

    def commit(
        self, asked: Sequence[Decision], model: Model | None = None
    ) -> tuple[list[Decision], np.ndarray]:
        """Judges decisions one after the other and writes them, all or none.

        What is known here is filled in: time, classes before, numbers of new classes, what an undo
        turns back, and what `model` says. A key that is there already is not written again.

        Returns:
            The decisions as committed, and the images (m,) about which something has changed since
            the log was last read, whoever changed it.

        Raises:
            DecisionError: when one of them cannot be done, or the log cannot be written.
        """
        with self._guard, self._plainly():
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            committed = None
            try:
                changed = [self._refresh()]
                committed = self.curation.row
                done = [self._write(connection, one, model, changed) for one in asked]
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                if self.curation.row != committed:
                    self._fold_anew()
                raise
            return done, np.unique(np.concatenate(changed))

    def _write(
        self,
        connection: sqlite3.Connection,
        asked: Decision,
        model: Model | None,
        changed: list[np.ndarray],
    ) -> Decision:
        if asked.key is not None:
            cursor = connection.execute("SELECT * FROM decisions WHERE key = ?", (asked.key,))
            cursor.row_factory = sqlite3.Row
            if (row := cursor.fetchone()) is not None:
                return decision_of(row)
        whole = judged(replace(asked, time=time.time()), self.curation, model)
        row = connection.execute(_INSERT, values_of(whole)).lastrowid
        changed.append(self._refresh())
        assert row is not None
        return replace(whole, row=row)

    def _fold_anew(self) -> None:
        """After a failed transaction: the fold had taken rows that were never committed."""
        self.curation = Curation(len(self.curation), self.curation.clusters)
        with contextlib.suppress(sqlite3.Error):
            self._refresh()

    # -- the file ------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            try:
                self._connection = self._connected()
            except sqlite3.DatabaseError as error:
                if not _damaged(error):
                    raise
                self.moved_aside = self._move_aside()
                self._connection = self._connected()
        return self._connection

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
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
            connection.execute("CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL)")  # fmt: skip
            about = {"format": str(FORMAT), **self._about}
            connection.executemany("INSERT OR IGNORE INTO about VALUES (?, ?)", about.items())
            connection.execute("COMMIT")
        found = dict(connection.execute("SELECT name, value FROM about"))
        if found.get("format") != str(FORMAT):
            raise DecisionError(
                f"{self.path} has format {found.get('format')}, but this version reads {FORMAT}"
            )
        if {name: found.get(name) for name in self._about} != self._about:
            raise DecisionError(
                f"{self.path} holds decisions about {found.get('images')} other images: move it "
                "away, and put back the log that belongs to this run"
            )
        if (trouble := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(f"database disk image is malformed ({trouble})")

    def _move_aside(self) -> str:
        """Renames a damaged log, with what belongs to it, and returns its new name."""
        stamp, number = time.strftime("%Y%m%d-%H%M%S"), 0
        while (
            target := self.path.with_name(f"decisions.damaged-{stamp}-{number}.sqlite")
        ).exists():
            number += 1
        for end in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                self.path.with_name(self.path.name + end).rename(
                    target.with_name(target.name + end)
                )
        return target.name

    @contextlib.contextmanager
    def _plainly(self) -> Iterator[None]:
        """What SQLite complains about, in words."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise LogBusyError(f"{self.path} {_unwritable(str(error))}") from None
        except sqlite3.DatabaseError as error:
            self.close()  # opened again, a damaged log is moved aside
            raise DecisionError(
                f"{self.path} was damaged ({error}): nothing was decided; load the page again to go "
                "on with a new log, the damaged one is kept beside it"
            ) from None


def _unwritable(text: str) -> str:
    """What SQLite means, and what to do."""
    if "locked" in text or "busy" in text:
        return "is locked by another program: nothing was written; close that program, or try again"
    if "readonly" in text or "unable to open" in text:
        return (
            "cannot be written: nothing was decided; make the run's folder writable, or copy the run "
            "to where it is"
        )
    return f"cannot be written ({text}): nothing was decided"


def _damaged(error: sqlite3.DatabaseError) -> bool:
    return any(sign in str(error) for sign in _DAMAGE)


# -- judging -----------------------------------------------------------------------------------


def judged(asked: Decision, curation: Curation, model: Model | None) -> Decision:
    """The decision with all that it needs to stand in the log; raises DecisionError if it cannot."""
    reviewer = plain_name(asked.reviewer, "the reviewer")
    if asked.action in ("undo", "redo", "rename", "recolour", "merge"):
        one = replace(asked, reviewer=reviewer, images=np.zeros(0, IDS))
        return (_turning if asked.action in ("undo", "redo") else _about_class)(one, curation)
    one = _sorted(replace(asked, reviewer=reviewer), curation)
    if one.action == "note":
        return replace(one, text=plain_note(one.text))
    if not len(one.images) and one.action != "new class":
        raise DecisionError(f"no image to {one.action}: select one first")
    one = _with_model(one, curation, model)
    if one.action == "accept":
        return _accepting(one, curation)
    if one.action == "relabel":
        return replace(one, class_=_existing(one.class_, curation).number)
    return one if one.action in ("reject", "exclude") else _making(one, curation, model)


def _sorted(one: Decision, curation: Curation) -> Decision:
    """The decision with its images in order, each once; raises DecisionError for strange ones."""
    images, first = np.unique(np.asarray(one.images, np.int64), return_index=True)
    gone = images[(images < 0) | (images >= len(curation))]
    if len(gone):
        raise DecisionError(
            f"image {gone[0]:,} is not among the {len(curation):,} images of this run: load the "
            "page again"
        )
    if one.new is not None and len(one.new) != len(one.images):
        raise DecisionError(
            f"{len(one.new):,} classes were shown for {len(one.images):,} images: load the page again"
        )
    shown = None if one.new is None else np.asarray(one.new, np.int64)[first]
    return replace(one, images=images.astype(IDS), new=shown)


def _with_model(one: Decision, curation: Curation, model: Model | None) -> Decision:
    if model is None:
        raise DecisionError("the run has no labels yet: train until stage 2 is done")
    ids = one.images
    old = curation.home[np.where(curation.moved[ids], curation.given[ids], model.labels[ids])]
    return replace(
        one, old=old, said=model.labels[ids], sure=model.confidence[ids], stage=model.stage
    )  # fmt: skip


def _accepting(one: Decision, curation: Curation) -> Decision:
    """What is accepted is the class that the reviewer was shown, whatever it has become since."""
    if one.new is None:
        return replace(one, new=one.old)
    for number in np.unique(one.new).tolist():
        _existing(number, curation)
    return replace(one, new=curation.home[one.new])


def _existing(number: int | None, curation: Curation) -> Class:
    found = None if number is None else curation.class_(number)
    if found is None:
        there = len(curation.classes)
        raise DecisionError(f"there is no class {number}: choose one of the {there:,} classes")
    return found


def _turning(one: Decision, curation: Curation) -> Decision:
    undo = one.action == "undo"
    target = (curation.undoable if undo else curation.redoable)(one.reviewer)
    if target is None:
        what = "has decided nothing that stands" if undo else "has undone nothing since"
        raise DecisionError(f"nothing to {one.action}: {one.reviewer} {what}")
    if undo and (made := curation.made(target)) is not None:
        others = curation.users(made, target)
        if others:
            raise DecisionError(
                f"the class “{_existing(made, curation).name}” is in use ({', '.join(sorted(others))}): "
                "its images must go to other classes before it can be undone"
            )
    return replace(one, target=target)


def _about_class(one: Decision, curation: Curation) -> Decision:
    kept = _existing(one.class_, curation)
    if one.action == "merge":
        gone = _existing(one.other, curation)
        if gone.number == kept.number:
            raise DecisionError(f"“{kept.name}” cannot be merged with itself: choose two classes")
        return replace(one, class_=kept.number, other=gone.number)
    if one.action == "recolour":
        colour = one.text.lower()
        if len(colour) != 7 or colour[0] != "#" or set(colour[1:]) - set("0123456789abcdef"):
            raise DecisionError(f"{one.text[:20]!r} is no colour: expected one like #0070c2")
        return replace(one, class_=kept.number, text=colour)
    return replace(one, class_=kept.number, text=_free_name(one.text, curation, kept.number))


def _free_name(text: str, curation: Curation, own: int | None = None) -> str:
    name = plain_name(text, "the class")
    for other in curation.classes:
        if other.number != own and other.name.casefold() == name.casefold():
            raise DecisionError(
                f"there is a class “{other.name}” already: choose another name, or merge the two"
            )
    return name


def _making(one: Decision, curation: Curation, model: Model | None) -> Decision:
    """A new class, or a part of a class that is to become one."""
    if curation.highest + 1 >= MOST_CLASSES:
        raise DecisionError(f"there are {MOST_CLASSES:,} classes already: merge some first")
    new = replace(one, class_=curation.highest + 1, text=_free_name(one.text, curation))
    if one.action == "new class":
        return new
    whole = _existing(one.other, curation)
    if np.any(one.old != whole.number):
        raise DecisionError(
            f"{np.count_nonzero(one.old != whole.number):,} of the images are not in "
            f"“{whole.name}” any more: look at the split again"
        )
    assert model is not None
    size = int(np.count_nonzero(curation.classes_of(model.labels) == whole.number))
    if len(one.images) >= size:
        raise DecisionError(
            f"“{whole.name}” has {size:,} {'image' if size == 1 else 'images'} and "
            f"{len(one.images):,} are to go: a split needs at least one on each side"
        )
    return replace(new, other=whole.number)
