from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.leftovers import DRAFT, TEMPORARY, holding, let_go, sweep, temporary_folder
from engine.runs.folder import RunFolder
from engine.runs.safeguards.mending import mend
from spice_explorer import lifecycle
from tests.tiny_runs import MakeRun

ROOT = Path(__file__).parents[1]
# Writes an artefact that never ends, and says when it has begun.
WRITER = """
import sys, time
from pathlib import Path
from engine.runs.files import draft_folder
with draft_folder(Path(sys.argv[1])) as draft:
    (draft / "values.npy").write_bytes(b"half")
    print(draft, flush=True)
    time.sleep(600)
"""


def aged(path: Path, seconds: float = 60) -> Path:
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_what_a_killed_process_left_is_removed_and_what_a_live_one_writes_stays(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "joint")]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)]
    try:
        drafts = [Path(one.stdout.readline().strip()) for one in writers if one.stdout]
        for draft in drafts:
            aged(draft)
        assert sweep(tmp_path, f".*{DRAFT}*") == []
        writers[0].send_signal(signal.SIGKILL)
        writers[0].wait()
        assert sweep(tmp_path, f".*{DRAFT}*") == [drafts[0]]
        assert [one.is_dir() for one in drafts] == [False, True]
    finally:
        for one in writers:
            one.kill()
            one.communicate()


def test_what_an_earlier_version_may_be_writing_is_left_for_a_day(tmp_path: Path) -> None:
    old, new = tmp_path / ".draft", tmp_path / ".later"
    old.write_text("half")
    new.write_text("half")
    aged(old, 2 * 86_400)
    aged(new, 3_600)
    assert sweep(tmp_path, ".*") == [old]
    assert new.exists()


def test_what_was_made_just_now_may_not_be_locked_yet(tmp_path: Path) -> None:
    (tmp_path / f".run{DRAFT}1").mkdir()
    assert sweep(tmp_path, ".*") == []


def test_a_link_is_never_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("mine")
    (tmp_path / f".run{DRAFT}1").symlink_to(tmp_path / "precious")
    os.utime(tmp_path / f".run{DRAFT}1", (0, 0), follow_symlinks=False)
    aged(tmp_path / "precious")
    sweep(tmp_path, ".*")
    assert (tmp_path / "precious" / "file").read_text() == "mine"


def test_a_temporary_folder_is_held_until_it_is_let_go() -> None:
    place, held = temporary_folder("spice-tar-")
    aged(place)
    assert sweep(place.parent, f"{place.name}*") == []
    with holding(place):
        let_go(place, held)
    assert not place.exists()


def test_a_new_server_removes_what_the_last_one_left(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run()
    cache, temporary = tmp_path / "cache", tmp_path / "tmp"
    monkeypatch.setenv("SPICE_EXPLORER_CACHE", str(cache))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    left = [
        tmp_path / f".other{DRAFT}0123",
        folder.path / f".heads{DRAFT}4567",
        cache / "uploads" / "abc" / f".upload{DRAFT}89",
        *(temporary / f"{prefix}xyz" for prefix in TEMPORARY),
    ]
    kept = [
        folder.path / "truth",
        cache / "uploads" / "abc" / "photos.zip",
        temporary / "mine",
        cache / "features/1.draft",
    ]
    for one in (*left, *kept):
        one.mkdir(parents=True, exist_ok=True)
        aged(one)
    lifecycle.tidy_up(tmp_path)
    end = time.monotonic() + 30
    while any(one.exists() for one in left):
        assert time.monotonic() < end, [str(one) for one in left if one.exists()]
        time.sleep(0.02)
    assert all(one.exists() for one in kept)


def test_training_removes_what_its_predecessor_left_in_the_run(make_run: MakeRun) -> None:
    folder: RunFolder = make_run()
    draft = folder.path / f".joint{DRAFT}0123"
    draft.mkdir()
    aged(draft)
    (folder.path / "checkpoint-joint.tmp").write_bytes(b"half")
    mend(folder, lambda _event: None)
    assert not draft.exists()
    assert not (folder.path / "checkpoint-joint.tmp").exists()
    assert folder.has("images")
