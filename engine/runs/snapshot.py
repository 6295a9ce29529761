"""`Snapshot`: the state of a run, folded from its events. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from engine.events import (
    STAGES,
    Alarm,
    LineSkipped,
    Progress,
    Record,
    ReliableSelected,
    RunContinued,
    RunFailed,
    RunFinished,
    RunPaused,
    RunQueued,
    RunStarted,
    RunStopped,
    Scored,
    Stage,
    StageFinished,
    StageSkipped,
    StageStarted,
    TruthScored,
)

State = Literal["new", "queued", "running", "paused", "stopped", "finished", "failed", "interrupted"]
LIVE: tuple[State, ...] = ("queued", "running", "paused")
# Points of a curve that are kept: every second one goes when there are more.
MOST_POINTS = 512


@dataclass(frozen=True)
class StageView:
    """One stage: how far it is, its curve of losses, its scores; `skipped` says why an earlier version left it out."""

    steps: int = 0
    step: int = 0
    seconds: float | None = None
    images_per_second: float = 0.0
    history: tuple[tuple[int, dict[str, float]], ...] = ()
    cluster_sizes: tuple[int, ...] = ()
    scores: dict[str, float] = field(default_factory=dict)
    truth: dict[str, float] = field(default_factory=dict)
    reliable: ReliableSelected | None = None
    skipped: str = ""

    @property
    def finished(self) -> bool:
        return self.seconds is not None

    @property
    def fraction(self) -> float:
        return 1.0 if self.finished else self.step / self.steps if self.steps else 0.0


@dataclass(frozen=True)
class Snapshot:
    """The state of a run at one time. `seconds` counts only the time it was running, `skipped` the events that could
    not be read."""

    state: State = "new"
    device: str = ""
    threads: int = 0
    note: str = ""
    stage: Stage | None = None
    stages: dict[Stage, StageView] = field(default_factory=lambda: {stage: StageView() for stage in STAGES})
    alarms: tuple[Alarm, ...] = ()
    message: str = ""
    seconds: float = 0.0
    seen: float = 0.0
    skipped: int = 0

    @property
    def reliable(self) -> tuple[Stage, ReliableSelected] | None:
        """The newest reliable set and the stage whose labels it judges."""
        for stage in reversed(STAGES):
            found = self.stages[stage].reliable
            if found is not None:
                return stage, found
        return None


def fold(records: Iterable[Record], start: Snapshot | None = None) -> Snapshot:
    """The snapshot after `records`, beginning from `start`."""
    snapshot = start or Snapshot()
    for record in records:
        if isinstance(record.event, LineSkipped):  # when it was written is lost with it
            snapshot = replace(snapshot, skipped=snapshot.skipped + 1)
            continue
        elapsed = record.time - snapshot.seen if snapshot.state == "running" else 0.0
        if isinstance(record.event, (RunQueued, RunStarted)):
            elapsed = 0.0  # the time since the last sign of an interrupted run is not its own
        snapshot = replace(_after(snapshot, record), seen=record.time, seconds=snapshot.seconds + max(0.0, elapsed))
    return snapshot


def _after(now: Snapshot, record: Record) -> Snapshot:
    event = record.event
    match event:
        case RunQueued():
            return replace(now, state="queued", message="")
        case RunStarted():
            return replace(
                now, state="running", device=event.device, threads=event.threads, note=event.note, message=""
            )
        case RunPaused():
            return replace(now, state="paused")
        case RunContinued():
            return replace(now, state="running")
        case RunStopped():
            return replace(now, state="stopped")
        case RunFinished():
            return replace(now, state="finished", stage=None)
        case RunFailed():
            return replace(now, state="failed", message=event.message)
        case Alarm():
            return now if event in now.alarms else replace(now, alarms=(*now.alarms, event))
        case StageStarted():
            now = replace(now, stage=event.stage)
            return _with(now, event.stage, steps=event.steps, seconds=None)
        case Progress():
            return _progressed(now, event)
        case StageFinished():
            done = now.stages[event.stage].steps
            return _with(now, event.stage, seconds=event.seconds, step=done)
        case StageSkipped():
            return _with(now, event.stage, skipped=event.reason)
        case Scored():
            return _with(now, event.stage, scores=event.scores)
        case TruthScored():
            return _with(now, event.stage, truth=event.scores)
        case ReliableSelected():
            return _with(now, event.stage, reliable=event)
    raise TypeError(f"unknown event {event!r}")


def _with(now: Snapshot, stage: Stage, **changes: object) -> Snapshot:
    changed = replace(now.stages[stage], **changes)  # type: ignore[arg-type]
    return replace(now, stages={**now.stages, stage: changed})


def _progressed(now: Snapshot, event: Progress) -> Snapshot:
    # A run resumed from a checkpoint repeats steps: drop their first points.
    history = now.stages[event.stage].history
    if history and history[-1][0] >= event.step:
        history = tuple(point for point in history if point[0] < event.step)
    history = (*history, (event.step, event.losses))
    return _with(
        now,
        event.stage,
        step=event.step,
        images_per_second=event.images_per_second,
        cluster_sizes=event.cluster_sizes,
        history=history if len(history) <= MOST_POINTS else history[::2],
    )
