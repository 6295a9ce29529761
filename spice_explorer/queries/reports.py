"""The report of a run, made on request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.report.report import report
from spice_explorer.queries import decisions

if TYPE_CHECKING:
    from engine.runs.folder import RunFolder


def file(run: RunFolder) -> bytes:
    """The report as one HTML file; raises RunError before stage 1 is done, DecisionError when the decisions cannot be
    read."""
    return report(run, decisions.log_of(run)).encode()
