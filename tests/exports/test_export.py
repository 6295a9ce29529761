"""What an export refuses, and what it leaves behind when it ends early: nothing."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from torchvision.datasets import ImageFolder

from engine.errors import RunError, Stopped
from engine.events import RunStarted
from engine.exports.export import Asked, export_run
from engine.exports.pictures import Picture
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.runs.results import decision_log
from engine.sources.open_source import open_source
from tests.exports.conftest import DoExport, expected, labels_of, listed
from tests.exports.test_formats import in_folder
from tests.tiny_runs import tiny_config

Decide = Callable[..., None]


def test_a_target_that_exists_is_kept_unless_it_is_to_be_replaced(
    run: RunFolder, photos: Path, export: DoExport, tmp_path: Path
) -> None:
    export("folders", scope="class:Cluster 0")
    before = in_folder(tmp_path / "out")
    with pytest.raises(RunError, match=r"out exists: choose another folder, or replace it \(--overwrite\)"):
        export("folders")
    assert in_folder(tmp_path / "out") == before
    export("folders", overwrite=True)
    assert in_folder(tmp_path / "out") == expected(photos, run)
    export("csv", "labels.csv")
    with pytest.raises(RunError, match=r"labels.csv exists: choose another name, or replace it \(--overwrite\)"):
        export("csv", "labels.csv", scope="reliable")
    assert len(pd.read_csv(tmp_path / "labels.csv")) == 40
    export("csv", "labels.csv", scope="reliable", overwrite=True)
    assert len(pd.read_csv(tmp_path / "labels.csv")) == 20
    assert listed(tmp_path) == ["labels.csv", "out", "photos", "runs"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_that_is_no_export_is_ever_replaced(overwrite: bool, export: DoExport, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("kept")
    (tmp_path / "file").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("mine", "file", "link"):
        with pytest.raises(RunError, match="exists and is no export of this app: choose another folder"):
            export("folders", name, overwrite=overwrite)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "kept"
    assert listed(tmp_path) == ["file", "link", "mine", "photos", "runs"]


@pytest.mark.parametrize(
    ("out", "what"), [("photos/out", "the images"), ("photos", "no export"), ("runs/mine/x", "run")]
)
def test_nothing_is_exported_into_the_images_or_the_run(out: str, what: str, export: DoExport, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=what):
        export("folders", out, overwrite=True)
    assert listed(tmp_path) == ["photos", "runs"]
    assert listed(tmp_path / "photos") == ["bars", "spots"]


@pytest.mark.parametrize("format", ["folders", "hf", "hf-parquet", "webdataset", "label-studio", "fiftyone", "cvat"])
def test_a_disk_that_is_full_midway_leaves_nothing(
    format: str, export: DoExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(format, scope="class:Cluster 1")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    given: list[Picture] = []

    def full(picture: Picture, *_: object) -> bytes:
        given.append(picture)
        if len(given) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return Path(picture.path or "").read_bytes()

    monkeypatch.setattr(Picture, "put", full)
    monkeypatch.setattr(Picture, "read", full)
    with pytest.raises(RunError, match="cannot be written: No space left on device; nothing was left there"):
        export(format, overwrite=True)
    assert len(given) == 6
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before
    assert listed(tmp_path) == ["out", "photos", "runs"]


def test_an_original_that_cannot_be_read_is_named(
    export: DoExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(picture: Picture, *_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(picture.path))

    monkeypatch.setattr(Picture, "put", refused)
    with pytest.raises(
        RunError, match=r"photos/bars/01\.png cannot be read: Permission denied; nothing was left at .*out"
    ):
        export("folders")
    assert listed(tmp_path) == ["photos", "runs"]


def test_an_export_that_is_stopped_leaves_nothing(run: RunFolder, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    with contextlib.closing(decision_log(run)) as log, pytest.raises(Stopped):
        export_run(
            run,
            Asked("folders", tmp_path / "out"),
            log,
            progress=lambda *steps: told.append(steps),
            stop=lambda: len(told) > 10,
        )
    assert told[-1] == ("writing", 10, 40)
    assert listed(tmp_path) == ["photos", "runs"]


def test_a_place_that_takes_no_folder_is_refused_in_words(export: DoExport, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"missing/out cannot be written: No such file or directory; choose another"):
        export("folders", "missing/out")
    assert listed(tmp_path) == ["photos", "runs"]


# -- scopes ----------------------------------------------------------------------------------------


def test_scopes_without_what_was_left_out(run: RunFolder, decide: Decide, export: DoExport, tmp_path: Path) -> None:
    decide("exclude", [0, 1])
    decide("accept", [2])
    decide("reject", [3])
    decide("rename", class_=1, text="Bars: wide")
    ids, labels = run.images().ids, labels_of(40)

    def rows(scope: str, *selection: int) -> list[int]:
        export("csv", "out.csv", scope=scope, selection=selection, overwrite=True)
        return [ids.index(one) for one in pd.read_csv(tmp_path / "out.csv")["id"]]

    assert rows("all") == list(range(2, 40))
    assert rows("reliable") == [2, *range(5, 40, 2)], "what was seen, and the model's, without what was rejected"
    assert rows("decided") == [2]
    assert rows("selection", 1, 3, 30) == [3, 30]
    ones = [row for row in np.flatnonzero(labels == 1).tolist() if row > 1]
    assert rows("class:Bars: wide") == rows("class:bars: WIDE") == ones


def test_a_scope_without_images_is_refused(decide: Decide, export: DoExport, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no image of mine is in the scope “decided”: choose another one, such as all"):
        export("folders", scope="decided")
    decide("exclude", list(range(40)))
    with pytest.raises(RunError, match="“all” except 40 excluded images: choose another one"):
        export("csv", "out.csv")
    with pytest.raises(RunError, match="the run has no class 'birds': its classes are Cluster 0, Cluster 1, Cluster 2"):
        export("csv", "out.csv", scope="class:birds")
    with pytest.raises(RunError, match="there is no scope 'some'"):
        export("csv", "out.csv", scope="some")
    assert listed(tmp_path) == ["photos", "runs"]


@pytest.mark.parametrize(
    ("format", "asked", "said"),
    [
        ("csv", {"how": "symlink"}, "csv does not link to originals: leave out --symlink"),
        ("webdataset", {"how": "hardlink"}, "webdataset does not link to originals"),
        ("embeddings", {"pictures": "pixels"}, "embeddings has no pictures: leave out --pictures"),
        ("folders", {"guard": False}, "folders has every name as it is: leave out --no-guard"),
        ("folders", {"how": "symlink", "pictures": "pixels"}, "there is nothing to link to"),
        ("coco", {}, "there is no export format 'coco': expected csv, jsonl, parquet"),
        ("folders", {"split": "80,30"}, "expected whole percentages that make 100, such as 80,10,10"),
        ("folders", {"split": "100,0"}, "expected whole percentages"),
    ],
)
def test_what_a_format_does_not_do_is_refused(
    format: str, asked: dict[str, object], said: str, export: DoExport, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=said):
        export(format, **asked)
    assert listed(tmp_path) == ["photos", "runs"]


def test_a_run_that_still_trains_gives_the_labels_of_its_last_finished_stage(
    run: RunFolder, export: DoExport, tmp_path: Path
) -> None:
    run.append(RunStarted("cpu", 1))
    shutil.copytree(run.path / "reliable-joint", run.path / "reliable-heads")
    shutil.rmtree(run.path / "reliable-joint")
    with run.lock():
        done = export("csv", "out.csv")
    assert "the run is still training: these are the labels of stage 2" in done.notes
    assert set(pd.read_csv(tmp_path / "out.csv")["source"]) == {"stage 2"}


# -- originals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("all_of_them", [True, False])
def test_originals_that_are_gone_are_refused_or_said(
    all_of_them: bool, run: RunFolder, photos: Path, export: DoExport, tmp_path: Path
) -> None:
    if all_of_them:
        photos.rename(tmp_path / "moved")
    else:
        (photos / "spots" / "02.png").unlink()
    with pytest.raises(RunError, match=r"not (there|in .*photos) any more.*\(--pictures pixels\), or these where"):
        export("folders")
    assert "out" not in listed(tmp_path)
    done = export("folders", pictures="either")
    count = 40 if all_of_them else 1
    assert (
        f"{count} originals are gone: in their place are the pixels that were trained on, 32 × 32, as PNG" in done.notes
    )
    sizes = [image.size for image, _ in ImageFolder(str(tmp_path / "out"))]
    assert (sizes.count((32, 32)), sizes.count((12, 12))) == (count, 40 - count)
    rows = json.loads((tmp_path / "out" / ".spice-export.json").read_text("utf-8"))
    assert rows["notes"] == list(done.notes), "who opens the folder later can read it there"
    export("csv", "labels.csv")
    paths = pd.read_csv(tmp_path / "labels.csv")["path"]
    assert paths.tolist() == [str(photos / one) for one in run.images().ids], "where they were"


def test_pixels_are_exported_for_those_who_want_them(run: RunFolder, export: DoExport, tmp_path: Path) -> None:
    assert export("folders", pictures="pixels").notes == ()
    found = ImageFolder(str(tmp_path / "out"))
    table = pd.read_csv(tmp_path / "out" / "labels.csv").set_index("exported_as")["id"]
    ids, pixels = run.images().ids, run.images().pixels
    for place, (path, _) in enumerate(found.samples):
        image = table[Path(path).relative_to(tmp_path / "out").as_posix()]
        assert np.array_equal(np.asarray(found[place][0]), pixels[ids.index(image)].transpose(1, 2, 0))


def test_an_original_that_is_another_file_by_now_is_said(export: DoExport, photos: Path) -> None:
    (photos / "spots" / "02.png").write_bytes((photos / "spots" / "04.png").read_bytes() + b"more")
    (note,) = export("folders").notes
    assert note.startswith("1 originals have another size in bytes than when they were imported")


def test_the_members_of_an_archive_are_exported_as_they_are(photos: Path, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "all"), "zip", photos)
    folder = create_run(tmp_path / "zipped", open_source(f"zip:{tmp_path / 'all.zip'}"), tiny_config())
    labels = labels_of(40)
    verdict = {"labels": labels, "confidence": np.ones(40, np.float32), "agreement": np.ones(40, np.float32)}
    folder.save("reliable-heads", {**verdict, "verdicts": np.zeros(40, np.uint8), "thresholds": np.ones(3, np.float32)})
    with contextlib.closing(decision_log(folder)) as log:
        export_run(folder, Asked("folders", tmp_path / "out", how="symlink"), log)
    assert in_folder(tmp_path / "out") == expected(photos, folder)
    table = pd.read_csv(tmp_path / "out" / "labels.csv")
    assert set(table["path"]) == {str(tmp_path / "all.zip")}
