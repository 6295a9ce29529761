"""The results of a run: its latest labels, and the summary of all its numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import metrics
from engine.curate.log import DecisionLog
from engine.errors import RunError
from engine.events import Stage
from engine.networks.origins import Origin
from engine.runs.folder import RunFolder
from engine.runs.kept_forecast import Forecast, load_forecast, to_json
from engine.runs.snapshot import LIVE, Snapshot, StageView, fold
from engine.stages.reliable import ReliableSet

if TYPE_CHECKING:
    pass

_SCORES = ("pseudo_label_loss", "head_agreement", "size_entropy", "silhouette")
_NUMBERED: dict[str, Stage] = {"stage1": "features", "stage2": "heads", "stage3": "joint"}


def observe(folder: RunFolder) -> Snapshot:
    """The run as it is now: without a final event and without a writer it is interrupted."""
    return settled(folder, fold(folder.records()[0]))


def settled(folder: RunFolder, snapshot: Snapshot) -> Snapshot:
    """`snapshot` with the state "interrupted" if it says the run is live but no process is training it."""
    if snapshot.state not in (*LIVE, "new") or folder.is_locked:
        return snapshot
    # The run may have ended, and been unlocked, between reading its events and asking for the lock.
    latest = fold(folder.records()[0])
    return replace(latest, state="interrupted") if latest.state in (*LIVE, "new") else latest


def newest_stage(folder: RunFolder) -> Stage | None:
    """The last stage whose labels have been judged, None before stage 2 is done."""
    stages: tuple[Stage, ...] = ("joint", "heads")
    return next((stage for stage in stages if folder.has(f"reliable-{stage}")), None)


def judged_stage(folder: RunFolder) -> Stage:
    """The same; raises RunError before stage 2 is done."""
    stage = newest_stage(folder)
    if stage is None:
        raise RunError(f"{folder.path} has no labels yet: train at least until stage 2 is done")
    return stage


def load_reliable(folder: RunFolder, stage: Stage) -> ReliableSet:
    """The judged labels of `stage`, as they were judged for training; raises RunError if there are none yet."""
    return ReliableSet(**folder.load(f"reliable-{stage}"))


def load_strict(folder: RunFolder, stage: Stage) -> ReliableSet:
    """The same, where only what the run asks of every label is reliable."""
    return load_reliable(folder, stage).strict(folder.card().config.reliable, folder.seen())


def learned_from(folder: RunFolder) -> str:
    """The network that a run began with and what that learned from, in words; "" where nothing is known of it."""
    origin = (folder.encoder_card() or {}).get("origin")
    return "" if origin is None else Origin(**origin).sentence


def decision_log(folder: RunFolder) -> DecisionLog:
    """The log of what people decide about the run's images; raises DecisionError."""
    card = folder.card()
    return DecisionLog(folder.path, images=card.images, clusters=card.config.clusters, fingerprint=card.fingerprint)


def summary(folder: RunFolder, snapshot: Snapshot) -> dict[str, Any]:
    """The run as one JSON object: its settings, its progress, every score.

    Scores are label-free except those below "truth", a key that exists only where the source has
    ground truth and a stage has been scored. A score that a stage does not have is null. "also_trained_on"
    exists only where labels that are not reliable were trained on, since thresholds were lowered or nobody looked at
    labels that people fixed. "skipped"
    exists only if an earlier version skipped a stage, and says why; "unreadable_events" only if lines of the log of
    events are damaged.
    """
    card = folder.card()
    out: dict[str, Any] = {
        "source": card.source,
        "images": card.images,
        "clusters": card.config.clusters,
        "seed": card.config.seed,
        "device": snapshot.device,
        "state": snapshot.state,
        "seconds": {
            "total": round(snapshot.seconds, 2),
            **{key: view.seconds for key, view in _by_number(snapshot).items()},
        },
        "stages": {
            key: {name: _rounded(view.scores.get(name)) for name in _SCORES}
            for key, view in _by_number(snapshot).items()
            if view.scores
        },
        "reliable": _reliable(folder, snapshot),
    }
    ahead = _forecast(folder)
    if ahead is not None:
        out["forecast"] = to_json(ahead)
    truth = _truth(folder, snapshot)
    if truth:
        out["truth"] = truth
    skipped = {k: v.skipped for k, v in _by_number(snapshot).items() if v.skipped}
    if skipped:
        out["skipped"] = skipped
    if snapshot.skipped:
        out["unreadable_events"] = snapshot.skipped
    if snapshot.message:
        out["message"] = snapshot.message
    return out


def _forecast(folder: RunFolder) -> Forecast | None:
    """Nothing else of the summary depends on it."""
    try:
        return load_forecast(folder)
    except RunError:
        return None


def _by_number(snapshot: Snapshot) -> dict[str, StageView]:
    return {key: snapshot.stages[stage] for key, stage in _NUMBERED.items()}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _reliable(folder: RunFolder, snapshot: Snapshot) -> dict[str, Any] | None:
    if snapshot.reliable is None:
        return None
    stage, found = snapshot.reliable
    if stage == "heads" and folder.has("reliable-joint"):
        return None  # what was said of the later labels is lost with the end of the log
    kept, images = list(found.reliable or found.per_cluster), int(np.sum(found.sizes))
    if folder.has(f"reliable-{stage}"):
        kept = load_strict(folder, stage).per_cluster.tolist()
    count = sum(kept)
    others = int(np.sum(found.per_cluster)) - count
    return {
        "stage": next(key for key, name in _NUMBERED.items() if name == stage),
        "count": count,
        "fraction": round(count / images, 6),
        "per_cluster": kept,
        **({"also_trained_on": others} if others else {}),
    }


def _truth(folder: RunFolder, snapshot: Snapshot) -> dict[str, Any]:
    views = {key: view for key, view in _by_number(snapshot).items() if view.truth}
    out: dict[str, Any] = {
        key: {name: _rounded(view.truth[name]) for name in ("acc", "nmi", "ari")} for key, view in views.items()
    }
    purity = _reliable_purity(folder, snapshot)
    if purity is not None:
        out["reliable_purity"] = _rounded(purity)
    if "stage2" in views:
        out["selection_regret"] = _rounded(views["stage2"].truth["selection_regret"])
    return out


def _reliable_purity(folder: RunFolder, snapshot: Snapshot) -> float | None:
    """Of the newest labels that are reliable, not of all that training takes; None without truth or any."""
    if snapshot.reliable is None:
        return None
    stage, found = snapshot.reliable
    if found.reliable is not None:
        return found.reliable_purity
    truth = folder.truth()  # an earlier version recorded only the purity of what it trained on
    if truth is None or not folder.has(f"reliable-{stage}"):
        return None
    strict = load_strict(folder, stage)
    return metrics.purity_within(strict.labels, strict.mask, truth.labels)
