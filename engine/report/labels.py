"""`Labels`: the newest labels of a run with everything that is known of them, as a report shows them."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from engine.curate.curation import Class, Curation, State
from engine.curate.log import DecisionLog
from engine.curate.measured import Measured, measured
from engine.curate.provenance import Provenance
from engine.curate.queues import doubt, typical_of
from engine.events import Stage
from engine.metrics import estimated_purity, head_votes
from engine.runs.folder import RunFolder
from engine.runs.results import load_strict, newest_stage
from engine.space.vectors import units
from engine.stages.reliable import ReliableSet

PALETTE = Path(__file__).parents[2] / "assets" / "palette.json"


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of N images, and what people decided about them.

    Attributes:
        stage: whose labels they are: the last that is done.
        labels: (N,) int64 in 0..K−1, the model's.
        verdict: None after stage 1 alone, whose clusters nobody judges.
        curation: as it is now; `row` is 0 where nobody decided anything.
        times: when each of its rows was written, in seconds since 1970.
        measured, measured_reliable: what answers say of all labels, and of the reliable ones.
        estimate: of the reliable labels' purity, without truth and answers.
    """

    folder: RunFolder
    stage: Stage
    labels: np.ndarray
    verdict: ReliableSet | None
    curation: Curation
    times: Mapping[int, float]
    measured: Measured
    measured_reliable: Measured
    estimate: float | None

    @property
    def clusters(self) -> int:
        return self.folder.card().config.clusters

    @property
    def classes(self) -> np.ndarray:
        """(N,) the class of each image as people left it."""
        return self.curation.classes_of(self.labels)

    @property
    def left_out(self) -> np.ndarray:
        """(N,) bool: images that a person excluded."""
        return self.curation.state == State.EXCLUDED

    @property
    def provenance(self) -> np.ndarray:
        """(N,) who gave each label: a person also where decisions of the parent run were fixed in training."""
        trained = np.where(self.folder.fixed().mask, Provenance.BULK, Provenance.MODEL)
        trained[self.folder.seen()] = Provenance.SEEN
        own = self.curation.provenance
        return np.where(own != Provenance.MODEL, own, trained)

    def class_of(self, cluster: int) -> Class:
        """The class that a cluster has become."""
        found = self.curation.class_(cluster)
        assert found is not None
        return found

    def title(self, cluster: int) -> str:
        """ "cats", or "Cluster 3" where nobody gave a name; a merged cluster's number follows its new name."""
        found = self.class_of(cluster)
        return found.name if found.number == cluster else f"{found.name} (cluster {cluster})"

    def typical(self, most: int) -> dict[int, list[int]]:
        """For each cluster with images that people did not take out of it, up to `most` that show what it is."""
        verdict = self.verdict
        doubts = self._far() if verdict is None else doubt(verdict.agreement, verdict.confidence)
        standing = (self.curation.state < State.REJECTED) & ~self.curation.moved
        return typical_of(self.labels, doubts, standing, most)

    def _far(self) -> np.ndarray:
        """(N,) how far each image is from the mean direction of its cluster."""
        unit = units(np.asarray(self.folder.load("features")["vectors"], np.float32))
        means = np.zeros((self.clusters, unit.shape[1]), np.float32)
        np.add.at(means, self.labels, unit)
        return -np.einsum("nd,nd->n", unit, units(means)[self.labels])


def labels_of(folder: RunFolder, log: DecisionLog) -> Labels:
    """The newest labels of a run that has finished stage 1, with the decisions that are committed by now; raises
    DecisionError when these cannot be read."""
    stage = newest_stage(folder)
    verdict = None if stage is None else load_strict(folder, stage)
    found = folder.load("features")["labels"] if verdict is None else verdict.labels
    labels = np.asarray(found, np.int64)
    chosen = np.zeros(len(labels), bool) if verdict is None else verdict.mask
    with log.reading() as newest:  # a copy, which nobody adds to while the report is made
        now, times = copy.deepcopy(newest), log.times()
    fixed = folder.fixed().mask
    return Labels(
        folder,
        stage or "features",
        labels,
        verdict,
        now,
        times,
        measured(now, labels, np.ones(len(labels), bool), fixed),
        measured(now, labels, chosen, fixed),
        None if verdict is None else _estimate(folder, verdict),
    )


def _estimate(folder: RunFolder, verdict: ReliableSet) -> float | None:
    heads = np.asarray(folder.load("heads")["head_labels"])
    if len(heads) < 2:
        return None
    votes = head_votes(heads, np.asarray(verdict.labels))
    return estimated_purity(verdict.labels, verdict.agreement, votes, verdict.mask)


# -- colours -------------------------------------------------------------------------------------


@lru_cache
def palette() -> dict[str, list[str]]:
    """The colours that app, lesson and report share."""
    return dict(json.loads(PALETTE.read_text("utf-8")))


def colour_of(found: Class) -> str:
    """The colour of a class: one that people chose, or that of its number."""
    colours = palette()["clusters"]
    return found.colour or colours[found.number % len(colours)]
