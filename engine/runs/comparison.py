"""`BeforeAfter`: the effect of training with a reviewer's decisions, measured without ground truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.curate.suggestions import classified
from engine.errors import RunError
from engine.runs.folder import RunFolder
from engine.space.vectors import units
from engine.stages.clustering import Clustering


@dataclass(frozen=True)
class Agreement:
    """Of `total` decisions, how many the model's label agreed with before training and after."""

    total: int
    before: int
    after: int


@dataclass(frozen=True, eq=False)
class BeforeAfter:
    """The labels of two models on the same images, in the K' clusters of the later.

    "Before" is the earlier model's label, with merges and splits applied; for a decided image it is the
    model's own label, not the reviewer's.

    Attributes:
        images: images compared.
        left_out: images of the earlier run that are not in the later.
        flow: (K', K') int64, images by their cluster before (rows) and after (columns).
        taught: on answers about images that a person looked at, and that the later model was trained with.
        held: on those that were held back. It is unbiased for images that are chosen to be looked at like these.
        certain: false if an earlier version trained the later model, which did not record what people looked at:
            then all decisions are compared with.
        light: of the answers held back, how many a light classifier gets right that learned only from those that were
            taught, on the earlier run's features and probabilities. None if an earlier version trained the later model,
            or the earlier one's features or labels are gone.
    """

    images: int
    left_out: int
    flow: np.ndarray
    taught: Agreement
    held: Agreement
    certain: bool
    light: int | None = None

    @property
    def beaten(self) -> bool:
        """Training brought no more than the light classifier, which takes a moment."""
        return self.light is not None and self.held.after <= self.light

    @property
    def clusters(self) -> int:
        return len(self.flow)

    @property
    def changed(self) -> int:
        """Images whose cluster is another one after training."""
        return self.images - int(self.flow.trace())


def before_after(parent: RunFolder, child: RunFolder) -> BeforeAfter:
    """Compares the models of `parent` and of `child`, which was trained with decisions about it.

    Raises:
        RunError: when `child` was not trained with decisions, has no labels yet, or holds images
            that `parent` does not have.
    """
    if not child.has("decided"):
        raise RunError(f"{child.path} was not trained with decisions: choose one that was")
    ids, places = child.images().ids, {name: place for place, name in enumerate(parent.images().ids)}
    if not places.keys() >= set(ids):
        raise RunError(
            f"{child.path} has images that {parent.path} does not have: compare a run with the one it started from"
        )
    said, after = child.load("decided"), newest_clustering(child)
    before, labels, clusters = said["model"], said["labels"], after.clusters
    pairs = before * clusters + after.labels
    flow = np.bincount(pairs, minlength=clusters**2).reshape(clusters, clusters)
    taught, held = (
        _agreement(before[mask], after.labels[mask], labels[mask])
        for mask in (np.asarray(said["taught"]) & said.get("seen", True), np.asarray(said["held"]))
    )
    light = _light(parent, said, np.array([places[one] for one in ids])) if "seen" in said else None
    return BeforeAfter(len(ids), len(places) - len(ids), flow, taught, held, "seen" in said, light)


def newest_clustering(folder: RunFolder) -> Clustering:
    """The labels of the run's latest model for its own images; raises RunError before stage 2 is done."""
    stage = next((one for one in ("joint", "heads") if folder.has(one)), None)
    if stage is None:
        raise RunError(f"{folder.path} has no labels yet: train at least until stage 2 is done")
    return Clustering(np.asarray(folder.load(stage)["probabilities"]))


def _light(parent: RunFolder, said: dict[str, np.ndarray], places: np.ndarray) -> int | None:
    """How many answers held back the light classifier gets right; None if nothing can be learned or measured.

    Args:
        places: (n,) of the later run's images among those of `parent`.
    """
    taught, held = np.asarray(said["taught"] & said["seen"]), np.asarray(said["held"])
    if not held.any() or not parent.has("features") or not (parent.has("heads") or parent.has("joint")):
        return None
    needed = taught | held
    rows = places[needed]
    unit = units(np.asarray(parent.load("features")["vectors"][rows], np.float32))
    labels = np.asarray(said["labels"])[needed]
    found = classified(unit, newest_clustering(parent).probabilities[rows], labels, taught[needed])
    return None if found is None else int((found == labels)[held[needed]].sum())


def _agreement(before: np.ndarray, after: np.ndarray, decided: np.ndarray) -> Agreement:
    return Agreement(len(decided), int((before == decided).sum()), int((after == decided).sum()))
