"""A run's model: what it says of an image that the run has not seen, and as a file, written in the background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.curate.curation import State
from engine.models.endings import ENDINGS
from spice_explorer.queries import artefacts, decisions, exports
from spice_explorer.queries.cache import cached
from spice_explorer.queries.exports import Making

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from engine.jobs import Job, Task
    from engine.models.model import Model
    from engine.models.model_file import ModelFile
    from engine.models.of_run import Said
    from engine.runs.folder import RunFolder

# Images of the run that are shown with an answer.
NEAREST = 12


@dataclass(frozen=True, eq=False)
class Answer:
    """What the model says of one image.

    Attributes:
        name, confidence: of the most probable class.
        next_name, next_confidence: of the second; "" where there is only one.
        distance, farthest: of the image from the run's own, and from where on an image is unknown.
        least: below which confidence it is.
        unknown: whether it is.
        square: (C, H, W) uint8, what the model sees of it.
        nearest: (m,) int64, the images of the run that are most like it in stage 1's features, and `cosines` (m,).
    """

    name: str
    confidence: float
    next_name: str
    next_confidence: float
    distance: float
    farthest: float
    least: float
    unknown: bool
    square: np.ndarray
    nearest: np.ndarray
    cosines: np.ndarray

    @property
    def sure(self) -> str:
        """How sure the model is, and what else it might be."""
        second = f"; next: {self.next_name} ({self.next_confidence:.3f})" if self.next_name else ""
        return f"confidence {self.confidence:.3f}{second}"

    @property
    def why_unknown(self) -> str:
        """Why the image is unknown; "" where it is not."""
        reasons = []
        if self.confidence < self.least:
            reasons.append(f"The confidence, {self.confidence:.3f}, is below {self.least:.3f}.")
        if self.distance > self.farthest:
            reasons.append(f"The distance from the run's images, {self.distance:.3f}, is above {self.farthest:.3f}.")
        return " ".join(reasons)


def _decided(run: RunFolder) -> int:
    """The last decision: names, merges and exclusions change the model."""
    return decisions.curation(run).row


@cached("heads", "joint", _decided, entries=2, spinner="Calibrating the model on the run's own images…")
def model(run: RunFolder) -> Model:
    """The run's model; raises RunError where it has none."""
    import torch

    from engine.models.of_run import model_of

    return model_of(run, torch.device("cpu"), _said(run))


def _said(run: RunFolder) -> Said:
    from engine.models.of_run import Said

    with decisions.reading(run) as now:  # for a moment only: meanwhile nobody can decide
        return Said.of(now)


@cached("features", entries=2)
def _first(run: RunFolder) -> torch.nn.Module:
    """(M, C, H, W) in 0–1 → stage 1's features (M, D)."""
    import torch

    from engine.runs.predict import first_networks

    encoder, adapter = first_networks(run, torch.device("cpu"))
    return encoder if adapter is None else torch.nn.Sequential(encoder, adapter)


def answer(run: RunFolder, content: bytes) -> Answer:
    """What the run's model says of an image file.

    Raises:
        SourceError: with the reason, when it cannot be read.
        RunError: when the run has no model, or one of images that are not square.
    """
    from engine.models.streaming import check_square, square_of

    asked = model(run)
    about = asked.about
    check_square(about)
    square = square_of(content, about)
    said = asked.answer(square[None])
    ids, cosines = _nearest(run, square)
    second = int(said.runners_up[0])
    return Answer(
        about.classes[said.classes[0]],
        float(said.confidence[0]),
        "" if second < 0 else about.classes[second],
        float(said.next_confidence[0]),
        float(said.distance[0]),
        about.thresholds.distance,
        about.thresholds.confidence,
        bool(said.unknown[0]),
        square,
        ids,
        cosines,
    )


def _nearest(run: RunFolder, square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The images of the run that are nearest to `square` (C, H, W), nearest first, and their cosines; none that a
    person left out."""
    import torch

    with torch.inference_mode():
        vector = _first(run)(torch.from_numpy(square.copy())[None].float().div_(255))[0].numpy()
    cosines = artefacts.unit_vectors(run) @ (vector / max(float(np.linalg.norm(vector)), 1e-12))
    kept = np.flatnonzero(decisions.curation(run).state != State.EXCLUDED)
    ids = kept[np.argsort(-cosines[kept], kind="stable")[:NEAREST]]
    return ids, cosines[ids]


# -- as a file -------------------------------------------------------------------------------------

making = Making("model")


def without_onnx() -> str:
    """Which package is missing to write ONNX, and the command that installs it; "" where none is."""
    from engine.models.onnx_file import missing

    return missing()


def default_place(run: RunFolder, format: str) -> Path:
    """Where the file goes unless another place is typed."""
    return exports.place_for(f"{run.name}{ENDINGS[format]}")


def begin(run: RunFolder, format: str, out: Path, *, overwrite: bool) -> None:
    """Writes the run's model, and its card beside it, in the background."""
    from engine.models.model_file import write_model

    exports.make_room(out)

    def work(task: Task[Job]) -> ModelFile:
        said = _said(run)
        return write_model(
            run, format, out, overwrite=overwrite, said=said, progress=task.tell, stop=task.asked_to_stop
        )

    making.begin(run, work)
