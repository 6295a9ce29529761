"""What becomes of a damaged run when it is resumed."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.data.image_store import cache
from engine.errors import RunError
from engine.events import Alarm
from engine.jobs import Control
from engine.runs.create import create_run
from engine.runs.folder import DAMAGED, RunFolder
from engine.runs.history import frame_steps_of, load_history
from engine.runs.results import observe
from engine.runs.runner import choose_device, execute
from engine.runs.safeguards.check import check
from engine.runs.safeguards.cures import REMADE
from engine.runs.safeguards.damage import to_make_again
from engine.sources.open_source import open_source
from tests.runs.safeguards.conftest import finished, flip
from tests.tiny_runs import tiny_config


def arrays(folder: RunFolder) -> dict[str, np.ndarray]:
    return {f"{one}/{name}": np.array(found) for one in REMADE for name, found in folder.load(one).items()}


def refused(folder: RunFolder) -> str:
    with folder.lock():
        assert execute(folder, choose_device("cpu"), Control()) == "failed"
    return observe(folder).message


def alarms(folder: RunFolder) -> list[Alarm]:
    return [one for one in observe(folder).alarms if "damaged" in one.cause or "other" in one.cause]


@pytest.mark.parametrize("artefact", REMADE)
def test_what_can_be_made_again_is_moved_aside_said_and_made_again(run: RunFolder, artefact: str) -> None:
    before = arrays(run)
    (file, *_) = sorted((run.path / artefact).glob("*.npy"))
    flip(file)
    damaged = file.read_bytes()
    assert to_make_again(run) == [artefact]
    with pytest.raises(RunError, match=r"is not as it was written\): resume the run"):
        run.load(artefact)
    after = arrays(finished(run))
    assert {name for name in before if not np.array_equal(before[name], after[name])} == set()
    (told,) = alarms(run)
    assert told.cause == f"{artefact} is damaged ({file.name} is not as it was written)"
    assert told.cure == f"it was moved to {DAMAGED}/{artefact}, and is made again"
    assert (run.path / DAMAGED / artefact / file.name).read_bytes() == damaged
    assert [found.line for found in check(run) if found.trouble] == []
    assert to_make_again(run) == []


@pytest.mark.parametrize("name", ["images/pixels.npy", "images/ids.npy"])
def test_nothing_is_trained_on_other_images(run: RunFolder, name: str) -> None:
    flip(run.path / name)
    run.remove("joint")
    kept = (run.path / name).read_bytes()
    assert "put back a copy of it" in refused(run)
    assert (run.path / name).read_bytes() == kept
    assert not run.has("joint")


def test_a_run_goes_on_without_truth_which_stays_where_it_is(run: RunFolder) -> None:
    flip(run.path / "truth" / "labels.npy")
    run.remove("joint")
    run.remove("reliable-joint")
    finished(run)
    (told,) = alarms(run)
    assert told.cure.startswith("the run goes on without it; it cannot be made again here: put back a copy")
    assert run.has("truth")
    assert run.has("joint")


def test_a_damaged_frame_is_left_out_and_moved_aside(run: RunFolder) -> None:
    taken = frame_steps_of(run)
    (stage, step) = taken[-2]
    flip(run.path / "frames" / f"{stage}-{step:07d}" / "labels.npy")
    (run.path / "frames" / "notes-by-hand").mkdir()
    assert frame_steps_of(run) == [one for one in taken if one != (stage, step)]
    assert len(load_history(run).steps) == len([one for one in taken if one[0] != "features"]) - 1
    finished(run)
    assert f"moved to {DAMAGED}/frames-{stage}-{step:07d}, and is left out" in alarms(run)[0].cure


@pytest.mark.parametrize("damage", ["flip", "cut", "text"])
def test_a_damaged_checkpoint_is_moved_aside_and_its_stage_begins_again(run: RunFolder, damage: str) -> None:
    before = arrays(run)
    run.remove("joint")
    run.remove("reliable-joint")
    file = run.checkpoint("joint").path
    torch.save({"step": 1, "weights": torch.arange(4000.0)}, file)
    content = file.read_bytes()
    if damage == "flip":
        flip(file, len(content) // 2)
    else:
        file.write_bytes(content[:-40] if damage == "cut" else b"no checkpoint")
    with pytest.raises(RunError, match=r"checkpoint-joint\.pt is damaged .*: resume the run"):
        run.checkpoint("joint").load()
    after = arrays(finished(run))
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert alarms(run)[0].cause.startswith("checkpoint-joint.pt is damaged")


def exchange(run: RunFolder) -> None:
    found = {name: np.array(values) for name, values in run.load("features").items()}
    found["vectors"] = np.roll(found["vectors"], 1, 0)
    run.save("features", found, run.path / "features" / "weights.pt", of=("images",))


def test_stages_of_other_features_are_made_again_before_they_are_trained_on(run: RunFolder) -> None:
    before = arrays(run)
    exchange(run)
    run.remove("joint")
    run.remove("reliable-joint")
    after = arrays(finished(run))
    assert not np.array_equal(before["heads/probabilities"], after["heads/probabilities"])
    assert {one.cause.split(" ")[0] for one in alarms(run)} == {"neighbors", "heads", "reliable-heads"}
    assert [found.line for found in check(run) if found.trouble] == []


def test_labels_that_are_final_stay_when_features_are_exchanged(run: RunFolder) -> None:
    before = arrays(run)
    exchange(run)
    after = arrays(finished(run))
    for name in ("heads/probabilities", "joint/probabilities", "reliable-joint/labels"):
        assert np.array_equal(before[name], after[name])
    assert {one.cure for one in alarms(run)} == {"it stays as it is; start a new run if the two have to fit"}


def test_labels_that_people_have_decided_about_are_not_made_again(run: RunFolder) -> None:
    exchange(run)
    run.remove("joint")
    run.remove("reliable-joint")
    sqlite3.connect(run.path / "decisions.sqlite").execute("CREATE TABLE decisions (row INTEGER)").connection.close()
    assert "people have decided about its labels" in refused(run)
    assert run.has("heads")


def test_stray_files_are_no_part_of_an_artefact(run: RunFolder) -> None:
    before = arrays(run)
    for artefact in ("heads", "reliable-joint"):
        np.save(run.path / artefact / "own-notes.npy", np.zeros(3))
        (run.path / artefact / "._labels.npy").write_bytes(b"a resource fork")
    assert arrays(run).keys() == before.keys()
    assert [found.line for found in check(run) if found.trouble] == []


def test_reading_writes_nothing(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {file: file.stat().st_mtime_ns for file in run.path.rglob("*")}
    plain: Any = Path.open

    def only_read(path: Path, mode: str = "r", *rest: object, **named: object) -> object:
        assert not set(mode) & set("wax+"), f"{path} is opened to be written"
        return plain(path, mode, *rest, **named)

    monkeypatch.setattr(Path, "open", only_read)
    list(check(run))
    load_history(run)
    arrays(run)
    assert {file: file.stat().st_mtime_ns for file in run.path.rglob("*")} == before


def test_cache_and_run_share_pixels_that_nobody_writes_to_and_a_new_run_gets_whole_ones(
    photos: Path, tmp_path: Path
) -> None:
    def begun(name: str) -> RunFolder:
        return create_run(tmp_path / name, open_source(str(photos), size=8), tiny_config())

    first = begun("first")
    (kept,) = cache().rglob("pixels-*.npy")
    assert kept.samefile(first.path / "images" / "pixels.npy")
    assert not kept.stat().st_mode & 0o222
    kept.chmod(0o644)
    flip(kept)
    assert "images than those that the run was made with" in refused(first)
    assert [one.name for one in cache().glob("images/*.damaged/pixels-*")] == [kept.name]
    assert not kept.exists()
    again = begun("again")
    assert not np.array_equal(again.images().pixels, first.images().pixels)
    assert again.card().fingerprint == again.images().fingerprint == first.card().fingerprint


def test_a_store_whose_pixels_changed_is_imported_again(photos: Path) -> None:
    before = open_source(str(photos), size=8).images.pixels.copy()
    (kept,) = cache().rglob("pixels-*.npy")
    kept.chmod(0o644)
    flip(kept)
    assert np.array_equal(open_source(str(photos), size=8).images.pixels, before)
    (index,) = cache().rglob("index.json")
    index.write_text(index.read_text().replace("bars/01.png", "bars/91.png"))
    assert "bars/01.png" in open_source(str(photos), size=8).images.ids
