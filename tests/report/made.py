"""A run on digits whose labels, verdicts and events are written down rather than trained: a report of it can be checked
by hand."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from engine.config import with_settings
from engine.curate.decisions import Action, Decision
from engine.curate.judging import Model
from engine.curate.provenance import Provenance
from engine.data.images import ImageSet
from engine.data.skipped import Skipped
from engine.data.truth import Truth
from engine.events import (
    ReliableSelected,
    RunFinished,
    RunStarted,
    Scored,
    Stage,
    StageFinished,
    StageStarted,
    TruthScored,
)
from engine.presets import preset
from engine.report.contents import Contents, contents
from engine.report.labels import Labels, labels_of
from engine.report.report import report
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.runs.maps import DEFAULT, artefact_of
from engine.runs.results import decision_log
from engine.sources.open_source import Opened, open_source

AGREEMENT, CONFIDENCE = 0.9, 0.8
STAGES: tuple[Stage, ...] = ("features", "heads", "joint")


def digits(count: int) -> Opened:
    """The first digits, of which two show the same picture, and two skipped files."""
    every = open_source("digits")
    assert every.truth is not None
    pixels = np.array(every.images.pixels[:count])
    pixels[1] = pixels[0]
    images = ImageSet(pixels, every.images.ids[:count], "digits")
    truth = Truth(every.truth.labels[:count], every.truth.class_names)
    skipped = (Skipped("broken.png", "not an image"), Skipped("<b>odd</b>.png", "not an image"))
    return Opened(images, truth, skipped)


def made(path: Path, count: int = 300, *, stages: int = 3, truth: bool = True, umap: bool = True) -> RunFolder:
    """A run of `count` digits in 10 clusters with so many stages done; every seventh label is another class's."""
    opened = digits(count)
    config = with_settings(
        preset("quick", clusters=10, channels=1),
        {"reliable.agreement": AGREEMENT, "reliable.confidence": CONFIDENCE, "features.epochs": 12},
    )
    folder = create_run(path, opened if truth else Opened(opened.images, None, opened.skipped), config)
    assert opened.truth is not None
    labels = np.where(np.arange(count) % 7 == 3, (opened.truth.labels + 1) % 10, opened.truth.labels)
    flat = np.asarray(opened.images.pixels, np.float32).reshape(count, -1) - 40
    folder.append(RunStarted("cpu", 1))
    _finish(folder, "features", 12, truth)
    folder.save("features", {"vectors": flat, "labels": labels})
    for stage in STAGES[1:stages]:
        _judge(folder, stage, labels, 0.9 if truth else None)
        _finish(folder, stage, 30, truth)
    if umap:
        folder.save(artefact_of(folder, DEFAULT), {"points": _places(flat, labels)})
    if stages == 3:
        folder.append(RunFinished())
    return folder


def _judge(folder: RunFolder, stage: Stage, labels: np.ndarray, purity: float | None) -> None:
    count, rng = len(labels), np.random.default_rng(5)
    probabilities = np.full((count, 10), 0.01, np.float32)
    confidence = np.where(np.arange(count) % 5 == 2, 0.6, 0.97).astype(np.float32)
    probabilities[np.arange(count), labels] = confidence
    agreement = np.where(np.arange(count) % 7 == 3, 0.2, 1).astype(np.float32)
    verdicts = (agreement < AGREEMENT).astype(np.uint8) + 2 * (confidence < CONFIDENCE).astype(np.uint8)
    if stage == "heads":
        members = [np.flatnonzero(labels == cluster) for cluster in range(10)]
        confident = np.stack([rng.permutation(one)[: min(map(len, members)) // 2] for one in members])
        heads = np.stack([labels, np.roll(labels, 10)])
        folder.save("heads", {"confident": confident, "head_labels": heads, "probabilities": probabilities})
    else:
        folder.save("joint", {"probabilities": probabilities})
    thresholds = np.full(10, AGREEMENT, np.float32)
    values = {"labels": labels, "confidence": confidence, "agreement": agreement, "verdicts": verdicts}
    folder.save(f"reliable-{stage}", {**values, "thresholds": thresholds})
    kept = tuple(np.bincount(labels[verdicts == 0], minlength=10).tolist())
    sizes = tuple(np.bincount(labels, minlength=10).tolist())
    chosen = ReliableSelected(
        stage, kept, sizes, (AGREEMENT,) * 10, 10, CONFIDENCE, purity=purity, reliable=kept, reliable_purity=purity
    )
    folder.append(chosen)


def _finish(folder: RunFolder, stage: Stage, steps: int, truth: bool) -> None:
    folder.append(StageStarted(stage, steps))
    folder.append(StageFinished(stage, 75.0))
    score = 0.1 * (1 + STAGES.index(stage))
    folder.append(Scored(stage, {"silhouette": score, "size_entropy": 0.5 + score}))
    if truth:
        scores = {"acc": 0.6 + score, "nmi": 0.55 + score, "ari": 0.5 + score}
        folder.append(TruthScored(stage, {**scores, **({"selection_regret": 0.0} if stage == "heads" else {})}))


def _places(flat: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N, 2) float32: a heap for each cluster on a circle."""
    turn = 2 * np.pi * labels / 10
    spread = flat @ np.random.default_rng(1).normal(size=(flat.shape[1], 2)) / 9e3
    return (np.stack([np.cos(turn), np.sin(turn)], 1) + spread).astype(np.float32)


def decide(run: RunFolder, action: Action, images: list[int] | None = None, who: str = "Ann", **about: Any) -> int:
    """Commits a decision about images; returns its row."""
    about.setdefault("provenance", Provenance.SEEN)
    judged = run.load("reliable-joint")
    model = Model(np.asarray(judged["labels"]), np.asarray(judged["confidence"]), "joint")
    with contextlib.closing(decision_log(run)) as log:
        (done,), _ = log.commit(
            [Decision(action, who, visit="test", images=np.array(images or [], int), **about)], model
        )
    return done.row


def said(run: RunFolder) -> Contents:
    """What the report of the run says now."""
    with contextlib.closing(decision_log(run)) as log:
        return contents(run, log)


def page(run: RunFolder) -> str:
    """The report of the run as it is now."""
    with contextlib.closing(decision_log(run)) as log:
        return report(run, log)


def labels(run: RunFolder) -> Labels:
    with contextlib.closing(decision_log(run)) as log:
        return labels_of(run, log)
