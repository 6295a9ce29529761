"""The history of a synthetic run: frames of all stages, and events with losses and scores."""

from __future__ import annotations

import json
import time

import numpy as np
import torch

from benchmarks.made_features import HEADS, runner_up
from benchmarks.made_images import normal
from engine import metrics
from engine.data.truth import Truth
from engine.events import (
    Event,
    Progress,
    Record,
    ReliableSelected,
    RunFinished,
    RunStarted,
    Scored,
    Stage,
    StageFinished,
    StageStarted,
    TruthScored,
    to_json,
)
from engine.runs.files import write_text
from engine.runs.folder import RunFolder
from engine.runs.history import save_frame
from engine.stages.clustering import Clustering
from engine.stages.frames import CONFIDENT, Frame, condensed, frame_steps
from engine.stages.reliable import ReliableSet, neighbor_count

STEPS: dict[Stage, int] = {"features": 4000, "heads": 30, "joint": 2000}
SECONDS: dict[Stage, float] = {"features": 900.0, "heads": 60.0, "joint": 420.0}
POINTS = 60  # in the loss curve of each stage

# -- frames -----------------------------------------------------------------------------------


def save_frames(
    folder: RunFolder,
    unit: np.ndarray,
    heads: dict[str, np.ndarray],
    believed: dict[Stage, Clustering],
    mix: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Saves frames of the three stages: features move from random to their final places, and labels settle."""
    places = condensed(torch.from_numpy(unit)).astype(np.float32)
    chance = normal(rng, *places.shape) / np.sqrt(places.shape[1])
    for stage, steps in STEPS.items():
        for step in sorted(frame_steps(stage, steps)):
            part = step / steps
            if stage == "features":
                moved = _scaled(places + 1.5 * (1 - part**0.5) * chance)
                frame = Frame(stage, step, moved)
            elif stage == "heads":
                frame = _head_frame(step, part, heads, believed[stage], mix, rng)
            else:
                frame = _joint_frame(step, part, places, chance, believed, mix, rng)
            save_frame(folder, frame)


def _scaled(places: np.ndarray) -> np.ndarray:
    """(N, d) float16 of length 1."""
    return (places / np.linalg.norm(places, axis=1, keepdims=True)).astype(np.float16)


def _unsettled(part: float, mix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N,) bool: whether the label is not final yet; images near a border settle last."""
    return rng.random(len(mix)) < (1 - part) * (0.1 + 1.6 * mix)


def _head_frame(
    step: int, part: float, heads: dict[str, np.ndarray], found: Clustering, mix: np.ndarray, rng: np.random.Generator
) -> Frame:
    second = runner_up(found.probabilities)
    labels = np.stack([np.where(_unsettled(part, mix, rng), second, own) for own in heads["head_labels"]])
    confidence = np.broadcast_to(found.confidence * (0.5 + 0.5 * part), labels.shape)
    final = heads["prototypes"]
    moved = final + (1 - part) * normal(rng, HEADS, *final.shape) / np.sqrt(final.shape[1])
    moved /= np.linalg.norm(moved, axis=2, keepdims=True)
    surest = heads["confident"]
    first = round((1 - part) * max(0, surest.shape[1] - CONFIDENT))
    confident = np.repeat(surest[None, :, first : first + CONFIDENT], HEADS, axis=0)
    return Frame(
        "heads",
        step,
        None,
        labels.astype(np.uint16),
        confidence.astype(np.float16),
        moved.astype(np.float16),
        confident.astype(np.int32),
    )


def _joint_frame(
    step: int,
    part: float,
    places: np.ndarray,
    chance: np.ndarray,
    believed: dict[Stage, Clustering],
    mix: np.ndarray,
    rng: np.random.Generator,
) -> Frame:
    before, after = believed["heads"], believed["joint"]
    labels = np.where(_unsettled(part, mix, rng), before.labels, after.labels)
    confidence = (1 - part) * before.confidence + part * after.confidence
    moved = _scaled(places + 0.3 * part * chance)
    return Frame("joint", step, moved, labels[None].astype(np.uint16), confidence[None].astype(np.float16))


# -- events -----------------------------------------------------------------------------------


def save_events(
    folder: RunFolder,
    unit: np.ndarray,
    stage_one: np.ndarray,
    head_labels: np.ndarray,
    believed: dict[Stage, Clustering],
    judged: dict[Stage, ReliableSet],
) -> None:
    """Writes the events of a run that has just finished, with scores computed by the engine."""
    truth = folder.truth()
    now = time.time() - sum(SECONDS.values())
    records = [Record(now, RunStarted("cpu", 2))]
    labels = {"features": stage_one, **{stage: one.labels for stage, one in believed.items()}}
    for stage, seconds in SECONDS.items():
        sizes = np.bincount(labels[stage], minlength=folder.card().config.clusters)
        records += _stage_records(stage, now, len(unit), sizes)
        now += seconds
        said: list[Event] = [Scored(stage, _scores(stage, unit, labels[stage], sizes))]
        if truth is not None:
            scores = metrics.truth_scores(labels[stage], truth.labels)
            if stage == "heads":
                oracle = max(metrics.accuracy(each, truth.labels) for each in head_labels)
                scores["selection_regret"] = oracle - scores["acc"]
            said.append(TruthScored(stage, scores))
        if stage in judged:
            said.append(_selected(folder, stage, judged[stage], sizes, truth))
        records += [Record(now, event) for event in said]
    records.append(Record(now, RunFinished()))
    lines = "".join(json.dumps(to_json(one)) + "\n" for one in records)
    write_text(folder.path / "events.jsonl", lines)


def _stage_records(stage: Stage, began: float, images: int, sizes: np.ndarray) -> list[Record]:
    """The records from the start to the end of a stage, with a falling loss curve."""
    steps, seconds = STEPS[stage], SECONDS[stage]
    names = {"features": "contrastive loss", "heads": "pseudo-label loss", "joint": "reliable loss"}
    shown = tuple(sizes.tolist()) if stage == "heads" else ()
    out = [Record(began, StageStarted(stage, steps))]
    for step in sorted({round(steps * point / POINTS) for point in range(1, POINTS + 1)}):
        losses = {names[stage]: float(0.4 + 3 * np.exp(-4 * step / steps))}
        event = Progress(stage, step, round(20 * images / seconds, 1), losses, shown)
        out.append(Record(began + seconds * step / steps, event))
    return [*out, Record(began + seconds, StageFinished(stage, seconds))]


def _scores(stage: Stage, unit: np.ndarray, labels: np.ndarray, sizes: np.ndarray) -> dict[str, float]:
    scores = {"pseudo_label_loss": 1.46, "head_agreement": 0.97} if stage == "heads" else {}
    scores["size_entropy"] = metrics.size_entropy(sizes)
    silhouette = metrics.silhouette(unit, labels)
    return scores if silhouette is None else {**scores, "silhouette": silhouette}


def _selected(
    folder: RunFolder, stage: Stage, found: ReliableSet, sizes: np.ndarray, truth: Truth | None
) -> ReliableSelected:
    settings = folder.card().config.reliable
    strict, true = found.strict(settings, folder.seen()), None if truth is None else truth.labels
    return ReliableSelected(
        stage,
        per_cluster=tuple(found.per_cluster.tolist()),
        sizes=tuple(sizes.tolist()),
        thresholds=tuple(float(one) for one in found.thresholds),
        neighbors=neighbor_count(settings, len(found.labels), len(sizes)),
        confidence=settings.confidence,
        purity=metrics.purity_within(found.labels, found.mask, true),
        reliable=tuple(strict.per_cluster.tolist()),
        reliable_purity=metrics.purity_within(strict.labels, strict.mask, true),
    )
