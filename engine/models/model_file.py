"""A run's model as a file with its card beside it, as the command line and the page write it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from engine.errors import RunError, Stopped
from engine.exports.label_table import write_file
from engine.models.endings import ENDINGS
from engine.models.model import Model
from engine.models.model_card import model_card
from engine.models.of_run import Said, model_of
from engine.models.onnx_file import onnx_file
from engine.models.packing import packed
from engine.runs.folder import RunFolder
from engine.runs.results import observe
from engine.runs.snapshot import LIVE

# Images of the run on which an ONNX file is compared with torch.
COMPARED = 64


@dataclass(frozen=True)
class ModelFile:
    """A model that was written.

    Attributes:
        size: of the file in bytes.
        stage: whose networks it has, "stage 2" or "stage 3".
        classes: how many it tells apart.
        difference: of an ONNX file from torch at most; None of any other.
        notes: what should be said, in sentences without a capital.
    """

    file: Path
    card: Path
    size: int
    stage: str
    classes: int
    difference: float | None
    notes: tuple[str, ...]


def card_beside(file: Path) -> Path:
    """Where the model card of a file is.

    >>> card_beside(Path("a/digits.onnx")).as_posix()
    'a/digits.onnx.md'
    """
    return file.with_name(f"{file.name}.md")


def write_model(
    folder: RunFolder,
    format: str,
    out: Path,
    *,
    overwrite: bool = False,
    said: Said | None = None,
    progress: Callable[[str, int, int], None] = lambda _part, _done, _total: None,
    stop: Callable[[], bool] = lambda: False,
) -> ModelFile:
    """Writes the newest model of a run, and its card beside it.

    Args:
        format: one of ENDINGS.
        overwrite: whether earlier files at that place are replaced.
        said: what people decided; read from the run's log, unless given.
        progress: called with what is being done, "calibrating" or "writing", the images that are done, and their
            number, 0 where nothing is counted.
        stop: called regularly.

    Raises:
        RunError: when the run has no model, a library is missing, or the files cannot be written.
        DecisionError: when the decisions cannot be read.
        Stopped: when `stop()` said so; then nothing was written.
    """
    _check(out, format, overwrite)
    model = model_of(
        folder, torch.device("cpu"), said, progress=lambda done, total: progress("calibrating", done, total), stop=stop
    )
    progress("writing", 0, 0)
    content, difference = _content(folder, model, format)
    if stop():
        raise Stopped
    _check(out, format, overwrite)  # making it took a while
    _write(out, content, model_card(model.about, out.name, difference).encode())
    about = model.about
    notes = (f"the run is still training: this is the model of {about.stage}",) if _live(folder) else ()
    return ModelFile(out, card_beside(out), len(content), about.stage, len(about.classes), difference, notes)


def _check(out: Path, format: str, overwrite: bool) -> None:
    """Raises RunError for a name by which `predict` would not know the format, or that is taken."""
    ending = ENDINGS[format]
    if out.suffix != ending:
        raise RunError(f"{out} does not end in {ending}: give it that ending, by which predict knows the format")
    for file in (out, card_beside(out)):
        if file.exists() and not overwrite:
            raise RunError(f"{file} exists: choose another name, or replace it (--overwrite)")


def _content(folder: RunFolder, model: Model, format: str) -> tuple[bytes, float | None]:
    if format == "onnx":
        return onnx_file(model, folder.images().pixels[:COMPARED])
    return packed(model), None


def _write(out: Path, content: bytes, card: bytes) -> None:
    """Both files, or neither of two new ones."""
    new = not out.exists()
    write_file(content, out)
    try:
        write_file(card, card_beside(out))
    except RunError:
        if new:
            out.unlink(missing_ok=True)
        raise


def _live(folder: RunFolder) -> bool:
    return observe(folder).state in LIVE
