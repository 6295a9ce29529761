"""The report of a run as a file: one HTML page that works without a network."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from engine.curate.log import DecisionLog
from engine.errors import RunError
from engine.report.contents import Progress, check, contents
from engine.report.page import report_page
from engine.runs.files import write_text
from engine.runs.folder import RunFolder
from engine.runs.maps import compute, load_map
from engine.runs.results import decision_log


def report(
    folder: RunFolder,
    log: DecisionLog,
    *,
    progress: Progress = lambda _part, _done: None,
    stop: Callable[[], bool] = lambda: False,
) -> str:
    """The report of a run as one HTML page; `progress`, `stop` and what is raised are those of `contents`."""
    return report_page(contents(folder, log, progress=progress, stop=stop))


def write_report(
    folder: RunFolder,
    out: Path,
    *,
    overwrite: bool = False,
    umap: bool = False,
    progress: Progress = lambda _part, _done: None,
) -> int:
    """Writes the report of a run, completely or not at all; returns its size in bytes.

    Args:
        out: the file, which must not exist.
        overwrite: whether an earlier file at that place is replaced.
        umap: whether the UMAP of the map is computed first, where the run has none.
        progress: of that, as the part "map", and then of the report.

    Raises:
        RunError: before stage 1 is done, or when the file cannot be written.
        DecisionError: when the decisions cannot be read.
    """
    target = Path(os.path.realpath(os.path.expanduser(out)))
    check_target(target, overwrite=overwrite)
    folder.card()
    check(folder)
    if umap and load_map(folder) is None:
        compute(folder, progress=progress)
    with contextlib.closing(decision_log(folder)) as log:
        html = report(folder, log, progress=progress)
    check_target(target, overwrite=overwrite)  # making it took a while
    try:
        write_text(target, html)
    except OSError as error:
        raise RunError(
            f"{target} cannot be written: {error.strerror or error}; nothing was left there. Choose another place, or "
            "free some space"
        ) from None
    return len(html.encode())


def check_target(target: Path, *, overwrite: bool) -> None:
    """Raises RunError when a report would replace something that it must not."""
    try:
        mode = target.stat().st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        raise RunError(f"{target} exists and is not a file: expected the name of the HTML file to write")
    if not overwrite:
        raise RunError(f"{target} exists: choose another name, or replace it (--overwrite)")
