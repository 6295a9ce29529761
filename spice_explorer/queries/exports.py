"""Labels that leave the app."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.curate import log
from engine.curate.salvage import GONE, is_gone
from engine.exports.edited import answers_in
from engine.exports.export import export_run
from engine.exports.format import known_formats
from engine.exports.label_table import Format, export_table, packed, to_csv
from engine.exports.labelled import labelled
from engine.exports.returned import Preview, can_undo, commit, preview, undo
from engine.jobs import ENDED, Job, Jobs, Task
from spice_explorer.queries import decisions
from spice_explorer.queries.runs import look, workspace

if TYPE_CHECKING:
    import pandas as pd

    from engine.exports.export import Asked, Exported
    from engine.runs.folder import RunFolder

# Exports whose end is remembered.
MOST_KEPT = 16
# Up to so many bytes an exported folder is offered as a download, which is made in memory.
MOST_DOWNLOADED = 2**28


def label_table(run: RunFolder) -> pd.DataFrame:
    """The newest labels of the run, one row an image; raises RunError before stage 2 is done,
    DecisionError when the decisions cannot be read."""
    # By the log that is open already: a second connection would move a damaged one from under it.
    with decisions.log_of(run).reading() as curation:
        return export_table(run, look(run).snapshot, curation)


def damaged_logs(run: RunFolder) -> list[str]:
    """Names of the run's decision logs that were found damaged and moved aside."""
    return log.damaged_logs(run.path)


def lost_log(run: RunFolder) -> str:
    """What to do where decisions were made in a log that is not there any more; else ""."""
    return f"{log.FILE} {GONE}." if is_gone(run.path / log.FILE) else ""


def rows_saved(run: RunFolder) -> int:
    """How many rows of the last of them are in the log that is used."""
    return log.rows_saved(run.path)


def csv(table: pd.DataFrame) -> bytes:
    return to_csv(table)


def file(table: pd.DataFrame, form: Format) -> bytes:
    """The table for a spreadsheet ("csv"), or with every name as it is ("jsonl", "parquet")."""
    return packed(table, form)


# -- for other tools -------------------------------------------------------------------------------

_exporting: Jobs[Path, Job] = Jobs("spice-export", Job("writing"), keep=MOST_KEPT)


def formats() -> dict[str, str]:
    """The title of each export format by name."""
    return {one.name: one.title for one in known_formats().values()}


def default_place(run: RunFolder, format: str) -> Path:
    """Where an export goes unless another place is typed: beside the folder of all runs."""
    return workspace().parent / "exports" / f"{run.name}-{format}{known_formats()[format].ending}"


def begin(run: RunFolder, asked: Asked) -> None:
    """Exports in the background; a run is exported once at a time."""
    if asked.out.parent == default_place(run, asked.format).parent:
        asked.out.parent.mkdir(parents=True, exist_ok=True)

    def work(task: Task[Job]) -> Exported:
        return export_run(run, asked, decisions.log_of(run), progress=task.tell, stop=task.asked_to_stop)

    _exporting.ask(run.path, work, f"the export of {run.name}", again=ENDED)


def job(run: RunFolder) -> Job | None:
    """How the run's last export is coming along; None if there was none, or it is dismissed."""
    return _exporting.look(run.path)


def cancel(run: RunFolder) -> None:
    _exporting.cancel(run.path)


def dismiss(run: RunFolder) -> None:
    _exporting.forget(run.path)


def downloadable(out: Path) -> bool:
    """Whether an exported file or folder is small enough to be downloaded."""
    files = [out] if out.is_file() else [one for one in out.rglob("*") if one.is_file()]
    return sum(one.stat().st_size for one in files) <= MOST_DOWNLOADED


def download(out: Path) -> bytes:
    """An exported file, or an exported folder as a zip archive with the files that links lead to."""
    if out.is_file():
        return out.read_bytes()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for one in sorted(out.rglob("*")):
            if one.is_file():
                archive.write(one, f"{out.name}/{one.relative_to(out).as_posix()}")
    return content.getvalue()


# -- labels that come back -------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Compared:
    """What a file of labels would change, and the last row of the log that this knows."""

    preview: Preview
    seen: int


def compared(run: RunFolder, file: Path, format: str, *, looked: bool, conflicts_too: bool) -> Compared:
    """Compares labels that were edited elsewhere with the run.

    Args:
        looked: whether somebody has looked at every image that changed.
        conflicts_too: whether the file's answer is taken where there is a conflict.

    Raises:
        RunError, SourceError: in a sentence, for a file that cannot be read or is about something else.
    """
    kept = decisions.log_of(run)
    every = labelled(run, look(run).snapshot, kept)
    seen = kept.curation.row
    found = preview(every, answers_in(file, format, every), conflicts_too=conflicts_too)
    return Compared(replace(found, looked=np.ones_like(found.looked)) if looked else found, seen)


def bring_back(run: RunFolder, found: Compared, reviewer: str) -> int:
    """Makes what was compared decisions of `reviewer`; returns how many images that is. Raises DecisionError."""
    return commit(run, found.preview, decisions.log_of(run), reviewer, seen=found.seen)


def can_take_back(run: RunFolder, reviewer: str) -> bool:
    """Whether the last thing that `reviewer` decided is an import."""
    return can_undo(decisions.log_of(run), reviewer)


def take_back(run: RunFolder, reviewer: str) -> int:
    """Undoes that import; returns how many images change. Raises DecisionError."""
    return undo(decisions.log_of(run), reviewer)
