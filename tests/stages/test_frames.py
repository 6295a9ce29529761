from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.events import Stage
from engine.stages.frames import DIRECTIONS, FRAMES, Frame, condensed, frame_steps, watch


@pytest.mark.parametrize("stage", ["features", "heads", "joint"])
@pytest.mark.parametrize("steps", [0, 1, 5, 300])
def test_the_first_and_last_step_have_a_frame(stage: Stage, steps: int) -> None:
    due = frame_steps(stage, steps)
    assert {0, steps} <= due
    assert len(due) <= FRAMES + 1
    assert due <= set(range(steps + 1))


def test_stage_one_is_looked_at_more_often_at_its_beginning() -> None:
    first, even = sorted(frame_steps("features", 640)), sorted(frame_steps("joint", 640))
    assert np.diff(even).tolist() == [80] * FRAMES
    gaps = np.diff(first)
    assert gaps[0] < 80 < gaps[-1]
    assert (np.diff(gaps) > 0).all()


def test_only_frames_that_are_due_are_taken_and_kept() -> None:
    kept: list[Frame] = []
    look = watch("joint", 16, lambda done: Frame("joint", done), kept.append)
    for done in range(17):
        look(done)
    assert [one.step for one in kept] == list(range(0, 17, 2))


def test_without_somewhere_to_keep_it_no_frame_is_taken() -> None:
    taken = []
    look = watch("joint", 4, taken.append, None)  # type: ignore[arg-type]
    for done in range(5):
        look(done)
    assert taken == []


def test_condensed_features_keep_their_cosines() -> None:
    generator = torch.Generator().manual_seed(0)
    # The vectors span twenty of a hundred directions: all of them fit into a frame.
    vectors = torch.randn(50, 20, generator=generator) @ torch.randn(20, 100, generator=generator)
    unit = torch.nn.functional.normalize(vectors, dim=1)
    found = condensed(7 * vectors)
    assert found.shape == (50, DIRECTIONS)
    assert found.dtype == np.float16
    kept = torch.from_numpy(found).float()
    torch.testing.assert_close(kept @ kept.t(), unit @ unit.t(), atol=3e-3, rtol=0)
    # The leading directions come first.
    spread = kept.square().sum(0)
    assert (spread.diff() <= 1e-3).all()


def test_few_features_are_kept_as_they_are_but_for_a_rotation() -> None:
    vectors = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, -2.0]])
    found = torch.from_numpy(condensed(vectors)).float()
    expected = torch.tensor([[1.0, 0.6, -0.8], [0.6, 1.0, 0.0], [-0.8, 0.0, 1.0]])
    torch.testing.assert_close(found @ found.t(), expected, atol=2e-3, rtol=0)


def test_features_that_are_no_numbers_are_zeros() -> None:
    vectors = torch.tensor([[1.0, 0.0], [float("nan"), 1.0]])
    assert condensed(vectors)[1].tolist() == [0, 0]
