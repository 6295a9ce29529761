"""Extends a few decisions to many: images that agree with decided images take their class. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.curate.audit import Estimate, estimated
from engine.curate.curation import Curation, State
from engine.curate.guidance import held_back


def agreeing(
    seeds: np.ndarray, own: np.ndarray, decided: np.ndarray, neighbors: np.ndarray, agreement: float
) -> np.ndarray:
    """Undecided images among the neighbours of `seeds` whose own neighbours agree with them.

    The seeds count as members of the class, regardless of the model. Images that join can make others
    join, until no more agree.

    Args:
        seeds: (m,) ids that are decided to be of one class.
        own: (N,) bool, images that have that class now, by decision or by the model.
        decided: (N,) bool, images that a person has decided: they do not change.
        neighbors: (N, k) ids, nearest first.
        agreement: least share of an image's neighbours with the class, 0–1.

    Returns:
        (n,) int64 ids, those that agree most first; no seed is among them.
    """
    member, free = own.copy(), ~decided
    member[seeds] = True
    free[seeds] = False
    reached = np.unique(neighbors[seeds]) if len(seeds) else np.zeros(0, np.int64)
    joined = np.zeros(0, np.int64)
    while True:
        candidates = reached[free[reached]]
        share = member[neighbors[candidates]].mean(1) if len(candidates) else np.zeros(0)
        new = candidates[share >= agreement]
        if not len(new):
            break
        joined = np.concatenate((joined, new[np.argsort(-share[share >= agreement], kind="stable")]))
        member[new], free[new] = True, False
        reached = np.unique(np.concatenate((reached, neighbors[new].ravel())))
    return joined.astype(np.int64)


# Decided images that vote on another, and how fast a vote fades with the cosine.
VOTERS, FADE = 15, 0.1
BLOCK = 2_048


def voted(
    unit: np.ndarray, decided: np.ndarray, classes: np.ndarray, images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The class that the most similar decided images give to others, by a vote weighted by similarity.

    A decided image does not vote on itself, so `images` = `decided` measures how often the vote is right
    where the answer is known (leave-one-out).

    Args:
        unit: (N, D) features of length 1.
        decided: (d,) ids of images whose class is known, d ≥ 2.
        classes: (d,) their classes.
        images: (m,) ids to vote on.

    Returns:
        (m,) int64 classes, and (m,) float32 agreement: the share of the votes for it, 0–1.
    """
    numbers, own = np.unique(classes, return_inverse=True)
    count = min(VOTERS, len(decided) - 1)
    labels, agreement = np.empty(len(images), np.int64), np.empty(len(images), np.float32)
    for start in range(0, len(images), BLOCK):  # bounds the (rows, d) cosines in memory
        rows = images[start : start + BLOCK]
        cosines = unit[rows] @ unit[decided].T
        cosines[rows[:, None] == decided[None]] = -np.inf
        near = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        close = np.take_along_axis(cosines, near, 1)
        weights = np.exp((close - close.max(1, keepdims=True)) / FADE)
        votes = np.zeros((len(rows), len(numbers)), np.float32)
        np.add.at(votes, (np.arange(len(rows))[:, None], own[near]), weights)
        best = votes.argmax(1)
        labels[start : start + BLOCK] = numbers[best]
        agreement[start : start + BLOCK] = votes.max(1) / votes.sum(1)
    return labels, agreement


# -- votes of the images that a person looked at ---------------------------------------------------


@dataclass(frozen=True, eq=False)
class Votes:
    """The votes of the images that a person looked at, and what they and the model say of such images.

    A vote never comes from an image that was itself voted or accepted in bulk, nor from an answer that is held back
    from training. The images that a person looked at are no random sample of the others unless they were drawn at
    random: only `vote_estimate` and `model_estimate` say anything about the others.

    Attributes:
        ids, classes, agreement: (m,) undecided images, the class they would get, and its share of the votes, 0–1.
        checked: (a,) int64, the images that a person looked at.
        vote_right, model_right: (a,) bool, whether the votes of the others, or the model (merges and splits
            followed), agree with the person. A label that was rejected counts as wrong.
        certain: (a,) float32, the share of the votes for the class that the others give.
        among: (a,) of an answer in an audit the images it stands for; else 0.
    """

    ids: np.ndarray
    classes: np.ndarray
    agreement: np.ndarray
    checked: np.ndarray
    vote_right: np.ndarray
    model_right: np.ndarray
    certain: np.ndarray
    among: np.ndarray

    def vote_estimate(self, share: float) -> Estimate | None:
        """How many votes of at least this share on the images that nobody looked at, decided or not, are right; None
        without random answers about such images."""
        drawn = (self.among > 0) & (self.certain >= share)
        return estimated(self.vote_right[drawn], self.among[drawn])

    def model_estimate(self, share: float) -> Estimate | None:
        """How many of the model's labels are right where votes have at least this share."""
        drawn = (self.among > 0) & (self.certain >= share)
        return estimated(self.model_right[drawn], self.among[drawn])


def spread(unit: np.ndarray, now: Curation, labels: np.ndarray, names: Sequence[str]) -> Votes | None:
    """The votes on all undecided images; None before two classes have an image that may vote.

    Args:
        unit: (N, D) features of length 1.
        labels: (N,) the model's labels.
        names: N names of images, which say what is held back from training.
    """
    own = now.classes_of(labels).astype(np.int64)
    voting = voters(now, own, names)
    if len(np.unique(own[voting])) < 2:
        return None
    checked, left = np.flatnonzero(now.seen | now.refuted), np.flatnonzero(now.state == State.UNDECIDED)
    found, agreement = voted(unit, voting, own[voting], left)
    again, certain = voted(unit, voting, own[voting], checked)
    right = now.seen[checked]
    return Votes(
        left,
        found,
        agreement,
        checked,
        right & (again == own[checked]),
        right & (now.home[labels[checked]] == own[checked]),
        certain,
        now.among[checked].astype(np.int64),
    )


def voters(now: Curation, own: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """(v,) ids of the images that may vote: a person gave them their class of `own` (N,) looking at them, and they
    are not held back."""
    return np.flatnonzero(now.seen & ~held_back(own, now.seen, names))
