"""An export of a run: its target is checked, and it is there completely or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from engine.curate.log import FILE as LOG
from engine.curate.log import DecisionLog, damaged_logs, rows_saved
from engine.curate.salvage import GONE, is_gone
from engine.errors import FULL, RunError, disk_cure, reason_of
from engine.exports.format import Export, Format, format_named
from engine.exports.hashes import with_original_hashes
from engine.exports.label_table import write_file
from engine.exports.labelled import Labelled, counts_by_provenance, labelled, run_id
from engine.exports.pictures import How, Pictures, Which
from engine.exports.splits import duplicate_groups, names_of, shares_of, split
from engine.runs.files import draft_folder, write_text
from engine.runs.folder import RunFolder
from engine.runs.results import observe
from engine.sources.open_source import absolute

# In a folder that was exported: what is in it. Only such a folder is ever replaced.
ABOUT = ".spice-export.json"
Progress = Callable[[str, int, int], None]
# What tables have a hash of: the pixels that were trained on, or also the originals' bytes.
Hash = Literal["pixels", "original"]


@dataclass(frozen=True)
class Asked:
    """A request to export a run.

    Attributes:
        out: the file or folder to write.
        scope: one of SCOPES; `selection` are the image numbers of the scope "selection".
        split: shares such as "80,10,10", "" for none.
        how, pictures: how originals come into a folder, and what stands in for those that are gone.
        hash: "original" adds a hash of each original's bytes, for which all of them are read.
        guard: whether a CSV guards names against spreadsheets.
        overwrite: whether an earlier file or export at that place is replaced.
    """

    format: str
    out: Path
    scope: str = "all"
    selection: tuple[int, ...] = ()
    split: str = ""
    how: How = "copy"
    pictures: Which = "originals"
    hash: Hash = "pixels"
    guard: bool = True
    overwrite: bool = False


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        images, reliable: how many images, and how many of them have a reliable label.
        provenance: how many labels were given by whom.
        out: where it is.
        dropped: how many images of the scope are not in it, for which decision.
        notes: what should be said, in sentences without a capital.
    """

    images: int
    reliable: int
    provenance: dict[str, int]
    out: Path
    dropped: dict[str, int]
    notes: tuple[str, ...] = ()


def export_run(
    folder: RunFolder,
    asked: Asked,
    log: DecisionLog,
    *,
    progress: Progress = lambda _part, _done, _total: None,
    stop: Callable[[], bool] = lambda: False,
) -> Exported:
    """Exports the newest labels of a run.

    Args:
        progress: called with what is being done, "comparing", "hashing" or "writing", the number of steps done, and
            the total.
        stop: called regularly.

    Raises:
        RunError: in a sentence, when there is nothing to export or the target cannot be written.
        SourceError: when originals cannot be read.
        DecisionError: when the decisions cannot be read.
        Stopped: when `stop()` said so. Then, and whenever something is raised, nothing is left at the target but what
            was there.
    """
    form, target = format_named(asked.format), Path(os.path.expanduser(asked.out))
    _check_options(form, asked)
    every = labelled(folder, observe(folder), log)
    check_target(form, target, every, overwrite=asked.overwrite)
    chosen = every.within(asked.scope, np.array(asked.selection, np.int64), rejected=form.rejected)
    if asked.split:
        chosen = _split(chosen, asked.split, progress, stop)
    if asked.hash == "original":
        chosen = with_original_hashes(chosen, progress=lambda *steps: progress("hashing", *steps), stop=stop)
    pictures = Pictures(chosen, asked.pictures if form.pictures else "pixels")
    with draft_beside(target) if form.packed is None else contextlib.nullcontext(target) as draft:
        export = Export(
            chosen,
            pictures,
            draft,
            asked.how,
            asked.guard,
            lambda done, total: progress("writing", done, total),
            stop,
            [*_damaged(folder), *chosen.notes],
        )
        if form.packed is not None:
            export.tell(0)
            write_file(form.packed(export), target)
        else:
            _fill(form, export, asked, target)
    progress("writing", len(chosen), len(chosen))  # it is there: too late to stop
    table = chosen.table
    said = counts_by_provenance(table)
    return Exported(len(chosen), int(table["reliable"].sum()), said, target, chosen.dropped, tuple(export.notes))


# -- checks --------------------------------------------------------------------------------------


def _check_options(form: Format, asked: Asked) -> None:
    if asked.how != "copy" and "how" not in form.options:
        raise RunError(f"{form.name} does not link to originals: leave out --{asked.how}")
    if asked.pictures != "originals" and not form.pictures:
        raise RunError(f"{form.name} has no pictures: leave out --pictures")
    if not asked.guard and "guard" not in form.options:
        raise RunError(f"{form.name} has every name as it is: leave out --no-guard")
    if asked.how == "symlink" and asked.pictures == "pixels":
        raise RunError("there is nothing to link to where pixels are exported: leave out --symlink or --pictures")


def check_target(form: Format, target: Path, labelled: Labelled, *, overwrite: bool) -> None:
    """Raises RunError when `target` cannot take an export of this format, or would lose something."""
    kind = _kind_of(target)
    if form.packed is not None:
        if kind == "file" and not overwrite:
            raise RunError(f"{target} exists: choose another name, or replace it (--overwrite)")
        return
    if not target.name:
        raise RunError(f"{target} has no name: expected the folder to make")
    if kind is not None:
        if kind != "folder" or not (target / ABOUT).is_file():
            raise RunError(f"{target} exists and is no export of this app: choose another folder")
        if not overwrite:
            raise RunError(f"{target} exists: choose another folder, or replace it (--overwrite)")
    inside = labelled.folder.path.resolve()
    source = labelled.origin.text.partition(":")[2] if labelled.origin is not None else ""
    for place, what in ((inside, "the run"), (Path(absolute(source)).resolve() if source else None, "the images")):
        if place is not None and target.resolve().is_relative_to(place):
            raise RunError(f"{target} is in the folder of {what}, {place}: choose one outside")


def _kind_of(target: Path) -> str | None:
    """What is at that place: a "file", a "folder", "another" thing, such as a pipe; None for nothing."""
    try:
        mode = target.stat().st_mode
    except OSError:
        return "another" if target.is_symlink() else None
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "another"


def _split(chosen: Labelled, text: str, progress: Progress, stop: Callable[[], bool]) -> Labelled:
    shares = shares_of(text)
    groups = duplicate_groups(chosen, progress=lambda *steps: progress("comparing", *steps), stop=stop)
    names = [chosen.images.ids[row] for row in chosen.rows.tolist()]
    return chosen.parted(split(chosen.codes, groups[chosen.rows], names, shares), names_of(shares))


def _damaged(folder: RunFolder) -> list[str]:
    if is_gone(folder.path / LOG):
        return [f"{LOG} {GONE}"]
    saved = f"{rows_saved(folder.path):,} of its rows could be read and are used"
    return [
        f"a decision log was damaged; it is kept as {folder.path / name}, and {saved}"
        for name in damaged_logs(folder.path)
    ]


# -- writing a folder ------------------------------------------------------------------------------


@contextlib.contextmanager
def draft_beside(target: Path) -> Iterator[Path]:
    """A hidden folder beside `target` until it is renamed, or the block fails; raises RunError when it cannot be
    made."""
    with contextlib.ExitStack() as ends:
        try:
            draft = ends.enter_context(draft_folder(target))
        except OSError as error:
            cure = disk_cure(error, "choose another place")
            raise RunError(f"{target} cannot be written: {reason_of(error)}; {cure}") from None
        yield draft


def _fill(form: Format, export: Export, asked: Asked, target: Path) -> None:
    """Writes all of the folder, and puts it in its place."""
    assert form.fill is not None
    try:
        form.fill(export)
        export.notes.extend(export.pictures.notes() if form.pictures else [])
        write_text(export.draft / ABOUT, json.dumps(_about(export, asked), ensure_ascii=False, indent=1) + "\n")
        _put_in_place(export.draft, target, asked.overwrite)
    except OSError as error:
        raise RunError(_failed(error, export.draft, target)) from None


def _failed(error: OSError, draft: Path, target: Path) -> str:
    """Whether an original could not be read, or the target not be written, in a sentence. A copy onto a full disk names
    the original, too."""
    why, named = reason_of(error), str(error.filename or "")
    if named and not named.startswith(str(draft)) and error.errno not in FULL:
        return f"{named} cannot be read: {why}; nothing was left at {target}"
    cure = disk_cure(error, "choose another place")
    return f"{target} cannot be written: {why}; nothing was left there: {cure}"


def _put_in_place(draft: Path, target: Path, overwrite: bool) -> None:
    """Renames the draft; an earlier export at that place is moved aside first, and back if that fails."""
    if not (overwrite and target.is_dir()):
        if os.path.lexists(target):  # since the check, somebody else has made it
            raise RunError(f"{target} exists by now: choose another folder")
        draft.rename(target)
        return
    aside = draft.with_name(f"{draft.name}-before")
    target.rename(aside)
    try:
        draft.rename(target)
    except OSError:
        with contextlib.suppress(OSError):
            aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _about(export: Export, asked: Asked) -> dict[str, Any]:
    """What is in an exported folder, and who gave its labels."""
    found, card = export.labelled, export.labelled.folder.card()
    return {
        "format": asked.format,
        "run": found.folder.name,
        "run_id": run_id(found.folder),
        "source": card.source,
        "fingerprint": card.fingerprint,
        "stage": found.stage,
        "scope": asked.scope,
        "images": len(found),
        "provenance": counts_by_provenance(found.table),
        **({"split": asked.split} if asked.split else {}),
        "classes": list(found.classes),
        "notes": export.notes,
    }
