"""The label table: row filters, and the meaning of its columns."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from engine.exports.label_table import Format, exported

Rows = Literal["all", "reliable only", "decided only", "selected images"]

COLUMNS = {
    "id": "permanent name of the image: its path within the source's folder",
    "name": "the file's own name",
    "class": "the class a person decided, or else the model's label",
    "class_name": "the name of that class",
    "provenance": (
        "who gave the class: seen (a person looked at this image), bulk (accepted or moved with others), voted "
        "(spread from seen images) or model"
    ),
    "decision": "decided, rejected (the class is wrong), disputed, or empty",
    "reviewer": "who decided",
    "label": "the model's cluster, 0 to K−1; numbers have no order",
    "confidence": "probability of that cluster, 0 to 1",
    "agreement": "share of the nearest neighbours with the same label, 0 to 1",
    "reliable": (
        "true for a seen answer, and where enough neighbours agree, the confidence is high enough and nobody decided "
        "another class"
    ),
    "stage": "the stage whose model gave the label: heads (2) or joint (3)",
    "epoch": "number of rounds (stage 2) or steps (stage 3) that model was trained for",
}
FORMS: dict[Format, str] = {"csv": "CSV", "jsonl": "JSON lines", "parquet": "Parquet"}
GUARDED = (
    "In the CSV, a quote stands before names that a spreadsheet would run as a formula, such as =1+1.png. The other "
    "files have every name as it is."
)
DROPPED = {"excluded": "that were left out", "rejected": "whose class was rejected as wrong"}


def chosen(table: pd.DataFrame, rows: Rows, selected: np.ndarray | None = None) -> tuple[pd.DataFrame, dict[str, int]]:
    """The asked rows of the table, and how many of them are dropped for which decision; `selected`
    (M,) are row numbers."""
    if rows == "reliable only":
        return exported(table, reliable=True)
    if rows == "decided only":
        table = table[table["decision"] == "decided"]
    elif rows == "selected images":
        table = table.iloc[[] if selected is None else selected]
    return exported(table)


def figures(rows: pd.DataFrame) -> dict[str, int]:
    """What the file with these rows will hold: images, reliable labels, and classes that at least one image has."""
    classes = rows["class" if "class" in rows else "label"]
    return {"Images": len(rows), "Reliable": int(rows["reliable"].sum()), "Classes with images": int(classes.nunique())}


def dropped_words(dropped: dict[str, int]) -> str:
    """ "Not in the file: images that were left out (172)."; "" where nothing is dropped."""
    parts = [f"images {DROPPED[reason]} ({count:,})" for reason, count in dropped.items()]
    return f"Not in the file: {' and '.join(parts)}." if parts else ""


def columns_table(columns: list[str]) -> pd.DataFrame:
    """One row a column: column, meaning."""
    return pd.DataFrame({"column": columns, "meaning": [COLUMNS.get(c, "") for c in columns]})


def file_name(run: str, rows: Rows, form: Format = "csv") -> str:
    """ "photos-k10-seed0-1-reliable.csv"."""
    ending = {"all": "labels", "reliable only": "reliable", "decided only": "decided", "selected images": "selected"}[
        rows
    ]
    return f"{run}-{ending}.{form}"
