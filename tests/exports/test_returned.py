"""Labels out, edited elsewhere, and back in: exactly what was edited becomes decisions."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.__main__ import main
from engine.curate.curation import State
from engine.curate.decisions import Decision
from engine.curate.judging import Model
from engine.curate.log import DecisionLog
from engine.curate.provenance import Provenance
from engine.errors import DecisionError, RunError, SourceError
from engine.exports.edited import READERS, answers_in
from engine.exports.export import Asked, export_run
from engine.exports.labelled import labelled
from engine.exports.returned import Preview, commit, preview, undo
from engine.runs.folder import RunFolder
from engine.runs.results import decision_log, observe
from tests.tiny_runs import MakeRun, drawn

IMAGES = 60
LABELS = np.arange(IMAGES) % 3
# The images that are edited, and the class that each is given.
EDITED = {row: (int(LABELS[row]) + 1 + row % 2) % 3 for row in range(5, 55)}
NAMES = ["a/b", "Cluster 1", "CON"]


@pytest.fixture
def run(make_run: MakeRun) -> RunFolder:
    """A run on 60 images, whose classes have odd names."""
    folder = make_run()
    judged = {
        "labels": LABELS,
        "confidence": np.full(IMAGES, 0.9, np.float32),
        "agreement": np.ones(IMAGES, np.float32),
        "verdicts": np.zeros(IMAGES, np.uint8),
        "thresholds": np.full(3, 0.3, np.float32),
    }
    folder.save("reliable-joint", judged)
    return folder


@pytest.fixture
def log(run: RunFolder) -> Iterator[DecisionLog]:
    with contextlib.closing(decision_log(run)) as one:
        one.commit([Decision("rename", "Ann", class_=0, text="a/b"), Decision("rename", "Ann", class_=2, text="CON")])
        yield one


def decide(log: DecisionLog, *asked: Decision) -> None:
    log.commit(list(asked), Model(LABELS, np.full(IMAGES, 0.9), "joint"))


def edit_table(path: Path, read: Callable[[Path], pd.DataFrame], write: Callable[[pd.DataFrame, Path], object]) -> None:
    table = read(path)
    for row, class_ in EDITED.items():
        table.loc[row, "class_name"] = NAMES[class_]
    write(table.sample(frac=1, random_state=0), path)


def edit_folders(out: Path) -> None:
    """Moves files from class to class."""
    folders = ["a_b", "Cluster 1", "CON_"]
    for row, class_ in EDITED.items():
        (file,) = out.glob(f"*/bar-{row:02d}.png")
        shutil.move(file, out / folders[class_] / file.name)


def edit_label_studio(out: Path) -> Path:
    """What Label Studio exports when somebody has annotated some of the tasks."""
    tasks = json.loads((out / "tasks.json").read_text("utf-8"))
    for row, task in enumerate(tasks):
        task |= {"id": row + 1, "annotations": []}
        if row in EDITED:
            result = {**task["predictions"][0]["result"][0], "value": {"choices": [NAMES[EDITED[row]]]}}
            task["annotations"] = [{"result": [result], "was_cancelled": False, "completed_by": 1}]
    (out / "answers.json").write_text(json.dumps(tasks), "utf-8")
    return out / "answers.json"


def edit_fiftyone(out: Path) -> None:
    said = json.loads((out / "labels.json").read_text("utf-8"))
    for row, class_ in EDITED.items():
        said["labels"][f"bar-{row:02d}"]["label"] = NAMES[class_]
    (out / "labels.json").write_text(json.dumps(said), "utf-8")


def exported(run: RunFolder, log: DecisionLog, format: str, out: Path) -> Path:
    export_run(run, Asked(format, out), log)
    return out


def returned(run: RunFolder, log: DecisionLog, format: str, file: Path, **more: Any) -> Preview:
    every = labelled(run, observe(run), log)
    return preview(every, answers_in(file, format, every), **more)


@pytest.mark.parametrize("format", list(READERS))
def test_fifty_labels_edited_elsewhere_are_fifty_decisions(
    format: str, run: RunFolder, log: DecisionLog, tmp_path: Path
) -> None:
    ending = {"csv": ".csv", "parquet": ".parquet"}.get(format, "")
    out = exported(run, log, format, tmp_path / f"out{ending}")
    assert len(returned(run, log, format, edit_label_studio(out) if format == "label-studio" else out).rows) == (
        50 if format == "label-studio" else 0
    )
    if format == "csv":
        edit_table(out, pd.read_csv, lambda table, path: table.to_csv(path, index=False, sep=";"))
    elif format == "parquet":
        edit_table(out, pd.read_parquet, pd.DataFrame.to_parquet)
    elif format == "folders":
        edit_folders(out)
    elif format == "fiftyone":
        edit_fiftyone(out)
    else:
        out = edit_label_studio(out)
    found = returned(run, log, format, out)
    assert sorted(zip(found.rows.tolist(), found.classes.tolist(), strict=True)) == sorted(EDITED.items())
    assert found.conflicts == ()
    assert commit(run, found, log, out.name, seen=log.curation.row) == 50
    now = log.curation
    assert np.flatnonzero(now.state == State.DECIDED).tolist() == list(EDITED)
    assert now.classes_of(LABELS).tolist() == [EDITED.get(row, int(LABELS[row])) for row in range(IMAGES)]
    said = Provenance.SEEN if format == "label-studio" else Provenance.BULK
    assert set(now.provenance[list(EDITED)].tolist()) == {said}, "only Label Studio says that somebody looked"
    assert set(now.deciders().values()) == {out.name}
    assert len(returned(run, log, format, out, conflicts_too=True).rows) == 0, "a second time nothing is left to do"
    assert undo(log, out.name) == 50
    assert not log.curation.state.any()
    assert log.curation.classes_of(LABELS).tolist() == LABELS.tolist()
    with pytest.raises(DecisionError, match="nothing to undo"):
        undo(log, out.name)


def test_what_was_decided_here_since_is_a_conflict_and_stays(run: RunFolder, log: DecisionLog, tmp_path: Path) -> None:
    decide(log, Decision("relabel", "Ann", images=np.array([5]), class_=0, provenance=Provenance.SEEN))
    out = exported(run, log, "csv", tmp_path / "out.csv")
    edit_table(out, pd.read_csv, lambda table, path: table.to_csv(path, index=False))
    new = {6: int(LABELS[6]), 7: EDITED[7]}
    asked = [Decision("relabel", "Bob", images=np.array([row]), class_=class_) for row, class_ in new.items()]
    decide(log, *asked, Decision("exclude", "Bob", images=np.array([8])))
    found = returned(run, log, "csv", out)
    told = sorted((one.image, one.here, one.file, one.reviewer) for one in found.conflicts)
    assert told == [
        ("bar-06", NAMES[LABELS[6]], NAMES[EDITED[6]], "Bob"),
        ("bar-08", "excluded", NAMES[EDITED[8]], "Bob"),
    ]
    assert sorted(found.rows.tolist()) == [row for row in EDITED if row not in (6, 7, 8)], "5 was decided before"
    taken = returned(run, log, "csv", out, conflicts_too=True)
    assert sorted(taken.rows.tolist()) == [row for row in EDITED if row != 7]


def test_labels_that_do_not_belong_here_are_refused_in_words(run: RunFolder, log: DecisionLog, tmp_path: Path) -> None:
    out = exported(run, log, "csv", tmp_path / "out.csv")
    table = pd.read_csv(out)

    def refused(**columns: Any) -> str:
        table.assign(**columns).to_csv(tmp_path / "edited.csv", index=False)
        with pytest.raises((RunError, SourceError)) as caught:
            returned(run, log, "csv", tmp_path / "edited.csv")
        assert not log.curation.state.any()
        return str(caught.value)

    strange = table["id"].where(table.index > 1, "gone-" + table["id"])
    assert "2 of 60 labels are for images that are not in run, such as 'gone-bar-00', 'gone-bar-01'" in refused(
        id=strange
    )
    unknown = table["class_name"].where(table.index > 2, "zebra")
    assert "run has no class 'zebra' (3 images): its classes are a/b, Cluster 1, CON" in refused(class_name=unknown)
    assert "these labels were exported from another run" in refused(run_id="0123456789ab")
    assert "'bar-00' has several labels" in refused(id=table["id"].where(table.index != 1, "bar-00"))
    numbers = table["class"].where(table.index != 4, 0)
    assert "1 rows have another number in class, but the same class_name, such as 'bar-04'" in refused(
        **{"class": numbers}
    )
    with pytest.raises(RunError, match=r"there is no .*nowhere\.csv: check the path"):
        returned(run, log, "csv", tmp_path / "nowhere.csv")
    with pytest.raises(RunError, match="labels do not come back from 'webdataset': expected csv, parquet, folders"):
        returned(run, log, "webdataset", out)


def test_a_table_of_ones_own_names_images_and_classes_as_everywhere(
    run: RunFolder, log: DecisionLog, tmp_path: Path
) -> None:
    lines = ["Image,Label", "bar-03,Con", "bar-04,0", "bar-05,"]
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    found = returned(run, log, "csv", tmp_path / "mine.csv")
    assert (found.answers, found.rows.tolist(), found.classes.tolist()) == (2, [3, 4], [2, 0])


def test_a_tree_of_ones_own_names_images_by_their_files(run: RunFolder, log: DecisionLog, tmp_path: Path) -> None:
    out = exported(run, log, "folders", tmp_path / "out")
    edit_folders(out)
    (out / "labels.csv").unlink()
    with pytest.raises(RunError, match=r"for images that are not in run, such as .*bar-\d\d.png"):
        returned(run, log, "folders", out)


def test_two_annotators_who_disagree_are_told_to_agree(run: RunFolder, log: DecisionLog, tmp_path: Path) -> None:
    out = exported(run, log, "label-studio", tmp_path / "out")
    file = edit_label_studio(out)
    tasks = json.loads(file.read_text("utf-8"))
    other = json.loads(json.dumps(tasks[5]["annotations"][0]))
    other["result"][0]["value"]["choices"] = [NAMES[LABELS[5]]]
    tasks[5]["annotations"].append(other)
    file.write_text(json.dumps(tasks), "utf-8")
    with pytest.raises(RunError, match="'bar-05' was given several classes in Label Studio"):
        returned(run, log, "label-studio", file)
    other["was_cancelled"] = True
    tasks[5]["annotations"][1] = other
    file.write_text(json.dumps(tasks), "utf-8")
    assert len(returned(run, log, "label-studio", file).rows) == 50


def test_the_command_previews_commits_and_undoes(
    run: RunFolder, log: DecisionLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = exported(run, log, "csv", tmp_path / "back.csv")
    edit_table(out, pd.read_csv, lambda table, path: table.to_csv(path, index=False))

    def told(*more: str) -> dict[str, Any]:
        capsys.readouterr()
        assert main(["import-labels", str(run.path), str(out), "--format", "csv", *more]) == 0
        return dict(json.loads(capsys.readouterr().out))

    counts = {"reviewer": "back.csv", "labels": 60, "changes": 50, "same": 10, "conflicts": 0}
    assert told() == {**counts, "committed": 0}
    log.refresh()
    assert not log.curation.state.any(), "a preview changes nothing"
    assert told("--commit") == {**counts, "committed": 50}
    log.refresh()
    assert int((log.curation.state == State.DECIDED).sum()) == 50
    assert told("--undo") == {"reviewer": "back.csv", "undone": 50}
    log.refresh()
    assert not log.curation.state.any()
    assert told("--commit", "--seen", "--reviewer", "Eva") == {**counts, "reviewer": "Eva", "committed": 50}
    log.refresh()
    assert int(log.curation.seen.sum()) == 50
    assert drawn()[0].ids == run.images().ids
