"""The failure examples, trained on the drawn images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.errors import RunError, Stopped
from engine.jobs import Control
from engine.lesson import failure_trials
from engine.lesson.build import lesson
from engine.lesson.failure_trials import Collapse, PoorHead, load_trials, make_trials, missing, spread_of
from engine.runs.folder import RunFolder
from engine.runs.runner import choose_device, execute
from tests.lesson.test_build import every_file
from tests.tiny_runs import MakeRun, drawn

CPU = choose_device("cpu")


@pytest.fixture(autouse=True)
def _briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure_trials, "EPOCHS", 4)


@pytest.fixture
def run(make_run: MakeRun) -> RunFolder:
    folder = make_run(**{"heads.epochs": 6})
    execute(folder, CPU, Control())
    return folder


def test_spread_by_hand() -> None:
    assert spread_of(np.array([[1.0, 0.0], [2.0, 0.0]])) == pytest.approx(0)
    # Mean cosine of all pairs, including each vector with itself: (1 + 0 + 0 + 1) / 4.
    assert spread_of(np.array([[1.0, 0.0], [0.0, 3.0]])) == pytest.approx(0.5)
    assert spread_of(np.array([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(1)


def test_every_trial_is_made_once_and_the_run_stays_as_it_is(run: RunFolder) -> None:
    before, told = every_file(run), []
    assert missing(run) == ["collapse", "temperatures", "head", "unbalanced"]
    make_trials(run, progress=lambda name, done: told.append((name, done)))
    assert told == [("collapse", 0), ("temperatures", 0.25), ("head", 0.5), ("unbalanced", 0.75), ("", 1)]
    after = every_file(run)
    assert {path: after[path] for path in before} == before
    assert missing(run) == []
    make_trials(run)
    assert every_file(run) == after


def test_trials_hold_what_they_say(run: RunFolder) -> None:
    make_trials(run)
    found = load_trials(run)
    assert found.collapse is not None
    assert found.temperatures is not None
    assert found.head is not None
    assert found.unbalanced is not None
    assert found.temperatures.points.shape == (3, 60, 2)
    assert np.abs(found.temperatures.points).max() <= 2
    assert found.collapse.spread[2] == pytest.approx(spread_of(run.load("features")["vectors"]))
    assert found.head.sizes.tolist() == np.bincount(found.head.labels, minlength=3).tolist()
    own = np.asarray(run.load("heads")["probabilities"]).argmax(1)
    assert found.head.usual.tolist() == np.bincount(own, minlength=3).tolist()
    cluster, before, after = found.unbalanced.cut.tolist()
    assert before == (own == cluster).sum()
    assert after == max(1, before // 10)
    assert (own[found.unbalanced.ids] == cluster).sum() == after
    assert len(found.unbalanced.ids) == 60 - before + after
    home = found.unbalanced.nearest[int(found.unbalanced.cluster)]
    assert set(home.tolist()) <= set(found.unbalanced.ids.tolist())
    assert found.unbalanced.strangers.tolist() == [len(home), (own[home] != cluster).sum()]


def test_a_lesson_shows_what_went_wrong_and_nothing_that_did_not(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trials(run)

    def wrongs() -> list[str]:
        return [one["key"] for one in lesson(run)["steps"] if one["wrong"]]

    for kind in (Collapse, PoorHead, failure_trials.Unbalanced):
        monkeypatch.setattr(kind, "wrong", property(lambda _self: True))
    assert wrongs() == ["views", "features", "confident", "nearest", "reliable", "joint"]
    for kind in (Collapse, PoorHead, failure_trials.Unbalanced):
        monkeypatch.setattr(kind, "wrong", property(lambda _self: False))
    assert wrongs() == ["views", "reliable", "joint"]
    play = next(one["play"] for one in lesson(run)["steps"] if one["key"] == "features")
    assert play["values"] == [0.1, 0.5, 2.0]
    assert play["start"] == 1  # the quick settings' own temperature


@pytest.mark.parametrize(("after", "wrong"), [(0.05, True), (0.2, False)])
def test_features_have_collapsed_when_little_of_their_spread_is_left(after: float, wrong: bool) -> None:
    ids, points = np.arange(2), np.zeros((2, 2), np.float32)
    assert Collapse(ids, points, np.array([0.1, after, 0.5], np.float32)).wrong is wrong


@pytest.mark.parametrize(("sizes", "wrong"), [([4, 0, 0], True), ([3, 1, 0], False)])
def test_a_head_is_poor_that_leaves_more_clusters_empty(sizes: list[int], wrong: bool) -> None:
    found = PoorHead(np.arange(4), np.zeros(4, np.int64), np.array(sizes), np.array([2, 2, 0]))
    assert found.wrong is wrong


def test_imported_features_are_tried_in_stage_2_only(make_run: MakeRun, tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    vectors = np.eye(5)[drawn()[1].labels] + chance.normal(0, 0.1, (60, 5))
    np.save(tmp_path / "vectors.npy", vectors.astype(np.float32))
    folder = make_run(**{"features.source": f"import:{tmp_path / 'vectors.npy'}"})
    execute(folder, CPU, Control())
    assert missing(folder) == ["head", "unbalanced"]
    make_trials(folder)
    assert missing(folder) == []


def test_no_cluster_is_cut_where_there_are_few_images_for_each(make_run: MakeRun) -> None:
    folder = make_run(**{"clusters": 7, "reliable.agreement": 0, "reliable.confidence": 0})
    execute(folder, CPU, Control())
    assert missing(folder) == ["collapse", "temperatures", "head"]


def test_a_trial_that_is_stopped_leaves_nothing_and_is_made_later(run: RunFolder) -> None:
    with pytest.raises(Stopped):
        make_trials(run, stop=after(9))
    assert missing(run) == ["collapse", "temperatures", "head", "unbalanced"]
    with pytest.raises(Stopped):
        make_trials(run, stop=after(30))
    assert missing(run)[0] == "temperatures"
    make_trials(run)
    assert missing(run) == []


def after(questions: int) -> Callable[[], bool]:
    asked = iter(range(10_000))
    return lambda: next(asked) >= questions


def test_nothing_is_tried_before_stage_1(make_run: MakeRun) -> None:
    with pytest.raises(RunError, match="train until stage 1 is done"):
        make_trials(make_run())
