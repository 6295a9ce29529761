"""Labels that leave the app."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
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


class Making:
    """Files of one kind that are made of runs in the background: of each run one at a time.

    Attributes:
        name: of the kind, such as "export".
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._jobs: Jobs[Path, Job] = Jobs(f"spice-{name}", Job("writing"), keep=MOST_KEPT)

    def begin(self, run: RunFolder, work: Callable[[Task[Job]], object]) -> None:
        """Does `work`, unless it is under way."""
        self._jobs.ask(run.path, work, f"the {self.name} of {run.name}", again=ENDED)

    def job(self, run: RunFolder) -> Job | None:
        """How the last one is coming along; None if there was none, or it is dismissed."""
        return self._jobs.look(run.path)

    def cancel(self, run: RunFolder) -> None:
        self._jobs.cancel(run.path)

    def dismiss(self, run: RunFolder) -> None:
        self._jobs.forget(run.path)


making = Making("export")


def formats() -> dict[str, str]:
    """The title of each export format by name."""
    return {one.name: one.title for one in known_formats().values()}


def default_place(run: RunFolder, format: str) -> Path:
    """Where an export goes unless another place is typed: beside the folder of all runs."""
    return place_for(f"{run.name}-{format}{known_formats()[format].ending}")


def place_for(name: str) -> Path:
    """Where the file, or folder, of that name goes unless another place is typed."""
    return workspace().parent / "exports" / name


def make_room(out: Path) -> None:
    """Makes the folder that `place_for` has, if `out` goes there; raises OSError."""
    if out.parent == place_for(out.name).parent:
        out.parent.mkdir(parents=True, exist_ok=True)


def begin(run: RunFolder, asked: Asked) -> None:
    """Exports in the background; a run is exported once at a time."""
    make_room(asked.out)

    def work(task: Task[Job]) -> Exported:
        return export_run(run, asked, decisions.log_of(run), progress=task.tell, stop=task.asked_to_stop)

    making.begin(run, work)


def downloadable(*made: Path) -> bool:
    """Whether exported files or folders are small enough to be downloaded; raises OSError for one that is gone."""
    return sum(one.stat().st_size for out in made for one in _files(out)) <= MOST_DOWNLOADED


def download(*made: Path) -> bytes:
    """An exported file as it is; a folder, or several files, as a zip archive with the files that links lead to."""
    if len(made) == 1 and made[0].is_file():
        return made[0].read_bytes()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for out in made:
            for one in _files(out):
                archive.write(one, one.relative_to(out.parent).as_posix())
    return content.getvalue()


def _files(out: Path) -> list[Path]:
    return sorted(one for one in out.rglob("*") if one.is_file()) if out.is_dir() else [out]


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
