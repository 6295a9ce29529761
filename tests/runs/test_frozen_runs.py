"""Whole runs on a frozen network whose views are kept: all three stages, stops, predictions, decisions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.curate.guidance import Guidance
from engine.events import StageSkipped
from engine.jobs import Control
from engine.lesson.em_steps import Steps
from engine.runs.create import branch_decided
from engine.runs.folder import RunFolder
from engine.runs.predict import encoder_file, predict_images
from engine.runs.results import observe
from engine.runs.runner import choose_device, execute
from engine.stages.encoder import Adapter
from tests.runs.test_pipeline import StopAfter
from tests.tiny_runs import MakeRun

CPU = choose_device("cpu")
CLUSTERS, WIDE = 3, 60


@pytest.fixture
def choices(frozen: dict[str, Any]) -> dict[str, Any]:
    return {**frozen, "heads.sizes": "estimated", "heads.start": "kmeans"}


def finish(folder: RunFolder, control: Any = None) -> RunFolder:
    with folder.lock():
        assert execute(folder, CPU, control or Control()) == "finished", observe(folder).message
    return folder


def test_all_three_stages_are_trained_and_stage_three_trains_the_adapter(
    make_run: MakeRun, choices: dict[str, Any]
) -> None:
    folder = finish(make_run(**choices))
    events = [record.event for record in folder.records()[0]]
    assert not any(isinstance(event, StageSkipped) for event in events)
    before = folder.weights("features")
    after = {name.removeprefix("encoder."): value for name, value in folder.weights("joint").items()}
    assert before["outer.weight"].abs().max() == 0
    assert after["outer.weight"].abs().max() > 0
    assert torch.equal(before["directions"], after["directions"])
    heads = folder.load("heads")
    assert heads["prototypes"].shape == (CLUSTERS, WIDE)
    belief = np.asarray(heads["probabilities"])
    sizes = np.bincount(belief.argmax(1), minlength=CLUSTERS)
    np.testing.assert_array_equal(heads["claimed"], np.maximum(sizes, 60 // (10 * CLUSTERS)))
    assert heads["nearest"].shape == (CLUSTERS, heads["claimed"].max())


# Stage 1 is in the cache by then, stage 2 has 3 steps and stage 3 has 6.
@pytest.mark.parametrize("asked", [1, 6])
def test_a_run_that_was_stopped_equals_one_that_was_not(make_run: MakeRun, choices: dict[str, Any], asked: int) -> None:
    whole, stopped = finish(make_run("whole", **choices)), make_run("stopped", **choices)
    with stopped.lock():
        assert execute(stopped, CPU, StopAfter(asked)) == "stopped"
    finish(stopped)
    for artefact in ("heads", "joint"):
        np.testing.assert_array_equal(
            whole.load(artefact)["probabilities"], stopped.load(artefact)["probabilities"], err_msg=artefact
        )


def test_predictions_for_the_runs_own_images_are_its_labels(make_run: MakeRun, choices: dict[str, Any]) -> None:
    folder = finish(make_run(**choices))
    found = predict_images(folder, folder.images(), torch.device("cpu"))
    np.testing.assert_allclose(found.probabilities, folder.load("joint")["probabilities"], atol=1e-4)


def test_the_encoder_of_such_a_run_is_the_network_itself(make_run: MakeRun, choices: dict[str, Any]) -> None:
    assert len(encoder_file(finish(make_run(**choices)))) > 100_000


def test_stage_two_can_be_gone_through_step_by_step(make_run: MakeRun, choices: dict[str, Any]) -> None:
    folder = finish(make_run(**choices))
    chosen = int(folder.load("heads")["chosen"])
    own = folder.weights("heads")["hidden_weight"][0]
    steps, same = Steps(folder), []
    while not steps.done:
        steps.advance()
        same.append(torch.equal(steps.heads.state_dict()["hidden_weight"][chosen], own))
    assert any(same)  # the best round need not be the last


def test_a_branch_without_some_images_keeps_the_views_of_the_others(
    make_run: MakeRun, choices: dict[str, Any], tmp_path: Path
) -> None:
    parent = finish(make_run("parent", **choices))
    keep = np.arange(60) % 4 != 1
    none = np.zeros(45, bool)
    guidance = Guidance(
        keep=keep,
        labels=np.zeros(45, np.int64),
        taught=none,
        held=none,
        seen=none,
        doubted=none,
        refused=none,
        model=np.zeros(45, np.int64),
        belief=np.full((45, CLUSTERS), 1 / CLUSTERS, np.float32),
    )
    branch = finish(branch_decided(parent, tmp_path / "branch", parent.card().config, guidance))
    old, new = parent.load("features"), branch.load("features")
    np.testing.assert_array_equal(new["clean"], old["clean"][keep])
    np.testing.assert_array_equal(new["weak"], old["weak"][:, keep])
    np.testing.assert_array_equal(new["strong"], old["strong"][:, keep])
    np.testing.assert_array_equal(new["vectors"], old["vectors"][keep])
    assert isinstance(Adapter.of(branch.weights("features")), Adapter)
    assert branch.has("reliable-joint")
