from __future__ import annotations

import errno
import json
import os
import resource
import stat
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.config import with_settings
from engine.data.columns import ImageColumn
from engine.data.image_store import cache
from engine.data.images import ImageSet
from engine.errors import RunError
from engine.events import (
    STAGES,
    Alarm,
    LineSkipped,
    Progress,
    Record,
    RunFailed,
    RunFinished,
    RunQueued,
    RunStarted,
    from_json,
    to_json,
)
from engine.jobs import Control
from engine.runs.create import branch_run, create_run
from engine.runs.files import write_text
from engine.runs.folder import RunFolder
from engine.runs.history import frame_steps_of
from engine.runs.results import load_reliable, observe
from engine.runs.runner import choose_device, execute
from engine.sources.open_source import Opened, open_source
from tests.tiny_runs import MakeRun, drawn, tiny_config


def hidden_leftovers(path: Path) -> list[str]:
    return [one.name for one in path.iterdir() if one.name.startswith(".")]


def test_a_new_folder_holds_images_truth_and_settings(make_run: MakeRun) -> None:
    folder = make_run()
    images, truth = drawn()
    np.testing.assert_array_equal(folder.images().pixels, images.pixels)
    assert folder.images().ids == images.ids
    assert folder.card().fingerprint == images.fingerprint == folder.images().fingerprint
    found = folder.truth()
    assert found is not None
    np.testing.assert_array_equal(found.labels, truth.labels)
    assert found.class_names == truth.class_names
    assert folder.card().config == tiny_config()


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(RunError, match="not empty"):
        create_run(tmp_path, Opened(drawn()[0]), tiny_config())
    assert [one.name for one in tmp_path.iterdir()] == ["mine.txt"]


def test_more_clusters_than_images_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="choose from 2 to 60"):
        create_run(tmp_path / "run", Opened(drawn()[0]), tiny_config(clusters=61))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_half_written_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"cannot be written .*No space left.*: free some space"):
        create_run(tmp_path / "run", Opened(drawn()[0]), tiny_config())
    assert list(tmp_path.iterdir()) == []


def test_an_artefact_that_fails_half_way_leaves_the_old_one(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run()
    folder.save("map", {"points": np.zeros(3)})

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        folder.save("map", {"points": np.ones(3)}, {"weight": torch.ones(1)})
    assert folder.load("map")["points"].tolist() == [0, 0, 0]
    assert hidden_leftovers(folder.path) == []


def test_events_come_back_as_they_were_said(make_run: MakeRun) -> None:
    folder = make_run()
    said = [
        RunStarted("cpu", 2),
        Progress("heads", 3, 120.5, {"loss": 0.25}, (1, 2, 3)),
        Alarm("joint", "cause", "cure"),
        RunFinished(),
    ]
    for event in said:
        folder.append(event)
    records, offset = folder.records()
    assert [record.event for record in records] == said
    assert [r.time for r in records] == sorted(r.time for r in records)
    assert folder.records(offset) == ([], offset)
    folder.append(said[0])
    assert [record.event for record in folder.records(offset)[0]] == said[:1]


def test_an_event_keeps_its_type_through_json() -> None:
    record = Record(12.5, Progress("joint", 1, 2.0, {"a": 1.0}, (4, 5)))
    assert from_json(json.loads(json.dumps(to_json(record)))) == record


def test_half_a_line_is_not_read_and_is_cut_off_before_the_next_event(make_run: MakeRun) -> None:
    folder = make_run()
    folder.append(RunStarted("cpu", 1))
    with (folder.path / "events.jsonl").open("a") as file:
        file.write('{"event": "Progr')
    assert len(folder.records()[0]) == 1
    folder.mend_events()
    folder.append(RunFinished())
    assert [type(r.event) for r in folder.records()[0]] == [RunStarted, RunFinished]


def test_one_writer_at_a_time(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.runs.folder.LOCK_SECONDS", 0.01)
    folder = make_run()
    assert not folder.is_locked
    with folder.lock():
        assert folder.is_locked
        with pytest.raises(RunError, match="already being trained"):
            folder.lock()
    assert not folder.is_locked


def test_a_checkpoint_survives_a_failed_successor(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = make_run().checkpoint("features")
    assert checkpoint.load() is None
    checkpoint.save({"step": 3, "weight": torch.ones(2)})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save({"step": 4})
    loaded = checkpoint.load()
    assert loaded is not None
    assert loaded["step"] == 3


def test_a_checkpoint_cannot_run_code(make_run: MakeRun) -> None:
    checkpoint = make_run().checkpoint("features")
    torch.save({"step": Path("x")}, checkpoint.path)
    with pytest.raises(RunError, match=r"checkpoint-features\.pt is damaged \(Weights only load"):
        checkpoint.load()


@pytest.mark.parametrize("text", [b"", b"{}", b'{"format": 1}', b"[1]", b"\xff\xfe"])
def test_a_damaged_card_is_named(make_run: MakeRun, text: bytes) -> None:
    folder = make_run()
    (folder.path / "run.json").write_bytes(text)
    with pytest.raises(RunError, match=r"run\.json.* is damaged"):
        folder.card()


def test_a_lack_of_memory_is_not_called_damage(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Following "delete it" would delete weights that took hours to train."""
    folder, places = make_run(), []
    folder.save("features", {"vectors": np.zeros((60, 2), np.float32)}, {"w": torch.ones(2)})
    folder.checkpoint("features").save({"w": torch.ones(2)})

    def full(_path: Path, *, map_location: str, **_: object) -> None:
        places.append(map_location)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(torch, "load", full)
    for load in (lambda: folder.weights("features"), folder.checkpoint("features").load):
        with pytest.raises(torch.OutOfMemoryError):
            load()
    assert places == ["cpu", "cpu"]  # so a full GPU does not matter there


def test_a_card_of_a_later_format_says_so(make_run: MakeRun) -> None:
    folder = make_run()
    card = json.loads((folder.path / "run.json").read_text())
    (folder.path / "run.json").write_text(json.dumps({**card, "format": 99}))
    with pytest.raises(RunError, match="run format 99, but this version reads up to 2"):
        folder.card()


def test_an_event_that_the_disk_has_no_room_for_does_not_spoil_the_next(make_run: MakeRun) -> None:
    folder = make_run()
    folder.append(RunQueued())
    kept = folder.records()[0]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    room = (folder.path / "events.jsonl").stat().st_size + 100
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            folder.append(RunFailed("a" * 200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert folder.records()[0] == kept
    folder.append(RunFailed("the disk is full"))
    assert [one.event for one in folder.records()[0]] == [RunQueued(), RunFailed("the disk is full")]


@pytest.mark.parametrize("room", [0, 100, 4096, 8300, 8500, 8927])
def test_an_artefact_that_loses_its_last_bytes_is_not_there(make_run: MakeRun, room: int) -> None:
    """A file of 8,928 bytes; what C still holds of it when it closes numpy would lose in silence."""
    folder, values = make_run(), np.arange(1100)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            folder.save("joint", {"values": values})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not folder.has("joint")
    assert hidden_leftovers(folder.path) == []
    folder.save("joint", {"values": values})
    assert (folder.path / "joint" / "values.npy").stat().st_size == 8928
    np.testing.assert_array_equal(folder.load("joint")["values"], values)


def test_a_file_that_the_disk_has_only_in_part_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, plain = tmp_path / "card.json", os.fstat
    write_text(path, "old")

    def cut(number: int) -> os.stat_result:
        fields = list(plain(number))
        fields[6] = 1  # the size
        return os.stat_result(fields)

    monkeypatch.setattr(os, "fstat", cut)
    with pytest.raises(OSError, match="only 1 of 3 bytes have arrived"):
        write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert hidden_leftovers(tmp_path) == []


@pytest.mark.parametrize("line", [b"{}", b"nonsense", b'{"event": "Unheard", "time": 1}', b"\xff"])
def test_a_damaged_line_of_events_is_passed_over_and_counted(make_run: MakeRun, line: bytes) -> None:
    folder = make_run()
    folder.append(RunStarted("cpu", 1))
    with (folder.path / "events.jsonl").open("ab") as file:
        file.write(line + b"\n")
    folder.append(RunFinished())
    assert [one.event for one in folder.records()[0]] == [RunStarted("cpu", 1), LineSkipped(), RunFinished()]
    found = observe(folder)
    assert (found.state, found.skipped) == ("finished", 1)
    assert found.seconds < 60


def test_no_flipped_bit_of_an_event_is_believed(make_run: MakeRun) -> None:
    folder = make_run()
    said = Progress("heads", 3, 120.5, {"loss": 0.25}, (1, 2, 3))
    folder.append(said)
    file = folder.path / "events.jsonl"
    line = file.read_bytes()
    for bit in range(8 * (len(line) - 1)):
        flipped = bytearray(line)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        found = [one.event for one in folder.records()[0]]
        assert all(one == LineSkipped() for one in found), flipped


def test_files_that_a_system_leaves_are_no_arrays(make_run: MakeRun) -> None:
    folder = make_run()
    (folder.path / "truth" / "._labels.npy").write_bytes(b"a resource fork")
    assert set(folder.load("truth")) == {"labels", "class_names"}


@pytest.mark.parametrize(("mask", "folders", "files"), [(0o077, 0o700, 0o600), (0o022, 0o755, 0o644)])
def test_a_run_is_open_to_those_whom_the_umask_lets(make_run: MakeRun, mask: int, folders: int, files: int) -> None:
    before = os.umask(mask)
    try:
        folder = make_run()
        folder.save("joint", {"values": np.zeros(3)})
        folder.append(RunQueued())
    finally:
        os.umask(before)
    found = {stat.S_IMODE(path.stat().st_mode) for path in [folder.path, *folder.path.rglob("*")] if path.is_dir()}
    assert found == {folders}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.path.rglob("*") if path.is_file()} == {files}


def test_a_damaged_array_is_named(make_run: MakeRun) -> None:
    folder = make_run()
    (folder.path / "truth" / "labels.npy").write_bytes(b"no array")
    with pytest.raises(RunError, match=r"labels\.npy is damaged"):
        folder.truth()


def test_a_run_cannot_lie_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match=r"cannot be written to .*(Not a directory|File exists)"):
        create_run(tmp_path / "file" / "run", Opened(drawn()[0]), tiny_config())


def test_a_text_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "card.json"
    write_text(path, "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert hidden_leftovers(tmp_path) == []


def test_an_array_that_is_gone_is_missed_in_words(make_run: MakeRun) -> None:
    folder = make_run()
    (folder.path / "images" / "pixels.npy").unlink()
    with pytest.raises(RunError, match=r"pixels\.npy is missing: .*put back a copy of it"):
        folder.images()


# -- branches ----------------------------------------------------------------------------------


@pytest.fixture
def parent(make_run: MakeRun) -> RunFolder:
    folder = make_run("parent")
    with folder.lock():
        assert execute(folder, choose_device("cpu"), Control()) == "finished"
    return folder


def test_a_branch_goes_on_from_stage_two_with_other_thresholds(parent: RunFolder) -> None:
    config = with_settings(parent.card().config, {"reliable.agreement": 0.1, "joint.steps": 3})
    branch = branch_run(parent, parent.path.parent / "branch", config)
    assert branch.card().parent == "parent"
    assert branch.card().config == config
    before = observe(branch)
    assert [before.stages[one].finished for one in STAGES] == [True, True, False]
    assert before.stages["heads"].scores == observe(parent).stages["heads"].scores
    assert {stage for stage, _ in frame_steps_of(branch)} == {"features", "heads"}
    with branch.lock():
        assert execute(branch, choose_device("cpu"), Control()) == "finished"
    for artefact in ("features", "heads"):
        same = zip(parent.load(artefact).values(), branch.load(artefact).values(), strict=True)
        assert all(np.array_equal(one, other) for one, other in same)
    own, other = load_reliable(parent, "heads"), load_reliable(branch, "heads")
    assert (own.thresholds.min(), other.thresholds.max()) == (np.float32(0.3), np.float32(0.1))
    assert observe(parent).state == "finished"


def test_a_branch_shares_its_parents_files(parent: RunFolder) -> None:
    branch = branch_run(parent, parent.path.parent / "branch", parent.card().config)
    for name in ("images/pixels.npy", "features/vectors.npy"):
        assert (branch.path / name).samefile(parent.path / name)
    assert not (branch.path / "events.jsonl").samefile(parent.path / "events.jsonl")
    branch.append(RunFailed("only here"))
    assert observe(parent).message == ""


def test_a_branch_with_other_heads_goes_on_from_stage_one(parent: RunFolder) -> None:
    config = with_settings(parent.card().config, {"heads.sizes": "estimated", "heads.epochs": 2})
    branch = branch_run(parent, parent.path.parent / "branch", config)
    before = observe(branch)
    assert [before.stages[one].finished for one in STAGES] == [True, False, False]
    assert not branch.has("heads")
    assert {stage for stage, _ in frame_steps_of(branch)} == {"features"}
    assert (branch.path / "features/vectors.npy").samefile(parent.path / "features/vectors.npy")
    with branch.lock():
        assert execute(branch, choose_device("cpu"), Control()) == "finished"
    assert observe(branch).stages["heads"].steps == 2
    assert "claimed" not in parent.load("heads")
    assert "claimed" in branch.load("heads")


def test_a_branch_can_change_nothing_of_stage_one(parent: RunFolder) -> None:
    config = with_settings(parent.card().config, {"features.epochs": 9})
    with pytest.raises(RunError, match="only the settings of the heads, of the reliable set and of stage 3"):
        branch_run(parent, parent.path.parent / "branch", config)
    assert not (parent.path.parent / "branch").exists()
    with pytest.raises(RunError, match="exists: choose another folder"):
        branch_run(parent, parent.path, parent.card().config)


def test_nothing_goes_on_from_a_run_without_stage_two(make_run: MakeRun) -> None:
    folder = make_run()
    with pytest.raises(RunError, match="no stage 2 yet"):
        branch_run(folder, folder.path.parent / "branch", folder.card().config)
    assert [one.name for one in folder.path.parent.iterdir()] == [folder.path.name]


def test_pixels_that_are_kept_in_a_file_are_not_written_twice(photos: Path, tmp_path: Path) -> None:
    opened = open_source(str(photos), size=8)
    folder = create_run(tmp_path / "run", opened, tiny_config())
    (kept,) = cache().rglob("pixels-*.npy")
    own = folder.path / "images" / "pixels.npy"
    assert own.samefile(kept)
    (photos / "bars" / "new.png").write_bytes((photos / "bars" / "01.png").read_bytes())
    assert len(open_source(str(photos), size=8).images) == 41
    assert np.array_equal(folder.images().pixels, opened.images.pixels)


def test_a_run_keeps_the_images_that_were_opened_when_others_are_in_their_place_since(
    photos: Path, tmp_path: Path
) -> None:
    opened = open_source(str(photos), size=8)
    before = opened.images.pixels.copy()
    (photos / "bars" / "01.png").rename(photos / "bars" / "99.png")
    other = open_source(str(photos), size=8)
    assert len(other.images) == len(opened.images)
    assert not np.array_equal(other.images.pixels, before)
    folder = create_run(tmp_path / "run", opened, tiny_config())
    assert folder.images().ids == opened.images.ids
    assert np.array_equal(folder.images().pixels, before)
    assert folder.images().fingerprint == folder.card().fingerprint


def test_a_part_of_a_file_is_written(photos: Path, tmp_path: Path) -> None:
    images = open_source(str(photos), size=8).images
    part = ImageSet(images.pixels[5:25], images.ids[5:25], "part")
    folder = create_run(tmp_path / "run", Opened(part), tiny_config())
    assert np.array_equal(folder.images().pixels, images.pixels[5:25])
    assert (images.file is not None, part.file) == (True, None)


def test_what_a_source_says_of_its_images_goes_into_the_run(tmp_path: Path) -> None:
    images, _ = drawn()
    column = ImageColumn("age", np.arange(len(images), dtype=np.float32))
    folder = create_run(tmp_path / "run", Opened(images, columns=(column,)), tiny_config())
    (found,) = folder.columns()
    assert (found.title, found.values.tolist()) == ("age", list(range(len(images))))
