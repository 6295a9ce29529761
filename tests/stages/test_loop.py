"""Steps are counted, not timed."""

from __future__ import annotations

import copy
from typing import Any, get_args

import pytest
import torch

from engine.errors import Stopped, TrainingError
from engine.events import Alarm, Event, Progress, StageFinished, StageStarted
from engine.stages import loop
from engine.stages.loop import Purpose, Report, run_steps, seeded


class Memory:
    """A checkpoint in memory that keeps a copy of the saved state."""

    def __init__(self) -> None:
        self.state: dict[str, Any] | None = None
        self.saves = 0

    def load(self) -> dict[str, Any] | None:
        return self.state

    def save(self, state: dict[str, Any]) -> None:
        self.state, self.saves = copy.deepcopy(state), self.saves + 1


class Counter:
    def __init__(self) -> None:
        self.total = 0

    def state_dict(self) -> dict[str, int]:
        return {"total": self.total}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.total = state["total"]


class Training:
    """A stage whose step adds its index; it can be stopped before a step and yields losses."""

    def __init__(self, stop_before: int | None = None, loss: float = 1.0) -> None:
        self.counter, self.checkpoint = Counter(), Memory()
        self.events: list[Event] = []
        self.seen: list[int] = []
        self.stop_before, self.loss = stop_before, loss

    def step(self, index: int) -> Report:
        self.seen.append(index)
        self.counter.total += index
        return Report({"loss": torch.tensor(self.loss)}, images=4)

    def run(self, steps: int = 5) -> None:
        run_steps(
            "joint",
            steps,
            self.step,
            {"counter": self.counter},
            emit=self.events.append,
            stop=lambda: self.stop_before is not None and len(self.seen) >= self.stop_before,
            checkpoint=self.checkpoint,
        )


def test_every_step_is_taken_once_and_told() -> None:
    training = Training()
    training.run()
    assert training.seen == [0, 1, 2, 3, 4]
    assert training.events[0] == StageStarted("joint", 5)
    assert isinstance(training.events[-1], StageFinished)
    last = training.events[-2]
    assert isinstance(last, Progress)
    assert (last.step, last.losses) == (5, {"loss": 1.0})


def test_a_stop_is_obeyed_before_the_next_step_and_leaves_a_checkpoint() -> None:
    training = Training(stop_before=3)
    with pytest.raises(Stopped):
        training.run()
    assert training.seen == [0, 1, 2]
    assert training.checkpoint.state is not None
    assert training.checkpoint.state["step"] == 3
    assert not any(isinstance(event, StageFinished) for event in training.events)


def test_training_goes_on_where_it_stopped() -> None:
    first = Training(stop_before=3)
    with pytest.raises(Stopped):
        first.run()
    second = Training()
    second.checkpoint = first.checkpoint
    second.run()
    assert second.seen == [3, 4]
    assert second.counter.total == 0 + 1 + 2 + 3 + 4


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_training_and_keeps_the_last_good_checkpoint(
    value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)  # a checkpoint after every step
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", float("inf"))
    training = Training()
    plain = training.step

    def step(index: int) -> Report:
        training.loss = value if index == 3 else 1.0
        return plain(index)

    training.step = step  # type: ignore[method-assign]
    told = f"^the loss of the joint stage became {value} by step 4: start a new run with a lower joint.learning_rate$"
    with pytest.raises(TrainingError, match=told):
        training.run()
    assert training.checkpoint.state is not None
    assert training.checkpoint.state["step"] == 3


@pytest.mark.parametrize(("cost", "saved_at"), [(0.1, [31, 62, 93]), (2, [31, 134])])
def test_what_takes_long_to_store_is_stored_less_often(
    cost: float, saved_at: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With steps of a second: every 30 seconds, but a checkpoint that takes two seconds only every hundred."""
    now = [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])
    training, times = Training(), []
    plain, store = training.step, training.checkpoint.save

    def step(index: int) -> Report:
        now[0] += 1
        return plain(index)

    def save(state: dict[str, Any]) -> None:
        times.append(int(now[0]))
        now[0] += cost
        store(state)

    training.step, training.checkpoint.save = step, save  # type: ignore[method-assign]
    training.run(150 if cost > 1 else 100)
    assert times == saved_at


def test_the_step_of_a_failure_is_counted_from_the_beginning_of_the_stage() -> None:
    first = Training(stop_before=3)
    with pytest.raises(Stopped):
        first.run(2000)
    second = Training(loss=float("nan"))
    second.checkpoint = first.checkpoint
    assert second.checkpoint.state is not None
    second.checkpoint.state["step"] = 1998
    with pytest.raises(TrainingError, match="became nan by step 2,000:"):
        second.run(2000)


def first(seed: int, purpose: Purpose, step: int) -> tuple[float, ...]:
    return tuple(torch.rand(3, generator=seeded(seed, purpose, step)).tolist())


def test_a_step_has_numbers_of_its_own_that_no_other_seed_purpose_or_step_has() -> None:
    # Step 1,000,003 once had the numbers of the next seed's step 0; on a CPU, the teachers' had those of their views.
    steps = (0, 1, 5, 500_002, 1_000_003, 2**20 - 1)
    drawn = {first(seed, purpose, step) for seed in (0, 1, 2) for purpose in get_args(Purpose) for step in steps}
    assert len(drawn) == 3 * len(get_args(Purpose)) * len(steps)
    assert first(1, "teachers", 5) in drawn


def test_a_checkpoint_of_another_form_begins_the_stage_again_and_says_so() -> None:
    before = Training(stop_before=3)
    with pytest.raises(Stopped):
        before.run(5)
    assert before.checkpoint.state is not None
    del before.checkpoint.state["form"]
    after = Training()
    after.checkpoint = before.checkpoint
    after.run(5)
    assert after.seen == [0, 1, 2, 3, 4]
    alarms = [one for one in after.events if isinstance(one, Alarm)]
    assert [one.cause for one in alarms] == [
        "what this stage had done was stored by another version, which trained differently"
    ]
