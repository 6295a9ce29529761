"""`Book`: decisions without a file."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.curate.curation import Curation
from engine.curate.decisions import Action, Decision, values_of
from engine.curate.judging import Model, judged


class Book:
    """A log in memory, of decisions about the labels of a model."""

    def __init__(self, model: Model, clusters: int) -> None:
        self.model, self.now = model, Curation(len(model.labels), clusters)

    @property
    def own(self) -> np.ndarray:
        return self.now.classes_of(self.model.labels).astype(np.int64)

    def act(self, action: Action, images: Any = (), by: str = "Ann", seen: int | None = None, **about: Any) -> None:
        """Takes one decision into the fold, as the log would."""
        ids = np.array(images, np.int64).ravel()
        asked = Decision(action, by, visit=by, seen=self.now.row if seen is None else seen, images=ids, **about)
        done = judged(asked, self.now, self.model)
        key, _, who, _, _, last, class_, other, target, text, kept, _, new, _, _, _, said, among, _ = values_of(done)
        row = (self.now.row + 1, action, who, last, class_, other, target, text, kept, new, key, said, among)
        self.now.take([row])
