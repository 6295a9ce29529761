"""Health reports on demand: made once, kept in the cache, in the background."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.data.image_store import cache
from engine.data.images import ImageSet
from engine.data.skipped import Skipped
from engine.errors import RunError, Stopped
from engine.health import reports
from engine.health.exclusions import Exclusions
from engine.health.health import Health, Problem
from engine.health.reports import Examiner, exclude_found, findings_named, health_of, summary
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.sources.open_source import Opened
from tests.tiny_runs import tiny_config


@pytest.fixture
def opened() -> Opened:
    """Twelve images of noise, the last two like the first, and one that is black except for specks."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 1, 8, 8), dtype=np.uint8)
    pixels[10:] = pixels[0]
    pixels[5] //= 16
    names = tuple(f"{index:02d}.png" for index in range(12))
    return Opened(ImageSet(pixels, names, "made:up"), skipped=(Skipped("x.png", "broken"),))


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Records every examination of images."""
    times: list[Any] = []
    whole = reports.examine

    def counted(*arguments: Any, **more: Any) -> Health | None:
        times.append(more["features"])
        return whole(*arguments, **more)

    monkeypatch.setattr(reports, "examine", counted)
    return times


def images(health: Health, problem: Problem) -> list[int]:
    return health.findings[problem].images.tolist()


def test_the_same_images_are_examined_once(opened: Opened, examined: list[Any]) -> None:
    first, second = health_of(opened), health_of(opened)
    assert len(examined) == 1
    assert images(first, "exact duplicates") == images(second, "exact duplicates") == [0, 10, 11]
    assert images(second, "dark") == [5]


def test_other_sides_and_other_features_make_another_report(
    opened: Opened, examined: list[Any], tmp_path: Path
) -> None:
    health_of(opened)
    extents = np.full((12, 2), 100, np.int32)
    extents[3, 0] = 500
    assert images(health_of(replace(opened, extents=extents)), "odd aspect") == [3]
    np.save(tmp_path / "vectors.npy", np.eye(12, 4, dtype=np.float32) + 0.1)
    health_of(opened, tmp_path / "vectors.npy")
    assert len(examined) == 3
    assert examined[2].shape == (12, 4)


def test_a_report_that_cannot_be_kept_can_be_looked_at(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPICE_EXPLORER_CACHE", str(tmp_path / "file"))
    assert images(health_of(opened), "dark") == [5]


def test_stopping_leaves_nothing_behind(opened: Opened) -> None:
    with pytest.raises(Stopped):
        health_of(opened, stop=lambda: True)
    assert not (cache() / "health").exists()


# -- in the background -----------------------------------------------------------------------------


def test_a_request_comes_back_at_once_and_later_with_the_report(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go, whole = threading.Event(), threading.Event(), reports.examine

    def slow(*arguments: Any, **more: Any) -> Health | None:
        more["progress"](3, 36)
        begun.set()
        go.wait(30)
        return whole(*arguments, **more)

    monkeypatch.setattr(reports, "examine", slow)
    examiner = Examiner()
    assert examiner.request(opened).state == "examining"
    assert begun.wait(30)
    job = examiner.request(opened)
    assert (job.state, job.done, job.total, job.health) == ("examining", 3, 36, None)
    go.set()
    done = examiner.request(opened, patience=30)
    assert done.state == "done"
    assert done.health is not None
    assert images(done.health, "dark") == [5]


def test_a_failure_is_said_and_can_be_tried_again(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise OSError("the disk is gone")

    examiner = Examiner()
    with monkeypatch.context() as patch:
        patch.setattr(reports, "examine", broken)
        failed = examiner.request(opened, patience=30)
    assert (failed.state, failed.message) == ("failed", "the disk is gone")
    assert examiner.request(opened, patience=30).state == "failed"  # it is not repeated automatically
    assert examiner.request(opened, again=True, patience=30).state == "done"


def test_the_end_of_the_server_ends_an_examination(opened: Opened) -> None:
    examiner = Examiner()
    examiner.close()
    assert examiner.request(opened, patience=30).message == "the examination was stopped"


def test_few_reports_are_remembered(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "MOST_KEPT", 2)
    examiner = Examiner()
    for shade in range(4):
        pixels = opened.images.pixels + np.uint8(shade)
        one = Opened(ImageSet(pixels, opened.images.ids, "made:up"))
        assert examiner.request(one, patience=30).state == "done"
    assert len(examiner._jobs) == 2


# -- sentences -------------------------------------------------------------------------------------


def test_findings_are_named_as_the_command_line_writes_them() -> None:
    assert findings_named("exact-duplicates, dark") == ["exact duplicates", "dark"]
    assert findings_named("") == []
    with pytest.raises(RunError, match="there is no finding 'dusky'"):
        findings_named("dark,dusky")


def test_what_is_found_is_left_out_but_for_one_of_each(opened: Opened) -> None:
    health, decided = health_of(opened), Exclusions(opened.images)
    exclude_found(health, decided, ["exact duplicates", "dark"])
    assert [(one.name, one.reason) for one in decided.left_out()] == [
        ("05.png", "dark"),
        ("10.png", "exact duplicate"),
        ("11.png", "exact duplicate"),
    ]
    told = summary(opened, health, decided.kept)
    assert (told["images"], told["unreadable"], told["left_out"]) == (12, 1, 3)
    assert told["findings"]["exact-duplicates"] == {"images": 3, "groups": 1, "worst": [["00.png", "10.png", "11.png"]]}
    decided.close()


def test_a_run_knows_what_was_left_out(opened: Opened, tmp_path: Path) -> None:
    excluded = (Skipped("y.png", "dark"),)
    folder = create_run(tmp_path / "run", opened, tiny_config(), excluded)
    assert folder.card().excluded == excluded
    text = (folder.path / "run.json").read_text("utf-8")
    (folder.path / "run.json").write_text(text.replace('"excluded"', '"of an older version"'), "utf-8")
    assert RunFolder(folder.path).card().excluded == ()


# -- the end of the process ------------------------------------------------------------------------

EXITS = """
import atexit, sys, threading, time
import numpy as np
from engine.data.images import ImageSet
from engine.health.reports import the_examiner
from engine.sources.open_source import Opened

atexit.register(time.sleep, float(sys.argv[2]))  # another library's farewell
rng = np.random.default_rng(0)
drawn = rng.integers(0, 255, (100, 3, 4, 4)).repeat(16, 2).repeat(16, 3)
pixels = (np.tile(drawn, (4, 1, 1, 1)) + rng.integers(0, 9, (400, 3, 64, 64))).clip(0, 255).astype(np.uint8)
opened = Opened(ImageSet(pixels, tuple(map(str, range(400))), "drawn"), None, ())
assert the_examiner().request(opened).underway
pools = set()
while len(pools) < int(sys.argv[1]) and the_examiner().request(opened).underway:
    names = [one.name for one in threading.enumerate()]
    pools |= {name.rpartition("_")[0] for name in names if name.startswith("ThreadPool")}
"""


@pytest.mark.parametrize("farewell", [0, 2])
@pytest.mark.parametrize("pools", [0, 1, 2])
def test_a_process_may_end_while_a_report_is_made(pools: int, farewell: float, tmp_path: Path) -> None:
    """It ends at once, or as soon as the report has begun to work in that many pools of threads."""
    place = {"SPICE_EXPLORER_CACHE": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", EXITS, str(pools), str(farewell)]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **place}, timeout=300)
        assert (done.returncode, done.stderr) == (0, "")
        assert not list((tmp_path / "health").glob("*.tmp")), "half a report is left"
