"""Curated labels: the combined decisions of all reviewers. A fold, at once or row by row.

The last action on an image that is not undone decides it (see `entries`). Undoing any action, by anybody,
therefore only costs work on the images of that action.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from engine.curate.decisions import ACTIONS, Action
from engine.curate.entries import FOLDED, NUMBERS, Batch, Layer, Row, Rows, State, Turn
from engine.curate.provenance import Provenance

# A row that gives more than this share of all images another label makes earlier audits say something else.
MANY = 0.02
__all__ = ["FOLDED", "Answer", "Class", "Curation", "Row", "State", "default_name"]


@dataclass(frozen=True)
class Class:
    """An existing class: a cluster of the run (0..K−1), or a class created by a person.

    `colour` is "" until someone chooses one.
    """

    number: int
    name: str
    colour: str = ""


@dataclass(frozen=True)
class Answer:
    """One of two conflicting answers, given by a reviewer who had not seen the other."""

    reviewer: str
    row: int
    state: State
    class_: int


def default_name(number: int) -> str:
    """What a class is called until somebody gives it a name."""
    return f"Cluster {number}"


class Curation:
    """The fold of the rows taken so far, for N images in K clusters.

    Attributes:
        row: the last row taken; 0 for none.
        state: (N,) uint8, values of `State`.
        given: (N,) uint16, the class that a person gave the image, where `moved`.
        moved: (N,) bool.
        disputed: (N,) bool: two reviewers gave different answers, the later without having seen the
            earlier. Of one reviewer the last answer counts, from whichever tab. A person does not dispute with votes.
        provenance: (N,) uint8, values of `Provenance`: who gave each image its label; of a rejected one, the
            label that is wrong.
        answered: (N,) bool: the decision that stands is of a person who looked at the image.
        among: (N,) uint32: of images `answered` in an audit, the number of images that each was drawn from, those of
            its class that nobody had looked at; else 0.
        deciding: (N,) int64, the row that decided each image, 0 for none.
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
        self.provenance = np.zeros(images, np.uint8)
        self.answered = np.zeros(images, bool)
        self.among = np.zeros(images, np.uint32)
        self.deciding, self._giving = np.zeros(images, np.int64), np.zeros(images, np.int64)
        self._states, self._labels = Layer(images), Layer(images)
        self._rows = Rows()
        self._turned: list[Turn] = []
        self._large: dict[int, int] = {}  # rows that relabel many images, numbered
        self._labellings: list[tuple[int, int]] = [(0, 0)]
        self._structure: dict[int, Row] = {}
        self._fold_structure()

    def __len__(self) -> int:
        return len(self.state)

    # -- taking rows ---------------------------------------------------------------------------

    def take(self, rows: Iterable[Row]) -> np.ndarray:
        """Takes rows in their order; returns the images (m,) about which something changed."""
        batch, codes = Batch(), self._rows.codes
        for row in rows:
            batch.add(row, codes)
        self._rows.write(batch)
        self._structure.update((row[0], row) for row in batch.structure)
        self._turned += batch.turned
        self._follow(batch)
        targets = np.array([target for _, target, _ in batch.turned], np.int64)
        decided, given = batch.entries()
        states = _united(self._states.append(*decided), self._states.images_of(targets))
        labels = _united(self._labels.append(*given), self._labels.images_of(targets))
        changed = _united(states, labels)
        self._settle(states, labels)
        self._credit(changed)
        if batch.structure or not self._structure.keys().isdisjoint(targets.tolist()):
            self._fold_structure()
        self.row = max([self.row, *batch.numbers[-1:]])  # not before all of it can be seen
        return changed

    def _follow(self, batch: Batch) -> None:
        """Notes after which rows the labels of many images are others."""
        changes = {row: row for row, count in batch.relabelled if count > MANY * len(self)}
        for row in changes:
            self._large[row] = len(self._large)
        changes |= {row: target for row, target, _ in batch.turned if target in self._large}
        for row in sorted(changes):
            self._labellings.append((row, self._labellings[-1][1] ^ 1 << self._large[changes[row]]))

    def labelling(self, row: int) -> int:
        """Equal for two rows when the same rows that relabel many images stand after both: what an audit found at
        one of them is also so at the other."""
        return self._labellings[bisect.bisect_right(self._labellings, row, key=lambda one: one[0]) - 1][1]

    def _settle(self, states: np.ndarray, labels: np.ndarray) -> None:
        """Recomputes what is decided about these images."""
        undone = self._rows.undone
        now = self._states.standing(states, undone)
        before, knew = self._others(now)
        value = self._states.value[now]
        self.state[states] = value & 3
        rows, earlier = self._states.row[now], self._states.row[before]
        unseen = (before > 0) & (earlier > knew)
        said = self._rows.provenance
        unseen &= (said[earlier] != Provenance.VOTED) | (said[rows] == Provenance.VOTED)
        self.disputed[states] = unseen & (value != self._states.value[before])
        self.deciding[states] = rows
        now = self._labels.standing(labels, undone)
        self.moved[labels] = now > 0
        self.given[labels] = self._labels.value[now]
        self._giving[labels] = self._labels.row[now]

    def _credit(self, images: np.ndarray) -> None:
        """Recomputes who vouches for these images. A class that came later than the answer, by a split, is not
        what the person said."""
        decided, gave = self.deciding[images], self._giving[images]
        self.provenance[images] = self._rows.provenance[gave]
        looked = (self._rows.provenance[decided] == Provenance.SEEN) & (gave <= decided)
        self.answered[images] = looked
        self.among[images] = np.where(looked, self._rows.among[decided], 0)

    def _others(self, now: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The last entry before each of `now` that stands and is of another reviewer, 0 for none; and the last row
        that the reviewer of `now` had seen, in this tab or in another, with the answers that came after that entry."""
        undone, who, row = self._rows.undone, self._rows.reviewer, self._states.row
        found, knew = self._states.standing(None, undone, now), self._rows.seen[row[now]]
        while len(own := np.flatnonzero((found > 0) & (who[row[found]] == who[row[now]]))):
            knew[own] = np.maximum(knew[own], self._rows.seen[row[found[own]]])
            found[own] = self._states.standing(None, undone, found[own])
        return found, knew

    # -- classes -------------------------------------------------------------------------------

    def _fold_structure(self) -> None:
        names: dict[int, str] = {number: default_name(number) for number in range(self.clusters)}
        colours: dict[int, str] = {}
        self.highest = self.clusters - 1
        into: dict[int, int] = {}
        self.renamed: dict[int, tuple[tuple[str, str], ...]] = {}
        said: dict[int, Row] = {}
        for number, row in self._structure.items():
            action, class_, other, text = row[1], row[4], row[5], row[7]
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
            elif other is not None and (gone := _root(into, other)) != (kept := _root(into, class_)):
                into[gone] = kept
        self.home = np.array([_root(into, one) for one in range(self.highest + 1)], np.uint16)
        alive = [one for one in sorted(names) if one <= self.highest and one not in into]
        self.classes = tuple(Class(one, names[one], colours.get(one, "")) for one in alive)

    def _dispute_name(self, before: Row | None, row: Row) -> None:
        """Two reviewers' names of a class, the later given without having seen the earlier."""
        number = row[4]
        assert number is not None
        self.renamed.pop(number, None)
        if before and before[0] > row[3] and before[2] != row[2] and before[7] != row[7]:
            self.renamed[number] = ((before[2], before[7]), (row[2], row[7]))

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
        start = bisect.bisect_right(self._turned, mine[-1] if len(mine) else 0, key=lambda turn: turn[0])
        for row, target, undo in self._turned[start:]:
            if self._rows.who(row) == reviewer:
                undone.append(target) if undo else undone.pop()
        return undone[-1] if undone else None

    def _actions_of(self, reviewer: str) -> np.ndarray:
        """(m,) the rows of a reviewer, but for undo and redo, whether they stand or not."""
        code = self._rows.codes.reviewers.get(reviewer)
        rows = slice(0, self.row + 1)
        mine = (self._rows.reviewer[rows] == code) & (self._rows.action[rows] < NUMBERS["undo"])
        mine[:1] = False
        return np.flatnonzero(mine)

    def action(self, row: int) -> Action:
        return ACTIONS[self._rows.action[row]]

    def stands(self, row: int) -> bool:
        return not self._rows.undone[row]

    def images_of(self, row: int) -> np.ndarray:
        """(m,) the images that an action decided or moved."""
        rows = np.array([row])
        return _united(self._states.images_of(rows), self._labels.images_of(rows))

    def answered_since(self, images: np.ndarray, row: int, reviewer: str) -> np.ndarray:
        """(m,) int64: of each of `images` (m,) the row above `row` with which the reviewer, who looked at it, decided
        it, as far as that stands; else 0."""
        rows = self.deciding[images]
        own = self._rows.reviewer[rows] == self._rows.codes.reviewers.get(reviewer, -1)
        return np.where(self.answered[images] & own & (rows > row), rows, 0)

    def changed_since(self, row: int) -> np.ndarray:
        """(m,) the images about which rows above `row` have changed something."""
        found = [self._states.images_since(row), self._labels.images_since(row)]
        start = bisect.bisect_right(self._turned, row, key=lambda turn: turn[0])
        targets = np.array([target for _, target, _ in self._turned[start:]], np.int64)
        return _united(*found, self._states.images_of(targets), self._labels.images_of(targets))

    def made(self, row: int) -> int | None:
        """The class that an action made, if it made one."""
        found = self._structure.get(row)
        return found[4] if found and found[1] in ("new class", "split") else None

    def users(self, class_: int, leaving_out: int) -> set[str]:
        """Who has put images into a class, other than by the row `leaving_out`."""
        standing = self._labels.standing(np.arange(len(self)), self._rows.undone)
        rows = self._labels.row[standing[(self._labels.value[standing] == class_) & (standing > 0)]]
        merged = {
            row[2]
            for number, row in self._structure.items()
            if row[1] in ("merge", "split")
            and number != leaving_out
            and self.stands(number)
            and class_ in (row[4], row[5])
        }
        return merged | {self._rows.who(one) for one in np.unique(rows).tolist() if one != leaving_out}

    @property
    def seen(self) -> np.ndarray:
        """(N,) bool: a person looked at the image and gave it its class, and nobody says otherwise."""
        return self.answered & (self.state == State.DECIDED) & ~self.disputed

    @property
    def refuted(self) -> np.ndarray:
        """(N,) bool: a person looked at the image and said that its class is wrong, and nobody says otherwise."""
        return self.answered & (self.state == State.REJECTED) & ~self.disputed

    @property
    def assumed(self) -> int:
        """Decided images that count as bulk because an earlier version did not record who looked at them."""
        return int(np.count_nonzero(self._rows.assumed[self._giving] & (self.state == State.DECIDED)))

    def looked(self, row: int) -> bool:
        """Whether a row is the answer of a person who looked at its images."""
        return bool(self._rows.provenance[row] == Provenance.SEEN)

    def deciders(self) -> dict[int, str]:
        """The reviewer of each row that decides an image."""
        rows = np.unique(self.deciding)
        return {row: self._rows.who(row) for row in rows[rows > 0].tolist()}

    def reviewer_of_class(self, number: int) -> str:
        """The last reviewer who changed a class."""
        rows = [row for row in self._structure.values() if self.stands(row[0]) and row[4] == number]
        return rows[-1][2]

    def answers(self, image: int) -> list[Answer]:
        """What was said of an image, the last first, as far as it stands; what a reviewer said several
        times in a row as they said it last."""
        who = self._rows.reviewer
        found, entry = list[Answer](), int(self._states.last[image])
        while entry:
            row, value = int(self._states.row[entry]), int(self._states.value[entry])
            again = bool(found) and who[found[-1].row] == who[row]
            if self.stands(row) and not again:
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
