"""What the app asks of the engine about lessons: the prepared run, the bundle of a run, and its file.

Everything is made in the background, one thing at a time, and kept for as long as the server runs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import RunError, SpiceError, Stopped
from engine.events import STAGES, Stage
from engine.jobs import Job, Jobs, Task
from engine.lesson import failure_trials
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.runs.runner import the_runner
from spice_explorer.addresses import address_of
from spice_explorer.present import lesson as present
from spice_explorer.queries import artefacts, maps, runs, sources
from spice_explorer.queries.runs import PREPARED, Run, workspace

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.sources.open_source import Opened

log = logging.getLogger(__name__)

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
# The runs whose failure examples somebody asked for.
_wanted: set[tuple[Path, float]] = set()
# What goes wrong with a run, by its folder and when that was made: the state is the trial at hand.
_trials = Jobs[tuple[Path, float], Job]("spice-lesson", Job(""), at_once=1)


# -- the prepared run --------------------------------------------------------------------------


def prepared() -> tuple[Opened, RunConfig]:
    """The images and settings of the run that a first visit makes."""
    # Not the other way round: what reads the digits (SciPy) cannot be imported while torch is.
    opened = sources.digits()
    from engine.lesson.build import prepared_config

    return opened, prepared_config()


def run_of(name: str) -> RunFolder:
    """The run called `name`, the prepared one even while it is not there yet; raises RunError for any other."""
    return RunFolder(workspace() / name) if name == PREPARED else runs.folder_of(name)


def prepare(again: bool = False) -> None:
    """Makes the prepared run and queues it, in the background, unless it is there or under way.

    `again`: also after a failure.
    """
    if not run_of(PREPARED).exists:
        place, renewed = workspace(), ("done", "failed") if again else ("done",)
        _preparing.ask(place, partial(_prepare, place), "making the prepared run", again=renewed)


def _prepare(place: Path, task: Task[Job]) -> None:
    task.sleep(HEAD_START_SECONDS)
    if RunFolder(place / PREPARED).exists:  # made while this was being asked for
        return
    opened, config = prepared()
    task.sleep(0)  # nothing is to be trained any more when the server ends
    run = create_run(place / PREPARED, opened, config)
    want_trials(run)  # the button that was pressed says so
    the_runner().submit(run)


def preparing() -> bool:
    """True while the prepared run is being made."""
    return _preparing.underway(workspace())


def trouble() -> str:
    """Why the prepared run could not be made, "" if nothing is known against it."""
    job = _preparing.look(workspace())
    return job.message if job else ""


def ahead_of(look: Run) -> Run | None:
    """The run that trains while this one is queued; None when it does not wait for another."""
    if look.snapshot.state != "queued":
        return None
    for name in runs.run_names():
        with suppress(SpiceError, OSError):  # its events are damaged, which its own pages say
            other = runs.look(runs.folder_of(name))
            if name != look.name and other.snapshot.state in ("running", "paused"):
                return other
    return None


# -- bundles -----------------------------------------------------------------------------------


def follow(look: Run) -> Made | None:
    """The newest lesson of a run that is there to be shown; a newer one is begun when the run has
    come further. None before stage 1 is done."""
    run = look.folder
    key = _key(run, look.live)
    if key is not None:
        _newest[run.path] = key
        again = () if run.path in _shown else ("done",)  # one that was made and had to go for others
        _lessons.ask((run.path, key), partial(_make, run, key), f"the lesson of {run.path}", again=again)
        if look.snapshot.state == "finished" and _mark(run) in _wanted:
            _try_what_goes_wrong(run)
    return _shown_of(run)


def _shown_of(run: RunFolder) -> Made | None:
    shown = _shown.get(run.path)
    # A run created again under an old name has no lesson yet.
    return shown if shown is not None and shown.key[0] == runs.made(run) else None


def making(run: RunFolder) -> bool:
    """True while a lesson of the run is being made."""
    return _lessons.underway(_newest_of(run))


def fault(run: RunFolder) -> str:
    """Why the newest lesson of the run could not be made, "" if it could."""
    job = _lessons.look(_newest_of(run))
    return job.message if job else ""


def _newest_of(run: RunFolder) -> tuple[Path, Key]:
    return run.path, _newest.get(run.path, ())


def lacks_trials(run: RunFolder) -> bool:
    """True when the failure examples of a finished run could be trained, and nobody has asked for that."""
    return _mark(run) not in _wanted and bool(failure_trials.missing(run))


def want_trials(run: RunFolder) -> None:
    """Asks for the short trainings of what goes wrong: they begin as soon as the run is finished."""
    _wanted.add(_mark(run))


def trying(run: RunFolder) -> tuple[str, float] | None:
    """Training the failure examples: the trial, and the share of them that are done; None if not."""
    job = _trials.look(_mark(run))
    return (job.state, job.done) if job and job.underway else None


def _mark(run: RunFolder) -> tuple[Path, float]:
    return run.path, runs.made(run)


def _key(run: RunFolder, live: bool) -> Key | None:
    times = tuple(run.modified(part) for part in PARTS)
    if times[0] is None and (live or not maps.moments(run)):
        return None
    # Trials come one by one; the lesson takes them all at once.
    tried = None if _trials.underway(_mark(run)) else run.modified("trials")
    return (runs.made(run), *times, tried)


def _make(run: RunFolder, key: Key, _task: Task[Job]) -> None:
    from engine.lesson.build import lesson

    bundle = lesson(run)
    stages = frozenset(stage for stage in STAGES if bundle["stages"][stage])
    made = Made(key, json.dumps(bundle).encode(), stages)
    with _guard:
        _shown.pop(run.path, None)
        _shown[run.path] = made
        for old in list(_shown)[:-MOST_KEPT]:
            del _shown[old]


def _try_what_goes_wrong(run: RunFolder) -> None:
    """Begins the short trainings of what goes wrong, once for each run and never beside a training."""
    job = _trials.look(_mark(run))
    idle = not _trials.busy and not _busy()
    if (job is None or job.state == "cancelled") and idle and failure_trials.missing(run):
        # Trials cancelled by a training resume when nothing is training and the page is open.
        _trials.ask(_mark(run), partial(_try, run), f"the trials of {run.path}", again=("cancelled",))


def _try(run: RunFolder, task: Task[Job]) -> None:
    try:
        failure_trials.make_trials(run, progress=task.tell, stop=lambda: _busy() or task.asked_to_stop())
    except Stopped:
        raise
    except Exception:  # a lesson without them is a lesson still
        log.exception("what goes wrong could not be tried for %s", run.path)


def _busy() -> bool:
    """True while this process trains, or is about to."""
    import torch

    return the_runner().trains_on(torch.device("cpu"))


# -- what the browser fetches --------------------------------------------------------------------


def address(run: RunFolder, made: Made | None) -> str:
    """Where the browser finds the lesson of a run; another one when that is another lesson."""
    return f"{address_of('lesson', run.name)}.json?v={made.version if made else 'opening'}"


def file_address(run: RunFolder) -> str:
    """Where the browser finds the lesson of a run as one HTML file."""
    return f"{address_of('lesson', run.name)}.html"


def body(run: RunFolder, version: str) -> bytes:
    """The bundle of a run as JSON: the newest, or the opening where that is asked for, which needs
    nothing but images; raises SpiceError."""
    if run.name == PREPARED and not run.exists:
        return json.dumps(present.opening(PREPARED, sources.digits().images, "digits", 10)).encode()
    made, card = _shown_of(run), run.card()
    if made is not None and version != "opening":
        return made.body
    return json.dumps(present.opening(run.name, artefacts.images(run), card.source, card.config.clusters)).encode()


def file(run: RunFolder) -> bytes:
    """The lesson of a run that is shown, as one HTML file; raises RunError if there is none."""
    from engine.lesson.html_file import page

    made = _shown_of(run) if run.exists else None
    if made is None:
        raise RunError(f"{run.name} has no lesson yet: open it on the page Learn and wait for its first pictures")
    return page(json.loads(made.body)).encode()
