"""The runs of the workspace, as they are now."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from engine.errors import RunError
from engine.events import Progress, Record, RunContinued, RunStarted, Stage
from engine.runs.folder import RunFolder
from engine.runs.results import settled
from engine.runs.runner import the_runner
from engine.runs.snapshot import LIVE, Snapshot, fold

if TYPE_CHECKING:
    from engine.runs.folder import RunCard

# Progress records from which the speed of a stage is taken (two a second).
PACE_RECORDS = 20


# -- runs --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """The current state of a run.

    Attributes:
        pace: steps per second of the stage in training, None while unknown.
        mine: true when this process trains it, so that it can be controlled from here.
    """

    name: str
    card: RunCard
    snapshot: Snapshot
    has_truth: bool
    pace: float | None
    mine: bool

    @property
    def live(self) -> bool:
        return self.snapshot.state in LIVE


@dataclass
class _Follower:
    """Remembers which events of a run have been read, so that the next call reads only new ones."""

    made: float
    offset: int = 0
    snapshot: Snapshot = field(default_factory=Snapshot)
    progress: list[tuple[float, Stage, int]] = field(default_factory=list)

    def take(self, records: list[Record]) -> None:
        self.snapshot = fold(records, self.snapshot)
        for record in records:
            if isinstance(record.event, (RunStarted, RunContinued)):
                self.progress = []
            elif isinstance(record.event, Progress):
                self.progress.append((record.time, record.event.stage, record.event.step))
        self.progress = self.progress[-PACE_RECORDS:]

    def pace(self) -> float | None:
        same = [one for one in self.progress if one[1] == self.snapshot.stage]
        if len(same) < 2 or same[-1][0] <= same[0][0]:
            return None
        return max(0.0, (same[-1][2] - same[0][2]) / (same[-1][0] - same[0][0])) or None


_followers: dict[Path, _Follower] = {}
_guard = threading.Lock()


def workspace() -> Path:
    """Where the runs live: $SPICE_EXPLORER_RUNS, or `runs` in the current folder."""
    return Path(os.environ.get("SPICE_EXPLORER_RUNS") or "runs").absolute()


def run_names() -> list[str]:
    """The runs of the workspace, newest first."""
    try:
        cards = [entry / "run.json" for entry in workspace().iterdir()]
    except FileNotFoundError:
        return []
    found = [(card.stat().st_mtime, card.parent.name) for card in cards if card.is_file()]
    return [name for _, name in sorted(found, reverse=True) if not name.startswith(".")]


def folder_of(name: str) -> RunFolder:
    """The folder of the run called `name`; raises RunError if there is none in the workspace."""
    found = RunFolder(workspace() / name)
    # A name, not a path; to list the workspace instead would take longer the more runs there are.
    if Path(name).name != name or name.startswith(".") or not found.exists:
        raise RunError(f"there is no run {name!r} in {workspace()}: choose another in the sidebar")
    return found


def look(name: str) -> Run:
    """The current state of the run; raises RunError when it cannot be read."""
    folder = folder_of(name)
    with _guard:
        follower = _followed(folder)
        snapshot, pace = follower.snapshot, follower.pace()
    mine = the_runner().owns(folder)
    if not mine:  # to ask for the lock of a run that is live takes a tenth of a second
        snapshot = settled(folder, snapshot)
    return Run(name, card(name), snapshot, folder.has("truth"), pace if snapshot.state == "running" else None, mine)


def card(name: str) -> RunCard:
    """The run's settings and images; raises RunError when they cannot be read."""
    folder = folder_of(name)
    return _card(str(folder.path), made(folder))


def _followed(folder: RunFolder) -> _Follower:
    """The run's follower, with the newest events in it."""
    when = made(folder)
    follower = _followers.get(folder.path)
    if follower is None or follower.made != when:
        follower = _followers[folder.path] = _Follower(when)
    records, follower.offset = folder.records(follower.offset)
    follower.take(records)
    return follower


def made(folder: RunFolder) -> float:
    """When the run folder was made: another run of the same name has another time."""
    return (folder.path / "run.json").stat().st_mtime


@st.cache_resource(show_spinner=False, max_entries=256)
def _card(path: str, made: float) -> RunCard:
    del made  # of the cache's key alone
    return RunFolder(path).card()
