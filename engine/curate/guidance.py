"""`Guidance`: how a reviewer's decisions guide a run that is trained with them. Pure.

Some decisions are held back from training, to measure how well the new run does on undecided images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine.curate.curation import State
from engine.curate.provenance import Provenance
from engine.errors import RunError

HELD_SHARE = 0.2
# A class with fewer decisions needs every one of them as a teacher.
LEAST_TO_HOLD = 5
# What becomes of labels that no person looked at: they are where training begins and may be doubted, they are fixed
# like answers, or they are not used.
Unseen = Literal["doubted", "fixed", "unused"]


@dataclass(frozen=True, eq=False)
class Guidance:
    """The training input, for the n of N images that are kept, in K' clusters.

    Attributes:
        keep: (N,) bool, false for excluded images.
        labels: (n,) int64 in 0..K'−1, the class after all decisions (of a refused image: the wrong one).
        taught: (n,) bool, decided and trained on, whatever the thresholds say.
        held: (n,) bool, decided on sight and held back.
        seen: (n,) bool, decided on sight: what may be compared with.
        doubted: (n,) bool, decided in bulk or by votes and part of `belief` only.
        refused: (n,) bool, the label is wrong and the right one unknown.
        model: (n,) int64, the earlier model's label in the new clusters, with splits applied, before
            any decision.
        belief: (n, K') float32, rows sum to 1: the probabilities that the new run starts from. They do not
            depend on decisions that are held back.
    """

    keep: np.ndarray
    labels: np.ndarray
    taught: np.ndarray
    held: np.ndarray
    seen: np.ndarray
    doubted: np.ndarray
    refused: np.ndarray
    model: np.ndarray
    belief: np.ndarray

    @property
    def clusters(self) -> int:
        return int(self.belief.shape[1])


def guide(
    state: np.ndarray,
    classes: np.ndarray,
    alive: Sequence[int],
    home: np.ndarray,
    moved: np.ndarray,
    probabilities: np.ndarray,
    ids: Sequence[str],
    provenance: np.ndarray,
    unseen: Unseen = "doubted",
) -> Guidance:
    """How the decisions about N images, in a run of K clusters, guide the next run.

    Args:
        state: (N,) uint8, values of `State`.
        classes: (N,) uint16, the number of each image's class as a person left it; of a rejected
            image the class that is wrong.
        alive: numbers of the classes that exist, ascending; those that are `learned`, in this order, are
            clusters 0..K'−1 of the next run.
        home: (at least K,) uint16, the class that each cluster has become.
        moved: (N,) bool, a person gave the class, by a decision or a split.
        probabilities: (N, K) float32, of the run's newest model.
        ids: N names of images.
        provenance: (N,) uint8, values of `Provenance`. Only answers about images that a person looked at are fixed
            by default, and only they are held back.
        unseen: what becomes of the other decided labels.

    Raises:
        RunError: when fewer than two classes are learned, there are more of them than images, or an
            image or a cluster has a class that does not exist.
    """
    keep = state != State.EXCLUDED
    rows = np.flatnonzero(keep)
    home = home[: probabilities.shape[1]]
    _check_known(alive, classes[rows], home)
    alive = learned(alive, classes, keep)
    _check_number(len(alive), len(rows))
    labels, state, moved = np.searchsorted(alive, classes[rows]), state[rows], moved[rows]
    decided, rejected = state == State.DECIDED, state == State.REJECTED
    seen = decided & (provenance[rows] == Provenance.SEEN)
    held = held_back(labels, seen, [ids[row] for row in rows.tolist()])
    said = _merged(probabilities[rows], home, alive)
    split = moved & ~decided & ~rejected
    unused = decided & ~seen if unseen == "unused" else np.zeros(len(rows), bool)
    taught = (decided if unseen == "fixed" else seen) & ~held
    return Guidance(
        keep,
        labels,
        taught,
        held,
        seen,
        decided & ~seen & ~taught & ~unused,
        rejected,
        model=np.where(split, labels, said.argmax(1)),
        belief=_carried(said, labels, moved & ~held & ~rejected & ~unused),
    )


def learned(alive: Sequence[int], classes: np.ndarray, keep: np.ndarray) -> list[int]:
    """The classes that the next run has: not those of which every image (N,) is excluded, which would
    be clusters of nothing."""
    gone = np.setdiff1d(classes[~keep], classes[keep])
    return [one for one in alive if one not in gone]


def _check_number(classes: int, images: int) -> None:
    if classes < 2:
        raise RunError(
            f"{classes} of the classes is left: training needs at least 2; undo a merge, exclude fewer "
            "images out, or make another class"
        )
    if classes > images:
        raise RunError(
            f"there are {classes:,} classes for the {images:,} images that are not excluded: merge "
            "classes, or exclude fewer images"
        )


def _check_known(alive: Sequence[int], classes: np.ndarray, home: np.ndarray) -> None:
    strange = np.setdiff1d(np.union1d(classes, home), alive)
    if len(strange):
        raise RunError(
            f"class {strange[0]} does not exist, but images are in it: expected one of "
            f"{', '.join(map(str, alive))}; give these images another class"
        )


def held_back(labels: np.ndarray, decided: np.ndarray, ids: Sequence[str], share: float = HELD_SHARE) -> np.ndarray:
    """(n,) bool: those of the images `decided` on sight that are never trained on, nor taught to what is
    spread.

    The choice depends only on an image's name, so that later trainings hold back the same ones. A class with
    fewer than `LEAST_TO_HOLD` decisions holds none back, and no class holds back all: the image with the
    highest lot is always trained on.
    """
    held, places = np.zeros(len(labels), bool), np.flatnonzero(decided)
    lots, own = np.array([_lot(ids[place]) for place in places.tolist()]), labels[places]
    clusters = int(own.max(initial=0)) + 1
    highest = np.zeros(clusters)
    np.maximum.at(highest, own, lots)
    enough = np.bincount(own, minlength=clusters) >= LEAST_TO_HOLD
    held[places] = (lots < share) & (lots < highest[own]) & enough[own]
    return held


def _lot(name: str) -> float:
    """0 ≤ lot < 1, the same for the same name, on every machine."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big") / 2**32


def _merged(probabilities: np.ndarray, home: np.ndarray, learned: Sequence[int]) -> np.ndarray:
    """(n, K') float32: the probabilities (n, K) summed over the clusters that have become one learned
    class; all alike where the model was sure of a class that is not learned any more."""
    known = np.isin(home, learned)
    places = np.searchsorted(learned, home[known])
    summed = probabilities[:, known] @ np.eye(len(learned), dtype=np.float32)[places]
    summed[summed.sum(1) == 0] = 1
    return summed / summed.sum(1, keepdims=True)


def _carried(belief: np.ndarray, labels: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """`belief` with the mass of a moved image's most probable class transferred to its label."""
    rows, carried = np.flatnonzero(moved), belief.copy()
    likeliest = belief[rows].argmax(1)
    carried[rows, likeliest] = 0
    carried[rows, labels[rows]] += belief[rows, likeliest]
    return carried
