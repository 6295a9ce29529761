"""Who gave a label: by hand, through undo and redo, and in the logs of earlier versions."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.curate.decisions import Decision
from engine.curate.log import FILE, DecisionLog
from engine.curate.provenance import Provenance
from engine.errors import DecisionError
from tests.curate.conftest import CLUSTERS, IMAGES, LABELS, MODEL, act, classes
from tests.curate.test_log import writer

MODEL_S, VOTED, BULK, SEEN = Provenance
Open = Callable[[], DecisionLog]
# The table of format 1.
OLD = """
CREATE TABLE decisions (
    row INTEGER PRIMARY KEY, key TEXT UNIQUE, time REAL NOT NULL, reviewer TEXT NOT NULL, visit TEXT NOT NULL,
    action TEXT NOT NULL, seen INTEGER NOT NULL, class INTEGER, other INTEGER, target INTEGER, text TEXT NOT NULL,
    images BLOB NOT NULL, old BLOB NOT NULL, new BLOB, said BLOB, sure BLOB, stage TEXT NOT NULL
);
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


def of(log: DecisionLog, *images: int) -> list[int]:
    return log.curation.provenance[list(images)].tolist()


def looked_at(log: DecisionLog) -> list[int]:
    return np.flatnonzero(log.curation.seen).tolist()


def test_each_label_has_one_provenance(log: DecisionLog) -> None:
    act(log, "relabel", 0, class_=1, provenance=SEEN)
    act(log, "accept", 1, 2, provenance=BULK)
    act(log, "accept", 3, 4, new=np.array([1, 1]), provenance=VOTED)
    assert of(log, 0, 1, 2, 3, 4, 5) == [SEEN, BULK, BULK, VOTED, VOTED, MODEL_S]
    assert looked_at(log) == [0]


def test_nobody_looked_unless_that_is_said(log: DecisionLog) -> None:
    act(log, "accept", 0)
    assert of(log, 0) == [BULK]
    assert looked_at(log) == []


def test_the_last_decision_that_stands_says_who_gave_the_label(log: DecisionLog) -> None:
    act(log, "relabel", 0, class_=1, provenance=SEEN)
    act(log, "accept", 0, 1, provenance=VOTED)
    assert of(log, 0, 1) == [VOTED, VOTED]
    act(log, "undo")
    assert of(log, 0, 1) == [SEEN, MODEL_S]
    assert looked_at(log) == [0]
    act(log, "redo")
    assert of(log, 0, 1) == [VOTED, VOTED]
    assert looked_at(log) == []
    act(log, "undo")
    act(log, "undo")
    assert of(log, 0, 1) == [MODEL_S, MODEL_S]


def test_a_split_takes_an_image_out_of_the_class_that_was_said_of_it(log: DecisionLog) -> None:
    act(log, "accept", 0, provenance=SEEN)
    act(log, "split", 0, 3, other=0, text="half")
    assert of(log, 0, 3) == [BULK, BULK]
    assert looked_at(log) == []
    act(log, "undo")
    assert of(log, 0, 3) == [SEEN, MODEL_S]


def test_a_merge_leaves_an_answer_what_it_was(log: DecisionLog) -> None:
    act(log, "accept", 0, provenance=SEEN)
    act(log, "merge", class_=1, other=0)
    assert looked_at(log) == [0]


def test_a_rejected_label_is_nobodys_but_somebody_looked(log: DecisionLog) -> None:
    act(log, "reject", 0, provenance=SEEN)
    act(log, "reject", 1, 2)
    assert of(log, 0, 1) == [MODEL_S, MODEL_S]
    assert looked_at(log) == []
    assert np.flatnonzero(log.curation.refuted).tolist() == [0]


def test_two_contrary_answers_are_no_answer_until_one_is_chosen(log: DecisionLog) -> None:
    act(log, "relabel", 0, class_=1, by="Ann", seen=0, provenance=SEEN)
    act(log, "relabel", 0, class_=2, by="Bob", seen=0, provenance=SEEN)
    assert log.curation.disputed[0]
    assert looked_at(log) == []
    act(log, "relabel", 0, class_=2, by="Ann", provenance=SEEN)
    assert looked_at(log) == [0]


def test_a_person_does_not_dispute_with_votes(log: DecisionLog) -> None:
    act(log, "accept", 0, 1, by="Bob", seen=0, new=np.array([1, 1]), provenance=VOTED)
    act(log, "relabel", 0, class_=2, by="Ann", seen=0, provenance=SEEN)
    assert not log.curation.disputed[0]
    assert looked_at(log) == [0], "else only answers that agree with the votes would count"
    act(log, "accept", 0, 1, by="Bob", seen=1, new=np.array([1, 1]), provenance=VOTED)
    assert log.curation.disputed.tolist()[:2] == [True, False], "but votes do not silently replace an answer"


def test_an_audit_records_how_many_images_the_answer_stands_for(log: DecisionLog) -> None:
    act(log, "relabel", 3, class_=1)
    act(log, "accept", 0, text="audit", provenance=SEEN)
    act(log, "new class", 1, text="audit", among=0, provenance=SEEN)  # another answer in an audit
    act(log, "accept", 2, provenance=SEEN)
    act(log, "accept", 4, 5, text="audit")
    assert log.curation.among[:6].tolist() == [3, 5, 0, 0, 0, 0]
    assert log.audited() == {0: (1, 1), 1: (0, 1)}, "several at once were not looked at"
    act(log, "relabel", 0, class_=1, text="audit", provenance=SEEN)
    assert log.curation.among[0] == 3, "another answer about the same drawn image"
    act(log, "accept", 0, provenance=SEEN)
    assert log.curation.among[0] == 0, "the last answer is not of an audit"


def test_a_spread_from_an_older_page_leaves_the_answers_that_its_reviewer_gave_since(log: DecisionLog) -> None:
    row = log.curation.row
    act(log, "relabel", 0, class_=2, visit="first", provenance=SEEN)
    act(log, "relabel", 1, class_=2, visit="second", provenance=SEEN)
    shown = np.array([1, 0, 1])
    done = act(log, "accept", 0, 1, 3, new=shown, visit="second", seen=row, provenance=VOTED)
    assert done.images.tolist() == [1, 3], "in the second tab the reviewer knew of the answer about image 1"
    assert classes(log)[:4] == [2, 0, 2, 1]
    assert of(log, 0, 1, 3) == [SEEN, VOTED, VOTED]
    with pytest.raises(DecisionError, match="you answered it one by one since this page was drawn"):
        act(log, "accept", 0, new=np.array([1]), visit="second", seen=row, provenance=VOTED)
    act(log, "accept", 0, new=np.array([1]), visit="second", provenance=VOTED)  # a page that shows the answer
    assert classes(log)[0] == 1


def test_the_undo_of_a_newer_answer_frees_its_image_for_a_spread(log: DecisionLog) -> None:
    row = log.curation.row
    act(log, "relabel", 0, class_=2, visit="first", provenance=SEEN)
    act(log, "undo", visit="first")
    assert act(log, "accept", 0, visit="second", seen=row, provenance=VOTED).images.tolist() == [0]


def test_in_an_audit_the_key_of_the_class_that_an_image_has_says_that_it_is_right(log: DecisionLog) -> None:
    own = log.curation.classes_of(MODEL.labels)
    act(log, "relabel", 0, class_=int(own[0]), text="audit", provenance=SEEN)
    assert log.audited() == {int(own[0]): (1, 1)}
    act(log, "relabel", 0, class_=1 - int(own[0]), text="audit", provenance=SEEN)
    assert log.audited() == {int(own[0]): (0, 1)}, "another class's key says that it is wrong"


def test_an_audit_of_labels_that_are_others_now_does_not_count(log: DecisionLog) -> None:
    act(log, "accept", 0, text="audit", provenance=SEEN)
    act(log, "accept", 3, 6, 9)
    assert log.audited() == {0: (1, 1)}, "labels that were accepted are what they were"
    act(log, "accept", 1, 4, new=np.array([0, 0]), provenance=VOTED)
    assert log.audited() == {}
    act(log, "relabel", 7, class_=0, text="audit", provenance=SEEN)
    assert log.audited() == {1: (0, 1)}
    act(log, "undo")
    act(log, "undo")
    assert log.audited() == {0: (1, 1)}
    act(log, "redo")
    assert log.audited() == {}


def test_an_image_that_was_looked_at_before_is_no_random_one_of_the_others(log: DecisionLog) -> None:
    act(log, "accept", 0, provenance=SEEN)
    act(log, "accept", 0, text="audit", provenance=SEEN)
    act(log, "accept", 3, text="audit", provenance=SEEN)
    assert log.curation.among[[0, 3]].tolist() == [0, 3], "of the four images of the class, three were left"


def test_another_program_sees_the_same(log: DecisionLog, open_log: Open) -> None:
    act(log, "relabel", 0, class_=1, text="audit", provenance=SEEN)
    act(log, "accept", 1, 2, provenance=VOTED)
    other = open_log()
    assert other.curation.provenance.tolist() == log.curation.provenance.tolist()
    assert other.curation.among.tolist() == log.curation.among.tolist()
    assert [one.provenance for one in other.decisions()] == [SEEN, VOTED]


# -- logs of earlier versions ----------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A log of format 1: (key, action, class, text, images)."""
    rows = (
        ("k1", "relabel", 1, "", [0]),  # one image, from the keyboard
        ("k2", "relabel", 1, "", [1, 2]),  # marked in the grid
        (None, "accept", None, "", [3]),  # a class or a spread of one image
        (None, "accept", None, "", [4, 5, 6]),
        (None, "relabel", 2, "", [7]),  # carried from an earlier run
        ("k3", "accept", None, "audit", [8]),
        ("k4", "reject", None, "", [9]),
    )
    with sqlite3.connect(tmp_path / FILE) as database:
        database.executescript(OLD)
        about = {"format": "1", "images": str(IMAGES), "clusters": str(CLUSTERS), "fingerprint": "abc"}
        database.executemany("INSERT INTO about VALUES (?, ?)", about.items())
        for key, action, class_, text, images in rows:
            ids = np.array(images, "<u4")
            own = LABELS[ids].astype("<u2").tobytes()
            new = own if action == "accept" else None
            database.execute(
                f"INSERT INTO decisions VALUES (NULL, {', '.join('?' * 16)})",
                (key, 1.0, "Ann", "v", action, 0, class_, None, None, text, ids.tobytes(), own, new, own, None, ""),
            )
    database.close()
    return tmp_path / FILE


def kept(file: Path) -> tuple[list[str], list[tuple[object, ...]]]:
    """The columns of a log, and the rows of format 1's columns."""
    with sqlite3.connect(file) as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(decisions)")]
        rows = database.execute(f"SELECT {', '.join(columns[:17])} FROM decisions").fetchall()
    database.close()
    return columns, rows


@pytest.mark.usefixtures("old")
def test_of_an_old_log_only_what_is_certain_counts_as_seen(open_log: Open) -> None:
    log = open_log()
    assert of(log, *range(10)) == [SEEN, BULK, BULK, BULK, BULK, BULK, BULK, BULK, SEEN, MODEL_S]
    assert looked_at(log) == [0, 8]
    assert np.flatnonzero(log.curation.refuted).tolist() == [9]
    assert log.curation.assumed == 5
    assert not log.curation.among.any(), "what the audit drew from is not known"
    assert log.audited() == {2: (1, 1)}


def test_reading_an_old_log_changes_nothing_and_writing_adds_to_it(old: Path, open_log: Open) -> None:
    columns, rows = kept(old)
    log, other = open_log(), open_log()
    assert len(log.decisions()) == 7
    assert kept(old) == (columns, rows)
    act(log, "accept", 10, provenance=SEEN)
    act(log, "accept", 3, 11, provenance=VOTED)
    after, others = kept(old)
    assert after == [*columns, "provenance", "among", "crc"]
    assert others[:7] == rows
    other.refresh()  # it has read the log before it had the columns
    assert of(other, 0, 3, 10, 11) == of(open_log(), 0, 3, 10, 11) == [SEEN, VOTED, SEEN, VOTED]
    assert other.curation.assumed == 4
    act(other, "undo")
    assert of(other, 3, 11) == [BULK, MODEL_S]


def test_what_could_not_be_written_leaves_an_old_log_as_it_was(old: Path, open_log: Open) -> None:
    before, log = kept(old), open_log()
    with pytest.raises(Exception, match="there is no class 9"):
        act(log, "relabel", 0, class_=9)
    assert kept(old) == before
    assert act(log, "accept", 0).row == 8


def test_two_processes_add_to_an_old_log_at_once(old: Path, open_log: Open) -> None:
    both: list[subprocess.Popen[str]] = [writer(old.parent, name, 15) for name in ("Ann", "Bob")]
    rows = sorted(int(row) for one in both for row in one.communicate(timeout=120)[0].split())
    assert rows == list(range(8, 38))
    assert {one.provenance for one in open_log().decisions(after=7)} == {BULK}


def test_a_log_of_a_later_version_is_refused(log: DecisionLog, open_log: Open, tmp_path: Path) -> None:
    log.commit([Decision("accept", "Ann", images=np.array([0]))], MODEL)
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("UPDATE about SET value = '4' WHERE name = 'format'")
    database.close()
    with pytest.raises(Exception, match="has format 4, but this version reads 1, 2, 3"):
        open_log()
