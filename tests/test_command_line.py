from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine.__main__ import INTERRUPTED, main
from engine.curate.decisions import Decision
from engine.curate.judging import Model
from engine.data.image_store import cache
from engine.runs.folder import RunFolder
from engine.runs.results import decision_log

TINY = [
    "encoder.width=4",
    "features.epochs=1",
    "features.batch=16",
    "heads.heads=2",
    "heads.epochs=1",
    "heads.passes=1",
    "joint.steps=2",
    "joint.batch=8",
    "joint.unlabelled=2",
    "reliable.agreement=0.3",
    "reliable.confidence=0.3",
]
KEYS = ["source", "images", "clusters", "seed", "device", "state", "seconds", "stages", "reliable"]


def run_arguments(source: Path | str, run: Path | str, *more: str) -> list[str]:
    """The arguments for a run of a few steps; `more` comes last and takes precedence."""
    source = f"folder:{source}" if isinstance(source, Path) else source
    settings = [part for one in TINY for part in ("--set", one)]
    fixed = ["--clusters", "2", "--device", "cpu", "--run", str(run)]
    return ["run", source, *fixed, *settings, *more]


@dataclass(frozen=True)
class Done:
    """The result of a command: exit code and output lines."""

    code: int
    out: list[str]
    err: str

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads(self.out[-1])

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


def do(*arguments: str) -> Done:
    """Runs a command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(arguments))
    return Done(code, out.getvalue().splitlines(), err.getvalue())


def refused(*arguments: str) -> str:
    """The error message of a command that fails."""
    done = do(*arguments)
    assert done.code == 1
    assert done.out == []
    assert len(done.err.splitlines()) == 1, done.err
    assert done.errors
    return done.err.strip().removeprefix("error: ")


def listed(folder: Path) -> list[str]:
    return sorted(entry.relative_to(folder).as_posix() for entry in folder.rglob("*"))


@pytest.fixture(scope="module")
def trained(drawn_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """The folder of a finished run with ground truth, and the output of the command."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, do(*run_arguments(drawn_photos, folder, "--labels", "--seed", "3"))


def test_a_run_ends_with_its_numbers_as_one_json_object(trained: tuple[Path, Done]) -> None:
    folder, done = trained
    assert (done.code, done.errors) == (0, [])
    assert len(done.out) == 1
    found = done.summary
    assert list(found) == [*KEYS, "truth"]
    asked = {name: found[name] for name in ("images", "clusters", "seed", "device", "state")}
    assert asked == {"images": 40, "clusters": 2, "seed": 3, "device": "cpu", "state": "finished"}
    assert list(found["seconds"]) == ["total", "stage1", "stage2", "stage3"]
    assert list(found["stages"]) == ["stage1", "stage2", "stage3"]
    assert set(found["truth"]) == {"stage1", "stage2", "stage3", "reliable_purity", "selection_regret"}
    assert found["reliable"]["stage"] == "stage3"
    assert found["reliable"]["count"] == sum(found["reliable"]["per_cluster"])
    assert found["reliable"]["fraction"] == pytest.approx(found["reliable"]["count"] / 40)
    assert (folder / "run.json").is_file()


def test_the_progress_bar_is_on_stderr_alone(trained: tuple[Path, Done]) -> None:
    _, done = trained
    for stage in ("features", "heads", "joint"):
        assert f"{stage}: 100%|" in done.err
    assert "%|" not in "".join(done.out)


def test_truth_changes_the_truth_scores_and_nothing_else(
    trained: tuple[Path, Done], drawn_photos: Path, tmp_path: Path
) -> None:
    done = do(*run_arguments(drawn_photos, tmp_path / "run", "--seed", "3"))
    expected = trained[1].summary
    del expected["truth"]
    assert list(done.summary) == KEYS
    assert {**done.summary, "seconds": 0} == {**expected, "seconds": 0}


def test_a_run_for_each_seed_ends_with_all_of_them_together(
    trained: tuple[Path, Done], drawn_photos: Path, tmp_path: Path
) -> None:
    arguments = run_arguments(drawn_photos, tmp_path / "runs", "--labels", "--seeds", "2,3")
    done = do(*arguments)
    assert (done.code, done.errors) == (0, [])
    *each, last = (json.loads(line) for line in done.out)
    assert [one["seed"] for one in each] == last["seeds"] == [2, 3]
    assert {**each[1], "seconds": 0} == {**trained[1].summary, "seconds": 0}  # as if trained alone
    found = last["scores"]["truth.stage3.acc"]
    both = [one["truth"]["stage3"]["acc"] for one in each]
    assert (found["lowest"], found["highest"]) == (min(both), max(both))
    assert found["mean"] == pytest.approx(sum(both) / 2, abs=1e-6)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["seed-2", "seed-3"]
    assert refused(*arguments).endswith("seed-2 already contains a run: add --resume or choose another folder")
    more = do(*run_arguments(drawn_photos, tmp_path / "runs", "--labels", "--seeds", "2-3", "--resume"))
    assert json.loads(more.out[-1])["finished"] == 2


def test_seeds_that_are_none_are_refused(drawn_photos: Path, tmp_path: Path) -> None:
    said = refused(*run_arguments(drawn_photos, tmp_path / "runs", "--seeds", "4-0"))
    assert said == "seeds are '4-0': write them as 0-4 or 0,3,7"
    assert listed(tmp_path) == []


def test_show_prints_the_same_object(trained: tuple[Path, Done]) -> None:
    folder, done = trained
    shown = do("show", str(folder), "--json")
    assert (shown.code, shown.out, shown.err) == (0, done.out, "")
    assert json.loads("\n".join(do("show", str(folder)).out)) == done.summary


def test_export_writes_a_row_an_image(trained: tuple[Path, Done], tmp_path: Path) -> None:
    folder, done = trained
    exported = do("export", str(folder), "--out", str(tmp_path / "labels.csv"))
    assert (exported.code, exported.out, exported.errors) == (0, [], [])
    with (tmp_path / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    whose = ["class", "class_name", "provenance", "source", "decision", "reviewer", "decided_at"]
    model = ["label", "confidence", "agreement", "reliable", "stage", "epoch"]
    assert list(rows[0]) == ["id", "name", *whose, *model, "run", "run_id", "path", "pixels_hash"]
    assert {(row["provenance"], row["source"], row["decision"]) for row in rows} == {("model", "stage 3", "")}
    assert {row["class"] == row["label"] for row in rows} == {True}
    assert len({row["pixels_hash"] for row in rows}) == 40
    assert all(Path(row["path"]).parts[-2:] == tuple(row["id"].split("/")) for row in rows)
    bars, spots = range(1, 40, 2), range(0, 40, 2)
    ids = [f"bars/{index:02d}.png" for index in bars] + [f"spots/{i:02d}.png" for i in spots]
    assert [row["id"] for row in rows] == ids
    assert {(row["stage"], row["epoch"]) for row in rows} == {("joint", "2")}
    reliable = [row for row in rows if row["reliable"] == "True"]
    counts = [sum(row["label"] == str(cluster) for row in reliable) for cluster in range(2)]
    assert counts == done.summary["reliable"]["per_cluster"]
    assert len(reliable) == done.summary["reliable"]["count"]


def test_export_leaves_out_what_a_person_left_out_and_says_so(trained: tuple[Path, Done], tmp_path: Path) -> None:
    folder, out = RunFolder(shutil.copytree(trained[0], tmp_path / "run")), tmp_path / "labels.csv"
    (folder.path / "decisions.sqlite").write_bytes(b"no database at all, sorry" * 200)
    with contextlib.closing(decision_log(folder)) as log:
        asked = Decision("exclude", "Ann", visit="test", images=np.array([1, 3]))
        log.commit([asked], Model(np.zeros(40, int), np.zeros(40), "joint"))
    done = do("export", str(folder.path), "--out", str(out))
    assert done.err.splitlines()[0].startswith("note: a decision log was damaged; it is kept as ")
    assert done.err.startswith("38 labels, ", done.err.index("\n") + 1)
    assert done.err.endswith("labels.csv, without 2 excluded images\n")
    with out.open(encoding="utf-8", newline="") as file:
        ids = [row["id"] for row in csv.DictReader(file)]
    every = list(folder.images().ids)
    assert ids == [every[0], every[2], *every[4:]]


def test_export_lists_its_formats_and_links_to_originals(
    trained: tuple[Path, Done], drawn_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["export", "--formats"])
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names[:3] == ["csv", "jsonl", "parquet"]
    assert {"folders", "hf", "hf-parquet", "webdataset", "fiftyone", "label-studio", "cleanlab", "embeddings"} < set(
        names
    )
    out = tmp_path / "out"
    done = do("export", str(trained[0]), "--format", "folders", "--symlink", "--out", str(out))
    assert (done.code, done.errors) == (0, [])
    assert "given by: 40 model; in " in done.err
    linked = sorted(path.resolve() for path in out.glob("*/*.png"))
    assert linked == sorted(path.resolve() for path in drawn_photos.glob("*/*.png"))
    assert "exists: choose another folder, or replace it (--overwrite)" in refused(
        "export", str(trained[0]), "--format", "folders", "--out", str(out)
    )


def test_a_run_keeps_to_how_its_images_became_squares(tmp_path: Path) -> None:
    photos, run, out = tmp_path / "photos", tmp_path / "run", str(tmp_path / "out.csv")
    photos.mkdir()
    chance = np.random.default_rng(0)
    for number in range(40):
        Image.fromarray(chance.integers(0, 255, (12, 30, 3), np.uint8)).save(photos / f"{number:02d}.png")
    begun = do(*run_arguments(photos, run, "--fit", "pad"))
    assert (begun.code, begun.errors) == (0, [])
    kept = RunFolder(run).images()
    assert do(*run_arguments(photos, run, "--resume")).code == 0
    assert "different images" in refused(*run_arguments(photos, run, "--resume", "--fit", "crop"))
    labels = []
    for fit in ([], ["--fit", "pad"], ["--fit", "crop"]):
        assert do("predict", str(run), f"folder:{photos}", "--size", str(kept.size[0]), *fit, "--out", out).code == 0
        labels.append(Path(out).read_text("utf-8"))
    assert labels[0] == labels[1] != labels[2]


def test_digits_bring_their_truth(tmp_path: Path) -> None:
    floors = ["--set", "reliable.agreement=0", "--set", "reliable.confidence=0"]
    done = do(*run_arguments("digits", tmp_path / "run", "--clusters", "10", *floors))
    assert done.code == 0
    assert done.summary["reliable"]["fraction"] == 1
    assert (done.summary["source"], done.summary["images"]) == ("digits", 1797)
    assert set(done.summary["truth"]["stage1"]) == {"acc", "nmi", "ari"}


def test_shapes_bring_their_truth_and_a_column_of_colours(tmp_path: Path) -> None:
    floors = ["--set", "reliable.agreement=0", "--set", "reliable.confidence=0"]
    done = do(*run_arguments("shapes", tmp_path / "run", "--clusters", "4", *floors))
    assert (done.code, done.errors) == (0, [])
    assert (done.summary["source"], done.summary["images"]) == ("shapes", 960)
    assert set(done.summary["truth"]["stage1"]) == {"acc", "nmi", "ari"}
    assert [one.title for one in RunFolder(tmp_path / "run").columns()] == ["colour"]


def test_imported_vectors_train_all_three_stages(drawn_photos: Path, tmp_path: Path) -> None:
    file, run = tmp_path / "vectors.npy", tmp_path / "run"
    chance = np.random.default_rng(0)
    np.save(file, np.eye(2)[np.arange(40) // 20] + chance.normal(0, 0.1, (40, 2)))
    source = ["--set", f"features.source=import:{file}"]
    done = do(*run_arguments(drawn_photos, run, *source))
    assert (done.code, done.errors) == (0, [])
    assert "skipped" not in done.summary
    assert (done.summary["state"], done.summary["reliable"]["stage"]) == ("finished", "stage3")
    assert do("show", str(run), "--json").summary == done.summary
    file.unlink()
    again = do(*run_arguments(drawn_photos, run, *source, "--resume"))
    assert (again.code, again.summary["reliable"]) == (0, done.summary["reliable"])
    out = str(tmp_path / "out.csv")
    assert "has no network to label images" in refused("predict", str(run), f"folder:{drawn_photos}", "--out", out)
    assert "has no network to share" in refused("encoder", str(run), "--out", str(tmp_path / "e.pt"))
    assert do("export", str(run), "--out", out).code == 0


def test_vectors_that_do_not_fit_are_refused_before_a_run_is_made(drawn_photos: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", np.ones((7, 2)))
    source = f"features.source=import:{tmp_path / 'vectors.npy'}"
    said = refused(*run_arguments(drawn_photos, tmp_path / "run", "--set", source))
    assert "has 7 rows, but" in said
    assert "40 images: expected one row an image" in said
    assert listed(tmp_path) == ["vectors.npy"]


def test_a_finished_run_goes_on_to_the_same_end(trained: tuple[Path, Done], drawn_photos: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained[0], tmp_path / "run")
    done = do(*run_arguments(drawn_photos, folder, "--resume"))
    assert done.code == 0
    for name in ("stages", "reliable", "truth"):
        assert done.summary[name] == trained[1].summary[name]


def test_broken_images_are_named_and_the_run_goes_on(photos: Path, tmp_path: Path) -> None:
    (photos / "broken.png").write_text("no picture")
    done = do(*run_arguments(photos, tmp_path / "run"))
    assert done.code == 0
    assert "skipped broken.png: not an image\n" in done.err
    assert done.summary["images"] == 40
    card = json.loads((tmp_path / "run" / "run.json").read_text())
    assert card["skipped"] == [["broken.png", "not an image"]]


def test_names_that_are_no_utf8_do_not_stop_a_run(photos: Path, tmp_path: Path) -> None:
    try:
        os.rename(photos / "bars" / "01.png", os.fsencode(photos) + b"/caf\xe9.png")
    except OSError:
        pytest.skip("the file system takes no such names")
    assert do(*run_arguments(photos, tmp_path / "run")).code == 0
    assert do("export", str(tmp_path / "run"), "--out", str(tmp_path / "labels.csv")).code == 0
    assert r"caf\xe9.png" in (tmp_path / "labels.csv").read_text("utf-8")


def test_an_interrupt_stops_the_run_and_resume_finishes_it(
    drawn_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.stages import heads

    def interrupted(*arguments: Any) -> object:
        monkeypatch.undo()
        signal.raise_signal(signal.SIGINT)
        return sample(*arguments)

    sample = heads._sample
    monkeypatch.setattr(heads, "_sample", interrupted)
    before = signal.getsignal(signal.SIGINT)
    arguments = run_arguments(drawn_photos, tmp_path / "run", "--set", "heads.epochs=2")
    stopped = do(*arguments)
    assert (stopped.code, stopped.summary["state"]) == (INTERRUPTED, "stopped")
    assert "stopped; add --resume to resume" in stopped.err
    assert signal.getsignal(signal.SIGINT) is before
    assert list(stopped.summary["stages"]) == ["stage1"]
    done = do(*arguments, "--resume")
    assert (done.code, done.summary["state"]) == (0, "finished")


@pytest.mark.parametrize(
    ("source", "more", "message"),
    [
        ("photos", "--clusters 1", "clusters is 1: allowed from 2"),
        ("photos", "--clusters 41", "clusters is 41, but folder:.* has 40 images: choose from 2"),
        ("photos", "--preset swift", "preset is 'swift': choose one of quick, fast, paper"),
        ("photos", "--set heads.hats=3", "setting heads.hats: there is no 'hats' here"),
        ("photos", "--set heads.heads", "setting 'heads.heads' has no value"),
        ("photos", "--set heads.heads=0", "setting heads.heads: heads is 0: allowed from 1 to 256"),
        ("photos", "--seed -1", "seed is -1: allowed from 0"),
        ("photos", "--size 2", "size is 2: allowed from 4 to 1024 pixels"),
        ("photos", "--device tpu", "device 'tpu' is not available here: choose one of auto, cpu"),
        ("photos", "--resume", "run contains no run to resume: leave out --resume to start one"),
        ("photos/bars", "--labels", "20 images lie directly in it"),
        ("nowhere", "", "there is no folder .*nowhere: check the path"),
        ("empty", "", "empty holds no image files"),
        ("broken", "", "none of the 1 images in .*broken can be read"),
    ],
)
def test_what_cannot_be_run_is_refused_and_leaves_nothing(
    source: str, more: str, message: str, drawn_photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(drawn_photos, tmp_path / "photos")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").touch()
    before = listed(tmp_path)
    sentence = refused(*run_arguments(tmp_path / source, tmp_path / "run", *more.split()))
    assert re.search(message, sentence)
    assert listed(tmp_path) == before


def test_an_unknown_source_is_refused(tmp_path: Path) -> None:
    sentence = refused(*run_arguments("cats:x", tmp_path / "run"))
    assert sentence.startswith("there is no folder or file cats:x: check the path (other sources are ")
    assert listed(tmp_path) == []


def test_import_says_what_is_there_and_keeps_it(
    drawn_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(drawn_photos, tmp_path / "photos")
    (tmp_path / "photos" / "broken.png").write_bytes(b"nothing")
    (tmp_path / "photos" / "metadata.csv").write_text("file_name,age\nbars/01.png,7\n")
    assert main(["import", str(tmp_path / "photos"), "--size", "8"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert len(found.pop("fingerprint")) == 32
    assert found == {
        "images": 40,
        "width": 8,
        "height": 8,
        "channels": 3,
        "skipped": 1,
        "classes": None,
        "columns": ["age"],
    }
    assert "skipped broken.png: not an image" in err
    (kept,) = cache().rglob("pixels-*.npy")
    before = kept.stat()
    assert main(["import", str(tmp_path / "photos"), "--size", "8"]) == 0
    assert kept.stat() == before


def test_a_run_of_a_table_finds_its_paths_below_the_root(drawn_photos: Path, tmp_path: Path) -> None:
    names = sorted(one.relative_to(drawn_photos).as_posix() for one in drawn_photos.rglob("*.png"))
    table = tmp_path / "t.csv"
    table.write_text("path,label\n" + "".join(f"{name},{name[:2]}\n" for name in names))
    assert "give the folder that its paths start from" in refused("import", str(table))
    assert main(["import", str(table), "--root", str(drawn_photos), "--labels"]) == 0


def test_a_device_that_is_not_there_is_refused(
    drawn_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    sentence = refused(*run_arguments(drawn_photos, tmp_path / "run", "--device", "cuda"))
    assert sentence.startswith("device 'cuda' is not available here")
    assert listed(tmp_path) == []


def test_clusters_must_be_given(drawn_photos: Path, tmp_path: Path) -> None:
    arguments = ["run", f"folder:{drawn_photos}", "--run", str(tmp_path / "run")]
    assert refused(*arguments) == "the number of clusters is missing: add --clusters K"
    # A preset for one of the paper's sets has its own number: more than there are images here.
    few = refused(*arguments, "--preset", "paper-tiny-imagenet")
    assert "clusters is 200, but" in few


def test_a_run_that_is_there_is_not_overwritten(trained: tuple[Path, Done], drawn_photos: Path) -> None:
    before = listed(trained[0])
    sentence = refused(*run_arguments(drawn_photos, trained[0]))
    assert sentence.endswith("run already contains a run: add --resume or choose another folder")
    assert listed(trained[0]) == before


def test_a_folder_with_other_things_in_it_is_not_used(drawn_photos: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("kept")
    assert "exists and is not empty" in refused(*run_arguments(drawn_photos, tmp_path / "run"))
    assert listed(tmp_path) == ["run", "run/thesis.txt"]


@pytest.mark.parametrize("place", ["file/run", "file/deep/run"])
def test_a_place_that_takes_no_folder_is_refused(place: str, drawn_photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    refused(*run_arguments(drawn_photos, tmp_path / place))
    assert listed(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--clusters 3", "was started with other settings"),
        ("--clusters 0", "clusters is 0: allowed from 2"),
        ("--seed 4", "was started with other settings"),
        ("--preset paper", "was started with other settings"),
        ("--set heads.epochs=5", "was started with other settings"),
        ("--size 16", "was trained on different images"),
    ],
)
def test_a_run_goes_on_only_as_it_was_started(
    more: str, message: str, trained: tuple[Path, Done], drawn_photos: Path
) -> None:
    before = (trained[0] / "events.jsonl").read_bytes()
    assert message in refused(*run_arguments(drawn_photos, trained[0], "--resume", *more.split()))
    assert (trained[0] / "events.jsonl").read_bytes() == before


def test_a_run_goes_on_only_with_its_own_images(trained: tuple[Path, Done], photos: Path) -> None:
    (photos / "bars" / "01.png").unlink()
    sentence = refused(*run_arguments(photos, trained[0], "--resume"))
    assert "was trained on different images" in sentence
    assert "40 images of 32×32" in sentence


def test_no_run_can_be_neither_shown_nor_exported(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert "contains no run: expected the file run.json in it" in refused("show", str(folder))
        out = tmp_path / "labels.csv"
        assert "contains no run" in refused("export", str(folder), "--out", str(out))
    assert listed(tmp_path) == []


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": 99}', '{"format": 1}'])
def test_a_damaged_run_is_refused(content: str, drawn_photos: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(content)
    for arguments in (
        ["show", str(tmp_path)],
        ["show", str(tmp_path), "--json"],
        ["export", str(tmp_path), "--out", str(tmp_path / "labels.csv")],
        run_arguments(drawn_photos, tmp_path, "--resume"),
    ):
        assert str(tmp_path) in refused(*arguments)
    assert listed(tmp_path) == ["run.json"]


def test_settings_that_were_damaged_are_refused(trained: tuple[Path, Done], tmp_path: Path) -> None:
    card = json.loads((trained[0] / "run.json").read_text())
    damaged: list[object] = [[], {"heads": 3}, {"clusters": {}}, {"hats": 1}]
    for config in damaged:
        (tmp_path / "run.json").write_text(json.dumps({**card, "config": config}))
        assert refused("show", str(tmp_path))


def test_labels_before_stage_2_are_refused(trained: tuple[Path, Done], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(trained[0] / "run.json", folder)
    sentence = refused("export", str(folder), "--out", str(tmp_path / "labels.csv"))
    assert "has no labels yet: train at least until stage 2 is done" in sentence
    assert not (tmp_path / "labels.csv").exists()


def test_an_export_into_a_missing_folder_is_refused(trained: tuple[Path, Done], tmp_path: Path) -> None:
    out = tmp_path / "missing" / "labels.csv"
    sentence = refused("export", str(trained[0]), "--out", str(out))
    assert sentence == f"{out} cannot be written: No such file or directory; choose another place"
    assert listed(tmp_path) == []


def test_a_command_line_that_is_none_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["train"], ["run", "digits"], ["run", "digits", "--clusters", "x"]):
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
    assert capsys.readouterr().out == ""


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(("module", "name"), [(np, "save"), (os, "fsync")])
def test_a_disk_full_at_the_start_leaves_no_run(
    module: Any, name: str, drawn_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, full)
    sentence = refused(*run_arguments(drawn_photos, tmp_path / "run"))
    assert "(No space left on device): free some space or choose another folder" in sentence
    assert listed(tmp_path) == []


@pytest.mark.parametrize("artefact", ["features", "neighbors", "heads", "reliable-heads", "joint"])
def test_a_disk_full_in_training_leaves_no_half_artefact_and_resume_finishes(
    artefact: str, drawn_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk stores some of the artefact's files and is full at the last one."""
    flush, run = os.fsync, tmp_path / "run"

    def full_later(descriptor: int) -> None:
        drafts = [entry for entry in run.glob(f".{artefact}-*") if any(entry.iterdir())]
        return full() if drafts else flush(descriptor)

    monkeypatch.setattr(os, "fsync", full_later)
    failed = do(*run_arguments(drawn_photos, run))
    monkeypatch.undo()
    assert failed.code == 1
    assert len(failed.errors) == 1
    assert failed.errors[0].startswith("error: No space left on device")
    assert "Traceback" not in failed.err
    assert failed.summary["state"] == "failed"
    assert not (run / artefact).exists()
    assert not [name for name in listed(run) if name.startswith(".") or name.endswith(".tmp")]
    assert do(*run_arguments(drawn_photos, run, "--resume")).summary["state"] == "finished"


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file sizes are POSIX's")
@pytest.mark.parametrize(
    ("limit", "left"), [(4_000, []), (130_000, ["run/images", "run/run.json"])], ids=["no image fits", "no weights fit"]
)
def test_a_disk_that_really_takes_no_more(limit: int, left: list[str], drawn_photos: Path, tmp_path: Path) -> None:
    """Runs in another process, whose files may not grow beyond `limit` bytes."""
    import resource

    done = subprocess.run(
        [sys.executable, "-m", "engine", *run_arguments(drawn_photos, tmp_path / "run"), "--set", "encoder.width=32"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line and "|" not in line]
    assert [line.startswith("error: ") for line in lines] == [True], done.stderr
    assert "this is a bug" not in done.stderr
    found = listed(tmp_path)
    kept = {"images", "run.json", "features"}
    assert [name for name in found if name.removeprefix("run/") in kept] == left
    assert not [name for name in found if Path(name).name.startswith(".")]


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "cp1252"},
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=["cp1252", "ascii", "C"],
)
def test_any_name_is_read_and_printed_in_any_locale(environment: dict[str, str], tmp_path: Path) -> None:
    place = tmp_path / "集"
    place.mkdir()
    for number in range(3):
        Image.new("L", (9, 9), 90 * number).save(place / f"图\x1b{number}.png")
    Image.new("L", (9, 9), 0).save(place / "same.png")
    (place / "坏.png").write_bytes(b"x")
    rows = "".join(f"图\x1b{number}.png,k{number}\n" for number in range(3))
    (place / "t.csv").write_text(f"path,label\n{rows}", "utf-8")
    for command, out, err in (
        (["health", str(place)], "4 images, 1 unreadable", ".png: not an image"),
        (["import", str(place / "t.csv"), "--labels"], '"images": 3', ""),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "engine", *command],
            capture_output=True,
            env={**os.environ, **environment},
            check=True,
        )
        assert out.encode() in done.stdout
        assert err.encode() in done.stderr
        assert b"\x1b" not in done.stdout + done.stderr
