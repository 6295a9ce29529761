"""`Measured`: how many labels of a set are right, by the answers of people who looked at some of its images. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.curate.audit import LEAST_ANSWERS, Estimate, estimated
from engine.curate.curation import Curation


@dataclass(frozen=True)
class Measured:
    """The answers about a set of labels. From `LEAST_ANSWERS` on they take the place of estimates without answers.

    Attributes:
        right, answers: of the images that people looked at, how many labels agree with them.
        estimate: for all labels of the set that nobody looked at, from the random answers among these; None while
            there are fewer than `LEAST_ANSWERS`.
    """

    right: int
    answers: int
    estimate: Estimate | None

    @property
    def enough(self) -> bool:
        return self.answers >= LEAST_ANSWERS


def measured(now: Curation, labels: np.ndarray, chosen: np.ndarray, trained: np.ndarray) -> Measured:
    """Compares a model's labels with what people say who looked at the images.

    Args:
        labels: (N,) the model's labels; merges are followed. A label that was rejected is wrong.
        chosen: (N,) bool, the labels in question.
        trained: (N,) bool, images whose decided label the model was trained with, which say nothing about it.
    """
    ids = np.flatnonzero((now.seen | now.refuted) & chosen & ~trained)
    right = now.seen[ids] & (now.home[labels[ids]] == now.classes_of(labels)[ids])
    drawn = now.among[ids] > 0
    enough = np.count_nonzero(drawn) >= LEAST_ANSWERS
    estimate = estimated(right[drawn], now.among[ids][drawn].astype(np.int64)) if enough else None
    return Measured(int(right.sum()), len(ids), estimate)
