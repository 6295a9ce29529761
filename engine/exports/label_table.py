"""The table of labels: one row per image, with the source of its label."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import os
import re
import shutil
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from engine.curate.curation import Curation, State
from engine.curate.provenance import NAMES, Provenance
from engine.data.images import ImageSet
from engine.errors import RunError
from engine.events import Stage
from engine.formats.identity import FORMULA
from engine.leftovers import DRAFT, holding, sweep
from engine.runs.folder import RunFolder
from engine.runs.results import decision_log, judged_stage, load_strict
from engine.runs.snapshot import Snapshot
from engine.stages.reliable import ReliableSet

if TYPE_CHECKING:
    import pandas as pd

Format = Literal["csv", "jsonl", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)
# Files that this process has open, of which a path is another name.
_OPEN_FILE = re.compile(r"/dev/(stdout|stderr)|/dev/fd/(\d+)|/proc/self/fd/(\d+)")
# Texts that people or their files gave.
GUARDED = ["id", "name", "class_name", "reviewer", "run", "exported_as"]
# In the order of `State`.
DECISIONS = ("", "decided", "rejected", "excluded")


def label_table(images: ImageSet, verdict: ReliableSet, *, stage: str, epoch: int) -> pd.DataFrame:
    """N rows with the columns id, name, label, provenance, confidence, agreement, reliable, stage, epoch.

    `label` is the cluster, 0..K−1; `provenance` is who gave it, the model; `epoch` counts the rounds (stage 2) or
    steps (stage 3) trained.
    """
    import pandas as pd

    return pd.DataFrame(
        {
            "id": images.ids,
            "name": images.names,
            "label": verdict.labels,
            "provenance": NAMES[Provenance.MODEL],
            "confidence": verdict.confidence.round(6),
            "agreement": verdict.agreement.round(6),
            "reliable": verdict.mask,
            "stage": stage,
            "epoch": epoch,
        }
    )


def with_decisions(table: pd.DataFrame, curation: Curation) -> pd.DataFrame:
    """The label table of a run with the columns class, class_name, decision and reviewer before the model's label.

    `class` is the decided class, or else the model's label with merges and splits applied, and `provenance` is who
    gave it: seen, bulk, voted or model; of a rejected class, the one who gave what is wrong. `decision` is
    decided, rejected, excluded, disputed or ""; an excluded image stays excluded while that is disputed, as
    in training. `reliable` is about the class: a seen answer is reliable, and so is a reliable label of the model as
    long as the class is the same.
    """
    names = {one.number: one.name for one in curation.classes}
    classes = curation.classes_of(table["label"].to_numpy())
    decision = np.array(DECISIONS, object)[curation.state]
    deciders = curation.deciders()
    out = table.copy()
    out["class"] = classes
    out["class_name"] = [names[one] for one in classes.tolist()]
    given = curation.provenance != Provenance.MODEL
    out["provenance"] = np.where(given, np.array(NAMES, object)[curation.provenance], table["provenance"])
    same = classes == curation.home[table["label"].to_numpy()]
    out["reliable"] = curation.seen | (table["reliable"].to_numpy() & same)
    open_question = curation.disputed & (curation.state != State.EXCLUDED)
    out["decision"] = np.where(open_question, "disputed", decision)
    out["reviewer"] = [deciders.get(row, "") for row in curation.deciding.tolist()]
    # A reader who takes the first label that comes gets the curated one.
    first = ["id", "name", "class", "class_name", "provenance", "decision", "reviewer"]
    return out[first + [one for one in out.columns if one not in first]]


def exported(table: pd.DataFrame, *, reliable: bool = False) -> tuple[pd.DataFrame, dict[str, int]]:
    """The rows of a label table that go into a file, and how many are dropped for which decision.

    An image that a person excluded goes into none; into one of `reliable` labels only, neither does a
    label that a person rejected as wrong.
    """
    asked = table[table["reliable"]] if reliable else table
    if "decision" not in table:
        return asked, {}
    reasons = ("excluded", "rejected") if reliable else ("excluded",)
    counts = asked["decision"].value_counts()
    dropped = {reason: int(counts[reason]) for reason in reasons if reason in counts}
    return asked[~asked["decision"].isin(reasons)], dropped


def packed(table: pd.DataFrame, form: Format, *, guard: bool = True) -> bytes:
    """The table as a file; only in a CSV are names ever guarded against spreadsheets."""
    if form == "csv":
        return to_csv(table, guard=guard)
    if form == "jsonl":
        return str(table.to_json(orient="records", lines=True, force_ascii=False)).encode()
    out = io.BytesIO()
    table.to_parquet(out, index=False)
    return out.getvalue()


def to_csv(table: pd.DataFrame, *, guard: bool = True) -> bytes:
    """UTF-8 CSV; with `guard`, a quote keeps spreadsheets from running a name as a formula.

    All text is quoted, because Python before 3.13 does not quote carriage returns, which file names may contain.
    """
    safe = table.copy()
    for column in safe.columns.intersection(GUARDED if guard else []):
        text = safe[column].astype(str)
        safe[column] = text.where(~text.str.startswith(FORMULA), "'" + text)
    rows = safe.to_csv(index=False, header=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return (",".join(table.columns) + "\n" + rows).encode()


def write_file(content: bytes, path: Path) -> None:
    """Writes a whole file, or leaves what was there; raises RunError when it cannot.

    Links are followed. Into a terminal, a pipe or another stream, such as /dev/stdout, the content is written as it
    is; nothing that is not a regular file is ever replaced.
    """
    if not path.name:
        raise RunError(f"{path} is a folder: expected a file name")
    try:
        if not _into_stream(content, path):
            _replace(content, Path(os.path.realpath(path)))
    except OSError as error:
        reason = error.strerror or error
        raise RunError(f"{path} cannot be written: {reason}; choose another place") from None


def _into_stream(content: bytes, path: Path) -> bool:
    """Writes into what `path` is, unless that is a regular file or nothing yet; raises OSError."""
    number = _OPEN_FILE.fullmatch(os.path.abspath(path))
    if number:
        which = {"stdout": 1, "stderr": 2}.get(number[1]) or int(number[2] or number[3] or 0)
        sys.stdout.flush()
        with os.fdopen(os.dup(which), "wb") as stream:
            stream.write(content)
        return True
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISREG(mode):
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not (stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)):
        raise OSError(errno.EINVAL, "it is a device or a socket, not a file")
    with path.open("wb", buffering=0) as stream:
        stream.write(content)
    return True


def _replace(content: bytes, target: Path) -> None:
    """Puts a file in place of what was there, in one step; raises OSError."""
    sweep(target.parent, f".spice{DRAFT}*")
    draft = target.with_name(f".spice{DRAFT}{os.getpid()}")  # short: the name of the file may be as long as is legal
    try:
        draft.touch()
        with holding(draft):
            draft.write_bytes(content)
        with contextlib.suppress(OSError):
            shutil.copymode(target, draft)
        draft.replace(target)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def export_table(folder: RunFolder, snapshot: Snapshot, curation: Curation | None = None) -> pd.DataFrame:
    """The newest labels of the run, one row an image, with what was decided about them, if anything
    was: `curation`, or else what the run's log says.

    Raises:
        RunError: before stage 2 is done.
        DecisionError: when the decisions cannot be read.
    """
    stage = judged_stage(folder)
    table = model_table(folder, snapshot, stage)
    if curation is None:
        with contextlib.closing(decision_log(folder)) as log:
            curation = log.curation
    return with_decisions(table, curation) if curation.row else table


def model_table(folder: RunFolder, snapshot: Snapshot, stage: Stage) -> pd.DataFrame:
    """`label_table` of a stage that has been judged; `provenance` is a person's where decisions of the parent run were
    fixed in training."""
    verdict = load_strict(folder, stage)
    table = label_table(folder.images(), verdict, stage=stage, epoch=snapshot.stages[stage].step)
    table["provenance"] = _said_by(folder)
    return table


def _said_by(folder: RunFolder) -> np.ndarray:
    """(N,) who gave each label of the run's model: a person, where decisions of the parent run are fixed."""
    said = np.where(folder.fixed().mask, Provenance.BULK, Provenance.MODEL)
    said[folder.seen()] = Provenance.SEEN
    return np.array(NAMES, object)[said]
