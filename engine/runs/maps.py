"""Maps of a run's features, kept in its folder under what they were made of: features and settings.

UMAP runs in a process of its own, `python -m engine map RUN`, since it holds Python's lock for as long
as it computes and keeps its memory afterwards. Here one thread starts these processes, one after the
other, and follows their progress.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

import engine
from engine.errors import RunError, Stopped
from engine.events import Stage
from engine.jobs import Job, Jobs, Task
from engine.runs.folder import RunFolder
from engine.runs.history import frame_steps_of, load_frame
from engine.runs.safeguards.damage import is_whole
from engine.space.neighbors import Neighbors, nearest
from engine.space.projection import MapSettings, aligned, principal_map, umap_map

log = logging.getLogger(__name__)

MapState = Literal["ready", "waiting", "computing", "failed"]
Moment = tuple[Stage, int]
DEFAULT = MapSettings()
MAPS = "maps"
# The delay before the process starts, because the page first draws a preview, which needs the processor.
HEAD_START_SECONDS = 2.0
# From this many images on, neighbours within a frame are approximate.
EXACT_FRAME = 5_000


# -- where maps are kept -----------------------------------------------------------------------


@lru_cache(maxsize=64)
def _fingerprint(path: Path, _modified: float | None) -> str:
    digest = hashlib.blake2b(digest_size=8)
    with (path / "features" / "vectors.npy").open("rb") as file:
        while block := file.read(2**22):
            digest.update(block)
    return digest.hexdigest()


def artefact_of(folder: RunFolder, settings: MapSettings, moment: Moment | None = None) -> str:
    """Where the map of the run's features, or of its frame at `moment`, is kept."""
    made_of = _fingerprint(folder.path.resolve(), folder.modified("features"))
    seed = folder.card().config.seed
    asked = f"{made_of}-{settings.neighbors}-{settings.min_dist:g}-{seed}"
    key = hashlib.blake2b(asked.encode(), digest_size=4).hexdigest()
    return f"{MAPS}/{key}" if moment is None else f"{MAPS}/{key}-{moment[0]}-{moment[1]:07d}"


def load_map(folder: RunFolder, settings: MapSettings = DEFAULT, moment: Moment | None = None) -> np.ndarray | None:
    """(N, 2) float32: UMAP of the run's features, or of a frame; None while there is none.

    A frame of stage 2, or the last of stage 1, has the features of stage 1's end.
    """
    if not (folder.has("features") and folder.has(MAPS)):  # a name needs a look at all features
        return None
    artefact = artefact_of(folder, settings, _own(folder, moment))
    whole = folder.has(artefact) and is_whole(folder, artefact)
    return folder.load(artefact)["points"] if whole else None


def _save_map(folder: RunFolder, artefact: str, points: np.ndarray) -> None:
    """Keeps a map; a damaged one that was there is moved aside."""
    if folder.has(artefact):
        log.warning("%s was damaged and moved to %s", artefact, folder.set_aside(artefact))
    folder.save(artefact, {"points": points}, of=("features",))


def _own(folder: RunFolder, moment: Moment | None) -> Moment | None:
    """The moment, or None where its features are those of stage 1's end."""
    return moment if moment in _moving(folder) else None


def _moving(folder: RunFolder) -> list[Moment]:
    """The frames whose features are their own, in the order in which their maps follow from one
    another: stage 1's from its end backwards, then stage 3's."""
    taken = frame_steps_of(folder)
    first = [one for one in taken if one[0] == "features"]
    last = [one for one in taken if one[0] == "joint"]
    return first[-2::-1] + last[1:] if folder.has("features") else first[::-1]


def has_maps(folder: RunFolder, settings: MapSettings = DEFAULT, *, frames: bool = False) -> bool:
    """True when the UMAP of the run's features is there and, if asked, that of every frame."""
    if load_map(folder, settings) is None:
        return False
    asked = _moving(folder) if frames else []
    return all(load_map(folder, settings, one) is not None for one in asked)


def preview(folder: RunFolder) -> np.ndarray:
    """(N, 2) float32: principal components of the newest features; raises RunError before there is a
    frame."""
    return principal_map(_newest_features(folder))


def preview_at(folder: RunFolder, moment: Moment, newest: np.ndarray) -> np.ndarray:
    """(N, 2) float32: principal components of a frame, turned to lie like the `newest`."""
    if moment not in _moving(folder):
        return newest
    vectors = np.asarray(load_frame(folder, *moment).vectors, np.float32)
    return aligned(principal_map(vectors), newest)


def _newest_features(folder: RunFolder) -> np.ndarray:
    if folder.has("features"):
        return np.asarray(folder.load("features")["vectors"])
    taken = frame_steps_of(folder)
    if not taken:
        raise RunError(f"{folder.path} has no features yet: train until stage 1 has begun")
    return np.asarray(load_frame(folder, *taken[-1]).vectors, np.float32)


# -- making them -------------------------------------------------------------------------------


def compute(
    folder: RunFolder,
    settings: MapSettings = DEFAULT,
    *,
    frames: bool = False,
    progress: Callable[[str, float], None] = lambda _part, _done: None,
) -> None:
    """Saves the UMAP of the run's features and, with `frames`, of every frame with its own features, each
    started from the one before and aligned with it. Existing maps are kept.

    Raises:
        RunError: before stage 1 is done.
    """
    if not (folder.has("features") and folder.has("neighbors")):
        raise RunError(f"{folder.path} has no features yet: train until stage 1 is done")
    last = load_map(folder, settings)
    if last is None:
        near = folder.load("neighbors")
        last = umap_map(
            np.asarray(folder.load("features")["vectors"]),
            Neighbors(near["ids"], near["similarity"]),
            settings,
            seed=folder.card().config.seed,
            progress=lambda done: progress("map", done),
        )
        _save_map(folder, artefact_of(folder, settings), last)
    if frames:
        _compute_frames(folder, settings, last, progress)


def _compute_frames(
    folder: RunFolder, settings: MapSettings, final: np.ndarray, progress: Callable[[str, float], None]
) -> None:
    moving, before, stage = _moving(folder), final, ""
    for place, moment in enumerate(moving):
        before = final if moment[0] != stage else before
        stage = moment[0]
        found = load_map(folder, settings, moment)
        if found is None:
            progress("replay", place / len(moving))
            vectors = np.asarray(load_frame(folder, *moment).vectors, np.float32)
            near = nearest(vectors, settings.neighbors - 1, exact_images=EXACT_FRAME)
            seed = folder.card().config.seed
            found = aligned(umap_map(vectors, near, settings, seed=seed, start=before), before)
            _save_map(folder, artefact_of(folder, settings, moment), found)
        before = found


# -- in the background -------------------------------------------------------------------------


@dataclass(frozen=True)
class MapJob:
    """How a map is coming along: `done` is the share of its `part` ("map" or "replay")."""

    state: MapState
    part: str = ""
    done: float = 0.0
    message: str = ""


class _Asked(NamedTuple):
    path: Path
    settings: MapSettings
    frames: bool


def _command(asked: _Asked) -> list[str]:
    """The command that computes the map, at low priority: training and pages come first."""
    gently = ["nice", "-n", "10"] if shutil.which("nice") else []
    return [
        *gently,
        sys.executable,
        "-m",
        "engine",
        "map",
        str(asked.path),
        "--neighbors",
        str(asked.settings.neighbors),
        "--min-dist",
        str(asked.settings.min_dist),
        *(["--replay"] if asked.frames else []),
    ]


class MapMaker(Jobs[_Asked, Job]):
    """Has the maps made that it is asked for, one process after the other."""

    def __init__(self) -> None:
        super().__init__("spice-maps", Job("map"), at_once=1)

    def request(self, folder: RunFolder, settings: MapSettings, *, frames: bool, again: bool = False) -> MapJob:
        """How the map is coming along; asks for it the first time, and `again` after a failure.

        "waiting" means that stage 1 is not done, so that there is nothing to map yet.
        """
        if not (folder.has("features") and folder.has("neighbors")):
            return MapJob("waiting")
        if has_maps(folder, settings, frames=frames):
            return MapJob("ready")
        asked = _Asked(folder.path.resolve(), settings, frames)
        renewed = ("done", "failed") if again else ("done",)
        job = self.ask(asked, partial(_make, asked), f"the map of {asked.path}", again=renewed)
        if job.underway:
            return MapJob("computing", job.state, job.done)
        return MapJob("failed", message=job.message)


def _make(asked: _Asked, task: Task[Job]) -> None:
    task.sleep(HEAD_START_SECONDS)
    root = Path(engine.__file__).parents[1]
    with subprocess.Popen(
        _command(asked),
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        task.at_stop(process.terminate)
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            told = json.loads(line)
            task.tell(told["part"], told["done"])
        complaint = process.stderr.read().strip()
    if task.stopped:
        raise Stopped
    if process.returncode:
        log.error("the map of %s failed: %s", asked.path, complaint)
        last = (complaint.splitlines() or [f"exit status {process.returncode}"])[-1]
        raise RunError(last.removeprefix("error: "))


_maker = MapMaker()


def request_map(
    folder: RunFolder, settings: MapSettings = DEFAULT, *, frames: bool = False, again: bool = False
) -> MapJob:
    """`MapMaker.request` of this process's one map maker."""
    return _maker.request(folder, settings, frames=frames, again=again)


def the_map_maker() -> MapMaker:
    """The one of this process."""
    return _maker
