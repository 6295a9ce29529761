"""What the app asks of the engine about lessons: the prepared run, the bundle of a run, and its file.

Everything is made in the background, one thing at a time, and kept for as long as the server runs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine.errors import RunError, Stopped, sentence_of
from engine.events import STAGES, Stage
from engine.lesson.failure_trials import make_trials, missing
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


@dataclass
class Made:
    """A lesson in the making or made.

    Attributes:
        key: the state of the run that it shows.
        body: the bundle as JSON.
        stages: those that were done when it was made.
    """

    key: Key
    state: Literal["making", "ready", "failed"] = "making"
    message: str = ""
    body: bytes = b""
    stages: frozenset[Stage] = frozenset()

    @property
    def version(self) -> str:
        return hashlib.blake2b(self.body, digest_size=6).hexdigest()


# By the run's folder: what is being made, and the last one that is there to be shown.
_newest: dict[Path, Made] = {}
_shown: dict[Path, Made] = {}
# The runs for which what goes wrong is being tried: the trial, and the share of them that are done.
_trying: dict[Path, tuple[str, float]] = {}
_tried: set[tuple[Path, float]] = set()
_preparing: dict[Path, str | None] = {}
_guard = threading.Lock()
# One thing at a time: a lesson shall not slow down the run that it waits for more than it must.
_turn = threading.Lock()


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
    place = workspace()
    with _guard:
        found = _preparing.get(place, "")
        if PREPARED in runs.run_names() or found is None or (found and not again):
            return
        _preparing[place] = None
    threading.Thread(target=_prepare, args=(place,), daemon=True, name="spice-lesson").start()


def _prepare(place: Path) -> None:
    trouble = ""
    time.sleep(HEAD_START_SECONDS)
    try:
        opened, config = prepared()
        from engine.runs.create import create_run
        from engine.runs.runner import the_runner

        the_runner().submit(create_run(place / PREPARED, opened, config))
    except Exception as error:
        trouble = sentence_of(error, "making the prepared run")
    with _guard:
        _preparing[place] = trouble


def preparing() -> bool:
    """True while the prepared run is being made."""
    return _preparing.get(workspace(), "") is None


def trouble() -> str:
    """Why the prepared run could not be made, "" if nothing is known against it."""
    return _preparing.get(workspace()) or ""


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
        with _guard:
            known = _newest.get(folder.path)
            if known is None or known.key != key:
                _newest[folder.path] = fresh = Made(key)
                _begin(_make, folder, fresh)
        if run.snapshot.state == "finished":
            _try_what_goes_wrong(folder)
    return _shown_of(folder)


def _shown_of(folder: RunFolder) -> Made | None:
    shown = _shown.get(folder.path)
    # A run that was made anew under the name of another has no lesson yet.
    return shown if shown is not None and shown.key[0] == runs.made(folder) else None


def making(name: str) -> bool:
    """True while a lesson of the run is being made."""
    found = _newest.get(folder_of(name).path)
    return found is not None and found.state == "making"


def trying(name: str) -> tuple[str, float] | None:
    """What goes wrong is being tried: the trial, and the share of them that are done; None if not."""
    return _trying.get(folder_of(name).path)


def fault(name: str) -> str:
    """Why the newest lesson of the run could not be made, "" if it could."""
    found = _newest.get(folder_of(name).path)
    return found.message if found else ""


def _key(folder: RunFolder, live: bool) -> Key | None:
    times = tuple(folder.modified(part) for part in PARTS)
    if times[0] is None and (live or not maps.moments(folder.path.name)):
        return None
    # Trials come one by one; the lesson takes them all at once.
    tried = None if folder.path in _trying else folder.modified("trials")
    return (runs.made(folder), *times, tried)


def _make(folder: RunFolder, made: Made) -> None:
    try:
        from engine.lesson.build import lesson

        with _turn:
            bundle = lesson(folder)
        made.body = json.dumps(bundle).encode()
        made.stages = frozenset(stage for stage in STAGES if bundle["stages"][stage])
        made.state = "ready"
    except Exception as error:
        made.state, made.message = "failed", sentence_of(error, f"the lesson of {folder.path}")
    if made.state == "ready":
        with _guard:
            _shown.pop(folder.path, None)
            _shown[folder.path] = made
            for old in list(_shown)[:-MOST_KEPT]:
                del _shown[old], _newest[old]


def _try_what_goes_wrong(folder: RunFolder) -> None:
    """Begins the short trainings of what goes wrong, once for each run and never beside a training."""
    with _guard:
        mark = folder.path, runs.made(folder)
        if mark in _tried or _trying or _busy():
            return
        _tried.add(mark)
        if not missing(folder):
            return
        _trying[folder.path] = "", 0.0
    _begin(_try, folder, mark)


def _try(folder: RunFolder, mark: tuple[Path, float]) -> None:
    def tell(trial: str, done: float) -> None:
        _trying[folder.path] = trial, done

    try:
        make_trials(folder, progress=tell, stop=_busy)
    except Stopped:  # they go on when nothing trains any more and somebody looks
        _tried.discard(mark)
    except Exception:  # a lesson without them is a lesson still
        log.exception("what goes wrong could not be tried for %s", folder.path)
    finally:
        with _guard:
            _trying.pop(folder.path, None)


def _busy() -> bool:
    """True while this process trains, or is about to."""
    import torch

    return the_runner().trains_on(torch.device("cpu"))


def _begin(work: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=work, args=arguments, daemon=True, name="spice-lesson").start()


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
