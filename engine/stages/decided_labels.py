"""`FixedLabels`: a person's decisions about the images, which stages 2 and 3 must follow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.errors import TrainingError


@dataclass(frozen=True, eq=False)
class FixedLabels:
    """Labels of N images that override pseudo-labels; with empty masks the run is an ordinary one.

    Attributes:
        labels: (N,) int64 in 0..K−1, of no meaning where neither mask is true.
        mask: (N,) bool; a person decided the label, and it may teach.
        refused: (N,) bool; a person said that it is not the image's label, and the right one is
            unknown.

    Raises:
        TrainingError: when shapes or types do not fit, or a label is both decided and refused.
    """

    labels: np.ndarray
    mask: np.ndarray
    refused: np.ndarray

    def __post_init__(self) -> None:
        found = [(one.dtype, one.shape) for one in (self.labels, self.mask, self.refused)]
        count = (len(self.labels),)
        if found != [(np.int64, count), (np.bool_, count), (np.bool_, count)]:
            listed = ", ".join(f"{kind} {shape}" for kind, shape in found)
            raise TrainingError(f"fixed labels are {listed}: expected int64, bool and bool, one of each per image")
        if (self.mask & self.refused).any() or self.labels.min(initial=0) < 0:
            raise TrainingError("a fixed label is both decided and rejected, or below 0")

    @classmethod
    def none(cls, images: int) -> FixedLabels:
        """No decisions about any image."""
        return cls(np.zeros(images, np.int64), np.zeros(images, bool), np.zeros(images, bool))

    def __len__(self) -> int:
        return len(self.labels)

    def over(self, labels: np.ndarray) -> np.ndarray:
        """(N,) int64: `labels` with the decided ones in their place."""
        return np.where(self.mask, self.labels, labels)

    def refuses(self, labels: np.ndarray) -> np.ndarray:
        """(N,) bool: true where `labels` is the refused label."""
        return self.refused & (self.labels == labels)
