"""Curated labels: what the decisions of all reviewers come to. A fold, whole or row by row.

What an image is decided by is the last action about it that is not undone. Each action leaves an entry
for each of its images, and entries of an image are chained, so that an undo, of any action and by
anybody, costs a look at the images of that action and no more.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from engine.curate.decisions import ACTIONS, CLASSES, IDS, Action

# The columns of a row that the fold reads, in this order.
FOLDED = "row, action, reviewer, visit, seen, class, other, target, text, images, new"
Row = tuple[int, str, str, str, int, int | None, int | None, int | None, str, bytes, bytes | None]

# A row of undo or redo, the row that it turns back, and whether it is an undo.
Turn = tuple[int, int, bool]


class State(IntEnum):
    """What has been decided about an image."""

    UNDECIDED = 0
    DECIDED = 1  # its class is what a person says
    REJECTED = 2  # its class is wrong, and nobody has said yet which is right
    EXCLUDED = 3  # it is to be left out of everything


# Actions about images, and the state they leave; a split moves images without deciding them.
STATES = {
    "accept": State.DECIDED, "relabel": State.DECIDED, "new class": State.DECIDED,
    "reject": State.REJECTED, "exclude": State.EXCLUDED,
}  # fmt: skip
LABELS = ("accept", "relabel", "new class", "split")
_NUMBERS: dict[str, int] = {action: number for number, action in enumerate(ACTIONS)}
STRUCTURE = ("rename", "recolour", "merge", "split", "new class")


@dataclass(frozen=True)
class Class:
    """A class that exists: a cluster of the run (0..K−1), or one that a person has made.

    `colour` is "" while nobody has chosen one.
    """

    number: int
    name: str
    colour: str = ""


@dataclass(frozen=True)
class Answer:
    """What one reviewer says of something that another, unseen, has answered otherwise."""

    reviewer: str
    row: int
    state: State
    class_: int


class Curation:
    """The fold of the rows taken so far, for N images in K clusters.

    Attributes:
        row: the last row taken; 0 for none.
        state: (N,) uint8, values of `State`.
        given: (N,) uint16, the class that a person gave the image, where `moved`.
        moved: (N,) bool.
        disputed: (N,) bool: two reviewers gave different answers, the later without having seen the
            earlier.
        classes: those that exist, by number.
        home: (highest number + 1,) uint16, the class that each number has become through merges.
    """

    def __init__(self, images: int, clusters: int) -> None:
        self.row = 0
        self.clusters = clusters
        self.state = np.zeros(images, np.uint8)
        self.given = np.zeros(images, np.uint16)
        self.moved = np.zeros(images, bool)
        self.disputed = np.zeros(images, bool)
        self._states, self._labels = _Layer(images), _Layer(images)
        self._rows = _Rows()
        self._turned: list[Turn] = []
        self._structure: dict[int, Row] = {}
        self._fold_structure()

    def __len__(self) -> int:
        return len(self.state)

    # -- taking rows ---------------------------------------------------------------------------

    def take(self, rows: Iterable[Row]) -> np.ndarray:
        """Takes rows in their order; returns the images (m,) about which something changed."""
        batch, codes = _Batch(), self._rows.codes
        for row in rows:
            batch.add(row, codes)
        self._rows.write(batch)
        self.row = max([self.row, *batch.numbers[-1:]])
        self._structure.update((row[0], row) for row in batch.structure)
        self._turned += batch.turned
        targets = [target for _, target, _ in batch.turned]
        changed = self._states.append(*batch.states()), self._labels.append(*batch.labels())
        states = _united(changed[0], *map(self._states.images_of, targets))
        labels = _united(changed[1], *map(self._labels.images_of, targets))
        self._settle(states, labels)
        if batch.structure or not self._structure.keys().isdisjoint(targets):
            self._fold_structure()
        return _united(states, labels)

    def _settle(self, states: np.ndarray, labels: np.ndarray) -> None:
        """Works out anew what is decided about these images."""
        undone = self._rows.undone
        now = self._states.standing(states, undone)
        before = self._states.standing(None, undone, now)
        value = self._states.value[now]
        self.state[states] = value & 3
        rows, earlier = self._states.row[now], self._states.row[before]
        unseen = (before > 0) & (earlier > self._rows.seen[rows])
        other = self._rows.visit[rows] != self._rows.visit[earlier]
        self.disputed[states] = unseen & other & (value != self._states.value[before])
        now = self._labels.standing(labels, undone)
        self.moved[labels] = now > 0
        self.given[labels] = self._labels.value[now]

    # -- classes -------------------------------------------------------------------------------

    def _fold_structure(self) -> None:
        names: dict[int, str] = {number: f"Cluster {number}" for number in range(self.clusters)}
        colours: dict[int, str] = {}
        self.highest = self.clusters - 1
        into: dict[int, int] = {}
        self.renamed: dict[int, tuple[tuple[str, str], ...]] = {}
        said: dict[int, Row] = {}
        for number, row in self._structure.items():
            action, class_, other, text = row[1], row[5], row[6], row[8]
            assert class_ is not None
            if action in ("split", "new class"):
                self.highest = max(self.highest, class_)
            if self._rows.undone[number]:
                continue
            if action in ("split", "new class"):
                names[class_] = text
            elif action == "recolour":
                colours[class_] = text
            elif action == "rename":
                self._dispute_name(said.get(class_), row)
                names[class_], said[class_] = text, row
            elif other is not None and (gone := _root(into, other)) != (
                kept := _root(into, class_)
            ):
                into[gone] = kept
        self.home = np.array([_root(into, one) for one in range(self.highest + 1)], np.uint16)
        alive = [one for one in sorted(names) if one <= self.highest and one not in into]
        self.classes = tuple(Class(one, names[one], colours.get(one, "")) for one in alive)

    def _dispute_name(self, before: Row | None, row: Row) -> None:
        """Two names of a class, the later given without having seen the earlier."""
        number = row[5]
        assert number is not None
        self.renamed.pop(number, None)
        if before and before[0] > row[4] and before[3] != row[3] and before[8] != row[8]:
            self.renamed[number] = ((before[2], before[8]), (row[2], row[8]))

    def class_(self, number: int) -> Class | None:
        """The class of that number, followed through merges; None if there is none."""
        if not 0 <= number <= self.highest:
            return None
        home = int(self.home[number])
        return next((one for one in self.classes if one.number == home), None)

    def classes_of(self, model: np.ndarray) -> np.ndarray:
        """(N,) uint16: the class of each image, the model's labels (N,) standing where no person has
        given another."""
        return self.home[np.where(self.moved, self.given, model)]

    # -- undo, and who said what ---------------------------------------------------------------

    def undoable(self, reviewer: str) -> int | None:
        """The last action of a reviewer that stands."""
        mine = self._actions_of(reviewer)
        standing = mine[~self._rows.undone[mine]]
        return int(standing[-1]) if len(standing) else None

    def redoable(self, reviewer: str) -> int | None:
        """The action that the reviewer undid last and has not decided anything since."""
        mine, undone = self._actions_of(reviewer), list[int]()
        start = bisect.bisect_right(
            self._turned, mine[-1] if len(mine) else 0, key=lambda turn: turn[0]
        )
        for row, target, undo in self._turned[start:]:
            if self._rows.who(row) == reviewer:
                undone.append(target) if undo else undone.pop()
        return undone[-1] if undone else None

    def _actions_of(self, reviewer: str) -> np.ndarray:
        """(m,) the rows of a reviewer, but for undo and redo, whether they stand or not."""
        code = self._rows.codes.reviewers.get(reviewer)
        rows = slice(0, self.row + 1)
        mine = (self._rows.reviewer[rows] == code) & (self._rows.action[rows] < _NUMBERS["undo"])
        mine[:1] = False
        return np.flatnonzero(mine)

    def action(self, row: int) -> Action:
        return ACTIONS[self._rows.action[row]]

    def stands(self, row: int) -> bool:
        return not self._rows.undone[row]

    def images_of(self, row: int) -> np.ndarray:
        """(m,) the images that an action decided or moved."""
        return np.union1d(self._states.images_of(row), self._labels.images_of(row))

    def changed_since(self, row: int) -> np.ndarray:
        """(m,) the images about which rows above `row` have changed something."""
        found = [self._states.images_since(row), self._labels.images_since(row)]
        start = bisect.bisect_right(self._turned, row, key=lambda turn: turn[0])
        return _united(*found, *(self.images_of(target) for _, target, _ in self._turned[start:]))

    def made(self, row: int) -> int | None:
        """The class that an action made, if it made one."""
        found = self._structure.get(row)
        return found[5] if found and found[1] in ("new class", "split") else None

    def users(self, class_: int, leaving_out: int) -> set[str]:
        """Who has put images into a class, other than by the row `leaving_out`."""
        standing = self._labels.standing(np.arange(len(self)), self._rows.undone)
        rows = self._labels.row[standing[(self._labels.value[standing] == class_) & (standing > 0)]]
        merged = {
            row[2] for number, row in self._structure.items()
            if row[1] in ("merge", "split") and number != leaving_out and self.stands(number)
            and class_ in (row[5], row[6])
        }  # fmt: skip
        return merged | {
            self._rows.who(one) for one in np.unique(rows).tolist() if one != leaving_out
        }

    @property
    def deciding(self) -> np.ndarray:
        """(N,) int64: the row that decided each image, 0 for none."""
        standing = self._states.standing(np.arange(len(self)), self._rows.undone)
        return self._states.row[standing]

    def deciders(self) -> dict[int, str]:
        """The reviewer of each row that decides an image."""
        rows = np.unique(self.deciding)
        return {row: self._rows.who(row) for row in rows[rows > 0].tolist()}

    def reviewer_of_class(self, number: int) -> str:
        """Who shaped a class last."""
        rows = [row for row in self._structure.values() if self.stands(row[0]) and row[5] == number]
        return rows[-1][2]

    def answers(self, image: int) -> list[Answer]:
        """What was said of an image, the last first, as far as it stands."""
        found, entry = [], int(self._states.last[image])
        while entry:
            row, value = int(self._states.row[entry]), int(self._states.value[entry])
            if self.stands(row):
                found.append(Answer(self._rows.who(row), row, State(value & 3), value >> 2))
            entry = int(self._states.before[entry])
        return found


def _united(*images: np.ndarray) -> np.ndarray:
    """Images (m,), each once and in order."""
    return np.unique(np.concatenate(images))


def _root(into: dict[int, int], number: int) -> int:
    while number in into:
        number = into[number]
    return number


class _Numbered(dict[str, int]):
    """Names by number, in the order in which they were first met."""

    def __missing__(self, name: str) -> int:
        self[name] = len(self)
        return self[name]


class _Codes:
    """Numbers of reviewers and of visits."""

    def __init__(self) -> None:
        self.reviewers, self.visits = _Numbered(), _Numbered()


class _Rows:
    """What is kept of each row, by its number: arrays with room for more rows than there are.

    Attributes:
        undone: bool. seen: int64. visit, reviewer, action: int32, numbers of names.
    """

    def __init__(self) -> None:
        self.undone, self.seen = np.zeros(1024, bool), np.zeros(1024, np.int64)
        self.visit, self.reviewer, self.action = (np.zeros(1024, np.int32) for _ in range(3))
        self.codes = _Codes()

    def who(self, row: int) -> str:
        """The reviewer of a row."""
        return list(self.codes.reviewers)[self.reviewer[row]]

    def write(self, batch: _Batch) -> None:
        rows = batch.numbers
        self._grow(max(rows, default=0) + 1)
        self.seen[rows], self.action[rows] = batch.seen, batch.kinds
        self.visit[rows], self.reviewer[rows] = batch.visits, batch.reviewers
        for _, target, undo in batch.turned:
            self.undone[target] = undo

    def _grow(self, rows: int) -> None:
        if rows <= len(self.undone):
            return
        for name in ("undone", "seen", "visit", "reviewer", "action"):
            old = getattr(self, name)
            new = np.zeros(max(2 * len(old), rows), old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)


class _Batch:
    """The entries that rows taken together will leave."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.actions: list[str] = []
        self.images: list[bytes] = []
        self.given: list[int] = []
        self.accepted: list[bytes] = []
        self.turned: list[Turn] = []
        self.structure: list[Row] = []
        # Of every row, one list a column: a million small tuples would keep the garbage collector busy.
        self.numbers: list[int] = []
        self.kinds: list[int] = []
        self.reviewers: list[int] = []
        self.visits: list[int] = []
        self.seen: list[int] = []

    def add(self, row: Row, codes: _Codes) -> None:
        number, action, reviewer, visit, seen, class_, _, target, _, images, new = row
        self.numbers.append(number)
        self.kinds.append(_NUMBERS[action])
        self.reviewers.append(codes.reviewers[reviewer])
        self.visits.append(codes.visits[visit])
        self.seen.append(seen)
        if target is not None:
            self.turned.append((number, target, action == "undo"))
        if action in STRUCTURE:
            self.structure.append(row)
        if not images or action == "note":
            return
        self.rows.append(number)
        self.actions.append(action)
        self.images.append(images)
        self.given.append(0 if action in ("reject", "exclude") else class_ or 0)
        if action == "accept":
            assert new is not None
            self.accepted.append(new)

    def _entries(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Image, row, class and place among the actions of each entry."""
        counts = np.array([len(one) // IDS.itemsize for one in self.images], np.int64)
        place = np.repeat(np.arange(len(counts)), counts)
        given = np.array(self.given, np.int64)[place]
        accepted = np.array([one == "accept" for one in self.actions], bool)[place]
        given[accepted] = np.frombuffer(b"".join(self.accepted), CLASSES)
        images = np.frombuffer(b"".join(self.images), IDS).astype(np.int64)
        return images, np.array(self.rows, np.int64)[place], given, place

    def states(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images, rows and values (state in two bits, class above) of entries that decide."""
        images, rows, given, place = self._entries()
        codes = np.array([STATES.get(one, 0) for one in self.actions], np.int64)[place]
        kept = codes > 0
        return images[kept], rows[kept], (codes + 4 * given)[kept]

    def labels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images, rows and classes of entries that give a class."""
        images, rows, given, place = self._entries()
        kept = np.array([one in LABELS for one in self.actions], bool)[place]
        return images[kept], rows[kept], given[kept]


class _Layer:
    """Entries about images, chained image by image. Entry 0 is nobody's: the end of every chain.

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

    def standing(
        self, images: np.ndarray | None, undone: np.ndarray, after: np.ndarray | None = None
    ) -> np.ndarray:
        """The last entry of each image (or before each entry `after`) that is not undone; 0 for none."""
        found = self.last[images] if after is None else self.before[after]
        while len(passed := np.flatnonzero(undone[self.row[found]] & (found > 0))):
            found[passed] = self.before[found[passed]]
        return found

    def images_of(self, row: int) -> np.ndarray:
        """(m,) the images of an action's entries. Rows only rise, so they lie together."""
        start, end = np.searchsorted(self.row, [row, row + 1])
        return np.unique(self.image[max(start, 1) : end])

    def images_since(self, row: int) -> np.ndarray:
        """(m,) the images of entries of later actions."""
        return np.unique(self.image[max(1, int(np.searchsorted(self.row, row + 1))) :])
