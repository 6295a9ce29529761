"""Times a few steps and watches memory meanwhile; used by `probe`."""

from __future__ import annotations

import contextlib
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.events import Event, StageStarted
from engine.forecast.forecast import Cost
from engine.memory import free_memory

# Steps to time of each part: at least, if time allows, and at most.
LEAST_STEPS, MOST_STEPS = 3, 60
# Variation that consecutive steps do not show, such as a warmer processor; and the error of extrapolation.
SPREAD, COUNTED_UP = 1.1, 1.25
# The least share of a small step that is held to grow with its images.
LEAST_GROWING = 0.6
MEMORY_SECONDS = 0.005
Stop = Callable[[], bool]


@dataclass
class Nothing:
    """A checkpoint that keeps nothing."""

    def load(self) -> dict[str, Any] | None:
        return None

    def save(self, state: dict[str, Any]) -> None:
        pass


@dataclass
class Clock:
    """A stage's `stop`: called before every step, it records the time and stops the stage when it has enough.

    It has enough after `seconds` and three steps, or after twice the time and `least` steps.
    """

    seconds: float
    stop: Stop
    now: Callable[[], float] = time.perf_counter
    least: int = 1
    marks: list[float] = field(default_factory=list)
    began: float = 0.0

    def emit(self, event: Event) -> None:
        """Marks the start of a stage: the time until its first step counts as its first frame."""
        if isinstance(event, StageStarted):
            self.began = self.now()

    def asked(self) -> bool:
        self.marks.append(self.now())
        steps, spent = len(self.marks) - 1, self.marks[-1] - self.marks[0]
        if self.stop() or steps >= MOST_STEPS:
            return True
        # What takes long is left early; but a first step says nothing where nothing has warmed up.
        enough = steps >= LEAST_STEPS or (spent >= 2 * self.seconds and steps >= self.least)
        return spent >= self.seconds and enough

    @property
    def steps(self) -> list[float]:
        """Seconds of each step; the first, which warms up, only where there is no other."""
        taken = np.diff(self.marks).tolist()
        return taken[1:] or taken

    @property
    def before(self) -> float:
        """Seconds between the beginning of the stage and its first step; 0 for what is no stage."""
        return max(0.0, self.marks[0] - self.began) if self.began else 0.0


def cost_of(steps: Sequence[float]) -> Cost:
    """The median of timed steps, and the range from the fastest and the slowest."""
    return Cost(statistics.median(steps), min(steps) / SPREAD, max(steps) * SPREAD)


def counted_up(few: Sequence[float], more: Sequence[float], ratios: tuple[float, float]) -> Cost:
    """The cost of a whole step, from timed ones that are smaller by `ratios` (few: the first).

    A part of every step does not grow with its images (the optimiser's): the two sizes show how
    much, as far as their noise allows. At most, all of it grows.
    """
    first, second = 1 / ratios[0], 1 / ratios[1]
    one, other = cost_of(few), cost_of(more)
    slope = (other.seconds - one.seconds) / (second - first)
    most = other.seconds * ratios[1]
    found = min(max(other.seconds + slope * (1 - second), LEAST_GROWING * most), most)
    return Cost(found, other.low / other.seconds * found / COUNTED_UP, other.high * ratios[1] * COUNTED_UP)


def whole_step(taken: Sequence[tuple[list[float], float]]) -> Cost:
    """The cost of a whole step, from steps of growing sizes, each with its ratio to a whole one."""
    steps, ratio = taken[-1]
    if ratio == 1 or len(taken) == 1:
        return cost_of(steps).times(ratio)
    few, few_ratio = taken[-2]
    return counted_up(few, steps, (few_ratio, ratio))


# -- memory ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def watched_memory(device: torch.device) -> Iterator[Callable[[], int]]:
    """Watches memory inside the context; the result says afterwards by how many bytes it has grown."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield lambda: torch.cuda.max_memory_allocated(device) - before
        return
    before, peak, over = resident_bytes(), [0], threading.Event()

    def look() -> None:
        while not over.wait(MEMORY_SECONDS):
            peak[0] = max(peak[0], resident_bytes())

    thread = threading.Thread(target=look, daemon=True, name="spice-memory")
    thread.start()
    try:
        yield lambda: max(0, peak[0] - before)
    finally:
        over.set()
        thread.join()


def resident_bytes() -> int:
    """Host memory of this process, 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def free_bytes(device: torch.device) -> int | None:
    """Memory that is free on a GPU, or on the host for any other device; None where unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return free_memory()
