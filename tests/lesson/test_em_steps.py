"""Step mode: the steps shown are those of training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import RunError
from engine.jobs import Control
from engine.lesson.em_steps import Steps
from engine.runs.runner import choose_device, execute
from tests.tiny_runs import MakeRun, drawn

CPU = choose_device("cpu")


@pytest.mark.parametrize("start", ["kmeans", "random"])
def test_all_rounds_by_hand_end_with_the_runs_own_heads(make_run: MakeRun, start: str) -> None:
    folder = make_run(**{"heads.start": start, "heads.images": 40})
    execute(folder, CPU, Control())
    steps = Steps(folder)
    vectors = torch.from_numpy(np.array(folder.load("features")["vectors"]))
    halves, beliefs = [], []
    while not steps.done:
        halves.append(steps.next)
        steps.advance()
        with torch.no_grad():
            beliefs.append(steps.heads(vectors).softmax(2).numpy())
    assert halves == ["E", "M"] * 3
    arrays = folder.load("heads")
    chosen = int(arrays["chosen"])
    # The best round, which need not be the last.
    apart = [float(np.abs(belief[chosen] - arrays["probabilities"]).max()) for belief in beliefs]
    best = beliefs[int(np.argmin(apart))]
    np.testing.assert_array_equal(best.argmax(2), arrays["head_labels"])
    np.testing.assert_allclose(best[chosen], arrays["probabilities"], rtol=1e-5)


def test_an_e_step_labels_and_changes_no_head_and_an_m_step_does(make_run: MakeRun) -> None:
    folder = make_run()
    execute(folder, CPU, Control())
    steps = Steps(folder)
    before = {name: value.clone() for name, value in steps.heads.state_dict().items()}
    first = steps.advance()
    assert first.losses is None
    assert first.found.confident.shape == (2, 3, 16)
    assert first.found.labels.ids.shape == (2, 60)
    assert first.ids.tolist() == list(range(60))
    now = steps.heads.state_dict()
    assert all(torch.equal(value, now[name]) for name, value in before.items())
    assert first.now is first.found
    second = steps.advance()
    assert second.found is first.found
    # Before, the probabilities came from k-means; now they come from the heads, after the step.
    assert not torch.equal(second.now.belief, first.found.belief)
    torch.testing.assert_close(second.now.belief.sum(2), torch.ones(2, 60))
    assert second.losses is not None
    assert second.losses.shape == (2,)
    assert (first.round, second.round, steps.round) == (0, 0, 1)
    assert not torch.equal(before["out_weight"], steps.heads.state_dict()["out_weight"])


def test_imported_features_have_steps_too(make_run: MakeRun, tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    vectors = np.eye(5)[drawn()[1].labels] + chance.normal(0, 0.1, (60, 5))
    np.save(tmp_path / "vectors.npy", vectors.astype(np.float32))
    folder = make_run(**{"features.source": f"import:{tmp_path / 'vectors.npy'}"})
    execute(folder, CPU, Control())
    assert Steps(folder).advance().found.prototypes.shape == (2, 3, 5)


def test_there_are_as_many_rounds_as_in_the_run_and_none_before_stage_1(make_run: MakeRun) -> None:
    folder = make_run(**{"heads.epochs": 1})
    with pytest.raises(RunError, match="train until stage 1 is done"):
        Steps(folder)
    execute(folder, CPU, Control())
    steps = Steps(folder)
    steps.advance()
    steps.advance()
    with pytest.raises(RunError, match="start again"):
        steps.advance()
