"""A lesson's opening, its texts, and what its steps are waiting for."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.events import Stage
from engine.lesson.outline import STEPS
from engine.runs.snapshot import Snapshot
from engine.shares import percent
from spice_explorer.present import progress, sprites

if TYPE_CHECKING:
    from engine.data.images import ImageSet

SHOWN = 48
MAKING = "Preparing the lesson."
NUMBERS: dict[Stage, int] = {"features": 1, "heads": 2, "joint": 3}
TRIALS = {
    "collapse": "stage 1 without negatives and stop-gradient",
    "temperatures": "stage 1 at three temperatures",
    "head": "a head with a bad start",
    "unbalanced": "a class with few images",
}


def opening(run: str, images: ImageSet, source: str, clusters: int) -> dict[str, Any]:
    """The bundle shown before stage 1 has any results: the pictures, and the steps to come."""
    count = len(images)
    ids = np.random.default_rng(0).permutation(count)[:SHOWN]
    steps: list[dict[str, Any]] = [
        {
            "key": key,
            "title": title,
            "sentence": "",
            "formula": "",
            "source": "",
            "needs": "" if stage is None else f"Train stage {NUMBERS[stage]} of {run} to see this step.",
            "show": {},
            "play": None,
            "wrong": None,
        }
        for key, title, stage in STEPS
    ]
    steps[0] |= {
        "sentence": f"{count:,} images and not one label: which of them show the same thing?",
        "show": {"places": list(range(len(ids))), "images": count, "clusters": clusters},
    }
    return {
        "format": 1,
        "run": run,
        "title": PurePosixPath(source).name,
        "images": len(ids),
        "of": count,
        "clusters": clusters,
        "truth": False,
        "stages": {"features": False, "heads": False, "joint": False},
        "map": "pca",
        "ids": ids.tolist(),
        "names": [PurePosixPath(images.ids[one]).name for one in ids],
        "note": "",
        "sprite": _sprite(images.pixels[ids]),
        "curves": [],
        "frames": [],
        "steps": steps,
        "quiz": None,
        "xray": None,
    }


def _sprite(pixels: np.ndarray) -> dict[str, Any]:
    content = io.BytesIO()
    drawn = sprites.sheet(np.asarray(pixels))
    drawn.save(content, "webp", lossless=max(pixels.shape[2:]) <= sprites.SHARP, quality=80)
    data = base64.b64encode(content.getvalue()).decode("ascii")
    return {"data": data, "columns": sprites.COLUMNS, "count": len(pixels)}


# For the steps that need a stage, before anybody has asked for the lesson's run.
UNTRAINED = {
    key: "This step opens when the lesson's run is trained: start it above." for key, _, stage in STEPS if stage
}


def waits(done: Collection[Stage], shown: Collection[Stage], *, live: bool, making: bool) -> dict[str, str]:
    """The message for each step that will open automatically, by the step's key; other steps say what to train.

    Args:
        done: the stages of the run that are.
        shown: those that were when the lesson was made that is shown.
        making: whether a newer lesson is being made.
    """
    found = {}
    for key, _, stage in STEPS:
        if stage is None or stage in shown:
            continue
        if stage not in done and live:
            found[key] = f"This step opens automatically when stage {NUMBERS[stage]} is done."
        elif stage in done and (live or making):
            found[key] = MAKING
    return found


def line(name: str, snapshot: Snapshot, ahead: tuple[str, Snapshot] | None) -> str:
    """One line on how training goes; "" when it is over."""
    if snapshot.state == "queued" and ahead is not None:
        return f"{name} waits in the queue: {ahead[0]} trains first ({progress.short_state(ahead[1])})."
    if snapshot.state == "queued":
        return f"{name} is waiting for the device."
    if snapshot.state == "finished":
        return ""
    if snapshot.state in progress.TRAINING and snapshot.stage is not None:
        number, view = NUMBERS[snapshot.stage], snapshot.stages[snapshot.stage]
        return f"{name} is {snapshot.state}: stage {number} of 3, step {view.step:,} of {view.steps:,}."
    return f"{name}: {progress.short_state(snapshot)}. {progress.NEXT.get(snapshot.state, '')}"


def trial_line(trial: str, done: float) -> str:
    """The progress of the failure examples after the run has finished."""
    what = f": {TRIALS[trial]}" if trial in TRIALS else ""
    return f"The run is finished. Training the failure examples{what} ({percent(done, 0)})."
