"""Labels that leave the app."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.curate import log
from engine.exports.label_table import Format, export_table, packed, to_csv
from spice_explorer.queries import decisions
from spice_explorer.queries.runs import look

if TYPE_CHECKING:
    import pandas as pd

    from engine.runs.folder import RunFolder


def label_table(run: RunFolder) -> pd.DataFrame:
    """The newest labels of the run, one row an image; raises RunError before stage 2 is done,
    DecisionError when the decisions cannot be read."""
    # By the log that is open already: a second connection would move a damaged one from under it.
    with decisions.log_of(run).reading() as curation:
        return export_table(run, look(run).snapshot, curation)


def damaged_logs(run: RunFolder) -> list[str]:
    """Names of the run's decision logs that were found damaged and moved aside."""
    return log.damaged_logs(run.path)


def rows_saved(run: RunFolder) -> int:
    """How many rows of the last of them are in the log that is used."""
    return log.rows_saved(run.path)


def csv(table: pd.DataFrame) -> bytes:
    return to_csv(table)


def file(table: pd.DataFrame, form: Format) -> bytes:
    """The table for a spreadsheet ("csv"), or with every name as it is ("jsonl", "parquet")."""
    return packed(table, form)
