"""The training loop: steps, events, stopping and resuming. It is independent of the models."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch

from engine.errors import Stopped, TrainingError
from engine.events import Alarm, Emit, Progress, Stage, StageFinished, StageStarted

REPORT_SECONDS = 0.5
# A checkpoint is stored so often, or less often where storing would take more than this share of the time.
CHECKPOINT_SECONDS, CHECKPOINT_SHARE = 30.0, 0.02
# What a checkpoint consists of: one of another form cannot be continued.
FORM = 3
# What random numbers are drawn for.
Purpose = Literal[
    "encoder weights",
    "projector weights",
    "head weights",
    "adapter weights",
    "joint weights",
    "order of images",
    "contrastive views",
    "cached views",
    "images of a round",
    "rounds",
    "teachers",
    "joint views",
    "views looked through",
]


class Stateful(Protocol):
    def state_dict(self) -> Any: ...
    def load_state_dict(self, state: Any, /) -> Any: ...


class Checkpoint(Protocol):
    """Stores a stage's state; `load` returns None if there is none yet."""

    def load(self) -> dict[str, Any] | None: ...
    def save(self, state: dict[str, Any]) -> None: ...


def seeded(seed: int, purpose: Purpose, step: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one step or epoch of a run, so that resuming on any device needs no stored state.

    Every purpose has a stream of its own: what is drawn for one says nothing about another. Torch's CPU generator
    uses only 32 bits of its seed, so seed and purpose choose where in these a stream begins, and its steps follow
    from there: up to 2**32 of them all differ.
    """
    begin = hashlib.blake2b(f"{purpose} {seed}".encode(), digest_size=4).digest()
    return torch.Generator(device).manual_seed((int.from_bytes(begin, "big") + step) % 2**32)


@dataclass(frozen=True)
class Report:
    """The report of one step: losses as 0-d tensors on the device, images used, cluster sizes."""

    losses: dict[str, torch.Tensor]
    images: int
    cluster_sizes: tuple[int, ...] = ()


def run_steps(
    stage: Stage,
    steps: int,
    step: Callable[[int], Report],
    parts: dict[str, Stateful],
    *,
    emit: Emit,
    stop: Callable[[], bool],
    checkpoint: Checkpoint,
    watch: Callable[[int], None] = lambda _done: None,
) -> None:
    """Calls `step(i)` for i in 0..steps−1, beginning where the checkpoint left off.

    `parts` is everything that a step changes: it is stored every half minute (less often where that
    would take more than a fiftieth of the time) and at a stop. Losses stay on the device and are read
    twice a second, so that a GPU is never waited for in between; they are read before each checkpoint too,
    so that a checkpoint never contains a NaN. `watch` is called with the number of steps done: 0 before the
    first, and after each.

    Raises:
        Stopped: when `stop()` said so; the checkpoint is complete.
        TrainingError: when a loss is not finite; the checkpoint from before is kept.
    """
    done, seconds = _restore(stage, checkpoint, parts, emit)
    meter, saver = _Meter(stage, done), _Saver(checkpoint, parts)
    emit(StageStarted(stage, steps))
    if done == 0:
        watch(0)
    began = time.monotonic()
    for index in range(done, steps):
        seconds += time.monotonic() - began
        if stop():
            meter.check()
            saver.save(index, seconds)
            raise Stopped
        began = time.monotonic()
        meter.resume(began)
        meter.add(step(index))
        watch(index + 1)
        if meter.due() or index + 1 == steps:
            emit(meter.progress(index + 1))
        if saver.due():
            meter.check()
            saver.save(index + 1, seconds)
    meter.check()
    emit(StageFinished(stage, round(seconds + time.monotonic() - began, 3)))


def _restore(stage: Stage, checkpoint: Checkpoint, parts: dict[str, Stateful], emit: Emit) -> tuple[int, float]:
    state = checkpoint.load()
    if state is None:
        return 0, 0.0
    if state.get("form") != FORM:
        cause = "what this stage had done was stored by another version, which trained differently"
        emit(Alarm(stage, cause, "the stage begins again; those before it stay as they are"))
        return 0, 0.0
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return int(state["step"]), float(state["seconds"])


class _Saver:
    """Saves the parts at intervals that depend on the cost of saving: a large network on a slow disk may
    take seconds."""

    def __init__(self, checkpoint: Checkpoint, parts: dict[str, Stateful]) -> None:
        self._checkpoint, self._parts = checkpoint, parts
        self._cost, self._saved = 0.0, time.monotonic()

    def due(self) -> bool:
        wait = max(CHECKPOINT_SECONDS, self._cost / CHECKPOINT_SHARE)
        return time.monotonic() - self._saved > wait

    def save(self, step: int, seconds: float) -> None:
        began = time.monotonic()
        states = {name: part.state_dict() for name, part in self._parts.items()}
        self._checkpoint.save({"form": FORM, "step": step, "seconds": seconds, **states})
        self._saved = time.monotonic()
        self._cost = self._saved - began


class _Meter:
    """Sums of the losses since the last report, and the speed."""

    def __init__(self, stage: Stage, done: int) -> None:
        self.stage, self._done = stage, done
        self._reset()

    def _reset(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._steps = self._images = 0
        self._sizes: tuple[int, ...] = ()
        self._since = time.monotonic()

    def add(self, report: Report) -> None:
        for name, loss in report.losses.items():
            detached = loss.detach()
            self._sums[name] = self._sums[name] + detached if name in self._sums else detached
        self._steps += 1
        self._done += 1
        self._images += report.images
        self._sizes = report.cluster_sizes or self._sizes

    def resume(self, now: float) -> None:
        """Starts the current report's clock now, ignoring any waiting before."""
        if self._steps == 0:
            self._since = now

    def due(self) -> bool:
        return time.monotonic() - self._since >= REPORT_SECONDS

    def check(self) -> dict[str, float]:
        """The mean losses since the last report; raises TrainingError if one is not finite."""
        means = {name: float(total) / self._steps for name, total in self._sums.items()}
        for name, mean in means.items():
            if not math.isfinite(mean):
                raise TrainingError(
                    f"the {name} of the {self.stage} stage became {mean} by step {self._done:,}: "
                    f"start a new run with a lower {self.stage}.learning_rate"
                )
        return means

    def progress(self, step: int) -> Progress:
        means = self.check()
        pace = self._images / max(time.monotonic() - self._since, 1e-9)
        sizes = self._sizes
        self._reset()
        return Progress(self.stage, step, round(pace, 1), means, sizes)
