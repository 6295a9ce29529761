from __future__ import annotations

import csv
import io
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.curate.decisions import Action, Decision
from engine.curate.judging import Model
from engine.curate.log import DecisionLog
from engine.curate.provenance import Provenance
from engine.data.images import ImageSet
from engine.errors import RunError
from engine.exports.label_table import exported, label_table, to_csv, with_decisions, write_file
from engine.stages.reliable import ReliableSet

VERDICT = ReliableSet(
    labels=np.array([2, 0, 2]),
    confidence=np.array([0.99, 0.12345678, 1], np.float32),
    agreement=np.array([1, 0.5, 1 / 3], np.float32),
    verdicts=np.array([0, 3, 1], np.uint8),
    thresholds=np.full(3, 0.95, np.float32),
)


def table_of(*ids: str) -> pd.DataFrame:
    images = ImageSet(np.zeros((3, 1, 2, 2), np.uint8), ids, "drawn")
    return label_table(images, VERDICT, stage="joint", epoch=200)


def rows_of(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8"), newline="")))


def test_the_table_has_one_row_an_image() -> None:
    rows = rows_of(to_csv(table_of("a.png", "sub/b.png", "käse 猫.png")))
    assert rows == [
        ["id", "name", "label", "provenance", "confidence", "agreement", "reliable", "stage", "epoch"],
        ["a.png", "a.png", "2", "model", "0.99", "1.0", "True", "joint", "200"],
        ["sub/b.png", "b.png", "0", "model", "0.123457", "0.5", "False", "joint", "200"],
        ["käse 猫.png", "käse 猫.png", "2", "model", "1.0", "0.333333", "False", "joint", "200"],
    ]


def test_what_was_decided_stands_beside_the_label(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path, images=3, clusters=3, fingerprint="drawn")
    model = Model(VERDICT.labels, VERDICT.confidence, "joint")
    for action, ids, about in (
        ("rename", [], {"class_": 2, "text": "=cats"}),
        ("merge", [], {"class_": 1, "other": 0}),
        ("accept", [0], {"provenance": Provenance.SEEN}),
        ("exclude", [2], {}),
    ):
        asked = Decision(action, "Ann", visit="t", images=np.array(ids, int), **about)  # type: ignore[arg-type]
        log.commit([asked], model)
    rows = rows_of(to_csv(with_decisions(table_of("a", "b", "c"), log.curation)))
    assert rows[0][2:8] == ["class", "class_name", "provenance", "decision", "reviewer", "label"]
    assert [row[2:7] for row in rows[1:]] == [
        ["2", "'=cats", "seen", "decided", "Ann"],
        ["1", "Cluster 1", "model", "", ""],
        ["2", "'=cats", "model", "excluded", "Ann"],
    ]
    assert [row[7] for row in rows[1:]] == ["2", "0", "2"], "the model's label stays"


def test_every_label_says_who_gave_it(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path, images=3, clusters=3, fingerprint="drawn")
    model = Model(VERDICT.labels, VERDICT.confidence, "joint")
    for image, said in enumerate((Provenance.SEEN, Provenance.BULK, Provenance.VOTED)):
        log.commit([Decision("accept", "Ann", images=np.array([image]), provenance=said)], model)
    assert with_decisions(table_of("a", "b", "c"), log.curation)["provenance"].tolist() == ["seen", "bulk", "voted"]
    log.commit([Decision("undo", "Ann")], model)
    assert with_decisions(table_of("a", "b", "c"), log.curation)["provenance"].tolist() == ["seen", "bulk", "model"]


@pytest.mark.parametrize(
    ("action", "word", "rows", "dropped"), [("exclude", "excluded", "b", 2), ("reject", "rejected", "a b c", 0)]
)
def test_what_is_left_out_goes_into_no_file_disputed_or_not(
    tmp_path: Path, action: Action, word: str, rows: str, dropped: int
) -> None:
    log = DecisionLog(tmp_path, images=3, clusters=3, fingerprint="drawn")
    model = Model(VERDICT.labels, VERDICT.confidence, "joint")
    for who, what, ids in (("Bob", "accept", [2]), ("Ann", action, [0, 2])):
        log.commit([Decision(what, who, visit=who, images=np.array(ids), seen=0)], model)  # type: ignore[arg-type]
    assert log.curation.disputed.tolist() == [False, False, True]
    table = with_decisions(table_of("a", "b", "c"), log.curation)
    found, counts = exported(table)
    assert (" ".join(found["id"]), counts.get("excluded", 0)) == (rows, dropped)
    sure, counts = exported(table, reliable=True)  # only the first of the three labels is reliable
    assert (len(sure), counts) == (0, {word: 1})


def test_reliable_is_said_of_the_class_and_a_seen_answer_is(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path, images=3, clusters=3, fingerprint="drawn")
    model = Model(VERDICT.labels, VERDICT.confidence, "joint")
    assert table_of("a", "b", "c")["reliable"].tolist() == [True, False, False]
    for image, class_, said in ((0, 1, Provenance.VOTED), (1, 1, Provenance.SEEN), (2, 1, Provenance.BULK)):
        asked = Decision("relabel", "Ann", images=np.array([image]), class_=class_, provenance=said)
        log.commit([asked], model)
    table = with_decisions(table_of("a", "b", "c"), log.curation)
    assert table["reliable"].tolist() == [False, True, False], "the model's reliable label is another than the voted"
    assert exported(table, reliable=True)[0]["id"].tolist() == ["b"]


def test_pandas_reads_the_kinds_back() -> None:
    table = table_of("a", "b", "c")
    back = pd.read_csv(io.BytesIO(to_csv(table)))
    assert [back.dtypes[name].kind for name in ("label", "confidence", "agreement", "reliable")] == ["i", "f", "f", "b"]
    assert back.reliable.tolist() == [True, False, False]


@pytest.mark.parametrize(
    "name", ['comma, "quote"; semicolon', "line\nbreak", "carriage\rreturn", "tab\tinside", "NA", "007"]
)
def test_odd_names_come_back_from_the_file(name: str) -> None:
    rows = rows_of(to_csv(table_of("a", name, "c")))
    assert len(rows) == 4
    assert rows[2][:2] == [name, name]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", "\tx"])
def test_a_name_that_a_spreadsheet_would_run_is_quoted(name: str) -> None:
    table = table_of("a", name, "c")
    assert rows_of(to_csv(table))[2][:2] == ["'" + name, "'" + name]
    assert table.id[1] == name


def test_a_file_is_written_over_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    write_file(b"old", path)
    write_file(b"new", path)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("missing/labels.csv", "labels.csv cannot be written: No such file.*choose another place"),
        ("file/labels.csv", "labels.csv cannot be written: Not a directory"),
        ("folder", "folder cannot be written: Is a directory"),
        ("x" * 300, "cannot be written: File name too long"),
    ],
)
def test_a_place_that_takes_no_file_is_refused(place: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match=message):
        write_file(b"new", tmp_path / place)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "kept"


def test_a_folder_without_a_name_is_no_file() -> None:
    with pytest.raises(RunError, match=r"^\. is a folder: expected a file name"):
        write_file(b"new", Path("."))


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "labels.csv"
    write_file(b"old", path)

    def full(draft: Path, _content: bytes) -> None:
        draft.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunError, match="cannot be written: No space left on device"):
        write_file(b"new", path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    for target in ("kept/old.csv", "kept/new.csv"):
        link = tmp_path / f"link-{Path(target).name}"
        link.symlink_to(tmp_path / target)
        if "old" in target:
            link.write_bytes(b"before")
            os.chmod(tmp_path / target, 0o640)
        write_file(b"after", link)
        assert link.is_symlink()
        assert (tmp_path / target).read_bytes() == b"after"
    assert stat.S_IMODE((tmp_path / "kept/old.csv").stat().st_mode) == 0o640
    assert sorted(one.name for one in (tmp_path / "kept").iterdir()) == ["new.csv", "old.csv"]


def test_the_longest_name_that_is_legal_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".csv")
    write_file(b"labels", path)
    assert path.read_bytes() == b"labels"


@pytest.mark.parametrize("place", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_standard_output_takes_a_file_between_what_is_printed(place: str, kind: str, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from engine.exports.label_table import write_file\n"
        f"print('before'); write_file(b'labels\\n', Path({place!r})); print('after')"
    )
    with (tmp_path / "out").open("w+b") as out:
        sink = out if kind == "file" else subprocess.PIPE
        done = subprocess.run([sys.executable, "-c", code], stdout=sink, check=True)
        out.seek(0)
        assert (done.stdout or out.read()) == b"before\nlabels\nafter\n"


def test_a_pipe_takes_what_is_written_and_stays_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    write_file(b"labels", path)
    assert os.read(reader, 100) == b"labels"
    os.close(reader)
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_socket_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket")
        with pytest.raises(RunError, match="socket cannot be written: it is a device or a socket, not a file"):
            write_file(b"labels", Path("socket"))
        assert stat.S_ISSOCK(os.stat("socket").st_mode)
