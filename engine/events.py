"""The events of a run: a closed union of small frozen records, one JSON line each.

Stages emit them, the run folder keeps them, the command line and every page read them.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Union, get_args

Stage = Literal["features", "heads", "joint"]
STAGES: tuple[Stage, ...] = ("features", "heads", "joint")


@dataclass(frozen=True)
class RunQueued:
    """The run waits for its device."""


@dataclass(frozen=True)
class RunStarted:
    """A process started the run, or resumed it after a stop.

    `note` explains the choice of device if a better one was expected.
    """

    device: str
    threads: int
    note: str = ""


@dataclass(frozen=True)
class StageStarted:
    stage: Stage
    steps: int


@dataclass(frozen=True)
class Progress:
    """Where a stage is: `step` of its steps done, mean losses and rates since the last report."""

    stage: Stage
    step: int
    images_per_second: float
    losses: dict[str, float]
    cluster_sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class StageFinished:
    """`seconds` of training, without pauses and interruptions."""

    stage: Stage
    seconds: float


@dataclass(frozen=True)
class StageSkipped:
    """The stage was skipped: the run ended without it. Only earlier versions wrote this, of stage 3."""

    stage: Stage
    reason: str


@dataclass(frozen=True)
class Scored:
    """Label-free scores of a stage's clustering; a score that a stage does not have is absent."""

    stage: Stage
    scores: dict[str, float]


@dataclass(frozen=True)
class TruthScored:
    """Scores against ground truth (fractions 0 to 1): only ever reported, never used."""

    stage: Stage
    scores: dict[str, float]


@dataclass(frozen=True)
class ReliableSelected:
    """The labels of a stage that training takes, and those of them that are reliable.

    Attributes:
        per_cluster: labels that pass `thresholds`, the agreements used per cluster, which a floor may have lowered.
        purity: of these, where there is truth.
        reliable: those of them per cluster that pass what is asked of every label; None in events of earlier
            versions, which did not record it.
        reliable_purity: of these.
    """

    stage: Stage
    per_cluster: tuple[int, ...]
    sizes: tuple[int, ...]
    thresholds: tuple[float, ...]
    neighbors: int
    confidence: float
    purity: float | None = None
    reliable: tuple[int, ...] | None = None
    reliable_purity: float | None = None


@dataclass(frozen=True)
class Alarm:
    """A warning for the user: what was found and what to do about it; where settings are the cure, these, by dotted
    name."""

    stage: Stage
    cause: str
    cure: str
    settings: dict[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class RunPaused:
    pass


@dataclass(frozen=True)
class RunContinued:
    pass


@dataclass(frozen=True)
class RunStopped:
    """The run was stopped on request; it can be resumed."""


@dataclass(frozen=True)
class RunFailed:
    message: str


@dataclass(frozen=True)
class RunFinished:
    pass


@dataclass(frozen=True)
class LineSkipped:
    """A line of the log that could not be read: damaged, or of a later version. It is never written."""


Event = Union[
    RunQueued,
    RunStarted,
    StageStarted,
    Progress,
    StageFinished,
    StageSkipped,
    Scored,
    TruthScored,
    ReliableSelected,
    Alarm,
    RunPaused,
    RunContinued,
    RunStopped,
    RunFailed,
    RunFinished,
    LineSkipped,
]
Emit = Callable[[Event], None]

_KINDS: dict[str, Any] = {kind.__name__: kind for kind in get_args(Event)}


@dataclass(frozen=True)
class Record:
    """An event and its time (seconds since 1970)."""

    time: float
    event: Event = field(hash=False)


def to_json(record: Record) -> dict[str, Any]:
    """A flat dict with the keys `event`, `time` and the event's own fields."""
    return {"event": type(record.event).__name__, "time": round(record.time, 3), **dataclasses.asdict(record.event)}


def from_json(line: dict[str, Any]) -> Record:
    """The record that `to_json` wrote; raises KeyError or TypeError for anything else."""
    values = dict(line)
    kind = _KINDS[values.pop("event")]
    time = float(values.pop("time"))
    tuples = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return Record(time, kind(**tuples))


# How a line ends that was not written by an earlier version: with the checksum of what is before.
_END = ', "crc": "%08x"}'


def line_of(record: Record) -> str:
    """The record as a line of the log, with a checksum, without the line's end."""
    text = json.dumps(to_json(record))
    return text[:-1] + _END % zlib.crc32(text.encode())


def record_of(line: bytes) -> Record:
    """The record that `line_of` wrote; raises ValueError, KeyError or TypeError for anything else."""
    values = json.loads(line)
    found = values.pop("crc", None)
    if found is not None:
        before = line.strip()[: -len(_END % 0)] + b"}"
        if found != f"{zlib.crc32(before):08x}":
            raise ValueError("the line is not as it was written")
    return from_json(values)
