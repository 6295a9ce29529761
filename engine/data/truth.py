"""Ground truth, where it exists: only metrics and reports may look at it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.errors import SourceError


@dataclass(frozen=True, eq=False)
class Truth:
    """The true class of each image.

    Attributes:
        labels: (N,) int64 in 0..len(class_names)-1.
        class_names: the name of each class.
    """

    labels: np.ndarray
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        count = len(self.class_names)
        if self.labels.ndim != 1 or (
            len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < count
        ):
            raise SourceError(
                f"true labels of shape {self.labels.shape} do not fit {count} class names"
            )
