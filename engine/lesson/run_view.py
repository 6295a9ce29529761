"""`Material`: the parts of a run that a lesson shows, read from its folder on demand."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from engine import metrics
from engine.config import RunConfig
from engine.data.images import ImageSet
from engine.data.truth import Truth
from engine.lesson.bundle import Cast
from engine.lesson.failure_trials import Trials, load_trials
from engine.runs.folder import IMPORTED, RunFolder
from engine.runs.history import chosen_head, frame_steps_of
from engine.runs.maps import Moment
from engine.runs.results import load_reliable, newest_stage
from engine.runs.snapshot import Snapshot, fold
from engine.shares import percent
from engine.space.neighbors import Neighbors
from engine.space.vectors import units
from engine.stages.reliable import ReliableSet, Verdict, neighbor_count


class Material:
    """A run's settings and arrays, as they are while its lesson is built; missing ones are None."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder, self.card = folder, folder.card()
        self.config: RunConfig = self.card.config
        self.images: ImageSet = folder.images()
        self.truth: Truth | None = folder.truth()
        # Before all else that a run which still trains may add to.
        self.done = folder.done
        self.moments: list[Moment] = frame_steps_of(folder)
        self.head = chosen_head(folder)
        self.cast = Cast(len(self.images))
        self.imported = folder.has(IMPORTED)

    @cached_property
    def snapshot(self) -> Snapshot:
        return fold(self.folder.records()[0])

    @property
    def shown(self) -> int:
        """Images of each cluster that a row shows: fewer where there are many clusters."""
        return min(8, max(1, 240 // self.config.clusters))

    @cached_property
    def unit(self) -> np.ndarray | None:
        """(N, D) float32, features of length 1."""
        if not self.folder.has("features"):
            return None
        return units(np.asarray(self.folder.load("features")["vectors"], np.float32))

    @cached_property
    def heads(self) -> dict[str, np.ndarray] | None:
        """Stage 2's arrays."""
        return self.folder.load("heads") if "heads" in self.done else None

    @cached_property
    def neighbors(self) -> Neighbors | None:
        if not self.folder.has("neighbors"):
            return None
        arrays = self.folder.load("neighbors")
        return Neighbors(np.asarray(arrays["ids"]), np.asarray(arrays["similarity"]))

    @cached_property
    def reliable(self) -> ReliableSet | None:
        """The verdict on stage 2's labels, from which stage 3 begins."""
        return load_reliable(self.folder, "heads") if self.folder.has("reliable-heads") else None

    @property
    def asked(self) -> int:
        """Neighbours that the verdict asks."""
        return neighbor_count(self.config.reliable, len(self.images), self.config.clusters)

    @property
    def newest_labels(self) -> np.ndarray | None:
        """(N,), of the last stage that is done; None before stage 1 is."""
        stage = newest_stage(self.folder)
        if stage is not None:
            return np.asarray(load_reliable(self.folder, stage).labels)
        if self.folder.has("features"):
            return np.asarray(self.folder.load("features")["labels"])
        return None

    @cached_property
    def trials(self) -> Trials:
        return load_trials(self.folder)

    def purity(self, labels: np.ndarray, ids: np.ndarray) -> float | None:
        """Share of images `ids` that are of the commonest class of those with their label (m,); None
        without truth or images."""
        if self.truth is None or not len(ids):
            return None
        return round(metrics.purity(np.asarray(labels, np.int64), self.truth.labels[ids]), 6)

    def truths(self, labels: np.ndarray, ids: np.ndarray) -> dict[str, float] | None:
        """The accuracy of labels (m,) of images `ids`; None without truth."""
        if self.truth is None:
            return None
        found = metrics.accuracy(np.asarray(labels, np.int64), self.truth.labels[ids])
        return {"accuracy": round(found, 6)}

    # -- of the images of a trial, those that the lesson shows ---------------------------------

    def scattered(self, ids: np.ndarray, points: np.ndarray) -> np.ndarray:
        """(n, 2) float32 in 0–1: points (m, 2) of images `ids`, which lie in −1 to 1, at their places;
        NaN at all others."""
        out = np.full((self.cast.most, 2), np.nan, np.float32)
        places, there = self._shared(ids)
        out[places] = np.asarray(points)[there] / 2 + 0.5
        return out

    def placed(self, ids: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(n,): labels (m,) of images `ids` at their places, 0 at all others."""
        out = np.zeros(self.cast.most, np.int64)
        places, there = self._shared(ids)
        out[places] = np.asarray(labels)[there]
        return out

    def _shared(self, ids: np.ndarray) -> tuple[list[int], np.ndarray]:
        """Places of a trial's images, and which of them have one: where the lesson shows a part of the
        images, half of the places at most are given to a trial's."""
        ids = np.asarray(ids)
        self.cast.places(ids[: self.cast.most // 2])
        there = np.flatnonzero(np.isin(ids, self.cast.ids))
        return self.cast.places(ids[there]), there

    def reason(self, image: int) -> str:
        """Why an image's label is trusted or not, in one sentence."""
        found, settings = self.reliable, self.config.reliable
        assert found is not None
        label, count = int(found.labels[image]), self.asked
        same = round(float(found.agreement[image]) * count)
        needed = found.thresholds[label]
        verdict = Verdict(int(found.verdicts[image]))
        if self.folder.fixed().mask[image]:
            return "A person's decisions fixed this label."
        near = f"{same} of {count} neighbours have its label (threshold: {percent(float(needed), 0)})"
        own, least = percent(float(found.confidence[image])), percent(settings.confidence, 0)
        sure = f"the head's confidence is {own} (threshold: {least})"
        ends = {
            Verdict.RELIABLE: "both are enough",
            Verdict.NEIGHBORS_DISAGREE: "too few neighbours agree",
            Verdict.NOT_CONFIDENT: "the head is not confident enough",
            Verdict.NEITHER: "neither is enough",
        }
        return f"{near} and {sure}: {ends[verdict]}."
