"""The image panel's texts: why a label is reliable or rejected, and its history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.events import Stage
from spice_explorer.palette import cluster_colour
from spice_explorer.present.names import NUMBERS, Names

# In the order of engine.stages.reliable.Verdict; its bits: 1 neighbours disagree, 2 not confident.
VERDICTS = (
    "Reliable",
    "Rejected: neighbours disagree",
    "Rejected: not confident",
    "Rejected: neighbours disagree, not confident",
)
COUNTED: dict[Stage, str] = {"features": "stage 1, epoch", "heads": "stage 2, round", "joint": "stage 3, step"}
MOST_DIGITS = 6


@dataclass(frozen=True)
class Reason:
    """One of the two conditions of a reliable label, and whether it holds."""

    holds: bool
    text: str


@dataclass(frozen=True)
class Explanation:
    """Why a label is reliable or not, in words."""

    verdict: str
    neighbors: Reason
    confidence: Reason

    @property
    def reasons(self) -> tuple[Reason, Reason]:
        return self.neighbors, self.confidence


def explanation(
    label: int,
    agreement: float,
    confidence: float,
    verdict: int,
    *,
    threshold: float,
    asked_confidence: float,
    count: int,
    names: Names = NUMBERS,
) -> Explanation:
    """The verdict on one label.

    Args:
        agreement: share of the `count` nearest neighbours with the same label.
        verdict: 0–3, as in `engine.stages.reliable.Verdict`.
        threshold: the agreement that was asked of the label's cluster.
        asked_confidence: the confidence that was asked.
    """
    agree, noun = round(agreement * count), "neighbour" if count == 1 else "neighbours"
    verb = "says" if count == 1 else "say"
    near = f"{agree:,} of {count:,} {noun} {verb} {names.short(label)}, {needed(threshold, count):,} needed"
    found, asked = apart(confidence, asked_confidence)
    sure = f"confidence {found}, {asked} needed"
    return Explanation(VERDICTS[verdict], Reason(not verdict & 1, near), Reason(not verdict & 2, sure))


def needed(threshold: float, count: int) -> int:
    """The fewest of `count` neighbours that reach `threshold`, compared as the engine does."""
    shares = (np.arange(count + 1) / count).astype(np.float32)
    return int(np.searchsorted(shares, np.float32(threshold)))


def apart(value: float, other: float) -> tuple[str, str]:
    """Both numbers with as many digits as it takes to see which is greater, two at least."""
    for digits in range(2, MOST_DIGITS):
        one, two = f"{value:.{digits}f}", f"{other:.{digits}f}"
        if one != two or value == other:
            break
    return one, two


def votes(labels: np.ndarray, near: np.ndarray) -> list[tuple[int, int]]:
    """(label, images) of the neighbours with ids `near`, commonest first, then by number."""
    found, counts = np.unique(labels[near], return_counts=True)
    order = np.lexsort((found, -counts))
    return [(int(found[i]), int(counts[i])) for i in order]


@dataclass(frozen=True)
class Cell:
    """The label of an image at one time in training."""

    stage: Stage
    title: str
    colour: str


def cells(
    stages: Sequence[Stage], steps: Sequence[int], labels: np.ndarray, confidence: np.ndarray, names: Names = NUMBERS
) -> list[Cell]:
    """F cells from an image's labels (F,) and confidences (F,) at the moments `stages`, `steps`."""
    moments = zip(stages, steps, labels.tolist(), confidence.tolist(), strict=True)
    return [
        Cell(stage, f"{COUNTED[stage]} {step:,}: {names.inline(label)}, confidence {sure:.2f}", cluster_colour(label))
        for stage, step, label, sure in moments
    ]


def changes(labels: np.ndarray) -> str:
    """How often the labels (F,) of an image changed, as a sentence."""
    times = int((labels[1:] != labels[:-1]).sum())
    often = {0: "It has never changed its label.", 1: "It changed its label once."}
    return often.get(times, f"It changed its label {times} times.")


def what_is_to_come(has_neighbors: bool) -> str:
    """What is known about an image before its label is judged."""
    if not has_neighbors:
        return "Nothing is known about it yet: stage 1 finds its neighbours, stage 2 gives its label."
    return (
        "Its neighbours come from stage 1, and their labels from k-means on the features. Its own label, "
        "and the verdict on it, come with stage 2."
    )
