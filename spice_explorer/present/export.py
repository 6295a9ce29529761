"""The Export page: filters and columns of the label table, and words for what is made and what comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from engine.errors import sized
from engine.exports.export import Exported
from engine.exports.label_table import Format, exported
from engine.exports.labelled import ONE_CLASS
from engine.exports.labelled import dropped_words as excluded_words
from engine.exports.returned import Preview
from engine.jobs import Job
from engine.shares import percent

if TYPE_CHECKING:
    from engine.models.model_file import ModelFile

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


# -- for other tools -------------------------------------------------------------------------------

SCOPES = {"all": "All images", "reliable": "Reliable only", "decided": "Decided only"}
SELECTION = "Selected images"
SPLITS = {
    "": "No split",
    "80,10,10": "80 % training, 10 % validation, 10 % test",
    "70,15,15": "70 % training, 15 % validation, 15 % test",
    "80,20": "80 % training, 20 % test",
}
HOW = {"copy": "Copies", "hardlink": "Hard links", "symlink": "Symbolic links"}
HASH = (
    "Tables get a column original_sha256, of the bytes of each original file or archive member. All originals are read "
    "for it. Without it, pixels_hash is of the pixels that were trained on."
)
LINKS = (
    "Links take no space. A hard link marks the original as changed, so that it is decoded again at the next import; a "
    "symbolic link ends when the original is moved."
)


def scopes(classes: list[str], selected: int, decided: bool) -> dict[str, str]:
    """The scopes that can be exported, with what they are called."""
    found = {name: words for name, words in SCOPES.items() if name != "decided" or decided}
    if selected:
        found["selection"] = f"{SELECTION} ({selected:,})"
    return found | {f"{ONE_CLASS}{name}": f"Class “{name}”" for name in classes}


def export_progress(job: Job) -> tuple[float, str]:
    """A share from 0 to 1, and words for it."""
    share = job.done / job.total if job.total else 0.0
    words = {
        "comparing": f"Looking for duplicates, which a split keeps together: {percent(share, 0)}",
        "hashing": f"Reading the originals for their hashes: {job.done:,.0f} of {job.total:,}",
        "cancelling": "Cancelling…",
    }
    counted = f"{job.done:,.0f} of {job.total:,} images" if job.total else "Reading the labels…"
    return min(share, 1.0), words.get(job.state, counted)


def done_words(done: Exported) -> str:
    """ "39 labels, 20 of them reliable, given by: 3 seen, 36 model. Without 2 excluded images."."""
    said = ", ".join(f"{count:,} {name}" for name, count in done.provenance.items() if count)
    without = f" Without {excluded_words(done.dropped)}." if done.dropped else ""
    return f"{done.images:,} labels, {done.reliable:,} of them reliable, given by: {said}.{without}"


# -- the model, and the report ---------------------------------------------------------------------

MODEL = (
    "One file with the networks, your class names and the thresholds of *unknown*, and a model card beside it. It "
    "labels images without this run: `python -m engine predict FILE IMAGES`. ONNX needs no PyTorch where it is used."
)
MODELS = {"safetensors": "safetensors", "onnx": "ONNX"}
REPORT = (
    "One HTML file to send to somebody else, with the map, clusters, prototypes, scores, decisions and settings. It "
    "opens on any computer or phone, without a network and without this app, and can be printed. The folders of your "
    "images are not named in it."
)
UNJUDGED = (
    "Only stage 1 is done: the report shows the clusters of k-means on its features, and says that nothing has judged "
    "their labels yet."
)
OUTDATED = "Since then, decisions were made or a stage was finished, which are not in it. Make it again to have them."
PARTS = {
    "labels": "Reading the labels…",
    "pictures": "Collecting the pictures of the clusters…",
    "map": "Drawing the map…",
    "scores": "Collecting the scores…",
    "page": "Writing the page…",
    "cancelling": "Cancelling…",
}


def model_progress(job: Job) -> tuple[float, str]:
    """A share from 0 to 1, and words for it."""
    if job.state == "calibrating":
        words = f"Calibrating on the run's own images: {job.done:,.0f} of {job.total:,}"
        return min(job.done / max(job.total, 1), 1.0), words
    return 0.0, "Cancelling…" if job.state == "cancelling" else "Writing the file…"


def model_words(done: ModelFile) -> str:
    """ "The model of stage 3, 10 classes, 1.2 MB, at most 1e-06 from torch. The model card is beside it."."""
    checked = "" if done.difference is None else f", at most {done.difference:.1g} from torch"
    classes = "1 class" if done.classes == 1 else f"{done.classes:,} classes"
    return f"The model of {done.stage}, {classes}, {sized(done.size)}{checked}. The model card is beside it."


def report_progress(job: Job) -> tuple[float, str]:
    """A share from 0 to 1, and words for it."""
    return min(job.done, 1.0), PARTS.get(job.state, PARTS["labels"])


# -- labels that come back -------------------------------------------------------------------------

# What labels come back from, in the words of the page.
RETURNS = {
    "csv": "A table (CSV)",
    "parquet": "A table (Parquet)",
    "folders": "Class folders",
    "label-studio": "Label Studio (JSON)",
    "fiftyone": "FiftyOne",
}


def compared(found: Preview) -> dict[str, int]:
    """The numbers of a comparison, by what they count."""
    return {
        "Labels in the file": found.answers,
        "Would change": len(found.rows),
        "Same as here": found.same,
        "Conflicts": len(found.conflicts),
    }


def conflict_words(count: int) -> str:
    """What a conflict is, and what becomes of it."""
    images = "1 image was" if count == 1 else f"{count:,} images were"
    return (
        f"{images} decided here after these labels had left, or nobody knows when: the answers here stay, unless you "
        "have the file's taken."
    )
