"""The artefacts of a run: images, truth, labels, verdicts, and how they came about."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from engine import metrics
from engine.events import Stage
from engine.metrics import best_match, head_votes
from engine.runs.folder import RunFolder
from engine.runs.history import frame_steps_of, load_history, load_prototype_history
from engine.runs.safeguards.cures import REMADE
from engine.runs.safeguards.damage import damage_of, exchanged, is_whole, of_others
from engine.space.neighbors import Neighbors, local_agreement
from engine.space.vectors import units
from engine.stages import reliable as rule
from engine.stages.reliable import ReliableSet
from spice_explorer.present import maps as present
from spice_explorer.present.gallery import Known
from spice_explorer.queries.cache import cached
from spice_explorer.queries.runs import made

if TYPE_CHECKING:
    from engine.config import ReliableSettings
    from engine.data.images import ImageSet
    from engine.data.truth import Truth
    from engine.runs.history import History, PrototypeHistory


@cached(RunFolder.modified, entries=48)
def arrays(run: RunFolder, artefact: str) -> dict[str, np.ndarray]:
    """The arrays of a run's artefact, memory-mapped; raises RunError when it is not there yet."""
    return run.load(artefact)


@cached()
def images(run: RunFolder) -> ImageSet:
    """The run's images, memory-mapped."""
    return run.images()


@cached(partial(damage_of, artefact="truth"))
def truth(run: RunFolder) -> Truth | None:
    """Ground truth of the run's images, for scores and pictures only; None without it, or where it is damaged, which
    pages say by `left_out`."""
    return run.truth() if is_whole(run, "truth") else None


def left_out(run: RunFolder) -> list[str]:
    """Sentences about what is damaged and cannot be made again (images are shown all the same, pages do without truth
    and columns), and about what does not fit together."""
    lost = [told for one in ("images", "truth", "columns") if (told := damage_of(run, one))]
    odd = [f"{one}: {of_others(others)}" for one in REMADE if (others := exchanged(run, one))]
    return lost + odd


def judged_stages(run: RunFolder) -> list[Stage]:
    """The stages whose labels have been judged, newest first; raises RunError when the run is gone."""
    made(run)
    order: tuple[Stage, ...] = ("joint", "heads")
    return [stage for stage in order if run.has(f"reliable-{stage}")]


def reliable(run: RunFolder, stage: Stage) -> ReliableSet:
    """The run's own verdict on the labels of `stage`; what only a lowered threshold let pass is not reliable."""
    return ReliableSet(**arrays(run, f"reliable-{stage}")).strict(run.card().config.reliable, seen(run))


@cached("decided")
def fixed(run: RunFolder) -> np.ndarray:
    """(N,) bool: images whose label a person's decisions fixed in training."""
    return run.fixed().mask


@cached("decided")
def seen(run: RunFolder) -> np.ndarray:
    """(N,) bool: those of them at which a person had looked: their labels are reliable."""
    return run.seen()


@cached("reliable-heads", "reliable-joint", "neighbors", entries=64)
def agreement(run: RunFolder, stage: Stage, count: int) -> np.ndarray:
    """(N,) float32: share of the `count` nearest neighbours with an image's label of `stage`."""
    near, judged = arrays(run, "neighbors"), arrays(run, f"reliable-{stage}")
    return local_agreement(np.asarray(judged["labels"]), Neighbors(near["ids"], near["similarity"]), count)


def judge(run: RunFolder, stage: Stage, settings: ReliableSettings) -> ReliableSet:
    """The verdict on the labels of `stage` under other settings, whatever their floor lets pass."""
    return teachers(run, stage, settings).strict(settings, seen(run))


def teachers(run: RunFolder, stage: Stage, settings: ReliableSettings) -> ReliableSet:
    """The labels of `stage` that training would take under other settings, by the engine's own rule."""
    own, clusters = reliable(run, stage), run.card().config.clusters
    count = rule.neighbor_count(settings, len(own.labels), clusters)
    agreed = agreement(run, stage, count)
    return rule.judge(own.labels, own.confidence, agreed, clusters, settings, fixed=run.fixed())


@cached("heads", "reliable-heads", "reliable-joint", entries=16)
def _head_votes(run: RunFolder, stage: Stage) -> np.ndarray:
    labels = np.asarray(arrays(run, f"reliable-{stage}")["labels"])
    return head_votes(np.asarray(arrays(run, "heads")["head_labels"]), labels)


def estimated_purity(run: RunFolder, stage: Stage, mask: np.ndarray) -> float | None:
    """What share of the images in `mask` (N,) may be of their cluster's commonest class, 0 to 1, by
    how far heads and neighbours agree, without any truth; None where nothing can be said (one head,
    no image in `mask`, one cluster).

    It takes clusters for classes and cannot see what all heads and neighbours get wrong together.
    Against truth it was 2 points off on digits (6 at worst), 2 to 4 with too few or too many
    clusters; 2 to 8 (15 at worst), mostly too high at stage 2 and too low at stage 3, after a stage
    1 of a few epochs; and on photographs up to 15 too high where purity was a third to two thirds,
    6 too low where it was high. Which of a run's subsets is purer it mostly told right
    (benchmarks/results/estimates-cpu.md).
    """
    if len(arrays(run, "heads")["head_labels"]) < 2:
        return None
    own, votes = reliable(run, stage), _head_votes(run, stage)
    return metrics.estimated_purity(own.labels, own.agreement, votes, mask)


def neighbor_count(run: RunFolder) -> int:
    """How many neighbours the run itself asked."""
    asked = run.card()
    return rule.neighbor_count(asked.config.reliable, asked.images, asked.config.clusters)


# -- how the run went --------------------------------------------------------------------------


def _so_far(run: RunFolder) -> tuple[int, bool]:
    """What tells a run's frames from those before them."""
    return len(frame_steps_of(run)), run.has("heads")


@cached(_so_far)
def history(run: RunFolder) -> History:
    """Labels of every image at the frames of stages 2 and 3 so far."""
    return load_history(run)


@cached(_so_far)
def prototype_history(run: RunFolder) -> PrototypeHistory | None:
    """The chosen head's prototypes over the rounds of stage 2; None before there are any."""
    return load_prototype_history(run)


@cached("features", "reliable-heads", "reliable-joint")
def stage_one_labels(run: RunFolder) -> np.ndarray:
    """(N,) stage 1's k-means labels, renumbered to fit the newest judged labels best."""
    labels, stages = np.asarray(arrays(run, "features")["labels"]), judged_stages(run)
    return _matched(labels, np.asarray(reliable(run, stages[0]).labels)) if stages else labels


def newest_labels(run: RunFolder) -> np.ndarray | None:
    """(N,) the newest labels there are: judged ones, else stage 1's, else None."""
    stages = judged_stages(run)
    if stages:
        return reliable(run, stages[0]).labels
    return stage_one_labels(run) if run.has("features") else None


@cached("features", "reliable-heads", "reliable-joint")
def matched_truth(run: RunFolder) -> tuple[np.ndarray, tuple[str, ...]] | None:
    """(N,) true classes, numbered like the clusters of the newest labels that they fit best (further
    classes follow), and the names by these numbers ("" where a cluster has no class)."""
    found, labels = truth(run), newest_labels(run)
    if found is None:
        return None
    numbers = found.labels if labels is None else _matched(found.labels, labels)
    kinds, example = np.unique(numbers, return_index=True)
    names = [""] * (int(numbers.max(initial=0)) + 1)
    for number, image in zip(kinds.tolist(), example.tolist(), strict=True):
        names[number] = found.class_names[found.labels[image]]
    return numbers, tuple(names)


def changed(run: RunFolder) -> np.ndarray:
    """(N,) uint8: which stages gave an image another label than the stage before."""
    judged = {stage: reliable(run, stage).labels for stage in judged_stages(run)}
    return present.changed(stage_one_labels(run), judged["heads"], judged.get("joint"))


def _matched(labels: np.ndarray, like: np.ndarray) -> np.ndarray:
    """`labels` renumbered one to one so that the most images have the number they have in `like`."""
    match = best_match(labels, like)
    new = np.arange(int(labels.max(initial=0)) + 1)
    free = iter(sorted(set(range(len(new) + len(match))) - set(match.values())))
    for label in new.tolist():
        new[label] = match[label] if label in match else next(free)
    return new[labels]


# -- what is known of every image --------------------------------------------------------------


def known(run: RunFolder, stage: Stage | None) -> Known:
    """Everything a gallery shows about the run's images, with the labels of `stage`, if any."""
    shown, found = images(run), truth(run)
    bare = Known(shown.pixels, shown.names)
    if found is not None:
        bare = replace(bare, truth=found.labels, classes=found.class_names)
    if stage is None:
        return bare
    verdict = reliable(run, stage)
    return replace(bare, labels=verdict.labels, confidence=verdict.confidence, agreement=verdict.agreement)


@cached("features", entries=2)
def unit_vectors(run: RunFolder) -> np.ndarray:
    """(N, D) float32: stage 1's features, scaled to length 1."""
    return units(np.asarray(arrays(run, "features")["vectors"], np.float32))
