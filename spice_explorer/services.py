"""The app's access to the engine, part one: sources, runs, training.

Part two is `artefacts`; nothing else in the app calls the engine.

Heavy engine modules (which load torch) are imported on first use, so that the first page appears before
that. Data read from a run folder is cached by the folder's modification times.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import streamlit as st

from engine import config as settings
from engine import presets
from engine.config import RunConfig
from engine.errors import RunError, SpiceError
from engine.events import Progress, Record, RunContinued, RunStarted, Stage
from engine.runs.snapshot import LIVE, Snapshot, fold

if TYPE_CHECKING:
    from engine.data.images import ImageSet
    from engine.data.skipped import Skipped
    from engine.runs.folder import RunCard, RunFolder
    from engine.sources.open_source import Opened

Action = Literal["pause", "continue", "stop"]
# The encoders that come with the app. The engine's own list brings torch, and a form needs only names.
ENCODERS = Path(__file__).parents[1] / "assets" / "encoders"
WARM_UP_SECONDS = 4.0
WARM_UP = (
    "plotly.graph_objects",
    "scipy.optimize",
    "engine.metrics",
    "engine.runs.maps",
    "engine.runs.results",
    "engine.runs.runner",
    "spice_explorer.components.map_view",
    "spice_explorer.components.prototypes",
    "spice_explorer.components.reliability",
    "spice_explorer.components.curate",
    "engine.lesson.build",
    "spice_explorer.components.lesson",
)
# What works in the background.
WORKERS = {
    "engine.sources.import_job": "the_importer",
    "engine.health.reports": "the_examiner",
    "engine.runs.maps": "the_map_maker",
    "engine.runs.runner": "the_runner",
}
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
    from engine.runs.folder import RunFolder

    if name not in run_names():
        raise RunError(f"there is no run {name!r} in {workspace()}: choose another in the sidebar")
    return RunFolder(workspace() / name)


def look(name: str) -> Run:
    """The current state of the run; raises RunError when it cannot be read."""
    from engine.runs.results import settled
    from engine.runs.runner import the_runner

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
def _card(path: str, made: float) -> RunCard:  # noqa: ARG001 (Streamlit's key leaves out "_made")
    from engine.runs.folder import RunFolder

    return RunFolder(path).card()


# -- starting and steering ---------------------------------------------------------------------


def gpus() -> int:
    """The number of GPUs that CUDA sees; 0 until the warm-up has imported torch."""
    count = getattr(getattr(sys.modules.get("torch"), "cuda", None), "device_count", None)
    return int(count()) if count else 0


def start(opened: Opened, config: RunConfig, device: str, excluded: tuple[Skipped, ...] = ()) -> str:
    """Makes a new run, queues it for training and returns its name; raises SpiceError.

    `excluded` are images that were excluded from the source, and that are not in `opened`.
    """
    from engine.runs.create import create_run
    from engine.runs.runner import choose_device, the_runner
    from spice_explorer import forecasting

    choose_device(device)
    name = _free_name(opened.images.source, config)
    folder = create_run(workspace() / name, opened, config, excluded)
    forecasting.keep(folder, opened, config, device)
    the_runner().submit(folder, device)
    return name


def continue_from(name: str, config: RunConfig, device: str = "auto") -> str:
    """A new run from stages 1 and 2 of the run `name`, queued; returns its name; raises SpiceError.

    `config` may differ from that run's in `reliable` and `joint` alone.
    """
    from engine.runs.create import branch_run
    from engine.runs.runner import choose_device, the_runner

    choose_device(device)
    folder = folder_of(name)
    branch = branch_run(folder, workspace() / _free_name(folder.card().source, config), config)
    the_runner().submit(branch, device)
    return branch.path.name


def train_with_decisions(name: str, device: str = "auto") -> str:
    """Queues a new run from stage 1 of the run `name`, with the decisions on it; returns its
    name; raises SpiceError."""
    from engine.runs.create import branch_decided
    from engine.runs.runner import choose_device, the_runner
    from spice_explorer import decisions

    choose_device(device)
    folder, guidance = folder_of(name), decisions.guidance(name)
    config = replace(folder.card().config, clusters=guidance.clusters)
    place = workspace() / _free_name(folder.card().source, config)
    branch = branch_decided(folder, place, config, guidance)
    decisions.carry(name, branch.path.name, guidance.keep)
    the_runner().submit(branch, device)
    return branch.path.name


def _free_name(source: str, config: RunConfig) -> str:
    """ "photos-k10-seed0-2": the run's source and settings, and the first free number."""
    kind, _, path = source.partition(":")
    plain = Path(path).expanduser().absolute().name if path else kind
    slug = "".join(c if c.isalnum() or c in "-_" else "-" for c in plain.lower()).strip("-")[:40]
    stem = f"{slug or kind}-k{config.clusters}-seed{config.seed}"
    number = 1
    while (workspace() / f"{stem}-{number}").exists():
        number += 1
    return f"{stem}-{number}"


def steer(name: str, action: Action) -> None:
    """Pauses, continues or stops a run of this process; raises RunError for any other."""
    from engine.runs.runner import the_runner

    runner, folder = the_runner(), folder_of(name)
    {"pause": runner.pause, "continue": runner.resume, "stop": runner.stop}[action](folder)


def resume(name: str, device: str = "auto") -> None:
    """Queues a stopped, failed or interrupted run again; raises SpiceError."""
    from engine.runs.runner import the_runner

    the_runner().submit(folder_of(name), device)


def warm_up() -> None:
    """Imports the modules that pages need in the background, so that their first visit is fast.

    It starts well after the first page has been drawn, so that the two do not share the processor.
    """

    def work() -> None:
        time.sleep(WARM_UP_SECONDS)
        for module in WARM_UP:
            importlib.import_module(module)

    threading.Thread(target=work, daemon=True, name="spice-warm-up").start()


def stop_everything() -> None:
    """At the end of the server: training stops at its next step and leaves a checkpoint."""
    for module, worker in WORKERS.items():
        if module in sys.modules:  # what was never asked for anything has nothing to end
            getattr(sys.modules[module], worker)().close()


# -- sources -----------------------------------------------------------------------------------


def open_source(
    source: str,
    size: int | None = None,
    labels: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Opened:
    """The images at `source`; raises SourceError in a sentence for the page."""
    from engine.sources import open_source

    return open_source.open_source(source, size=size, labels=labels, progress=progress)


@st.cache_resource(show_spinner=False)
def digits() -> Opened:
    """The built-in digits, opened once a process."""
    return open_source("digits")


@st.cache_resource(show_spinner=False)
def shapes() -> Opened:
    """The built-in drawn shapes, opened once a process."""
    return open_source("shapes")


def preset(name: str, clusters: int, channels: int, seed: int) -> RunConfig:
    return presets.preset(name, clusters=clusters, channels=channels, seed=seed)


def trained_encoders() -> list[str]:
    """The options for `features.source`: "encoder:NAME" for each encoder shipped with the app."""
    return [f"encoder:{path.stem}" for path in sorted(ENCODERS.glob("*.pt"))]


def faults(config: RunConfig, opened: Opened) -> dict[str, str]:
    """Reasons why these images cannot be trained with `config`, by the setting's dotted name; checks the
    start of stage 1 only as far as possible without a download."""
    found = {"clusters": _clusters_fault(config, opened)}
    source = config.features.source
    if source != settings.SCRATCH:
        # Only vectors depend on the images.
        own = opened.images.fingerprint if source.startswith(settings.IMPORT) else ""
        found["features.source"] = _source_fault(source, _written(source), own, opened.images)
    return {name: fault for name, fault in found.items() if fault}


def _clusters_fault(config: RunConfig, opened: Opened) -> str:
    from engine.runs.create import check_clusters

    try:
        check_clusters(config, len(opened.images), opened.images.source)
    except SpiceError as error:
        return str(error)
    return ""


@st.cache_data(show_spinner="Reading the encoder that stage 1 starts from…", max_entries=32)
def _source_fault(source: str, written: tuple[int, int], fingerprint: str, _images: ImageSet) -> str:
    del written, fingerprint  # of the cache's key alone
    from engine.runs.initial_weights import check_beginning

    try:
        check_beginning(source, _images)
    except SpiceError as error:
        return str(error)
    return ""


def _written(source: str) -> tuple[int, int]:
    """When the file that `source` names was written, and its size; zeros for a name."""
    kind, _, place = source.partition(":")
    if f"{kind}:" == settings.WEIGHTS:
        place = place.partition(":")[2]
    if f"{kind}:" == settings.ENCODER and not place.endswith(".pt"):
        place = str(ENCODERS / f"{place}.pt")
    try:
        found = Path(place).expanduser().stat()
    except (OSError, ValueError, RuntimeError):
        return 0, 0
    return found.st_mtime_ns, found.st_size
