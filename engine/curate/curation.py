"""Curated labels: what the decisions of all reviewers come to. A fold, whole or row by row.

What an image is decided by is the last action about it that is not undone. Each action leaves an entry
for each of its images, and entries of an image are chained, so that an undo, of any action and by
anybody, costs a look at the images of that action and no more.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from engine.curate.decisions import CLASSES, IDS

# The columns of a row that the fold reads, in this order.
FOLDED = "row, action, reviewer, visit, seen, class, other, target, text, images, new"
Row = tuple[int, str, str, str, int, int | None, int | None, int | None, str, bytes, bytes | None]


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
        self._undone, self._seen, self._visit = _Growing(bool), _Growing(np.int64), _Growing(np.int64)  # fmt: skip
        self._visits: dict[str, int] = {}
        self._reviewers: dict[int, str] = {}
        self._done: dict[str, list[int]] = defaultdict(list)
        self._undos: dict[str, list[int]] = defaultdict(list)
        self._about: dict[int, str] = {}
        self._turned: list[tuple[int, int]] = []  # rows of undo and redo, and their targets
        self._structure: dict[int, Row] = {}
        self._fold_structure()

    def __len__(self) -> int:
        return len(self.state)

    # -- taking rows ---------------------------------------------------------------------------

    def take(self, rows: Iterable[Row]) -> np.ndarray:
        """Takes rows in their order; returns the images (m,) about which something changed."""
        batch, structural = _Batch(), False
        for row in rows:
            structural |= self._note(row, batch)
        states = self._states.append(*batch.states())
        labels = self._labels.append(*batch.labels())
        for turned in batch.turned:
            states = np.union1d(states, self._states.images_of(turned))
            labels = np.union1d(labels, self._labels.images_of(turned))
        self._settle(states, labels)
        if structural:
            self._fold_structure()
        return np.union1d(states, labels)

    def _note(self, row: Row, batch: _Batch) -> bool:
        """Remembers whose action it is; True when classes have to be folded anew."""
        number, action, reviewer, visit, seen, _, _, target, _, _, _ = row
        self.row = number
        code = self._visits.setdefault(visit, len(self._visits))
        for array, value in ((self._undone, False), (self._seen, seen), (self._visit, code)):
            array.put(number, value)
        if target is not None:
            return self._turn(action == "undo", reviewer, target, batch)
        self._reviewers[number], self._about[number] = reviewer, action
        self._done[reviewer].append(number)
        self._undos[reviewer].clear()
        batch.add(row)
        if action in STRUCTURE:
            self._structure[number] = row
        return action in STRUCTURE

    def _turn(self, undo: bool, reviewer: str, target: int, batch: _Batch) -> bool:
        source, goal = (self._done, self._undos) if undo else (self._undos, self._done)
        if target in source[reviewer]:
            source[reviewer].remove(target)
            goal[reviewer].append(target)
        self._undone.put(target, undo)
        self._turned.append((self.row, target))
        batch.turned.append(target)
        return self._about.get(target) in STRUCTURE

    def _settle(self, states: np.ndarray, labels: np.ndarray) -> None:
        """Works out anew what is decided about these images."""
        undone = self._undone.values
        now = self._states.standing(states, undone)
        before = self._states.standing(None, undone, now)
        value = self._states.value[now]
        self.state[states] = value & 3
        rows, earlier = self._states.row[now], self._states.row[before]
        unseen = (before > 0) & (earlier > self._seen.values[rows])
        other = self._visit.values[rows] != self._visit.values[earlier]
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
            if self._undone.values[number]:
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
        return self._done[reviewer][-1] if self._done[reviewer] else None

    def redoable(self, reviewer: str) -> int | None:
        """The action that the reviewer undid last and has not decided anything since."""
        return self._undos[reviewer][-1] if self._undos[reviewer] else None

    def action(self, row: int) -> str:
        return self._about[row]

    def stands(self, row: int) -> bool:
        return not self._undone.values[row]

    def images_of(self, row: int) -> np.ndarray:
        """(m,) the images that an action decided or moved."""
        return np.union1d(self._states.images_of(row), self._labels.images_of(row))

    def changed_since(self, row: int) -> np.ndarray:
        """(m,) the images about which rows above `row` have changed something."""
        found = [self._states.images_since(row), self._labels.images_since(row)]
        start = bisect.bisect_right(self._turned, (row, len(self._turned) + self.row))
        found += [self.images_of(target) for _, target in self._turned[start:]]
        return np.unique(np.concatenate(found))

    def made(self, row: int) -> int | None:
        """The class that an action made, if it made one."""
        found = self._structure.get(row)
        return found[5] if found and found[1] in ("new class", "split") else None

    def users(self, class_: int, leaving_out: int) -> set[str]:
        """Who has put images into a class, other than by the row `leaving_out`."""
        standing = self._labels.standing(np.arange(len(self)), self._undone.values)
        rows = self._labels.row[standing[(self._labels.value[standing] == class_) & (standing > 0)]]
        merged = {
            row[2] for number, row in self._structure.items()
            if row[1] in ("merge", "split") and number != leaving_out and self.stands(number)
            and class_ in (row[5], row[6])
        }  # fmt: skip
        return merged | {
            self._reviewers[one] for one in np.unique(rows).tolist() if one != leaving_out
        }

    @property
    def deciding(self) -> np.ndarray:
        """(N,) int64: the row that decided each image, 0 for none."""
        standing = self._states.standing(np.arange(len(self)), self._undone.values)
        return self._states.row[standing]

    def deciders(self) -> dict[int, str]:
        """The reviewer of each row that decides an image."""
        rows = np.unique(self.deciding)
        return {row: self._reviewers[row] for row in rows[rows > 0].tolist()}

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
                found.append(Answer(self._reviewers[row], row, State(value & 3), value >> 2))
            entry = int(self._states.before[entry])
        return found


def _root(into: dict[int, int], number: int) -> int:
    while number in into:
        number = into[number]
    return number


class _Growing:
    """An array that is written by index and grows with it; unwritten places are zero."""

    def __init__(self, kind: type) -> None:
        self.values: np.ndarray = np.zeros(1024, kind)

    def put(self, index: int, value: int | bool) -> None:
        if index >= len(self.values):
            larger = np.zeros(max(2 * len(self.values), index + 1), self.values.dtype)
            larger[: len(self.values)] = self.values
            self.values = larger
        self.values[index] = value


class _Batch:
    """The entries that rows taken together will leave."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.actions: list[str] = []
        self.images: list[bytes] = []
        self.given: list[int] = []
        self.accepted: list[bytes] = []
        self.turned: list[int] = []

    def add(self, row: Row) -> None:
        number, action, _, _, _, class_, _, _, _, images, new = row
        if not images or (action not in STATES and action not in LABELS):
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
