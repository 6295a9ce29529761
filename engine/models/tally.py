"""`Tally`: what was told of all images together: how many are unknown or unreadable, and scores with ground truth."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine import metrics
from engine.data.truth import Truth
from engine.models.streaming import Told


class Tally:
    """Counts batches as they come; only with truth does it keep a number for each image.

    Attributes:
        images, unknown, unreadable: how many images were labelled, are unknown among these, and could not be read.
    """

    def __init__(self, truth: Truth | None = None) -> None:
        self.images = self.unknown = self.unreadable = 0
        self._truth = truth
        self._classes: list[np.ndarray] = []

    def add(self, told: Told) -> None:
        self.images += len(told.answers)
        self.unknown += int(told.answers.unknown.sum())
        self.unreadable += len(told.reasons)
        if self._truth is not None:
            classes = np.full(len(told.names), -1)
            readable = np.ones(len(told.names), bool)
            readable[list(told.reasons)] = False
            classes[readable] = told.answers.classes
            self._classes.append(classes)

    def sentence(self) -> str:
        """ "1,797 images labelled, 12 of them unknown; 3 could not be read"."""
        unread = f"; {self.unreadable:,} could not be read" if self.unreadable else ""
        return f"{self.images:,} images labelled, {self.unknown:,} of them unknown{unread}"

    def summary(self) -> dict[str, Any]:
        """All of it as one JSON object; "truth", scores of the most probable classes, exists only with truth."""
        found: dict[str, Any] = {"images": self.images, "unknown": self.unknown, "unreadable": self.unreadable}
        if self._truth is not None and self.images:
            classes = np.concatenate(self._classes)
            scores = metrics.truth_scores(classes[classes >= 0], self._truth.labels[classes >= 0])
            found["truth"] = {name: round(value, 6) for name, value in scores.items()}
        return found
