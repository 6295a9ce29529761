"""The runs of the workspace, as they are now.

A page and a route resolve the name of their run once (`find`, `folder_of`) and pass the `RunFolder` on as `run`: all
that reads a run takes that, only what shows its state takes the `Run` that `look` makes of it, and only addresses,
keys of widgets and session state are made of its name.
"""

from __future__ import annotations

import os
import stat
import threading
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import RunError
from engine.events import Progress, Record, RunContinued, RunStarted, Stage
from engine.runs.folder import RunCard, RunFolder
from engine.runs.results import settled
from engine.runs.runner import the_runner
from engine.runs.snapshot import LIVE, Snapshot, fold

# The run that the Learn page trains.
PREPARED = "lesson-digits"
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

    folder: RunFolder
    card: RunCard
    snapshot: Snapshot
    has_truth: bool
    pace: float | None
    mine: bool

    @property
    def name(self) -> str:
        return self.folder.name

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
_troubles: dict[Path, tuple[int, str]] = {}
_guard = threading.Lock()


def workspace() -> Path:
    """Where the runs live: $SPICE_EXPLORER_RUNS, or `runs` in the current folder."""
    return Path(os.environ.get("SPICE_EXPLORER_RUNS") or "runs").absolute()


@dataclass(frozen=True)
class Listed:
    """A folder of the workspace that has a run, or may have one; `trouble` says why it cannot be shown, or is ""."""

    name: str
    trouble: str = ""


def listed() -> list[Listed]:
    """The runs of the workspace, newest first; raises RunError when there is no telling what is in it."""
    try:
        folders = [entry for entry in workspace().iterdir() if not entry.name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(
            f"the folder of the runs, {workspace()}, cannot be read ({error.strerror}): check its permissions, or name "
            "another with SPICE_EXPLORER_RUNS"
        ) from None
    found = [one for one in map(_listed, folders) if one is not None]
    return [each for _, each in sorted(found, key=lambda one: (one[0], one[1].name), reverse=True)]


def _listed(folder: Path) -> tuple[float, Listed] | None:
    """When the run in a folder was made, and the run; None for a folder without one.

    One that cannot be read, was damaged or is of a newer version must not take the others with it.
    """
    try:
        card = (folder / "run.json").stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return 0.0, Listed(folder.name, f"it cannot be read ({error.strerror})")
    if not stat.S_ISREG(card.st_mode):
        return None
    return card.st_mtime, Listed(folder.name, _trouble_of(folder, card.st_mtime_ns))


def _trouble_of(folder: Path, modified: int) -> str:
    """Why the card of a run cannot be read, "" if it can: found out once for each time it was written."""
    known = _troubles.get(folder)
    if known is None or known[0] != modified:
        try:
            RunFolder(folder).card()
            known = modified, ""
        except RunError as error:
            known = modified, str(error)
        except OSError as error:  # not to be remembered: permissions change without the time of the file
            return f"it cannot be read ({error.strerror})"
        _troubles[folder] = known
    return known[1]


def troubled() -> list[Listed]:
    """The runs of the workspace that cannot be shown, newest first."""
    return [one for one in listed() if one.trouble]


def run_names() -> list[str]:
    """The runs of the workspace that can be shown, newest first."""
    return [one.name for one in listed() if not one.trouble]


def newest() -> str:
    """The newest run; the lesson's only if there is no other, "" if there is none at all."""
    names = run_names()
    return next((name for name in names if name != PREPARED), names[0] if names else "")


def find(name: str) -> RunFolder | None:
    """The run called `name`; None if there is none in the workspace."""
    run = RunFolder(workspace() / name)
    # A name, not a path; to list the workspace instead would take longer the more runs there are.
    if not name or Path(name).name != name or name.startswith("."):
        return None
    try:
        return run if run.exists else None
    except OSError:  # its folder cannot be looked into, or no file can be called so
        return None


def folder_of(name: str) -> RunFolder:
    """The run called `name`; raises RunError if there is none in the workspace."""
    run = find(name)
    if run is None:
        raise _missing(name)
    return run


def _missing(name: str) -> RunError:
    return RunError(f"there is no run {name!r} in {workspace()}: choose another in the sidebar")


def made(run: RunFolder) -> float:
    """When the run was made: another run of the same name has another time; raises RunError when it is gone, or cannot
    be read."""
    try:
        return (run.path / "run.json").stat().st_mtime
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(run.name) from None
    except OSError as error:
        raise RunError(f"{run.path} cannot be read ({error.strerror}): check its permissions") from None


def look(run: RunFolder) -> Run:
    """The current state of the run; raises RunError when it cannot be read."""
    with _guard:
        follower = _followed(run)
        snapshot, pace = follower.snapshot, follower.pace()
    mine = the_runner().owns(run)
    if not mine:  # to ask for the lock of a run that is live takes a tenth of a second
        snapshot = settled(run, snapshot)
    return Run(run, run.card(), snapshot, run.has("truth"), pace if snapshot.state == "running" else None, mine)


def _followed(run: RunFolder) -> _Follower:
    """The run's follower, with the newest events in it."""
    when = made(run)
    follower = _followers.get(run.path)
    if follower is None or follower.made != when:
        follower = _followers[run.path] = _Follower(when)
    records, follower.offset = run.records(follower.offset)
    follower.take(records)
    return follower
