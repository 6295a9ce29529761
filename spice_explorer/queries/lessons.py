"""What the app asks of the engine about lessons: the prepared run, the bundle of a run, and its file.

Everything is made in the background, one thing at a time, and kept for as long as the server runs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import RunError, Stopped
from engine.events import STAGES, Stage
from engine.jobs import Job, Jobs, Task
from engine.lesson import failure_trials
from engine.runs.create import create_run
from engine.runs.runner import the_runner
from spice_explorer.addresses import address_of
from spice_explorer.present import lesson as present
from spice_explorer.queries import artefacts, maps, runs, sources
from spice_explorer.queries.runs import Run, folder_of, workspace

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.runs.folder import RunFolder
    from engine.sources.open_source import Opened

log = logging.getLogger(__name__)

PREPARED = "lesson-digits"
# What a lesson shows of a run comes from these and its trials; when one of them is new, so is the lesson.
PARTS = ("features", "reliable-heads", "reliable-joint")
MOST_KEPT = 4
# The page that shows the first step wants the processor for itself before torch is read.
HEAD_START_SECONDS = 1.0

Key = tuple[object, ...]


@dataclass(frozen=True)
class Made:
    """A lesson.

    Attributes:
        key: the state of the run that it shows.
        body: the bundle as JSON.
        stages: those that were done when it was made.
    """

    key: Key
    body: bytes
    stages: frozenset[Stage]

    @property
    def version(self) -> str:
        return hashlib.blake2b(self.body, digest_size=6).hexdigest()


# By the run's folder: the state that is, or was last, made a lesson of, and the last lesson to be shown.
_newest: dict[Path, Key] = {}
_shown: dict[Path, Made] = {}
_guard = threading.Lock()
_preparing = Jobs[Path, Job]("spice-lesson", Job("preparing"))
# One at a time: a lesson shall not slow down the run that it waits for more than it must.
_lessons = Jobs[tuple[Path, Key], Job]("spice-lesson", Job("making"), at_once=1)
# What goes wrong with a run, by its folder and when that was made: the state is the trial at hand.
_trials = Jobs[tuple[Path, float], Job]("spice-lesson", Job(""), at_once=1)


# -- the prepared run --------------------------------------------------------------------------


def prepared() -> tuple[Opened, RunConfig]:
    """The images and settings of the run that a first visit makes."""
    # Not the other way round: what reads the digits (SciPy) cannot be imported while torch is.
    opened = sources.digits()
    from engine.lesson.build import prepared_config

    return opened, prepared_config()


def prepare(again: bool = False) -> None:
    """Makes the prepared run and queues it, in the background, unless it is there or under way.

    `again`: also after a failure.
    """
    if PREPARED not in runs.run_names():
        place, renewed = workspace(), ("done", "failed") if again else ("done",)
        _preparing.ask(place, partial(_prepare, place), "making the prepared run", again=renewed)


def _prepare(place: Path, task: Task[Job]) -> None:
    task.sleep(HEAD_START_SECONDS)
    if (place / PREPARED / "run.json").is_file():  # made while this was being asked for
        return
    opened, config = prepared()
    task.sleep(0)  # nothing is to be trained any more when the server ends
    the_runner().submit(create_run(place / PREPARED, opened, config))


def preparing() -> bool:
    """True while the prepared run is being made."""
    return _preparing.underway(workspace())


def trouble() -> str:
    """Why the prepared run could not be made, "" if nothing is known against it."""
    job = _preparing.look(workspace())
    return job.message if job else ""


def ahead_of(run: Run) -> Run | None:
    """The run that trains while `run` is queued; None when it does not wait for another."""
    if run.snapshot.state != "queued":
        return None
    others = (runs.look(name) for name in runs.run_names() if name != run.name)
    return next((one for one in others if one.snapshot.state in ("running", "paused")), None)


# -- bundles -----------------------------------------------------------------------------------


def follow(run: Run) -> Made | None:
    """The newest lesson of a run that is there to be shown; a newer one is begun when the run has
    come further. None before stage 1 is done."""
    folder = folder_of(run.name)
    key = _key(folder, run.live)
    if key is not None:
        _newest[folder.path] = key
        again = () if folder.path in _shown else ("done",)  # one that was made and had to go for others
        _lessons.ask((folder.path, key), partial(_make, folder, key), f"the lesson of {folder.path}", again=again)
        if run.snapshot.state == "finished":
            _try_what_goes_wrong(folder)
    return _shown_of(folder)


def _shown_of(folder: RunFolder) -> Made | None:
    shown = _shown.get(folder.path)
    # A run created again under an old name has no lesson yet.
    return shown if shown is not None and shown.key[0] == runs.made(folder) else None


def making(name: str) -> bool:
    """True while a lesson of the run is being made."""
    return _lessons.underway(_newest_of(name))


def fault(name: str) -> str:
    """Why the newest lesson of the run could not be made, "" if it could."""
    job = _lessons.look(_newest_of(name))
    return job.message if job else ""


def _newest_of(name: str) -> tuple[Path, Key]:
    path = folder_of(name).path
    return path, _newest.get(path, ())


def trying(name: str) -> tuple[str, float] | None:
    """Training the failure examples: the trial, and the share of them that are done; None if not."""
    job = _trials.look(_mark(folder_of(name)))
    return (job.state, job.done) if job and job.underway else None


def _mark(folder: RunFolder) -> tuple[Path, float]:
    return folder.path, runs.made(folder)


def _key(folder: RunFolder, live: bool) -> Key | None:
    times = tuple(folder.modified(part) for part in PARTS)
    if times[0] is None and (live or not maps.moments(folder.path.name)):
        return None
    # Trials come one by one; the lesson takes them all at once.
    tried = None if _trials.underway(_mark(folder)) else folder.modified("trials")
    return (runs.made(folder), *times, tried)


def _make(folder: RunFolder, key: Key, _task: Task[Job]) -> None:
    from engine.lesson.build import lesson

    bundle = lesson(folder)
    stages = frozenset(stage for stage in STAGES if bundle["stages"][stage])
    made = Made(key, json.dumps(bundle).encode(), stages)
    with _guard:
        _shown.pop(folder.path, None)
        _shown[folder.path] = made
        for old in list(_shown)[:-MOST_KEPT]:
            del _shown[old]


def _try_what_goes_wrong(folder: RunFolder) -> None:
    """Begins the short trainings of what goes wrong, once for each run and never beside a training."""
    job = _trials.look(_mark(folder))
    idle = not _trials.busy and not _busy()
    if (job is None or job.state == "cancelled") and idle and failure_trials.missing(folder):
        # Trials cancelled by a training resume when nothing is training and the page is open.
        _trials.ask(_mark(folder), partial(_try, folder), f"the trials of {folder.path}", again=("cancelled",))


def _try(folder: RunFolder, task: Task[Job]) -> None:
    try:
        failure_trials.make_trials(folder, progress=task.tell, stop=lambda: _busy() or task.asked_to_stop())
    except Stopped:
        raise
    except Exception:  # a lesson without them is a lesson still
        log.exception("what goes wrong could not be tried for %s", folder.path)


def _busy() -> bool:
    """True while this process trains, or is about to."""
    import torch

    return the_runner().trains_on(torch.device("cpu"))


# -- what the browser fetches --------------------------------------------------------------------


def address(name: str, made: Made | None) -> str:
    """Where the browser finds the lesson of a run; another one when that is another lesson."""
    return f"{address_of('lesson', name)}.json?v={made.version if made else 'opening'}"


def file_address(name: str) -> str:
    """Where the browser finds the lesson of a run as one HTML file."""
    return f"{address_of('lesson', name)}.html"


def body(name: str, version: str) -> bytes:
    """The bundle of a run as JSON: the newest, or the opening where that is asked for, which needs
    nothing but images; raises SpiceError."""
    there = name in runs.run_names()
    made = _shown_of(folder_of(name)) if there else None
    if made is not None and version != "opening":
        return made.body
    if name == PREPARED and not there:
        opened = sources.digits()
        return json.dumps(present.opening(name, opened.images, "digits", 10)).encode()
    card = runs.card(name)
    return json.dumps(present.opening(name, artefacts.images(name), card.source, card.config.clusters)).encode()


def file(name: str) -> bytes:
    """The lesson of a run that is shown, as one HTML file; raises RunError if there is none."""
    from engine.lesson.html_file import page

    made = _shown_of(folder_of(name)) if name in runs.run_names() else None
    if made is None:
        raise RunError(f"{name} has no lesson yet: open it on the page Learn and wait for its first pictures")
    return page(json.loads(made.body)).encode()
