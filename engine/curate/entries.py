"""The log's rows as arrays: the rows themselves, and entries about images, linked per image.

Each action adds an entry for each of its images. The last entry whose action is not undone decides the image.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from engine.curate.decisions import ACTIONS, CLASSES, IDS
from engine.curate.provenance import Provenance, of_row

# The columns of a row that the fold reads, in this order.
FOLDED = "row, action, reviewer, seen, class, other, target, text, images, new, key, provenance, among"
Row = tuple[
    int, str, str, int, int | None, int | None, int | None, str, bytes, bytes | None, str | None, str | None, int | None
]

# A row of undo or redo, the row that it turns back, and whether it is an undo.
Turn = tuple[int, int, bool]
# Images, rows and values of entries, (E,) int64 each.
Entries = tuple[np.ndarray, np.ndarray, np.ndarray]


class State(IntEnum):
    """What has been decided about an image."""

    UNDECIDED = 0
    DECIDED = 1  # its class is what a person says
    REJECTED = 2  # its class is wrong, and nobody has said yet which is right
    EXCLUDED = 3  # kept out of training and exports


# Actions about images, and the state they leave; a split moves images without deciding them.
STATES = {
    "accept": State.DECIDED,
    "relabel": State.DECIDED,
    "new class": State.DECIDED,
    "reject": State.REJECTED,
    "exclude": State.EXCLUDED,
}
LABELS = ("accept", "relabel", "new class", "split")
# An accept leaves labels as they are, unless it is of votes.
RELABELS = ("relabel", "new class", "split")
NUMBERS: dict[str, int] = {action: number for number, action in enumerate(ACTIONS)}
_STATE_OF = np.array([STATES.get(action, 0) for action in ACTIONS], np.int64)
_GIVES = np.array([action in LABELS for action in ACTIONS])
STRUCTURE = ("rename", "recolour", "merge", "split", "new class")


class _Numbered(dict[str, int]):
    """Numbers names in the order of their first appearance."""

    def __missing__(self, name: str) -> int:
        self[name] = len(self)
        return self[name]


class Codes:
    """Numbers of reviewers."""

    def __init__(self) -> None:
        self.reviewers = _Numbered()


class Rows:
    """The fields kept of each row, by its number: arrays with spare room.

    Attributes:
        undone: bool. seen: int64. reviewer, action: int32, numbers of names.
        provenance: uint8, values of `Provenance`; assumed: bool, an earlier version did not record it.
        among: uint32, of an answer in an audit: from how many images it was drawn; else 0.
    """

    def __init__(self) -> None:
        self.undone, self.seen = np.zeros(1024, bool), np.zeros(1024, np.int64)
        self.reviewer, self.action = (np.zeros(1024, np.int32) for _ in range(2))
        self.provenance, self.assumed = np.zeros(1024, np.uint8), np.zeros(1024, bool)
        self.among = np.zeros(1024, np.uint32)
        self.codes = Codes()

    def who(self, row: int) -> str:
        """The reviewer of a row."""
        return list(self.codes.reviewers)[self.reviewer[row]]

    def write(self, batch: Batch) -> None:
        rows = batch.numbers
        self._grow(max(rows, default=0) + 1)
        self.seen[rows], self.action[rows] = batch.seen, batch.kinds
        self.reviewer[rows] = batch.reviewers
        self.provenance[rows], self.assumed[rows] = batch.provenances, batch.assumed
        self.among[rows] = batch.among
        for _, target, undo in batch.turned:
            self.undone[target] = undo

    def _grow(self, rows: int) -> None:
        if rows <= len(self.undone):
            return
        for name in ("undone", "seen", "reviewer", "action", "provenance", "assumed", "among"):
            old = getattr(self, name)
            new = np.zeros(max(2 * len(old), rows), old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)


class Batch:
    """The entries that a batch of rows will add."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.actions: list[int] = []
        self.images: list[bytes] = []
        self.given: list[int] = []
        self.accepted: list[bytes] = []
        self.turned: list[Turn] = []
        self.structure: list[Row] = []
        self.relabelled: list[tuple[int, int]] = []  # rows that give many images another label, and how many
        # Of every row, one list a column: a million small tuples would keep the garbage collector busy.
        self.numbers: list[int] = []
        self.kinds: list[int] = []
        self.reviewers: list[int] = []
        self.seen: list[int] = []
        self.provenances: list[int] = []
        self.assumed: list[bool] = []
        self.among: list[int] = []

    def add(self, row: Row, codes: Codes) -> None:
        number, action, reviewer, seen, class_, _, target, _, images, new, key, kept, among = row
        provenance, certain = of_row(kept, key, len(images) // IDS.itemsize)
        self.numbers.append(number)
        self.kinds.append(NUMBERS[action])
        self.reviewers.append(codes.reviewers[reviewer])
        self.seen.append(seen)
        self.provenances.append(provenance)
        self.assumed.append(not certain)
        self.among.append(among or 0)
        if target is not None:
            self.turned.append((number, target, action == "undo"))
        if action in STRUCTURE:
            self.structure.append(row)
        if not images or action == "note":
            return
        if provenance == Provenance.VOTED or (action in RELABELS and provenance == Provenance.BULK):
            self.relabelled.append((number, len(images) // IDS.itemsize))
        self.rows.append(number)
        self.actions.append(NUMBERS[action])
        self.images.append(images)
        self.given.append(class_ or 0)
        if action == "accept":
            assert new is not None
            self.accepted.append(new)

    def entries(self) -> tuple[Entries, Entries]:
        """Images, rows and values of the entries that decide (the state in two bits, the class above
        them), and of those that give a class (the class)."""
        counts = np.array([len(one) // IDS.itemsize for one in self.images], np.int64)
        place = np.repeat(np.arange(len(counts)), counts)
        kinds, rows = (np.array(one, np.int64)[place] for one in (self.actions, self.rows))
        given, accepted = np.array(self.given, np.int64)[place], kinds == NUMBERS["accept"]
        given[accepted] = np.frombuffer(b"".join(self.accepted), CLASSES)
        images = np.frombuffer(b"".join(self.images), IDS).astype(np.int64)
        states = _STATE_OF[kinds]
        decides, gives = states > 0, _GIVES[kinds]
        values = states + 4 * np.where(gives, given, 0)
        return (images[decides], rows[decides], values[decides]), (images[gives], rows[gives], given[gives])


class Layer:
    """Entries about images, linked per image. Entry 0 is empty: the end of every chain.

    Attributes:
        image, row, before, value: (E,) int64; `before` is the image's previous entry.
        last: (N,) int64, each image's last entry, undone or not.
    """

    def __init__(self, images: int) -> None:
        self.last = np.zeros(images, np.int64)
        self._count = 1
        self._table = np.zeros((4, 1024), np.int64)

    @property
    def image(self) -> np.ndarray:
        return self._table[0, : self._count]

    @property
    def row(self) -> np.ndarray:
        return self._table[1, : self._count]

    @property
    def before(self) -> np.ndarray:
        return self._table[2, : self._count]

    @property
    def value(self) -> np.ndarray:
        return self._table[3, : self._count]

    def append(self, images: np.ndarray, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Adds entries in the order of their rows; returns the images they are about."""
        start, end = self._count, self._count + len(images)
        if end > self._table.shape[1]:
            larger = np.zeros((4, max(2 * self._table.shape[1], end)), np.int64)
            larger[:, :start] = self._table[:, :start]
            self._table = larger
        order = np.argsort(images, kind="stable")  # an image may come several times
        entries, sorted_images = start + order, images[order]
        again = sorted_images[1:] == sorted_images[:-1]
        before = self.last[sorted_images]
        before[1:][again] = entries[:-1][again]
        self._table[0, start:end], self._table[1, start:end] = images, rows
        self._table[2, entries], self._table[3, start:end] = before, values
        final = np.append(~again, True)[: len(images)]
        self.last[sorted_images[final]] = entries[final]
        self._count = end
        return sorted_images[final]

    def standing(self, images: np.ndarray | None, undone: np.ndarray, after: np.ndarray | None = None) -> np.ndarray:
        """The last entry of each image (or before each entry `after`) that is not undone; 0 for none."""
        found = self.last[images] if after is None else self.before[after]
        while len(passed := np.flatnonzero(undone[self.row[found]] & (found > 0))):
            found[passed] = self.before[found[passed]]
        return found

    def images_of(self, rows: np.ndarray) -> np.ndarray:
        """(m,) the images of the entries of some actions. Rows only rise, so an action's lie together."""
        starts = np.maximum(np.searchsorted(self.row, rows), 1)
        counts = np.maximum(np.searchsorted(self.row, rows, "right") - starts, 0)
        ends = np.cumsum(counts)
        entries = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + counts, counts)
        return np.unique(self.image[entries])

    def images_since(self, row: int) -> np.ndarray:
        """(m,) the images of entries of later actions."""
        return np.unique(self.image[max(1, int(np.searchsorted(self.row, row + 1))) :])
