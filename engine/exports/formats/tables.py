"""CSV, JSON lines and Parquet: the table itself, with everything that is known of each label."""

from __future__ import annotations

from functools import partial

from engine.exports.format import Export, Format
from engine.exports.label_table import Format as TableFormat
from engine.exports.label_table import packed


def _packed(export: Export, form: TableFormat) -> bytes:
    return packed(export.labelled.table, form, guard=export.guard)


FORMATS = (
    Format(
        "csv",
        "CSV",
        "A row for each image, for pandas and spreadsheets.",
        ending=".csv",
        rejected=True,
        options=frozenset({"guard"}),
        packed=partial(_packed, form="csv"),
    ),
    Format(
        "jsonl",
        "JSON lines",
        "A JSON object for each image.",
        ending=".jsonl",
        rejected=True,
        packed=partial(_packed, form="jsonl"),
    ),
    Format(
        "parquet",
        "Parquet",
        "A row for each image, for pandas, Arrow and databases.",
        ending=".parquet",
        rejected=True,
        packed=partial(_packed, form="parquet"),
    ),
)
