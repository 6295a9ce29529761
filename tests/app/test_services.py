"""What the app gets from the engine, apart from the pages."""

from __future__ import annotations

import importlib.util
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine import jobs, metrics
from engine.config import ENCODER
from engine.errors import RunError
from engine.events import Progress
from engine.health.reports import the_examiner
from engine.heavy import SCIPY
from engine.jobs import Background
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.runs.maps import the_map_maker
from engine.runs.results import observe
from engine.runs.runner import the_runner
from engine.sources.import_job import the_importer
from engine.sources.open_source import Opened
from engine.stages import encoder_file
from spice_explorer import lifecycle
from spice_explorer.queries import artefacts, decisions, forecasts, lessons, runs, training
from spice_explorer.web import columns
from tests.app.conftest import IMAGES, demo, tiny_config


def wait_until(done: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"nothing after {seconds} s"
        time.sleep(0.05)


def test_runs_are_listed_newest_first(finished: RunFolder, interrupted: RunFolder) -> None:
    (finished.path.parent / "no run").mkdir()
    assert runs.run_names() == [interrupted.path.name, finished.path.name]


@pytest.mark.usefixtures("workspace")
def test_a_run_outside_the_workspace_is_not_there() -> None:
    with pytest.raises(RunError, match=r"there is no run '\.\./x'"):
        runs.folder_of("../x")


@pytest.mark.parametrize(
    "ask",
    [
        runs.look,
        artefacts.judged_stages,
        artefacts.images,
        artefacts.history,
        decisions.curation,
        decisions.suggestions,
        decisions.to_spread,
        columns.Addresses,
        training.resume,
    ],
)
def test_of_a_run_that_is_gone_everything_says_so(finished: RunFolder, ask: Callable[[RunFolder], object]) -> None:
    artefacts.images(finished)
    shutil.rmtree(finished.path)
    with pytest.raises(RunError, match="there is no run 'demo'"):
        ask(finished)
    assert not finished.path.exists()  # nor is a folder made in its place


def test_looking_again_reads_only_what_is_new(interrupted: RunFolder) -> None:
    assert runs.look(interrupted).snapshot.stages["features"].step == 4
    interrupted.append(Progress("features", 6, 10.0, {"contrastive loss": 4.0}))
    with interrupted.lock():
        run = runs.look(interrupted)
        assert run.snapshot == observe(interrupted)
        assert (run.snapshot.state, run.mine) == ("running", False)
    assert runs.look(interrupted).snapshot.state == "interrupted"


def test_a_run_made_anew_under_an_old_name_is_read_from_its_start(interrupted: RunFolder, few_digits: Opened) -> None:
    runs.look(interrupted)
    shutil.rmtree(interrupted.path)
    time.sleep(0.02)
    create_run(interrupted.path, few_digits, tiny_config())
    assert runs.look(interrupted).snapshot.stages["features"].step == 0


def test_the_history_of_a_run_made_anew_is_its_own(finished: RunFolder) -> None:
    before = artefacts.history(demo()).labels.copy()
    prototypes = artefacts.prototype_history(demo())
    assert prototypes is not None
    for sums in (finished.path / "frames").rglob("sums.json"):
        sums.unlink()  # of what is written next
    for file in (finished.path / "frames").rglob("labels.npy"):
        np.save(file, (np.load(file) + 1) % 4)
    for file in (finished.path / "frames").rglob("prototypes.npy"):
        np.save(file, -np.load(file))
    card = finished.path / "run.json"
    os.utime(card, (card.stat().st_atime, card.stat().st_mtime + 10))
    assert (artefacts.history(demo()).labels == (before + 1) % 4).all()
    again = artefacts.prototype_history(demo())
    assert again is not None
    assert np.allclose(again.prototypes, -prototypes.prototypes)


@pytest.mark.usefixtures("workspace")
def test_a_run_is_started_stopped_and_taken_up_again(few_digits: Opened) -> None:
    name = training.start(few_digits, tiny_config(), "cpu")
    assert name == "digits-k4-seed0-1"
    assert training.start(few_digits, tiny_config(), "cpu") == "digits-k4-seed0-2"
    second = runs.folder_of("digits-k4-seed0-2")
    training.steer(second, "stop")
    wait_until(lambda: not runs.look(second).live)
    wait_until(lambda: not the_runner().owns(second))
    assert runs.look(runs.folder_of(name)).snapshot.state == "finished"
    assert runs.look(second).snapshot.state == "stopped"
    training.resume(second, "cpu")
    wait_until(lambda: runs.look(second).snapshot.state == "finished")


def test_an_impossible_device_leaves_no_run_behind(workspace: Path, few_digits: Opened) -> None:
    with pytest.raises(RunError, match="device 'abacus' is not available"):
        training.start(few_digits, tiny_config(), "abacus")
    assert not list(workspace.iterdir())


def test_the_app_lists_the_encoders_that_the_engine_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert training.ENCODERS == encoder_file.FOLDER
    for module, name in ((training, "ENCODERS"), (encoder_file, "FOLDER")):
        monkeypatch.setattr(module, name, tmp_path)
    for name in ("b.pt", "a.pt", "a.md"):
        (tmp_path / name).touch()
    known = encoder_file.known_encoders()
    assert known == ["a", "b"]
    assert training.trained_encoders() == [ENCODER + name for name in known]


@pytest.mark.usefixtures("finished")
def test_judging_by_the_runs_own_thresholds_gives_its_own_verdict() -> None:
    own = runs.look(demo()).card.config.reliable
    judged = artefacts.judge(demo(), "joint", own)
    assert np.array_equal(judged.verdicts, artefacts.reliable(demo(), "joint").verdicts)


@pytest.mark.usefixtures("finished")
def test_stage_one_is_numbered_like_the_newest_labels() -> None:
    ones, newest = artefacts.stage_one_labels(demo()), artefacts.reliable(demo(), "joint").labels
    raw = artefacts.arrays(demo(), "features")["labels"]
    assert (ones == newest).mean() >= (raw == newest).mean()
    assert len(np.unique(ones)) == len(np.unique(raw))


def test_purity_is_estimated_from_all_heads_and_the_runs_own_neighbours(finished: RunFolder) -> None:
    own, heads = artefacts.reliable(demo(), "heads"), finished.load("heads")["head_labels"]
    everything = np.ones(len(own.labels), bool)
    # Over all images: two heads are one pair, each renumbered to fit the labels best.
    same = np.mean(metrics.renumbered(heads[0], own.labels) == metrics.renumbered(heads[1], own.labels))
    found = artefacts.estimated_purity(demo(), "heads", everything)
    assert found == pytest.approx(same * own.agreement.mean(), abs=1e-5)
    assert artefacts.estimated_purity(demo(), "heads", ~everything) is None


def test_one_head_estimates_no_purity(finished: RunFolder) -> None:
    heads = {key: np.asarray(value) for key, value in finished.load("heads").items()}
    heads["head_labels"] = heads["head_labels"][:1]
    finished.save("heads", heads)
    mask = np.ones(IMAGES, bool)
    assert artefacts.estimated_purity(demo(), "heads", mask) is None


def test_the_server_warms_up_what_pages_want(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(lifecycle, "WARM_UP_SECONDS", 0)
    monkeypatch.setattr(lifecycle.importlib, "import_module", asked.append)
    lifecycle.warm_up()
    for thread in threading.enumerate():
        if thread.name == "spice-warm-up":
            thread.join(10)
    assert asked == [*SCIPY, *lifecycle.WARM_UP]
    monkeypatch.undo()
    assert all(importlib.util.find_spec(module) for module in lifecycle.WARM_UP)


def test_all_background_work_ends_with_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: set[Background] = set()
    everyone: set[Background] = {the_importer(), the_examiner(), the_map_maker(), the_runner()}
    everyone |= {forecasts._measuring, lessons._preparing, lessons._lessons, lessons._trials, lifecycle._warming_up}
    for one in list(jobs._known):  # also those of other tests: none should really be closed
        monkeypatch.setattr(one, "close", lambda *_, one=one: closed.add(one))
    lifecycle.stop_everything()
    assert everyone <= closed
