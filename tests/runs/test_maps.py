"""Maps: cached by their inputs, computed in another process, watched from this one."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest

from engine.__main__ import main
from engine.errors import RunError
from engine.runs import maps
from engine.runs.folder import RunFolder
from engine.runs.history import save_frame
from engine.runs.maps import MapMaker, artefact_of, compute, has_maps, load_map, preview, preview_at
from engine.space.neighbors import nearest
from engine.space.projection import MapSettings, principal_map
from engine.stages.frames import Frame
from tests.tiny_runs import MakeRun

SETTINGS = MapSettings()
STEPS = (0, 4, 9)


def vectors(step: int) -> np.ndarray:
    """Three groups that move apart from step to step."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.3, (60, 6))
    noise[np.arange(60), np.arange(60) % 3] += 0.1 + step / 3
    return noise.astype(np.float32)


@pytest.fixture
def mapped(make_run: MakeRun) -> RunFolder:
    """A run whose stage 1 is done, with frames of stages 1 and 3."""
    folder = make_run()
    for step in STEPS:
        save_frame(folder, Frame("features", step, vectors(step).astype(np.float16)))
    folder.save("features", {"vectors": vectors(9), "labels": np.arange(60) % 3})
    near = nearest(vectors(9), 20)
    folder.save("neighbors", {"ids": near.ids, "similarity": near.similarity})
    labels = np.zeros((1, 60), np.uint16)
    save_frame(folder, Frame("heads", 2, labels=labels, confidence=np.ones((1, 60), np.float16)))
    for step in (0, 5):
        save_frame(
            folder, Frame("joint", step, vectors(9 + step).astype(np.float16), labels, np.ones((1, 60), np.float16))
        )
    return folder


def test_every_frame_that_has_features_of_its_own_gets_a_map(mapped: RunFolder) -> None:
    told: list[tuple[str, float]] = []
    assert not has_maps(mapped)
    compute(mapped, frames=True, progress=lambda part, done: told.append((part, done)))
    assert has_maps(mapped, frames=True)
    assert {part for part, _ in told} == {"map", "replay"}
    assert all(0 <= done <= 1 for _, done in told)
    final = load_map(mapped)
    assert final is not None
    for moment in (("features", 9), ("heads", 2), ("joint", 0)):
        assert np.array_equal(load_map(mapped, SETTINGS, moment), final)
    early = load_map(mapped, SETTINGS, ("features", 0))
    assert early is not None
    assert np.isfinite(early).all()
    assert not np.array_equal(early, final)


def test_successive_maps_lie_alike(mapped: RunFolder) -> None:
    compute(mapped, frames=True)
    final, before = load_map(mapped), load_map(mapped, SETTINGS, ("features", 4))
    assert final is not None
    assert before is not None
    np.testing.assert_allclose(final.mean(0), before.mean(0), atol=1e-3)
    moved = np.linalg.norm(final - before, axis=1).mean()
    mirrored = np.linalg.norm(final * [-1, 1] - before, axis=1).mean()
    assert moved < mirrored


def test_what_is_there_is_not_made_again(mapped: RunFolder) -> None:
    compute(mapped, frames=True)
    times = [entry.stat().st_mtime_ns for entry in sorted((mapped.path / "maps").iterdir())]
    compute(mapped, frames=True)
    again = [entry.stat().st_mtime_ns for entry in sorted((mapped.path / "maps").iterdir())]
    assert again == times
    assert len(times) == 4  # the map, two frames of stage 1, one of stage 3


def test_other_features_or_settings_are_another_map(mapped: RunFolder) -> None:
    first = artefact_of(mapped, SETTINGS)
    assert artefact_of(mapped, MapSettings(neighbors=20)) != first
    assert artefact_of(mapped, MapSettings(min_dist=0.5)) != first
    assert artefact_of(mapped, MapSettings()) == first
    time.sleep(0.02)
    mapped.save("features", {"vectors": vectors(1), "labels": np.zeros(60, np.int32)})
    assert artefact_of(mapped, SETTINGS) != first
    assert not has_maps(mapped)


def test_before_stage_one_is_done_there_is_only_a_preview(make_run: MakeRun) -> None:
    folder = make_run()
    with pytest.raises(RunError, match="train until stage 1 has begun"):
        preview(folder)
    with pytest.raises(RunError, match="train until stage 1 is done"):
        compute(folder)
    for step in STEPS[:2]:
        save_frame(folder, Frame("features", step, vectors(step).astype(np.float16)))
    newest = preview(folder)
    expected = principal_map(vectors(4).astype(np.float16).astype(np.float32))
    np.testing.assert_allclose(newest, expected)
    assert load_map(folder) is None
    assert preview_at(folder, ("features", 0), newest).shape == (60, 2)


def test_a_preview_of_a_frame_lies_like_the_newest(mapped: RunFolder) -> None:
    newest = preview(mapped)
    assert preview_at(mapped, ("heads", 2), newest) is newest
    early = preview_at(mapped, ("features", 4), newest)
    correlation = np.corrcoef(early.ravel(), newest.ravel())[0, 1]
    assert correlation > 0.8


def test_the_command_line_makes_a_map_and_tells_how_far_it_is(
    mapped: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["map", str(mapped.path), "--neighbors", "10"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == '{"part": "map", "done": 1.0}'
    assert has_maps(mapped, MapSettings(neighbors=10))
    assert main(["map", str(mapped.path / "nothing")]) == 1
    assert "contains no run" in capsys.readouterr().err


# -- in the background -------------------------------------------------------------------------


def until(told: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not told():
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.02)


def by(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Replaces UMAP by a small program."""
    monkeypatch.setattr(maps, "HEAD_START_SECONDS", 0)
    program = "import sys, time\n" + "\n".join(lines)
    monkeypatch.setattr(maps, "_command", lambda _asked: [sys.executable, "-c", program])


def test_a_map_is_waited_for_until_stage_one_is_done(make_run: MakeRun) -> None:
    assert MapMaker().request(make_run(), SETTINGS, frames=False).state == "waiting"


def test_progress_is_told_and_then_the_map_is_there(mapped: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    target = mapped.path / artefact_of(mapped, SETTINGS)
    by(
        monkeypatch,
        'print(\'{"part": "map", "done": 0.4}\', flush=True)',
        f"import os; gate = {str(mapped.path / 'gate')!r}",
        "while not os.path.exists(gate): time.sleep(0.01)",
        f"draft, target = {str(mapped.path / 'draft')!r}, {str(target)!r}",
        "import numpy; os.makedirs(draft); os.makedirs(os.path.dirname(target))",
        "numpy.save(draft + '/points.npy', numpy.ones((60, 2), 'f4')); os.rename(draft, target)",
    )
    maker = MapMaker()

    def ask() -> maps.MapJob:
        return maker.request(mapped, SETTINGS, frames=False)

    assert ask().state == "computing"
    until(lambda: ask().done == 0.4)
    (mapped.path / "gate").touch()
    until(lambda: ask().state == "ready")
    assert load_map(mapped) is not None


def test_a_failure_is_told_and_only_tried_again_when_asked(mapped: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = mapped.path / "tries"
    by(monkeypatch, f"open({str(tries)!r}, 'a').write('x')", "sys.exit('error: no room')")
    maker = MapMaker()

    def ask(again: bool = False) -> maps.MapJob:
        return maker.request(mapped, SETTINGS, frames=False, again=again)

    ask()
    until(lambda: ask().state == "failed")
    assert ask().message == "no room"
    assert tries.read_text() == "x"
    assert ask(again=True).state == "computing"
    until(lambda: ask().state == "failed")
    assert tries.read_text() == "xx"


def test_the_end_of_the_server_is_the_end_of_the_map(mapped: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = mapped.path / "begun"
    by(monkeypatch, f"open({str(begun)!r}, 'w')", "time.sleep(600)")
    maker = MapMaker()
    maker.request(mapped, SETTINGS, frames=False)
    until(begun.exists)
    maker.close()
    until(lambda: maker.request(mapped, SETTINGS, frames=False).state == "failed")


def test_the_end_of_the_server_leaves_no_process_of_a_map_that_was_queued(
    mapped: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = mapped.path / "begun"
    by(monkeypatch, "import os", f"print(os.getpid(), file=open({str(begun)!r}, 'a'), flush=True)", "time.sleep(600)")
    maker = MapMaker()

    def ask() -> set[str]:
        return {maker.request(mapped, MapSettings(neighbors), frames=False).state for neighbors in (5, 6, 7)}

    assert ask() == {"computing"}
    until(lambda: begun.exists() and begun.read_text().endswith("\n"))
    maker.close()
    try:
        until(lambda: ask() == {"failed"})
        (process,) = begun.read_text().split()
        with pytest.raises(ProcessLookupError):
            os.kill(int(process), 0)
    finally:
        for process in begun.read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGTERM)
