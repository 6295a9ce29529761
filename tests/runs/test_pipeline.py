"""Whole runs on 60 drawn images."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine import metrics
from engine.data.images import ImageSet
from engine.data.truth import Truth
from engine.events import Alarm, ReliableSelected, Scored, StageStarted, TruthScored
from engine.jobs import Control
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.runs.history import load_xrays
from engine.runs.results import load_reliable, load_strict, observe, summary
from engine.runs.runner import choose_device, execute
from engine.runs.safeguards.alarms import BALANCED
from engine.sources.open_source import Opened
from engine.stages.encoder import Encoder
from engine.stages.reliable import ReliableSet, select_reliable
from tests.tiny_runs import MakeRun, drawn, tiny_config

CPU = choose_device("cpu")
ARTEFACTS = ("features", "neighbors", "heads", "reliable-heads", "joint", "reliable-joint")


class StopAfter(Control):
    """Stops after it has been asked `questions` times; a run asks once per step."""

    def __init__(self, questions: int) -> None:
        super().__init__()
        self._questions = count()
        self._last = questions

    def asked_to_stop(self, emit: Callable[..., None]) -> bool:
        del emit
        return next(self._questions) >= self._last


def arrays(folder: RunFolder) -> dict[str, np.ndarray]:
    return {
        f"{artefact}/{name}": np.array(array) for artefact in ARTEFACTS for name, array in folder.load(artefact).items()
    }


def weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    return {
        f"{artefact}/{name}": value
        for artefact in ("features", "heads", "joint")
        for name, value in folder.weights(artefact).items()
    }


def assert_same_results(one: RunFolder, other: RunFolder) -> None:
    first, second = arrays(one), arrays(other)
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)
    for name, value in weights(one).items():
        assert torch.equal(value, weights(other)[name]), name


def test_a_run_leaves_every_artefact_in_its_shape(make_run: MakeRun) -> None:
    folder = make_run()
    assert execute(folder, CPU, Control()) == "finished"
    shapes = {name: array.shape for name, array in arrays(folder).items()}
    assert shapes["features/vectors"] == (60, 16)
    assert shapes["features/labels"] == (60,)
    assert shapes["neighbors/ids"] == (60, 30)
    assert shapes["heads/probabilities"] == (60, 3)
    assert shapes["heads/head_labels"] == (2, 60)
    assert shapes["heads/prototypes"] == (3, 16)
    assert shapes["heads/confident"] == (3, 16)
    assert shapes["heads/nearest"] == (3, 20)
    assert shapes["joint/probabilities"] == (60, 3)
    assert shapes["reliable-joint/verdicts"] == (60,)
    assert not list(folder.path.glob("checkpoint*"))


def test_the_same_seed_gives_the_same_run_and_another_seed_another(make_run: MakeRun) -> None:
    folders = [make_run("a"), make_run("b"), make_run("c", seed=1)]
    for folder in folders:
        execute(folder, CPU, Control())
    assert_same_results(folders[0], folders[1])
    vectors = [folder.load("features")["vectors"] for folder in folders]
    assert not np.array_equal(vectors[0], vectors[2])


@pytest.mark.parametrize("objective", ["simclr", "moco", "byol"])
def test_a_run_stopped_in_every_stage_equals_one_that_was_not(make_run: MakeRun, objective: str) -> None:
    choices = {"features.objective": objective, "features.norm_groups": 2}
    whole, broken = make_run("whole", **choices), make_run("broken", **choices)
    execute(whole, CPU, Control())
    # 9 steps of stage 1, 3 rounds of stage 2, 6 steps of stage 3, and one question at each start.
    states = [execute(broken, CPU, StopAfter(questions)) for questions in (6, 6, 2, 5)]
    assert states == ["stopped"] * 4
    assert execute(broken, CPU, Control()) == "finished"
    events = [record.event for record in broken.records()[0]]
    started = [event.stage for event in events if isinstance(event, StageStarted)]
    assert {stage: started.count(stage) for stage in started} == {"features": 2, "heads": 3, "joint": 2}
    assert_same_results(whole, broken)


@pytest.mark.parametrize("adapt", ["fixed", "flex", "free", "soft"])
def test_stage_3_goes_on_with_what_its_weighing_and_its_reliable_set_had_become(make_run: MakeRun, adapt: str) -> None:
    choices = {
        "joint.adapt": adapt,
        "joint.reselect": 1,
        "joint.threshold": 0.5,
        "joint.average": 0.5,
        "joint.unlabelled": 7,
    }
    whole, broken = make_run("whole", **choices), make_run("broken", **choices)
    execute(whole, CPU, Control())
    # The set is reselected before step 3 of 6: the run stops before step 2 and before step 4.
    questions = (1 + 9 + 3 + 2, 1 + 2)  # one at the start, then one per step
    assert [execute(broken, CPU, StopAfter(many)) for many in questions] == ["stopped"] * 2
    kept = broken.checkpoint("joint").load()
    assert kept is not None
    assert kept["step"] == 4
    assert execute(broken, CPU, Control()) == "finished"
    assert_same_results(whole, broken)


def test_the_reliable_set_is_chosen_anew_as_often_as_asked(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    start = {"joint.start": "random"}  # so that the labels of the averaged model differ
    usual, other = make_run("usual", **start), make_run("other", **start, **{"joint.reselect": 2})
    assert execute(usual, CPU, Control()) == "finished"
    chosen: list[ReliableSet] = []

    def watched(*arguments: Any) -> ReliableSet:
        chosen.append(select_reliable(*arguments))
        return chosen[-1]

    monkeypatch.setattr("engine.stages.joint.select_reliable", watched)
    assert execute(other, CPU, Control()) == "finished"
    assert len(chosen) == 2
    assert not np.array_equal(chosen[0].confidence, chosen[1].confidence)
    first, second = (folder.load("joint")["probabilities"] for folder in (usual, other))
    assert not np.array_equal(first, second)


def short_of_memory(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Makes a training encoder run out of memory on more than `most` images at once."""
    forward = Encoder.forward

    def short(self: Encoder, x: torch.Tensor) -> torch.Tensor:
        if self.training and len(x) > most:
            raise torch.OutOfMemoryError(f"{len(x)} images")
        return forward(self, x)

    monkeypatch.setattr(Encoder, "forward", short)


@pytest.mark.parametrize("objective", ["moco", "byol"])
def test_a_run_short_of_memory_goes_on_in_halves_and_says_so_once_a_stage(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, objective: str
) -> None:
    short_of_memory(monkeypatch, 12)  # batches have 16 images, and 8 and 16 in stage 3
    folder = make_run(**{"features.objective": objective, "features.norm_groups": 2})
    assert execute(folder, CPU, Control()) == "finished"
    alarms = [r.event for r in folder.records()[0] if isinstance(r.event, Alarm)]
    cure = "from now on each batch goes through the network in two halves, which is slower"
    assert [one for one in alarms if "memory" in one.cause] == [
        Alarm("features", "cpu ran out of memory", cure),
        Alarm("joint", "cpu ran out of memory", cure),
    ]


def test_a_file_that_cannot_be_mapped_is_a_lack_of_memory_not_of_disk(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_self: RunFolder, _artefact: str) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory", "pixels.npy")

    folder = make_run()
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "load", full)
        assert execute(folder, CPU, Control()) == "failed"
    assert observe(folder).message == "this machine is out of memory: choose smaller batches, or close other programs"


def test_a_run_too_short_of_memory_fails_with_a_cure(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    short_of_memory(monkeypatch, 7)
    folder = make_run(**{"features.objective": "byol"})
    assert execute(folder, CPU, Control()) == "failed"
    assert "cpu is out of memory: choose smaller batches" in observe(folder).message


def test_a_run_killed_between_two_stages_goes_on_from_what_it_saved(make_run: MakeRun) -> None:
    whole, broken = make_run("whole"), make_run("broken")
    execute(whole, CPU, Control())
    execute(broken, CPU, StopAfter(10))
    assert broken.has("features")
    assert not broken.has("heads")
    assert observe(broken).state == "stopped"
    execute(broken, CPU, Control())
    assert_same_results(whole, broken)


def test_a_stage_that_could_not_be_saved_is_scored_all_the_same_when_it_is_done_again(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = make_run("whole"), make_run("broken")
    execute(whole, CPU, Control())
    save = RunFolder.save

    def full(self: RunFolder, artefact: str, *arrays: Any, **named: Any) -> None:
        if artefact == "reliable-heads":
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, artefact, *arrays, **named)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save", full)
        assert execute(broken, CPU, Control()) == "failed"
    assert "No space left on device" in observe(broken).message
    assert execute(broken, CPU, Control()) == "finished"
    assert_same_results(whole, broken)
    for stage, view in observe(whole).stages.items():
        other = observe(broken).stages[stage]
        assert (view.scores, view.truth, view.reliable) == (other.scores, other.truth, other.reliable)


def test_truth_changes_scores_and_nothing_else(make_run: MakeRun) -> None:
    _, truth = drawn()
    shuffled = Truth(np.random.default_rng(3).permutation(truth.labels), truth.class_names)
    runs = [make_run("own"), make_run("shuffled", truth=shuffled), make_run("none", truth=None)]
    for folder in runs:
        execute(folder, CPU, Control())
    assert_same_results(runs[0], runs[1])
    assert_same_results(runs[0], runs[2])
    events = [[record.event for record in folder.records()[0]] for folder in runs]
    scored = [[e for e in one if isinstance(e, Scored)] for one in events]
    assert scored[0] == scored[1] == scored[2]
    told = [[e.scores for e in one if isinstance(e, TruthScored)] for one in events]
    assert told[0] != told[1]
    assert told[2] == []


def test_nothing_against_truth_is_said_without_truth(make_run: MakeRun) -> None:
    folder = make_run(truth=None)
    execute(folder, CPU, Control())
    selected = [r.event for r in folder.records()[0] if isinstance(r.event, ReliableSelected)]
    assert [one.stage for one in selected] == ["heads", "joint"]
    assert all(one.purity is None for one in selected)
    assert not folder.has("truth")


def test_what_only_a_lowered_threshold_lets_pass_counts_neither_as_reliable_nor_for_its_purity(
    make_run: MakeRun,
) -> None:
    folder = make_run(seed=1, **{"reliable.agreement": 0.8, "reliable.neighbors": 25, "reliable.floor": 0.9})
    execute(folder, CPU, Control())
    truth, strict, taught = folder.truth(), load_strict(folder, "joint"), load_reliable(folder, "joint")
    assert truth is not None
    assert 0 < strict.mask.sum() < taught.mask.sum()
    by_hand = [metrics.purity(one.labels[one.mask], truth.labels[one.mask]) for one in (strict, taught)]
    found = observe(folder).stages["joint"].reliable
    assert found is not None
    assert found.reliable == tuple(strict.per_cluster.tolist())
    assert found.per_cluster == tuple(taught.per_cluster.tolist())
    assert [found.reliable_purity, found.purity] == by_hand
    assert by_hand[0] != by_hand[1]
    said = summary(folder, observe(folder))
    assert said["truth"]["reliable_purity"] == round(by_hand[0], 6)
    assert said["reliable"]["count"] == strict.mask.sum()
    assert said["reliable"]["also_trained_on"] == taught.mask.sum() - strict.mask.sum()
    events = folder.path / "events.jsonl"  # as an earlier version wrote them
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    old = [{name: one[name] for name in one if name not in ("reliable", "reliable_purity", "crc")} for one in lines]
    events.write_text("".join(json.dumps(one) + "\n" for one in old))
    assert observe(folder).stages["joint"].reliable != found
    assert summary(folder, observe(folder)) == said


def test_a_loss_that_is_no_number_fails_the_run_with_a_cure(make_run: MakeRun) -> None:
    folder = make_run()
    execute(folder, CPU, StopAfter(1 + 9 + 3 + 2))  # one question at the start, then one per step
    checkpoint = folder.checkpoint("joint")
    poisoned = checkpoint.load()
    assert poisoned is not None
    poisoned["model"]["head.out_bias"].fill_(float("nan"))
    checkpoint.save(poisoned)
    assert execute(folder, CPU, Control()) == "failed"
    now = observe(folder)
    assert now.state == "failed"
    assert "loss of the joint stage became nan by step " in now.message
    assert now.message.endswith(": start a new run with a lower joint.learning_rate")
    kept = checkpoint.load()
    assert kept is not None
    assert kept["step"] == poisoned["step"]


def test_a_cluster_that_only_a_lowered_threshold_lets_train_is_without_a_reliable_image(make_run: MakeRun) -> None:
    folder = make_run(
        **{"reliable.confidence": 0.0, "reliable.agreement": 1.0, "reliable.floor": 0.3, "reliable.neighbors": 40}
    )
    assert execute(folder, CPU, Control()) == "finished"
    trained, strict = (read(folder, "heads") for read in (load_reliable, load_strict))
    without = np.flatnonzero((strict.per_cluster == 0) & (strict.sizes > 0)).tolist()
    assert without
    assert trained.per_cluster[without].all()
    alarms = [r.event for r in folder.records()[0] if isinstance(r.event, Alarm) and r.event.stage == "heads"]
    (cause,) = (one.cause for one in alarms if "without a reliable image" in one.cause)
    assert [int(one) for one in re.findall(r"\d+", cause.partition("(")[2] or cause)] == without


def test_an_empty_reliable_set_fails_with_what_to_do_and_keeps_stage_2(make_run: MakeRun) -> None:
    folder = make_run(**{"reliable.confidence": 1.0, "reliable.floor": 0.0})
    assert execute(folder, CPU, Control()) == "failed"
    assert "no image is reliable" in observe(folder).message
    assert folder.has("reliable-heads")
    causes = [r.event.cause for r in folder.records()[0] if isinstance(r.event, Alarm)]
    assert any("without a reliable image" in cause for cause in causes)


@pytest.mark.parametrize(("sizes", "told"), [("equal", True), ("estimated", False)])
def test_unequal_classes_are_told_where_all_clusters_would_get_as_many_images(
    tmp_path: Path, sizes: str, told: bool
) -> None:
    """Of 120 images 100 have no bars."""
    images, truth = drawn(images=300)
    rows = np.flatnonzero((truth.labels == 0) | (np.arange(300) < 30))
    few = ImageSet(images.pixels[rows], tuple(images.ids[row] for row in rows), "drawn")
    folder = create_run(tmp_path / "run", Opened(few), tiny_config(**{"heads.sizes": sizes}))
    assert execute(folder, CPU, Control()) == "finished"
    found = np.bincount(folder.load("features")["labels"], minlength=3)
    assert metrics.balance(found) < BALANCED  # else there is nothing to tell
    alarms = [r.event for r in folder.records()[0] if isinstance(r.event, Alarm) and r.event.settings]
    assert len(alarms) == told
    for alarm in alarms:
        assert f"of {found.min()} to {found.max()} images" in alarm.cause
        assert alarm.settings == {"heads.sizes": "estimated", "heads.double_softmax": False}


@pytest.mark.parametrize(
    "choices",
    [
        {"heads.start": "random"},
        {"heads.choose": "consensus"},
        {"heads.double_softmax": True},
        {"heads.sizes": "estimated"},
        {"joint.start": "random"},
        {"heads.images": 30},
        {"joint.adapt": "flex", "joint.threshold": 0.4},
        {"joint.adapt": "free"},
        {"joint.adapt": "soft"},
    ],
    ids=str,
)
def test_a_setting_changes_the_labels_of_its_stage_and_not_the_features(
    make_run: MakeRun, choices: dict[str, object]
) -> None:
    shared = {name: value for name, value in choices.items() if name == "joint.threshold"}
    usual, other = make_run("usual", **shared), make_run("other", **choices)
    for folder in (usual, other):
        assert execute(folder, CPU, Control()) == "finished"
    np.testing.assert_array_equal(usual.load("features")["vectors"], other.load("features")["vectors"])
    stage = "joint" if any(name.startswith("joint") for name in choices) else "heads"
    if "heads.choose" not in choices:  # two heads agree equally with each other: either is right
        assert not np.array_equal(usual.load(stage)["probabilities"], other.load(stage)["probabilities"])


def test_as_many_clusters_as_images_still_ends(make_run: MakeRun) -> None:
    folder = make_run(clusters=60, **{"reliable.agreement": 0.0, "reliable.confidence": 0.0})
    assert execute(folder, CPU, Control()) == "finished"
    assert folder.load("heads")["confident"].shape == (60, 1)


def test_looking_through_images_changes_nothing_and_goes_on_with_the_run(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    choices = {"joint.adapt": "flex", "joint.threshold": 0.5}
    seen, broken, blind = (make_run(name, **choices) for name in ("seen", "broken", "blind"))
    execute(seen, CPU, Control())
    assert execute(broken, CPU, StopAfter(17)) == "stopped"
    assert execute(broken, CPU, Control()) == "finished"
    assert_same_results(seen, broken)
    found, again = load_xrays(seen), load_xrays(broken)
    assert [one.step for one in found] == [0, 1, 2, 3, 4, 5, 6]
    assert found[0].weak.shape == (48, 1, 8, 8)
    for one, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.weak, other.weak)
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
        np.testing.assert_array_equal(one.weights, other.weights)
    assert not np.array_equal(found[0].weak, found[1].weak)
    monkeypatch.setattr("engine.stages.joint.look_through", lambda *_arguments: found[0])
    execute(blind, CPU, Control())
    assert_same_results(seen, blind)
