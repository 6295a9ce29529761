"""What is done before training about a run that is not as it was written.

What can be made again is moved aside and made again, which is said; what cannot ends the run in a sentence, before
anything is trained on it. Nothing is ever deleted.
"""

from __future__ import annotations

import shutil

from engine.curate.log import FILE as DECISIONS
from engine.data.image_store import cache
from engine.data.images import pixels_named
from engine.data.truth import Truth
from engine.errors import RunError
from engine.events import STAGES, Alarm, Emit, Stage
from engine.leftovers import DRAFT, sweep
from engine.runs.folder import IMPORTED, INHERITED_FEATURES, PIXELS, RunFolder
from engine.runs.safeguards.check import SERIES, artefacts_of, given_trouble, trouble_of
from engine.runs.safeguards.cures import REMADE, cure_of
from engine.runs.safeguards.damage import exchanged

# Without these there is nothing to train on, or something else would be trained.
NEEDED = ("images", "extra", "decided", IMPORTED, INHERITED_FEATURES)


def mend(folder: RunFolder, emit: Emit) -> None:
    """Reads all of a run that is about to be trained, and moves aside what is damaged and will be made again.

    Raises:
        RunError: when something is damaged that training needs and nobody can make again.
    """
    _sweep(folder)
    trouble = given_trouble(folder)
    if trouble and not trouble.startswith("run.json"):
        raise RunError(f"{folder.path}: {trouble}: {cure_of(trouble)}")
    if trouble:  # someone may have edited it, and the images have their own checksum
        cause = "run.json is not as it was written when the run was made"
        emit(Alarm("features", cause, "look whether its settings are what you asked for, before you trust the result"))
    for artefact in artefacts_of(folder):
        trouble = trouble_of(folder, artefact)
        if not trouble:
            continue
        if artefact in NEEDED:
            _forget_store(folder, artefact)
            raise RunError(f"{folder.path / artefact}: {trouble}: {cure_of(artefact)}")
        _tell(folder, artefact, trouble, emit)
    for stage in STAGES:
        _mend_checkpoint(folder, stage, emit)


def _sweep(folder: RunFolder) -> None:
    """Removes what a process left that was killed while it wrote; nobody else trains, by the lock of the run."""
    sweep(folder.path, f".*{DRAFT}*")
    for pattern in ("checkpoint-*.tmp", ".*.json.tmp"):
        sweep(folder.path, pattern, unlocked=0)


def _forget_store(folder: RunFolder, artefact: str) -> None:
    """Moves the cache's images aside if they are the same damaged file: a new run would get them again."""
    sums = folder.sums(artefact)
    kept = folder.path / artefact / PIXELS
    named = pixels_named((sums.images if sums is not None else "") or folder.card().fingerprint)
    for store in cache().glob(f"images/*/{named}"):
        if kept.exists() and store.samefile(kept):
            aside = store.parent.with_suffix(".damaged")
            shutil.rmtree(aside, ignore_errors=True)
            store.parent.rename(aside)


def _tell(folder: RunFolder, artefact: str, trouble: str, emit: Emit) -> None:
    if artefact in REMADE or artefact.split("/")[0] in SERIES:
        place = folder.set_aside(artefact).relative_to(folder.path)
        again = "" if artefact in REMADE else ", and is left out"
        cure = f"it was moved to {place}{again or ', and is made again'}"
    else:
        cure = f"the run goes on without it; {cure_of(artefact)}"
    emit(Alarm(_stage_of(artefact), f"{artefact} is damaged ({trouble})", cure))


def _mend_checkpoint(folder: RunFolder, stage: Stage, emit: Emit) -> None:
    checkpoint = folder.checkpoint(stage)
    try:
        checkpoint.load()
    except RunError as error:
        place = folder.set_aside(checkpoint.path.name).relative_to(folder.path)
        cause = str(error).partition(": resume")[0].replace(str(checkpoint.path), checkpoint.path.name)
        emit(Alarm(stage, cause, f"it was moved to {place}, and the stage begins again"))


def truth_of(folder: RunFolder) -> Truth | None:
    """Ground truth, for scores; a damaged one is said by `mend`, and the run goes on without."""
    try:
        return folder.truth()
    except RunError:
        return None


def fits(folder: RunFolder, artefact: str, emit: Emit) -> bool:
    """Whether an artefact is there, to be used as it is. One that was made of others than those that are here now is
    moved aside, unless people may have relied on it.

    Raises:
        RunError: when it cannot be used, and people have decided about its labels.
    """
    if not folder.has(artefact):
        return False
    others = exchanged(folder, artefact)
    if not others:
        return True
    named = " and ".join(others)
    cause = f"{artefact} was made of other {named} than those that are here now"
    if folder.has("joint"):
        emit(Alarm(_stage_of(artefact), cause, "it stays as it is; start a new run if the two have to fit"))
        return True
    if artefact != "neighbors" and (folder.path / DECISIONS).exists():
        raise RunError(
            f"{folder.path}: {cause}, and people have decided about its labels: put back a copy of {named}, or "
            "start a new run"
        )
    place = folder.set_aside(artefact).relative_to(folder.path)
    emit(Alarm(_stage_of(artefact), cause, f"it was moved to {place}, and is made again"))
    return False


def _stage_of(artefact: str) -> Stage:
    """The stage that an artefact belongs to; the first for what no stage makes."""
    if artefact.startswith("xray"):
        return "joint"
    return next((stage for stage in reversed(STAGES) if stage in artefact), "features")
