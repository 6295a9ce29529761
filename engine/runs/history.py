"""The history of a run, image by image, from the frames in its folder."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from engine.events import STAGES, Stage
from engine.runs.folder import RunFolder
from engine.runs.safeguards.damage import is_whole
from engine.stages.frames import Frame, Xray

FOLDER, XRAYS = "frames", "xray"


def save_frame(folder: RunFolder, frame: Frame) -> None:
    """Stores `frame`, in the place of an older one of the same step."""
    arrays = {one.name: getattr(frame, one.name) for one in fields(frame)[2:]}
    there = {name: array for name, array in arrays.items() if array is not None}
    folder.save(artefact_of(frame.stage, frame.step), there)


def artefact_of(stage: Stage, step: int) -> str:
    """The name of a frame's artefact; names sort like steps."""
    return f"{FOLDER}/{stage}-{step:07d}"


def frame_steps_of(folder: RunFolder) -> list[tuple[Stage, int]]:
    """Stage and step of every frame that can be read, oldest first."""
    try:
        names = sorted(entry.name for entry in (folder.path / FOLDER).iterdir())
    except FileNotFoundError:
        return []
    found = [name.rpartition("-") for name in names if not name.startswith(".")]
    own = [(stage, int(step)) for stage in STAGES for name, _, step in found if name == stage and step.isdecimal()]
    return [one for one in own if is_whole(folder, artefact_of(*one))]


def load_frame(folder: RunFolder, stage: Stage, step: int) -> Frame:
    """The frame, its arrays memory-mapped; raises RunError when there is none."""
    return Frame(stage, step, **folder.load(artefact_of(stage, step)))


@dataclass(frozen=True, eq=False)
class History:
    """Labels over F frames of stages 2 and 3, oldest first; stage 2's are those of the chosen head.

    Attributes:
        stages, steps: where each frame was taken.
        labels: (F, N) uint16.
        confidence: (F, N) float16, 0–1.
    """

    stages: tuple[Stage, ...]
    steps: tuple[int, ...]
    labels: np.ndarray
    confidence: np.ndarray

    @cached_property
    def flips(self) -> np.ndarray:
        """(N,) uint8: how often the label changed from one frame to the next."""
        return (self.labels[1:] != self.labels[:-1]).sum(0).astype(np.uint8)


def load_history(folder: RunFolder) -> History:
    """The labels of every frame that has some; none (F = 0) before stage 2 begins."""
    head = chosen_head(folder)
    taken = [one for one in frame_steps_of(folder) if one[0] != "features"]
    frames = [load_frame(folder, stage, step) for stage, step in taken]
    count = folder.card().images
    labels, confidence = np.zeros((len(frames), count), np.uint16), np.zeros((len(frames), count), np.float16)
    for row, frame in enumerate(frames):
        assert frame.labels is not None
        assert frame.confidence is not None
        own = head if frame.stage == "heads" else 0
        labels[row], confidence[row] = frame.labels[own], frame.confidence[own]
    return History(tuple(stage for stage, _ in taken), tuple(step for _, step in taken), labels, confidence)


@dataclass(frozen=True, eq=False)
class PrototypeHistory:
    """Prototypes of the chosen head over F frames of stage 2, oldest first.

    Attributes:
        rounds: F round numbers.
        prototypes: (F, K, D) float32 of length 1.
        confident: (F, K, c) int32, surest first.
        sizes: (F, K) int64, images of each cluster.
    """

    rounds: tuple[int, ...]
    prototypes: np.ndarray
    confident: np.ndarray
    sizes: np.ndarray


def load_prototype_history(folder: RunFolder) -> PrototypeHistory | None:
    """The prototypes of every frame; None before the first frame of stage 2."""
    head = chosen_head(folder)
    steps = [step for stage, step in frame_steps_of(folder) if stage == "heads"]
    if not steps:
        return None
    frames = [folder.load(artefact_of("heads", step)) for step in steps]
    clusters = frames[0]["prototypes"].shape[1]
    return PrototypeHistory(
        tuple(steps),
        np.stack([one["prototypes"][head] for one in frames]).astype(np.float32),
        np.stack([one["confident"][head] for one in frames]),
        np.stack([np.bincount(one["labels"][head], minlength=clusters) for one in frames]),
    )


def chosen_head(folder: RunFolder) -> int:
    """The head that stage 2 chose; the first while it has not."""
    return int(folder.load("heads")["chosen"]) if folder.has("heads") else 0


def save_xray(folder: RunFolder, xray: Xray) -> None:
    """Stores a look of stage 3 through a few images, in the place of an older one of the step."""
    arrays = {one.name: getattr(xray, one.name) for one in fields(xray)[1:]}
    folder.save(f"{XRAYS}/{xray.step:07d}", arrays)


def load_xrays(folder: RunFolder) -> list[Xray]:
    """Every look of stage 3, oldest first; none before it begins."""
    if not folder.has(XRAYS):
        return []
    steps = sorted(one.name for one in (folder.path / XRAYS).iterdir() if one.name.isdecimal())
    steps = [step for step in steps if is_whole(folder, f"{XRAYS}/{step}")]
    return [Xray(int(step), **folder.load(f"{XRAYS}/{step}")) for step in steps]
