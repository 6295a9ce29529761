"""The report of a run, made in the background."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.report.contents import check
from engine.report.report import report
from engine.runs.results import newest_stage
from spice_explorer.queries import decisions
from spice_explorer.queries.exports import Making

if TYPE_CHECKING:
    from engine.events import Stage
    from engine.jobs import Job, Task
    from engine.runs.folder import RunFolder

making = Making("report")


@dataclass(frozen=True)
class Report:
    """A report, the one HTML file that it is.

    Attributes:
        made: when it was, in seconds since 1970.
        stage: the last one that had been judged; None after stage 1 alone.
        seen: the last decision that it knows of.
    """

    content: bytes = field(repr=False)
    made: float
    stage: Stage | None
    seen: int


def check_ready(run: RunFolder) -> None:
    """Raises RunError before stage 1 is done."""
    check(run)


def judged(run: RunFolder) -> bool:
    """Whether there are labels that have been judged, so that a report has more than the clusters of stage 1."""
    return newest_stage(run) is not None


def begin(run: RunFolder) -> None:
    """Makes the report as the run is now; the job ends with a `Report`."""

    def work(task: Task[Job]) -> Report:
        def progress(part: str, done: float) -> None:
            task.tell(part, done, 1)

        seen, stage, now = decisions.curation(run).row, newest_stage(run), time.time()
        html = report(run, decisions.log_of(run), progress=progress, stop=task.asked_to_stop)
        return Report(html.encode(), now, stage, seen)

    making.begin(run, work)


def outdated(run: RunFolder, found: Report) -> bool:
    """Whether people have decided something, or a stage has been judged, since the report was made."""
    return decisions.curation(run).row != found.seen or newest_stage(run) != found.stage
