"""Runs of several seeds: each equals the run with that seed alone, and their scores are summarized."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import RunError, SettingError
from engine.events import Event
from engine.jobs import Control
from engine.runs import several
from engine.runs.folder import RunFolder
from engine.runs.results import observe
from engine.runs.runner import Device, execute
from engine.runs.several import seeds_of, together, train_all
from tests.fake_cuda import FakeCuda
from tests.tiny_runs import MakeRun

CPU = Device(torch.device("cpu"))


@pytest.mark.parametrize(
    ("text", "seeds"), [("0-4", (0, 1, 2, 3, 4)), ("7", (7,)), ("3, 0,1-2,2", (0, 1, 2, 3)), ("5-5", (5,))]
)
def test_seeds_are_a_range_or_a_list(text: str, seeds: tuple[int, ...]) -> None:
    assert seeds_of(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "4-0", "-1", "1-", "1.5", "0-4-8", "0,,1"])
def test_what_names_no_seeds_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match=f"^seeds are '{text}': write them as 0-4 or 0,3,7$"):
        seeds_of(text)


def test_more_seeds_than_anyone_wants_are_refused() -> None:
    with pytest.raises(SettingError, match="at most 1,000 at once"):
        seeds_of("0-2000")


def test_scores_are_added_up_over_the_runs_that_have_them() -> None:
    one = {"seed": 0, "state": "finished", "truth": {"stage1": {"acc": 0.5}}, "skipped": {"stage3": "x"}}
    other = {"seed": 1, "truth": {"stage1": {"acc": 0.8}, "stage2": {"acc": 0.25}}, "reliable": None}
    assert together([one, other]) == {
        "truth.stage1.acc": {
            "mean": 0.65,
            "deviation": pytest.approx(statistics.stdev([0.5, 0.8]), abs=1e-6),
            "lowest": 0.5,
            "highest": 0.8,
        },
        "truth.stage2.acc": {"mean": 0.25, "deviation": None, "lowest": 0.25, "highest": 0.25},
    }


def seeded(make_run: MakeRun, name: str, seed: int) -> RunFolder:
    return make_run(name, seed=seed)


def labels(folder: RunFolder) -> np.ndarray:
    return np.array(folder.load("joint")["probabilities"])


def test_each_run_is_the_one_that_it_would_be_alone(make_run: MakeRun) -> None:
    folders = [seeded(make_run, f"together-{seed}", seed) for seed in range(2)]
    states: dict[str, str] = {}
    train_all(folders, CPU, [Control(), Control()], lambda f, s: states.update({f.path.name: s}))
    assert states == {"together-0": "finished", "together-1": "finished"}
    for seed, folder in enumerate(folders):
        alone = seeded(make_run, f"alone-{seed}", seed)
        with alone.lock():
            execute(alone, CPU, Control())
        assert np.array_equal(labels(folder), labels(alone))
    assert not np.array_equal(*map(labels, folders))


def test_on_a_gpu_they_are_side_by_side_in_streams_of_their_own(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"compute.precision": "float32"}
    folders = [make_run(f"there-{seed}", seed=seed, **changes) for seed in range(3)]
    together_at_once = threading.Barrier(3)
    with FakeCuda() as gpu:

        def there(folder: RunFolder, chosen: Device, control: Control) -> str:
            torch.set_num_threads(1)
            together_at_once.wait(60)  # waits until all three have started
            with gpu.here():
                return execute(folder, chosen, control)

        monkeypatch.setattr(several, "execute", there)
        train_all(folders, Device(gpu.device), [Control()] * 3, lambda *_: None)
        assert gpu.streams == 3
    for seed, folder in enumerate(folders):
        here = make_run(f"here-{seed}", seed=seed, **changes)
        with here.lock():
            execute(here, CPU, Control())
        assert np.array_equal(labels(folder), labels(here))


def test_a_run_that_fails_keeps_none_of_the_others_from_ending(make_run: MakeRun) -> None:
    hopeless = make_run("hopeless", seed=1, **{"reliable.agreement": 1, "reliable.confidence": 1})
    folders = [seeded(make_run, "run-0", 0), hopeless, seeded(make_run, "run-2", 2)]
    states: list[str] = []
    train_all(folders, CPU, [Control() for _ in folders], lambda _, state: states.append(state))
    assert states == ["finished", "failed", "finished"]
    assert "no image is reliable" in observe(folders[1]).message


class Impatient(Control):
    """Stops all runs at the first question."""

    def __init__(self, all_of_them: list[Control]) -> None:
        super().__init__()
        self.others = all_of_them

    def asked_to_stop(self, emit: Callable[[Event], None]) -> bool:
        for one in self.others:
            one.stop()
        return super().asked_to_stop(emit)


def test_an_interrupt_stops_those_that_have_not_begun_too(make_run: MakeRun) -> None:
    folders, controls = ([seeded(make_run, f"run-{seed}", seed) for seed in range(2)], list[Control]())
    controls += [Impatient(controls), Control()]
    states: list[str] = []
    train_all(folders, CPU, controls, lambda _, state: states.append(state))
    assert states == ["stopped", "stopped"]


def test_none_begins_when_one_is_trained_elsewhere(make_run: MakeRun, tmp_path: Path) -> None:
    folders = [seeded(make_run, f"run-{seed}", seed) for seed in range(2)]
    with folders[1].lock(), pytest.raises(RunError, match="run-1 is already being trained"):
        train_all(folders, CPU, [Control(), Control()], lambda *_: None)
    assert not any((tmp_path / "run-0").glob("features"))
    assert not folders[0].is_locked
