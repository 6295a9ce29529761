"""A run's snapshot as words, steps, curves and scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.config import IMPORT, FeatureSettings
from engine.events import ReliableSelected, Stage
from engine.runs.snapshot import Snapshot, StageView
from engine.shares import percent
from engine.terms import SCORE_MEANINGS, SCORE_NAMES, TRUTH_NAMES, duration
from engine.terms import STAGE_TITLES as TITLES

Status = Literal["waiting", "active", "done", "halted", "skipped"]

STATE_WORDS = {
    "new": "new",
    "queued": "queued",
    "running": "running",
    "paused": "paused",
    "stopped": "stopped",
    "finished": "finished",
    "failed": "failed",
    "interrupted": "interrupted",
}
TRAINING = ("running", "paused")
NEXT = {
    "new": "It has not started yet.",
    "queued": "It is waiting for the device.",
    "paused": "Continue it at any time: nothing is lost.",
    "stopped": "Resume it from its last checkpoint, if there is one.",
    "failed": "Follow the message. If you resume the run, its finished stages are kept.",
    "interrupted": "The training process ended. Resume it from its last checkpoint, if there is one.",
}
APART = (
    "Now: two random views of an image are pulled together, views of different images pushed apart. "
    "This way the encoder learns features without labels."
)
FEATURES_NOW = {
    "moco": APART,
    "simclr": APART,
    "byol": "Now: from one random view of an image, the encoder predicts the features that a slower "
    "copy of it gives another view. This way it learns features without labels.",
    "attract": "Now: two random views of an image are pulled together, and nothing keeps images apart. "
    "All features will collapse: this shows why the other objectives do more.",
}
KEPT_NOW = "Now: the frozen encoder computes the features of every image."
TAKEN_NOW = "Now: the external vectors are clustered and scored as they are."
NOW: dict[Stage, str] = {
    "heads": "Now: each cluster's most confident images form its prototype, the prototype labels the "
    "images nearest to it, and several heads learn these pseudo-labels in parallel.",
    "joint": "Now: encoder and head train together on the reliable images; if the model is confident about "
    "a weak view of another image, the strong view learns the same label.",
}
JOINT_ON_VECTORS = (
    "Now: an adapter on the external vectors and the head train together on the reliable images; if the model is "
    "confident about the vector of another image, it learns the same label from that vector with noise."
)
CHOICES = {
    "loss": "the head with the lowest loss",
    "consensus": "the head that the others agree with most",
    "neighbors": "the head whose labels neighbours share most",
}


@dataclass(frozen=True)
class Step:
    """One box of the stage stepper."""

    number: str
    title: str
    status: Status
    fraction: float
    detail: str


@dataclass(frozen=True)
class Score:
    """A number with its name, as text, and what it means."""

    name: str
    value: str
    meaning: str = ""


@dataclass(frozen=True)
class StageScores:
    title: str
    scores: tuple[Score, ...]


def steps(snapshot: Snapshot, pace: float | None) -> tuple[Step, ...]:
    """Features → heads → reliable → joint, each with how far it is."""
    out = [_stage_step("1", "Features", "features", snapshot, pace), _stage_step("2", "Heads", "heads", snapshot, pace)]
    chosen = snapshot.stages["heads"].reliable
    if chosen is None:
        out.append(Step("", "Reliable set", "waiting", 0.0, "labels you can trust"))
    else:
        out.append(Step("", "Reliable set", "done", 1.0, _selected(chosen)))
    out.append(_stage_step("3", "Joint training", "joint", snapshot, pace))
    return tuple(out)


def _selected(chosen: ReliableSelected) -> str:
    """ "600 of 1,000 (60%); 20 more are trained on, some relaxed to agreement 0.50": only the first are reliable. An
    earlier version recorded only how many are trained on."""
    images, taken = sum(chosen.sizes), sum(chosen.per_cluster)
    least = min(chosen.thresholds)
    relaxed = f", some relaxed to agreement {least:.2f}" if least < max(chosen.thresholds) else ""
    if chosen.reliable is None:
        return f"{taken:,} of {images:,} ({percent(taken / images, 0)}) are trained on{relaxed}"
    count = sum(chosen.reliable)
    words = f"{count:,} of {images:,} ({percent(count / images, 0)})"
    return words if taken == count else f"{words}; {taken - count:,} more are trained on{relaxed}"


def now(snapshot: Snapshot, features: FeatureSettings) -> str:
    """What training is doing now (`features` are stage 1's); "" when it is idle."""
    if snapshot.stage is None or snapshot.state not in TRAINING:
        return ""
    external = features.source.startswith(IMPORT)
    if snapshot.stage != "features":
        return JOINT_ON_VECTORS if external and snapshot.stage == "joint" else NOW[snapshot.stage]
    if external:
        return TAKEN_NOW
    frozen = not features.epochs or kept(snapshot.stages["features"])
    return KEPT_NOW if frozen else FEATURES_NOW[features.objective]


def kept(view: StageView) -> bool:
    """Whether the stage had nothing to train: with 0 epochs a trained encoder stays frozen."""
    return view.finished and not view.steps


def broken_gpu(note: str) -> bool:
    """Whether the engine's note on the device is about a GPU that exists but does not work."""
    return "cannot be used" in note


def _stage_step(number: str, title: str, stage: Stage, snapshot: Snapshot, pace: float | None) -> Step:
    view = snapshot.stages[stage]
    if view.skipped:
        return Step(number, title, "skipped", 0.0, f"skipped: {view.skipped}")
    if kept(view):
        return Step(number, title, "done", 1.0, "kept frozen")
    if view.finished:
        return Step(number, title, "done", 1.0, f"done in {duration(view.seconds or 0)}")
    if not view.steps:
        return Step(number, title, "waiting", 0.0, "waiting")
    count = f"{view.step:,} of {view.steps:,} steps"
    if snapshot.state != "running" or snapshot.stage != stage:
        return Step(number, title, "halted", view.fraction, count)
    left = remaining(view, pace)
    detail = count if left is None else f"{count} · {left} left"
    return Step(number, title, "active", view.fraction, detail)


def how_far(view: StageView) -> str:
    """ "42 %", or "skipped"."""
    return "skipped" if view.skipped else percent(view.fraction, 0)


def remaining(view: StageView, pace: float | None) -> str | None:
    """Time until the stage ends at `pace` steps a second, in words; None while unknown."""
    return None if not pace else duration((view.steps - view.step) / pace)


def short_state(snapshot: Snapshot) -> str:
    """ "running · stage 1, 42 %": the state and, while a stage is under way, how far it is."""
    word = STATE_WORDS[snapshot.state]
    if snapshot.stage is None or snapshot.state == "finished":
        return word
    view = snapshot.stages[snapshot.stage]
    number = list(TITLES).index(snapshot.stage) + 1
    return f"{word} · stage {number}, {percent(view.fraction, 0)}"


def curves(view: StageView) -> dict[str, tuple[list[int], list[float]]]:
    """For each loss of the stage its steps and values."""
    out: dict[str, tuple[list[int], list[float]]] = {}
    for step, losses in view.history:
        for name, value in losses.items():
            places, values = out.setdefault(name, ([], []))
            places.append(step)
            values.append(value)
    return out


def label_free(snapshot: Snapshot) -> tuple[StageScores, ...]:
    """Label-free scores of each stage that has some."""
    return tuple(
        StageScores(
            TITLES[stage],
            tuple(
                Score(SCORE_NAMES.get(name, name), f"{value:.3f}", SCORE_MEANINGS.get(name, ""))
                for name, value in view.scores.items()
            ),
        )
        for stage, view in snapshot.stages.items()
        if view.scores
    )


def against_truth(snapshot: Snapshot) -> tuple[StageScores, ...]:
    """Scores against ground truth of each stage that has some, with the reliable set's purity."""
    return tuple(
        StageScores(TITLES[stage], _truth_scores(view)) for stage, view in snapshot.stages.items() if view.truth
    )


def _truth_scores(view: StageView) -> tuple[Score, ...]:
    scores = [Score(name, percent(view.truth[key])) for key, name in TRUTH_NAMES.items() if key in view.truth]
    scores += _purities(view.reliable)
    if "selection_regret" in view.truth:
        scores.append(
            Score(
                "selection regret",
                f"{100 * view.truth['selection_regret']:.1f} points",
                "How much better the best head would have been; the choice is made without ground truth.",
            )
        )
    return tuple(scores)


def _purities(found: ReliableSelected | None) -> list[Score]:
    """The purity of the reliable set, and that of all labels that are trained on, where these are others."""
    if found is None:
        return []
    scores = []
    if found.reliable_purity is not None:
        scores.append(Score("purity of the reliable set", percent(found.reliable_purity)))
    if found.purity is not None and found.reliable != found.per_cluster:
        scores.append(Score("purity of all labels trained on", percent(found.purity)))
    return scores


def sizes_of(snapshot: Snapshot) -> tuple[str, tuple[int, ...], tuple[int, ...] | None] | None:
    """The newest cluster sizes: where they come from, images and (if judged, and that was recorded) reliable images."""
    if snapshot.reliable is not None:
        stage, found = snapshot.reliable
        return TITLES[stage], found.sizes, found.reliable
    sizes = snapshot.stages["heads"].cluster_sizes
    return (TITLES["heads"], sizes, None) if sizes else None
