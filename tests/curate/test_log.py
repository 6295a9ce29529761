"""The log on disk: many writers, crashes, damage, and user input."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.curate import log as module
from engine.curate.curation import Curation
from engine.curate.decisions import Decision, values_of
from engine.curate.judging import Model
from engine.curate.log import FILE, DecisionLog, damaged_logs, rows_saved
from engine.curate.salvage import readable_rows, trouble_of_log
from engine.errors import DecisionError
from tests.curate.conftest import CLUSTERS, IMAGES, MODEL, act, classes, names

ROOT = Path(__file__).parents[2]
Open = Callable[[], DecisionLog]
# Writes decisions one by one and prints each row once it is committed.
WRITER = """
import sys
import numpy as np
from pathlib import Path
from engine.curate.decisions import Decision
from engine.curate.judging import Model
from engine.curate.log import DecisionLog
folder, name, count = sys.argv[1:]
log = DecisionLog(Path(folder), images=12, clusters=3, fingerprint="abc")
model = Model(np.arange(12) % 3, np.ones(12, np.float32), "joint")
for number in range(int(count)):
    asked = Decision("relabel", name, visit=name, images=np.array([number % 12]), class_=number % 3,
                     key=f"{name}-{number}")
    done, _ = log.commit([asked], model)
    print(done[0].row, flush=True)
"""


def writer(folder: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_there_is_no_file_before_the_first_decision(log: DecisionLog, tmp_path: Path) -> None:
    assert log.refresh().tolist() == []
    assert log.decisions() == []
    assert not (tmp_path / FILE).exists()


def test_a_decision_is_kept_with_what_the_model_said_then(open_log: Open) -> None:
    before = time.time()
    act(open_log(), "relabel", 4, 1, class_=2)
    (kept,) = open_log().decisions()
    assert (kept.row, kept.action, kept.reviewer, kept.class_) == (1, "relabel", "Ann", 2)
    assert kept.images.tolist() == [1, 4]
    assert kept.old.tolist() == [1, 1]
    assert kept.said is not None
    assert kept.said.tolist() == [1, 1]
    assert kept.sure is not None
    np.testing.assert_allclose(kept.sure, 0.9, atol=1e-3)
    assert kept.stage == "joint"
    assert before <= kept.time <= time.time()


def test_a_log_opened_again_says_the_same(open_log: Open) -> None:
    log = open_log()
    act(log, "merge", class_=1, other=0)
    act(log, "relabel", 0, class_=2)
    act(log, "undo")
    again = open_log()
    assert classes(again) == classes(log)
    assert names(again) == names(log)
    assert again.curation.undoable("Ann") == 1


def test_what_is_said_twice_is_written_once(log: DecisionLog) -> None:
    first = act(log, "reject", 0, key="k1")
    again = act(log, "reject", 0, key="k1")
    assert first.row == again.row == 1
    assert len(log.decisions()) == 1


def test_several_are_written_all_or_none(log: DecisionLog) -> None:
    asked = [
        Decision("reject", "Ann", images=np.array([0])),
        Decision("relabel", "Ann", images=np.array([1]), class_=9),
    ]
    with pytest.raises(DecisionError, match="there is no class 9: choose one of the 3 classes"):
        log.commit(asked, MODEL)
    assert log.decisions() == []
    assert not log.curation.state.any()
    act(log, "reject", 2)
    assert log.curation.state.tolist() == [0, 0, 2] + [0] * 9


def test_two_writers_in_turn_see_each_other(open_log: Open) -> None:
    ann, bob = open_log(), open_log()
    for number, (log, name) in enumerate(itertools.islice(itertools.cycle([(ann, "Ann"), (bob, "Bob")]), 10)):
        assert act(log, "relabel", number, class_=number % 3, by=name).row == number + 1
    ann.refresh()
    assert classes(ann) == classes(bob)
    assert [one.reviewer for one in ann.decisions()] == ["Ann", "Bob"] * 5


def test_two_processes_at_once_lose_nothing(tmp_path: Path, open_log: Open) -> None:
    both = [writer(tmp_path, name, 40) for name in ("Ann", "Bob")]
    rows = sorted(int(row) for one in both for row in one.communicate(timeout=120)[0].split())
    assert rows == list(range(1, 81))
    kept = open_log().decisions()
    for name in ("Ann", "Bob"):
        mine = [one.key for one in kept if one.reviewer == name]
        assert mine == [f"{name}-{number}" for number in range(40)]


def test_what_was_confirmed_is_there_after_a_kill(tmp_path: Path, open_log: Open) -> None:
    for round_ in range(3):
        with writer(tmp_path, f"round {round_}", 10_000) as process:
            assert process.stdout is not None
            confirmed = [int(process.stdout.readline()) for _ in range(5 + 7 * round_)]
            process.send_signal(signal.SIGKILL)
        kept = [one.row for one in open_log().decisions()]
        assert set(confirmed) <= set(kept)
        assert kept == list(range(1, len(kept) + 1))


def test_a_clock_that_goes_back_does_not_change_the_order(
    log: DecisionLog, open_log: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = itertools.count(1000.0, -100.0)
    monkeypatch.setattr(module.time, "time", lambda: next(times))
    for class_ in (1, 2, 0, 1):
        act(log, "relabel", 0, class_=class_)
    assert [one.time for one in log.decisions()] == [1000.0, 900.0, 800.0, 700.0]
    act(log, "undo")
    assert classes(log)[0] == classes(open_log())[0] == 0


# -- rejected decisions --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("", "the name of the class is empty: expected 1 to 60 letters"),
        (" \t ".replace("\t", " "), "is empty"),
        ("a\nb", "contains control characters \\(U\\+000A\\): remove them"),
        ("x" * 10_000, "has 10,000 letters: expected at most 60"),
        ("cluster 2", "a class “Cluster 2” already exists: choose another name, or merge"),
    ],
)
def test_names_that_are_refused(log: DecisionLog, name: str, complaint: str) -> None:
    with pytest.raises(DecisionError, match=complaint):
        act(log, "rename", class_=0, text=name)
    with pytest.raises(DecisionError, match=complaint):
        act(log, "new class", 0, text=name)
    assert log.decisions() == []


def test_names_are_kept_as_typed_markup_and_all(log: DecisionLog) -> None:
    act(log, "rename", class_=0, text="  <b>cats</b>  &  🐈 ")
    act(log, "rename", class_=1, text="e\u0301te\u0301")
    assert names(log) == {0: "<b>cats</b> & 🐈", 1: "été", 2: "Cluster 2"}


def test_a_class_may_be_called_what_it_is_called(log: DecisionLog) -> None:
    act(log, "rename", class_=0, text="cats")
    act(log, "rename", class_=0, text="Cats")
    assert names(log)[0] == "Cats"


def test_things_that_make_no_sense(log: DecisionLog) -> None:
    for action, ids, about, complaint in (
        ("merge", (), {"class_": 1, "other": 1}, "“Cluster 1” cannot be merged with itself"),
        ("merge", (), {"class_": 1, "other": 7}, "there is no class 7"),
        ("undo", (), {}, "nothing to undo: Ann has no decision to undo"),
        ("accept", (), {}, "no image to accept: select one first"),
        ("reject", (12,), {}, "image 12 is not among the 12 images of this run: reload the page"),
        ("recolour", (), {"class_": 0, "text": "red;"}, "'red;' is not a colour"),
        ("note", (0,), {"text": " "}, "a note of 0 letters"),
        ("split", (1,), {"other": 0, "text": "new"}, "1 of the images are not in “Cluster 0” any"),
        ("split", (0, 3, 6, 9), {"other": 0, "text": "new"}, "has 4 images and 4 are to go"),
    ):
        with pytest.raises(DecisionError, match=complaint):
            act(log, action, *ids, **about)  # type: ignore[arg-type]
    with pytest.raises(DecisionError, match="'delete' is not an action"):
        Decision("delete", "Ann")  # type: ignore[arg-type]
    assert log.decisions() == []


def test_a_cluster_of_one_cannot_be_split(log: DecisionLog) -> None:
    act(log, "relabel", 3, 6, 9, class_=1)
    with pytest.raises(DecisionError, match="“Cluster 0” has 1 image and 1 are to go"):
        act(log, "split", 0, other=0, text="new")


def test_without_labels_there_is_nothing_to_accept(log: DecisionLog) -> None:
    with pytest.raises(DecisionError, match="the run has no labels yet: train until stage 2"):
        log.commit([Decision("accept", "Ann", images=np.array([0]))])


def test_two_merges_that_cross_do_not_make_a_ring(open_log: Open) -> None:
    ann, bob = open_log(), open_log()
    act(ann, "merge", class_=0, other=1, by="Ann")
    act(ann, "undo", by="Ann")
    act(bob, "merge", class_=1, other=0, by="Bob")
    act(ann, "redo", by="Ann")  # of the two that now stand, the first in the log wins
    bob.refresh()
    assert names(ann) == names(bob) == {0: "Cluster 0", 2: "Cluster 2"}


# -- the file ------------------------------------------------------------------------------------


def test_a_locked_log_says_so_and_writes_nothing(
    log: DecisionLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    act(log, "reject", 0)
    log.close()
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.05)
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(DecisionError, match="is locked by another program: nothing was written"):
        act(log, "reject", 1)
    other.execute("ROLLBACK")
    other.close()
    assert act(log, "reject", 1).row == 2


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "gone", images=IMAGES, clusters=CLUSTERS, fingerprint="abc")
    with pytest.raises(DecisionError, match="cannot be written: nothing was saved; make"):
        act(log, "reject", 0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_log_says_so(log: DecisionLog, tmp_path: Path) -> None:
    act(log, "reject", 0)
    log.close()
    (tmp_path / FILE).chmod(0o400)
    with pytest.raises(DecisionError, match="cannot be written"):
        act(log, "reject", 1)


@pytest.mark.parametrize("left", ["file", "file and wal"])
@pytest.mark.parametrize("reason", ["unable to open database file", "database or disk is full"])
def test_decisions_are_read_where_nothing_can_be_written(
    open_log: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str, left: str
) -> None:
    log, place = open_log(), tmp_path / "copy"
    for number in range(5):
        act(log, "relabel", number, class_=2)
    if left == "file":
        log._open().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    place.mkdir()
    for end in ("", "-wal"):
        shutil.copyfile(tmp_path / f"{FILE}{end}", place / f"{FILE}{end}")
    before = {one.name: one.read_bytes() for one in place.iterdir()}

    def refused(_self: DecisionLog) -> sqlite3.Connection:
        raise sqlite3.OperationalError(reason)

    with monkeypatch.context() as patch:
        patch.setattr(DecisionLog, "_writable", refused)
        copy = DecisionLog(place, images=IMAGES, clusters=CLUSTERS, fingerprint="abc")
        assert copy.curation.state.tolist() == log.curation.state.tolist()
        assert len(copy.decisions()) == 5
        with pytest.raises(DecisionError, match="cannot be written"):
            act(copy, "reject", 1)
        assert copy.curation.state.tolist() == log.curation.state.tolist()
        assert {one.name: one.read_bytes() for one in place.iterdir()} == before
    assert act(copy, "reject", 1).row == 6  # once it can be written again


def test_a_log_opened_for_reading_alone_says_so(log: DecisionLog) -> None:
    act(log, "reject", 0)
    log._open().execute("PRAGMA query_only = 1")
    with pytest.raises(DecisionError, match="cannot be written: nothing was saved; make"):
        act(log, "reject", 1)
    assert log.curation.state.tolist() == [2] + [0] * 11


@pytest.mark.parametrize("start", [0, 4096])
def test_of_a_damaged_log_every_row_that_can_be_read_is_saved(open_log: Open, tmp_path: Path, start: int) -> None:
    log = open_log()
    for number in range(300):
        act(log, "relabel", number % 12, class_=number % 3)
    said = {one.row: values_of(one) for one in log.decisions()}
    log._open().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    log.close()
    file = tmp_path / FILE
    content = bytearray(file.read_bytes())
    content[start : start + 8192] = b"rubbish!" * 1024
    file.write_bytes(content)
    again = open_log()
    (moved,) = damaged_logs(tmp_path)
    assert (tmp_path / moved).read_bytes() == bytes(content)
    saved = {one.row: values_of(one) for one in again.decisions()}
    assert saved == {row: values for row, values in said.items() if row in saved}
    assert rows_saved(tmp_path) == len(saved) > 250
    assert act(again, "reject", 0).row == max(saved) + 1
    assert open_log().curation.state.tolist() == again.curation.state.tolist()


def test_decisions_that_are_not_yet_in_the_file_itself_are_saved(open_log: Open, tmp_path: Path) -> None:
    log = open_log()
    act(log, "merge", class_=1, other=0)
    log._open().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for number in range(40):
        act(log, "relabel", number % 12, class_=2)
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tmp_path.glob(f"{FILE}*"):  # as a killed process leaves them
        (copy / file.name).write_bytes(file.read_bytes())
    assert readable_rows(copy / FILE).keys() == set(range(1, 42))
    (copy / FILE).write_bytes(b"rubbish!" * 4096)
    assert len(readable_rows(copy / FILE)) >= 40


def test_a_value_that_changed_on_the_disk_is_noticed_and_only_its_row_is_lost(open_log: Open, tmp_path: Path) -> None:
    log = open_log()
    for number in range(12):
        act(log, "new class", number, text=f"kind {number}")
    log._open().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    log.close()
    content = (tmp_path / FILE).read_bytes()
    assert content.count(b"kind 7") == 1
    (tmp_path / FILE).write_bytes(content.replace(b"kind 7", b"mind 7"))
    assert trouble_of_log(tmp_path / FILE) == "it is damaged (row 8 is not as it was written)"
    assert not damaged_logs(tmp_path)  # to look at it changes nothing
    again = open_log()
    assert [one.row for one in again.decisions()] == [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12]
    assert rows_saved(tmp_path) == 11
    assert trouble_of_log(tmp_path / FILE) == ""


def test_a_long_row_is_read_from_all_its_pages(tmp_path: Path) -> None:
    log, many = DecisionLog(tmp_path, images=9000, clusters=3, fingerprint="abc"), np.arange(9000)
    model = Model(many % 3, np.ones(9000, np.float32), "joint")
    log.commit([Decision("relabel", "Ann", images=many, class_=2)], model)
    log._open().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    rows = readable_rows(tmp_path / FILE)
    assert rows.keys() == {1}
    assert rows[1] == values_of(log.decisions()[0])


def test_a_log_that_is_replaced_is_read_and_written_in_its_place(
    log: DecisionLog, open_log: Open, tmp_path: Path
) -> None:
    act(log, "reject", 0, 1)
    for file in tmp_path.glob(f"{FILE}*"):
        file.rename(tmp_path / f"old-{file.name}")
    act(open_log(), "relabel", 2, class_=1)
    log.refresh()
    assert log.curation.state.tolist() == [0, 0, 1] + [0] * 9
    assert act(log, "exclude", 3).row == 2
    assert open_log().curation.state.tolist() == [0, 0, 1, 3] + [0] * 8
    for file in tmp_path.glob("*.sqlite*"):
        file.unlink()
    assert act(log, "exclude", 4).row == 1
    assert log.curation.state.tolist() == open_log().curation.state.tolist() == [0] * 4 + [3] + [0] * 7


def test_what_a_damaged_log_said_is_not_shown_with_the_new_one(log: DecisionLog, tmp_path: Path) -> None:
    act(log, "reject", 0)
    log.close()  # as when SQLite finds the damage
    (tmp_path / FILE).write_bytes(b"rubbish!" * 1024)
    log.refresh()
    assert damaged_logs(tmp_path)
    assert not log.curation.state.any()
    act(log, "reject", 1)
    assert log.curation.state.tolist() == [0, 2] + [0] * 10


def test_a_log_about_other_images_is_refused_and_left_alone(log: DecisionLog, tmp_path: Path) -> None:
    act(log, "reject", 0)
    log.close()
    content = (tmp_path / FILE).read_bytes()
    with pytest.raises(DecisionError, match="holds decisions about 12 other images"):
        DecisionLog(tmp_path, images=20, clusters=CLUSTERS, fingerprint="xyz")
    assert (tmp_path / FILE).read_bytes() == content


def test_a_failed_transaction_leaves_the_fold_as_it_was(log: DecisionLog, monkeypatch: pytest.MonkeyPatch) -> None:
    act(log, "reject", 0)
    take = Curation.take
    calls = itertools.count()

    def failing(self: Curation, rows: object) -> np.ndarray:
        found = take(self, rows)  # type: ignore[arg-type]
        if next(calls) == 2:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(Curation, "take", failing)
    with pytest.raises(KeyboardInterrupt):
        log.commit([Decision("reject", "Ann", images=np.array([i])) for i in (1, 2)], MODEL)
    assert log.curation.state.tolist() == [2] + [0] * 11
    assert [one.row for one in log.decisions()] == [1]


def test_a_row_that_was_taken_in_half_is_taken_anew(
    log: DecisionLog, open_log: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    act(log, "reject", 0)
    with monkeypatch.context() as patch:
        patch.setattr(Curation, "_settle", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            act(log, "reject", 1)
        assert [one.row for one in log.decisions()] == [1]
    assert act(log, "relabel", 4, class_=2).row == 2
    assert log.curation.images_of(2).tolist() == [4]
    assert log.curation.state.tolist() == open_log().curation.state.tolist()


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_row_counts_once_all_of_it_can_be_seen(log: DecisionLog, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, rows = Curation._settle, list[int]()

    def settle(now: Curation, *images: np.ndarray) -> None:
        rows.append(now.row)
        whole(now, *images)

    monkeypatch.setattr(Curation, "_settle", settle)
    act(log, "reject", 0)
    assert set(rows) == {0}
    assert log.curation.row == 1


def test_a_model_is_told_by_stage(log: DecisionLog) -> None:
    early = Model(np.zeros(IMAGES, int), np.full(IMAGES, 0.5), "heads")
    done, changed = log.commit([Decision("accept", "Ann", images=np.array([5]))], early)
    assert (done[0].stage, changed.tolist()) == ("heads", [5])
    assert done[0].new is not None
    assert done[0].new.tolist() == [0]
