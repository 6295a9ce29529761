"""Frames: the intermediate results that a run keeps for the replay."""

from __future__ import annotations

import numpy as np
import pytest

from engine.data.batches import DeviceImages
from engine.events import STAGES
from engine.jobs import Control
from engine.runs.folder import RunFolder
from engine.runs.history import History, frame_steps_of, load_frame, load_history, load_prototype_history, save_frame
from engine.runs.runner import choose_device, execute
from engine.stages.features import build_encoder, learn_features
from engine.stages.frames import Frame, frame_steps
from tests.tiny_runs import MakeRun, drawn, tiny_config


class Nothing:
    def load(self) -> None:
        return None

    def save(self, state: object) -> None: ...


@pytest.fixture
def trained(make_run: MakeRun) -> RunFolder:
    folder = make_run()
    with folder.lock():
        assert execute(folder, choose_device("cpu"), Control()) == "finished"
    return folder


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_every_stage_leaves_its_frames_in_order(trained: RunFolder) -> None:
    found = frame_steps_of(trained)
    config = tiny_config()
    steps = {"heads": config.heads.epochs, "joint": config.joint.steps}
    for stage in ("heads", "joint"):
        own = [step for name, step in found if name == stage]
        assert own == sorted(frame_steps(stage, steps[stage]))
    assert found == sorted(found, key=lambda one: (STAGES.index(one[0]), one[1]))


def test_the_last_frames_are_what_the_stages_ended_with(trained: RunFolder) -> None:
    taken = frame_steps_of(trained)
    last = {stage: load_frame(trained, stage, max(s for n, s in taken if n == stage)) for stage in STAGES}
    vectors = trained.load("features")["vectors"]
    assert last["features"].vectors is not None
    kept = last["features"].vectors.astype(np.float32)
    np.testing.assert_allclose(kept @ kept.T, unit(vectors) @ unit(vectors).T, atol=5e-3)
    heads = trained.load("heads")
    assert last["heads"].labels is not None
    assert np.array_equal(last["heads"].labels, heads["head_labels"])
    joint = trained.load("joint")["probabilities"]
    assert last["joint"].labels is not None
    assert last["joint"].confidence is not None
    assert np.array_equal(last["joint"].labels[0], joint.argmax(1))
    np.testing.assert_allclose(last["joint"].confidence[0], joint.max(1), atol=1e-3)


def test_a_history_follows_the_chosen_head_and_then_stage_three(trained: RunFolder) -> None:
    found, heads = load_history(trained), trained.load("heads")
    assert set(found.stages) == {"heads", "joint"}
    end_of_heads = max(i for i, stage in enumerate(found.stages) if stage == "heads")
    assert np.array_equal(found.labels[end_of_heads], heads["probabilities"].argmax(1))
    assert np.array_equal(found.labels[-1], trained.load("joint")["probabilities"].argmax(1))
    assert found.confidence.min() >= 0
    assert found.confidence.max() <= 1


def test_flips_count_the_changes_of_a_label() -> None:
    labels = np.array([[0, 1, 2], [0, 2, 2], [0, 1, 2], [1, 1, 2]], np.uint16)
    found = History(("heads",) * 4, (0, 1, 2, 3), labels, np.ones((4, 3), np.float16))
    assert found.flips.tolist() == [1, 2, 0]


def test_before_stage_two_there_is_no_history(make_run: MakeRun) -> None:
    folder = make_run()
    assert load_history(folder).labels.shape == (0, 60)
    assert load_history(folder).flips.tolist() == [0] * 60
    assert load_prototype_history(folder) is None
    save_frame(folder, Frame("features", 0, np.ones((60, 2), np.float16)))
    assert frame_steps_of(folder) == [("features", 0)]
    assert load_history(folder).labels.shape == (0, 60)


def test_prototypes_are_remembered_with_the_images_that_formed_them(trained: RunFolder) -> None:
    found, heads = load_prototype_history(trained), trained.load("heads")
    assert found is not None
    np.testing.assert_allclose(found.prototypes[-1], heads["prototypes"], atol=2e-3)
    most = found.confident.shape[2]
    assert np.array_equal(found.confident[-1], heads["confident"][:, :most])
    assert found.sizes.sum(1).tolist() == [60] * len(found.rounds)


def test_looking_does_not_change_what_is_learned() -> None:
    results = []
    for kept in (None, []):
        pixels = DeviceImages(drawn()[0], choose_device("cpu").device)
        encoder = build_encoder(tiny_config(), pixels, channels=1, side=8)
        keep = None if kept is None else kept.append
        results.append(
            learn_features(
                tiny_config(), pixels, encoder, emit=lambda _: None, stop=lambda: False, checkpoint=Nothing(), keep=keep
            ).vectors
        )
    assert len(kept or []) > 3
    assert np.array_equal(*results)


def test_a_frame_is_replaced_by_a_newer_one_of_the_same_step(make_run: MakeRun) -> None:
    folder = make_run()
    for value in (1, 2):
        save_frame(folder, Frame("joint", 3, np.full((60, 2), value, np.float16)))
    assert frame_steps_of(folder) == [("joint", 3)]
    vectors = load_frame(folder, "joint", 3).vectors
    assert vectors is not None
    assert (vectors == 2).all()
