"""Runs that start from another run's stage 1, with a reviewer's decisions."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.config import with_settings
from engine.curate.curation import State
from engine.curate.guidance import Guidance, guide
from engine.curate.provenance import Provenance
from engine.data.columns import ImageColumn
from engine.errors import RunError
from engine.events import Progress, Scored
from engine.jobs import Control
from engine.runs.comparison import Agreement, before_after, newest_clustering
from engine.runs.create import branch_decided, branch_run, create_run
from engine.runs.folder import INHERITED_FEATURES, RunFolder
from engine.runs.history import frame_steps_of
from engine.runs.inheritance import INPUTS
from engine.runs.results import load_reliable, observe
from engine.runs.runner import choose_device, execute
from engine.sources.open_source import Opened
from engine.stages.reliable import ReliableSet, select_reliable
from tests.runs.test_pipeline import StopAfter, assert_same_results
from tests.tiny_runs import drawn, tiny_config

CPU = choose_device("cpu")
TRUTH = drawn()[1].labels


def finish(folder: RunFolder) -> RunFolder:
    with folder.lock():
        assert execute(folder, CPU, Control()) == "finished"
    return folder


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    torch.set_num_threads(1)
    images, truth = drawn()
    folder = create_run(tmp_path_factory.mktemp("runs") / "parent", Opened(images, truth), tiny_config())
    folder.save_columns(
        [
            ImageColumn("size", np.arange(60, dtype=np.float32)),
            ImageColumn("kind", (np.arange(60) % 2).astype(np.uint16), ("even", "odd")),
        ]
    )
    return finish(folder)


def guidance(
    parent: RunFolder,
    states: dict[int, State],
    classes: dict[int, int] | None = None,
    alive: tuple[int, ...] = (0, 1, 2),
    home: tuple[int, ...] = (0, 1, 2),
) -> Guidance:
    """Guidance from the states of some images, and their classes if different from the model's."""
    model = newest_clustering(parent)
    given = classes or {}
    state, numbers = np.zeros(60, np.uint8), np.array(home, np.uint16)[model.labels]
    state[list(states)] = list(states.values())
    numbers[list(given)] = list(given.values())
    moved = np.isin(np.arange(60), [*given, *(i for i, s in states.items() if s == State.DECIDED)])
    return guide(
        state, numbers, alive, np.array(home, np.uint16), moved, model.probabilities, parent.images().ids, looked(state)
    )


def looked(state: np.ndarray) -> np.ndarray:
    """The provenance of labels of which every decided one was seen."""
    return np.where(state == State.DECIDED, Provenance.SEEN, Provenance.MODEL)


def branched(parent: RunFolder, path: Path, found: Guidance, **changes: object) -> RunFolder:
    config = with_settings(parent.card().config, {"clusters": found.clusters, **changes})
    return branch_decided(parent, path, config, found)


@pytest.fixture
def true_classes(parent: RunFolder) -> Guidance:
    """40 images decided as their true class, one rejected, five excluded."""
    states = dict.fromkeys(range(40), State.DECIDED)
    states |= {40: State.REJECTED} | dict.fromkeys(range(55, 60), State.EXCLUDED)
    return guidance(parent, states, dict(enumerate(TRUTH[:40].tolist())))


def test_decided_images_are_reliable_with_their_label_whatever_is_asked(
    parent: RunFolder, true_classes: Guidance, tmp_path: Path
) -> None:
    hard = {"reliable.agreement": 1.0, "reliable.confidence": 1.0}
    child = finish(branched(parent, tmp_path / "child", true_classes, **hard))
    taught, held = true_classes.taught, true_classes.held
    assert taught.sum() > held.sum() > 0
    for stage in ("heads", "joint"):
        found = load_reliable(child, stage)
        assert found.mask[taught].all()
        assert np.array_equal(found.labels[taught], TRUTH[:55][taught])
        assert not (found.mask & true_classes.refused & (found.labels == true_classes.labels)).any()
    probabilities = child.load("heads")["probabilities"]
    confident = child.load("heads")["confident"]
    fixed = child.fixed()
    for cluster in range(3):
        own = np.isin(confident[cluster], np.flatnonzero(fixed.mask & (fixed.labels == cluster)))
        assert own[: own.sum()].all()  # a reviewer's images come first
        assert own.sum() == min(len(own), (fixed.mask & (fixed.labels == cluster)).sum())
    assert probabilities[taught].max() < 1  # the model's own, not from decisions


def test_images_that_were_left_out_are_not_in_the_new_run(
    parent: RunFolder, true_classes: Guidance, tmp_path: Path
) -> None:
    child = branched(parent, tmp_path / "child", true_classes)
    images = drawn()[0]
    assert child.images().ids == images.ids[:55]
    np.testing.assert_array_equal(child.images().pixels, images.pixels[:55])
    card = child.card()
    assert (card.images, card.parent) == (55, "parent")
    assert card.fingerprint == child.images().fingerprint != parent.card().fingerprint
    truth, columns = child.truth(), child.columns()
    assert truth is not None
    assert truth.labels.tolist() == TRUTH[:55].tolist()
    assert [one.values.tolist() for one in columns] == [list(range(55)), [*[0, 1] * 27, 0]]
    assert columns[1].names == ("even", "odd")
    vectors = parent.load("features")["vectors"]
    finish(child)
    np.testing.assert_array_equal(child.load("features")["vectors"], vectors[:55])
    assert child.load("neighbors")["ids"].max() < 55
    assert child.load("joint")["probabilities"].shape == (55, 3)
    assert not child.has(INHERITED_FEATURES)


def test_where_all_images_stay_stage_one_goes_along_whole(parent: RunFolder, tmp_path: Path) -> None:
    child = branched(parent, tmp_path / "child", guidance(parent, {3: State.DECIDED}))
    for name in ("images/pixels.npy", "features/vectors.npy", "neighbors/ids.npy"):
        assert (child.path / name).samefile(parent.path / name)
    assert {stage for stage, _ in frame_steps_of(child)} == {"features"}
    now = observe(child).stages
    assert [now[stage].finished for stage in ("features", "heads", "joint")] == [True, False, False]
    assert now["features"].scores == observe(parent).stages["features"].scores
    assert not child.has("heads")


def test_another_k_gives_stage_one_another_clustering(parent: RunFolder, tmp_path: Path) -> None:
    merged = guidance(parent, {}, alive=(0, 2), home=(0, 2, 2))
    child = branched(parent, tmp_path / "child", merged)
    assert child.card().config.clusters == 2
    assert observe(child).stages["features"].scores == {}
    assert any(isinstance(one.event, Progress) for one in child.records()[0])
    finish(child)
    assert child.load("features")["labels"].max() == 1
    assert sum(isinstance(one.event, Scored) for one in child.records()[0]) == 3
    assert child.load("joint")["probabilities"].shape == (60, 2)
    assert load_reliable(child, "joint").thresholds.shape == (2,)


def test_a_merge_is_where_stage_two_begins(parent: RunFolder, tmp_path: Path) -> None:
    merged = guidance(parent, {}, alive=(0, 2), home=(0, 2, 2))
    told = branched(parent, tmp_path / "told", merged)
    other = replace(merged, belief=merged.belief[:, ::-1].copy())
    swapped = branched(parent, tmp_path / "swapped", other)
    first, second = (newest_clustering(finish(one)).labels for one in (told, swapped))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("reselect", [0, 1])
def test_a_run_stopped_in_every_stage_equals_one_that_was_not(
    parent: RunFolder, true_classes: Guidance, tmp_path: Path, reselect: int
) -> None:
    choices = {"heads.images": 30, "joint.reselect": reselect}
    whole, broken = (branched(parent, tmp_path / name, true_classes, **choices) for name in ("whole", "broken"))
    finish(whole)
    # 3 rounds of stage 2, 6 steps of stage 3, and one question at each start.
    states = [execute(broken, CPU, StopAfter(questions)) for questions in (0, 2, 5)]
    assert states == ["stopped"] * 3
    finish(broken)
    assert_same_results(whole, broken)


def test_what_was_held_back_changes_nothing(parent: RunFolder, true_classes: Guidance, tmp_path: Path) -> None:
    labels = np.where(true_classes.held, (true_classes.labels + 1) % 3, true_classes.labels)
    lied = replace(true_classes, labels=labels)
    honest, other = (
        finish(branched(parent, tmp_path / name, found)) for name, found in (("honest", true_classes), ("other", lied))
    )
    assert_same_results(honest, other)
    assert before_after(parent, honest).held != before_after(parent, other).held
    assert before_after(parent, honest).taught == before_after(parent, other).taught


def test_what_was_decided_teaches_the_heads(parent: RunFolder, true_classes: Guidance, tmp_path: Path) -> None:
    labels = np.where(true_classes.taught, (true_classes.labels + 1) % 3, true_classes.labels)
    probabilities = []
    for name, found in (("told", true_classes), ("lied", replace(true_classes, labels=labels))):
        child = finish(branched(parent, tmp_path / name, found, **{"heads.heads": 1}))
        probabilities.append(child.load("heads")["probabilities"])
    assert not np.array_equal(*probabilities)


def test_decisions_stay_when_the_reliable_set_is_chosen_anew(
    parent: RunFolder, true_classes: Guidance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[ReliableSet] = []

    def watched(*arguments: Any) -> ReliableSet:
        chosen.append(select_reliable(*arguments))
        return chosen[-1]

    monkeypatch.setattr("engine.stages.joint.select_reliable", watched)
    finish(branched(parent, tmp_path / "child", true_classes, **{"joint.reselect": 1}))
    assert len(chosen) == 1
    assert chosen[0].mask[true_classes.taught].all()
    labels = chosen[0].labels[true_classes.taught]
    assert np.array_equal(labels, true_classes.labels[true_classes.taught])


def test_decisions_outlive_a_branch_of_their_run(parent: RunFolder, tmp_path: Path) -> None:
    found = guidance(parent, {3: State.DECIDED}, {3: 1})
    child = finish(branched(parent, tmp_path / "child", found))
    config = with_settings(child.card().config, {"reliable.confidence": 1.0})
    again = finish(branch_run(child, tmp_path / "again", config))
    judged = load_reliable(again, "joint")
    assert (judged.mask[3], judged.labels[3]) == (True, 1)


def test_a_run_without_decisions_knows_nothing(parent: RunFolder) -> None:
    fixed = parent.fixed()
    assert len(fixed) == 60
    assert not (fixed.mask | fixed.refused).any()


def test_labels_that_are_held_back_do_not_leave_the_folder(
    parent: RunFolder, true_classes: Guidance, tmp_path: Path
) -> None:
    lied = replace(true_classes, labels=np.where(true_classes.held, 2, true_classes.labels))
    fixed = branched(parent, tmp_path / "child", lied).fixed()
    assert not fixed.labels[true_classes.held].any()
    assert np.array_equal(fixed.mask, true_classes.taught)
    assert np.array_equal(fixed.refused, true_classes.refused)


def test_with_fewer_clusters_more_neighbours_are_asked(parent: RunFolder, tmp_path: Path) -> None:
    child = branched(parent, tmp_path / "child", guidance(parent, {}), **{"reliable.neighbors": 40})
    assert finish(child).load("neighbors")["ids"].shape == (60, 40)
    assert parent.load("neighbors")["ids"].shape == (60, 30)


# -- errors --------------------------------------------------------------------------------------


def test_only_what_follows_stage_one_can_differ(parent: RunFolder, tmp_path: Path) -> None:
    found = guidance(parent, {})
    with pytest.raises(RunError, match="only K and the settings after stage 1"):
        branched(parent, tmp_path / "child", found, **{"features.epochs": 9})
    with pytest.raises(RunError, match="exists: choose another folder"):
        branched(parent, parent.path, found)
    with pytest.raises(RunError, match=r"E-step labels only 2 images: raise heads\.images"):
        branched(parent, tmp_path / "child", found, **{"heads.images": 2})
    assert list(tmp_path.iterdir()) == []


def test_decisions_about_other_images_are_refused(parent: RunFolder, tmp_path: Path) -> None:
    other = replace(guidance(parent, {}), keep=np.ones(59, bool))
    with pytest.raises(RunError, match=r"the decisions are about 59 images, but .* has 60"):
        branched(parent, tmp_path / "child", other)


def test_nothing_goes_on_from_a_run_without_stage_one(parent: RunFolder, tmp_path: Path) -> None:
    images, truth = drawn()
    new = create_run(tmp_path / "new", Opened(images, truth), tiny_config())
    with pytest.raises(RunError, match="has no stage 1 yet"):
        branched(new, tmp_path / "child", guidance(parent, {}))


# -- before and after ----------------------------------------------------------------------------


def test_before_and_after_are_counted_image_by_image(parent: RunFolder, tmp_path: Path) -> None:
    """Six images of three clusters, answers by hand: the second half of the model's labels moves."""
    before, after = [0, 0, 1, 1, 2, 2], [0, 0, 1, 2, 0, 2]
    child = RunFolder(tmp_path / "child")
    for name in INPUTS:
        shutil.copytree(parent.path / name, child.path / name)
    shutil.copyfile(parent.path / "run.json", child.path / "run.json")
    images = parent.images()
    child.save("images", {"pixels": images.pixels[:6], "ids": np.array(images.ids[:6])})
    mask = np.arange(6)
    child.save(
        "decided",
        {
            "labels": np.array([0, 0, 1, 2, 0, 1]),
            "taught": mask < 4,
            "held": mask >= 4,
            "refused": np.zeros(6, bool),
            "model": np.array(before),
            "belief": np.eye(3, dtype=np.float32)[before],
        },
    )
    with pytest.raises(RunError, match="has no labels yet"):
        before_after(parent, child)
    child.save("heads", {"probabilities": np.eye(3, dtype=np.float32)[before]})
    assert before_after(parent, child).changed == 0
    child.save("joint", {"probabilities": np.eye(3, dtype=np.float32)[after]})
    found = before_after(parent, child)
    assert (found.images, found.left_out, found.clusters, found.changed) == (6, 54, 3, 2)
    assert found.flow.tolist() == [[2, 0, 0], [0, 1, 1], [1, 0, 1]]
    assert found.taught == Agreement(total=4, before=3, after=4)
    assert found.held == Agreement(total=2, before=0, after=1)


@pytest.fixture
def clear(parent: RunFolder, tmp_path: Path) -> RunFolder:
    """The parent with features that tell its classes apart, and a model that knows nothing."""
    shutil.copytree(parent.path, tmp_path / "clear")
    folder = RunFolder(tmp_path / "clear")
    vectors = np.eye(3, 16, dtype=np.float32)[TRUTH] + 0.05 * np.random.default_rng(0).normal(size=(60, 16))
    arrays = {**folder.load("features"), "vectors": (5 * vectors).astype(np.float32)}
    folder.save("features", arrays, parent.path / "features/weights.pt")
    folder.save("joint", {"probabilities": np.full((60, 3), 1 / 3, np.float32)})
    return folder


def test_the_light_classifier_is_asked_about_the_same_answers(
    clear: RunFolder, true_classes: Guidance, tmp_path: Path
) -> None:
    """Two answers held back are not what the features say: it gets just these wrong, and training gets as many right as
    it is made to."""
    wrong = np.flatnonzero(true_classes.held)[:2]
    labels = true_classes.labels.copy()
    labels[wrong] = (labels[wrong] + 1) % 3
    child = branched(clear, tmp_path / "child", replace(true_classes, labels=labels))
    total = int(true_classes.held.sum())
    for right in (total, total - 2, total - 3):
        said = labels.copy()
        missed = np.flatnonzero(true_classes.held)[: total - right]
        said[missed] = (said[missed] + 1) % 3
        child.save("joint", {"probabilities": np.eye(3, dtype=np.float32)[said]})
        found = before_after(clear, child)
        assert (found.held.total, found.held.after, found.light) == (total, right, total - 2)
        assert found.beaten == (right <= total - 2)


def test_the_light_classifier_learns_only_from_answers_that_were_taught(
    clear: RunFolder, true_classes: Guidance, tmp_path: Path
) -> None:
    """Taught two classes, it cannot know the third, however many answers about that were held back."""
    taught = true_classes.taught & (true_classes.labels != 2)
    third = int((true_classes.held & (true_classes.labels == 2)).sum())
    child = branched(clear, tmp_path / "child", replace(true_classes, taught=taught))
    child.save("joint", {"probabilities": np.eye(3, dtype=np.float32)[true_classes.labels]})
    found = before_after(clear, child)
    assert third > 0
    assert found.light == found.held.total - third


def test_without_what_it_learns_from_the_light_classifier_is_not_compared(
    clear: RunFolder, true_classes: Guidance, tmp_path: Path
) -> None:
    child = branched(clear, tmp_path / "child", true_classes)
    child.save("joint", {"probabilities": np.eye(3, dtype=np.float32)[true_classes.labels]})
    assert before_after(clear, child).light is not None
    said = dict(child.load("decided"))
    one = (said["labels"] == 0) & said["taught"]
    child.save("decided", {**said, "taught": one})
    assert before_after(clear, child).light is None, "of one class nothing can be learned"
    child.save("decided", {name: array for name, array in said.items() if name != "seen"})
    old = before_after(clear, child)
    assert (old.light, old.certain, old.beaten) == (None, False, False)
    child.save("decided", said)
    shutil.rmtree(clear.path / "features")
    assert before_after(clear, child).light is None


def test_only_a_run_and_what_was_trained_from_it_are_compared(
    parent: RunFolder, true_classes: Guidance, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="was not trained with decisions"):
        before_after(parent, parent)
    child = branched(parent, tmp_path / "child", true_classes)
    smaller = branched(parent, tmp_path / "smaller", guidance(parent, {0: State.EXCLUDED}))
    with pytest.raises(RunError, match=r"has images that .* does not have"):
        before_after(smaller, child)
