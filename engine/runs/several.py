"""Several runs that differ only in their seed: trained in one process, and scored together."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

from engine.errors import SettingError
from engine.jobs import Control
from engine.runs.folder import RunFolder
from engine.runs.runner import Device, execute

if TYPE_CHECKING:
    import torch

# Runs that share a GPU at a time: networks of 32-pixel images do not fill one.
SIDE_BY_SIDE = 8
MOST_SEEDS = 1000
# What of a run's summary is scored together.
SCORED = ("stages", "reliable", "truth", "seconds")


def seeds_of(text: str) -> tuple[int, ...]:
    """The seeds in a text such as "0-4" or "0,3,7-9", each once, rising; raises SettingError."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise SettingError(f"seeds are {text!r}: write them as 0-4 or 0,3,7")
        if int(last or first) - int(first) >= MOST_SEEDS:
            raise SettingError(f"seeds are {text!r}: at most {MOST_SEEDS:,} at once")
        found |= set(range(int(first), int(last or first) + 1))
    return tuple(sorted(found))


def train_all(
    folders: Sequence[RunFolder], chosen: Device, controls: Sequence[Control], ended: Callable[[RunFolder, str], None]
) -> None:
    """Trains the runs: on a GPU side by side, each in a stream of its own, and on a CPU, which one run
    fills, one after the other, so that each is to the bit the run that it would be alone.

    Args:
        controls: a switch for each run.
        ended: called with each run and its final state, in the calling thread.

    Raises:
        RunError: when a run is being trained elsewhere; no run has begun then.
    """

    def one(folder: RunFolder, control: Control) -> str:
        with _own_stream(chosen.device):
            return execute(folder, chosen, control)

    with contextlib.ExitStack() as locked:
        for folder in folders:
            locked.enter_context(folder.lock())
        if chosen.device.type != "cuda":
            for folder, control in zip(folders, controls, strict=True):
                ended(folder, execute(folder, chosen, control))
            return
        with ThreadPoolExecutor(min(SIDE_BY_SIDE, len(folders)), "spice-training") as pool:
            states = {pool.submit(one, *pair): pair[0] for pair in zip(folders, controls, strict=True)}
            for state in as_completed(states):
                ended(states[state], state.result())


@contextlib.contextmanager
def _own_stream(device: torch.device) -> Iterator[None]:
    """Inside this context, this thread's work on a GPU does not wait for other threads' work."""
    import torch

    with torch.cuda.stream(torch.cuda.Stream(device)):
        yield


def together(summaries: Sequence[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Mean, sample deviation (None for a single run), lowest and highest of every score by its dotted
    name, over the runs that have it.

    >>> together([{"truth": {"stage3": {"acc": 0.5}}}, {"truth": {"stage3": {"acc": 1.0}}}])
    {'truth.stage3.acc': {'mean': 0.75, 'deviation': 0.353553, 'lowest': 0.5, 'highest': 1.0}}
    """
    values: dict[str, list[float]] = {}
    for one in summaries:
        for name, value in _numbers({part: one[part] for part in SCORED if one.get(part)}):
            values.setdefault(name, []).append(value)
    return {name: _spread(found) for name, found in values.items()}


def _spread(values: list[float]) -> dict[str, float | None]:
    deviation = round(statistics.stdev(values), 6) if len(values) > 1 else None
    mean = round(statistics.mean(values), 6)
    return {"mean": mean, "deviation": deviation, "lowest": min(values), "highest": max(values)}


def _numbers(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f"{prefix}{name}", value
