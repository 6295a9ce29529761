from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence

import pytest
import torch

from engine.errors import RunError
from engine.events import Progress, RunPaused, StageFinished
from engine.jobs import Control
from engine.runs import runner as module
from engine.runs.folder import RunFolder
from engine.runs.results import observe
from engine.runs.runner import Device, Runner, choose_device, execute
from tests.tiny_runs import MakeRun

LONG = {"features.epochs": 4000}


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def state(folder: RunFolder) -> str:
    return observe(folder).state


def steps(folder: RunFolder) -> int:
    return observe(folder).stages["features"].step


def test_a_submitted_run_is_trained_to_its_end(make_run: MakeRun) -> None:
    folder, runner = make_run(), Runner()
    runner.submit(folder, "cpu")
    wait_for(lambda: state(folder) == "finished")
    wait_for(lambda: not runner.owns(folder))
    assert not folder.is_locked


def test_a_run_is_paused_continued_and_stopped(make_run: MakeRun) -> None:
    folder, runner = make_run(**LONG), Runner()
    runner.submit(folder, "cpu")
    wait_for(lambda: steps(folder) > 0)
    runner.pause(folder)
    wait_for(lambda: state(folder) == "paused")
    seen = len(folder.records()[0])
    time.sleep(0.7)  # longer than the interval of reports
    assert len(folder.records()[0]) == seen
    runner.resume(folder)
    wait_for(lambda: state(folder) == "running" and len(folder.records()[0]) > seen + 1)
    runner.stop(folder)
    wait_for(lambda: state(folder) == "stopped")
    assert folder.checkpoint("features").load() is not None


def test_runs_of_one_device_wait_for_each_other(make_run: MakeRun) -> None:
    first, second, runner = make_run("first", **LONG), make_run("second"), Runner()
    runner.submit(first, "cpu")
    wait_for(lambda: steps(first) > 0)
    runner.submit(second, "cpu")
    assert state(second) == "queued"
    with pytest.raises(RunError, match="already being trained"):
        Runner().submit(second, "cpu")
    runner.stop(first)
    wait_for(lambda: state(second) == "finished")


def test_a_queued_run_can_be_stopped_before_it_starts(make_run: MakeRun) -> None:
    first, second, runner = make_run("first", **LONG), make_run("second"), Runner()
    runner.submit(first, "cpu")
    runner.submit(second, "cpu")
    runner.stop(second)
    runner.stop(first)
    wait_for(lambda: state(second) == "stopped")
    assert not second.has("features")


def test_closing_waits_for_the_checkpoints(make_run: MakeRun) -> None:
    folder, runner = make_run(**LONG), Runner()
    runner.submit(folder, "cpu")
    wait_for(lambda: steps(folder) > 0)
    runner.close(60)
    assert state(folder) == "stopped"
    assert not folder.is_locked


def test_a_closed_runner_takes_no_more_runs(make_run: MakeRun) -> None:
    folder, runner = make_run(), Runner()
    runner.close(0)
    with pytest.raises(RunError, match="run is not queued: the app is closing; start it again and resume the run"):
        runner.submit(folder, "cpu")
    assert not runner.owns(folder)
    assert not folder.is_locked
    assert folder.records()[0] == []
    Runner().submit(folder, "cpu")  # where the app is started again, nothing is in its way
    wait_for(lambda: state(folder) == "finished")


def test_a_run_without_a_final_word_and_without_a_writer_is_interrupted(make_run: MakeRun) -> None:
    folder = make_run()
    folder.append(module.RunStarted("cpu", 1))
    with folder.lock():
        assert state(folder) == "running"
    assert state(folder) == "interrupted"


def test_another_process_cannot_be_steered(make_run: MakeRun) -> None:
    with pytest.raises(RunError, match="not trained by this process"):
        Runner().pause(make_run())


def test_a_stop_ends_a_pause() -> None:
    control = Control()
    control.pause()
    control.stop()
    said: list[object] = []
    assert control.asked_to_stop(said.append)
    assert said == []


def test_an_unexpected_error_ends_the_run_and_says_it_is_a_bug(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("engine.runs.pipeline.kmeans_labels", broken)
    folder = make_run()
    assert execute(folder, choose_device("cpu"), Control()) == "failed"
    assert "unexpected ZeroDivisionError: by zero (this is a bug" in observe(folder).message
    assert "Traceback" in (folder.path / "error.log").read_text()
    kinds = {type(record.event) for record in folder.records()[0]}
    assert {Progress, StageFinished} <= kinds
    assert RunPaused not in kinds


TOO_OLD = (
    "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040). "
    "Please update your GPU driver by downloading and installing a new version"
)


def gpus(
    monkeypatch: pytest.MonkeyPatch,
    *,
    cuda: object = False,
    mps: object = False,
    broken: Sequence[int] = (),
    count: int = 1,
    error: str = "CUDA error: unspecified launch failure\nCompile with TORCH_USE_CUDA_DSA.",
) -> None:
    """Pretends that GPUs exist or not (a text is a warning from torch), and that some of them fail."""

    def available(found: object) -> Callable[[], bool]:
        def ask() -> bool:
            if isinstance(found, str):
                warnings.warn(found, stacklevel=2)
            return found is True

        return ask

    def ones(size: int, *, device: str) -> torch.Tensor:
        if device in [f"cuda:{index}" for index in broken]:
            raise RuntimeError(error)
        return torch.zeros(size) + 1

    monkeypatch.setattr(torch.cuda, "is_available", available(cuda))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count if cuda is True else 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", available(mps))
    monkeypatch.setattr(torch, "ones", ones)


def test_the_cpu_asked_for_by_name_needs_no_excuse() -> None:
    assert choose_device("cpu") == Device(torch.device("cpu"), "")


def test_a_device_that_is_not_there_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch)
    for name in ("tpu", "cuda", "mps"):
        expected = f"^device '{name}' is not available here: choose one of auto, cpu$"
        with pytest.raises(RunError, match=expected):
            choose_device(name)


def test_a_gpu_that_works_is_taken_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, cuda=True, mps=True)
    assert choose_device() == choose_device("cuda") == Device(torch.device("cuda:0"), "")
    assert choose_device("cuda:0") == choose_device("cuda")
    gpus(monkeypatch, mps=True)
    assert choose_device() == Device(torch.device("mps"), "")


def test_without_a_gpu_the_cpu_trains_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch)
    expected = Device(torch.device("cpu"), "no GPU was found: training on the CPU")
    assert choose_device("auto") == expected


def test_a_driver_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, cuda=TOO_OLD)
    why = "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040)"
    found = choose_device()
    assert found.device == torch.device("cpu")
    assert found.note == f"the GPU cannot be used ({why}): training on the CPU"
    with pytest.raises(RunError, match=r"'cuda' is not available here \(CUDA initialization: .*11040"):
        choose_device("cuda")


def test_a_gpu_that_breaks_at_its_first_number_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, cuda=True, broken=[0])
    why = "(CUDA error: unspecified launch failure)"
    expected = Device(torch.device("cpu"), f"the GPU cannot be used {why}: training on the CPU")
    assert choose_device() == expected
    with pytest.raises(RunError, match=r"'cuda' is not available here \(CUDA error: unspecified launch failure\)"):
        choose_device("cuda")
    gpus(monkeypatch, cuda=True, mps=True, broken=[0])
    assert choose_device() == Device(torch.device("mps"), "")
    with pytest.raises(RunError, match=r"choose one of auto, cpu, mps$"):
        choose_device("cuda")


def test_a_gpu_is_chosen_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, cuda=True, count=2)
    assert choose_device("cuda:1") == Device(torch.device("cuda:1"), "")
    told = r"^device 'cuda:9' is not available here \(the GPUs here are numbered from 0 to 1\): choose"
    with pytest.raises(RunError, match=told + " one of auto, cpu, cuda:0, cuda:1$"):
        choose_device("cuda:9")
    for name in ("cuda:", "cuda:-1", "cuda:one", "gpu:0"):
        expected = f"^device '{name}' is not available here: choose one of auto, cpu, cuda:0, cuda:1$"
        if name != "cuda:":
            with pytest.raises(RunError, match=expected):
                choose_device(name)


def test_of_several_gpus_the_first_that_works_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, cuda=True, count=3, broken=[0, 1])
    assert choose_device() == choose_device("cuda") == Device(torch.device("cuda:2"), "")


def test_a_gpu_that_another_process_has_filled_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, cuda=True, broken=[0], error="CUDA error: out of memory\nCompile with x.")
    full = r"\(its memory is full: close other programs that use it\)"
    assert "its memory is full" in choose_device().note
    with pytest.raises(RunError, match=f"'cuda:0' is not available here {full}: choose one of auto, cpu$"):
        choose_device("cuda:0")


def test_why_a_run_trains_where_it_does_is_kept_with_it(make_run: MakeRun) -> None:
    folder, control = make_run(), Control()
    control.stop()
    cpu = torch.device("cpu")
    assert execute(folder, Device(cpu, "no GPU was found: training on the CPU"), control) == "stopped"
    assert observe(folder).note == "no GPU was found: training on the CPU"
    assert execute(folder, Device(cpu), control) == "stopped"
    assert observe(folder).note == ""
