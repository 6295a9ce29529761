"""Trains runs: one thread per device, a queue of jobs, pausing and stopping between two steps."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import (
    RunError,
    SpiceError,
    Stopped,
    disk_cure,
    first_sentence,
    host_is_full,
    out_of_memory,
    reason_of,
    sentence_of,
)
from engine.events import RunFailed, RunFinished, RunQueued, RunStarted, RunStopped
from engine.heavy import scipy_before_torch
from engine.jobs import CLOSING_SECONDS, Background, Control
from engine.runs.folder import RunFolder

if TYPE_CHECKING:
    import torch
    from filelock import AcquireReturnProxy

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Device:
    """The device a run trains on and, if a better one was expected, the reason as a sentence, or ""."""

    device: torch.device
    note: str = ""


def choose_device(name: str = "auto") -> Device:
    """The device called `name`, or the fastest one that works.

    Args:
        name: "auto", "cpu", "mps", "cuda" (the first GPU that works) or "cuda:1" (the second).

    Raises:
        RunError: when the device asked for by name is not there or does not work.
    """
    scipy_before_torch()
    import torch

    if name == "cpu":
        return Device(torch.device("cpu"))
    troubles = {}
    for candidate in _candidates(name):
        troubles[candidate] = trouble = _trouble(candidate)
        if trouble is None:
            return Device(torch.device(candidate))
    broken = next((trouble for trouble in troubles.values() if trouble), "")
    if name == "auto":
        why = f"the GPU cannot be used ({broken})" if broken else "no GPU was found"
        return Device(torch.device("cpu"), f"{why}: training on the CPU")
    why = f" ({broken})" if broken else ""
    usable = ["auto", "cpu", *(one for one in _candidates("auto") if _trouble(one) is None)]
    raise RunError(f"device {name!r} is not available here{why}: choose one of {', '.join(usable)}")


def _candidates(name: str) -> list[str]:
    """The devices that `name` may stand for, the fastest first; a GPU is always told by its number,
    so that one device has one name."""
    import torch

    gpus = [f"cuda:{index}" for index in range(max(1, torch.cuda.device_count()))]
    return {"auto": [*gpus, "mps"], "cuda": gpus}.get(name, [name])


def _trouble(name: str) -> str | None:
    """Why the GPU does not work: None if it works, "" if there is none."""
    import torch

    kind, _, number = name.partition(":")
    backends = {"cuda": torch.cuda, "mps": torch.backends.mps}
    if kind not in backends or not (number or "0").isdecimal():
        return ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        there = backends[kind].is_available()
    if not there:  # of a driver that is too old, torch only warns
        return first_sentence(caught[0].message) if caught else ""
    if kind == "cuda" and int(number or 0) >= (count := torch.cuda.device_count()):
        return f"the GPUs here are numbered from 0 to {count - 1}"
    try:
        torch.ones(1, device=name).item()
    except RuntimeError as error:
        full = out_of_memory(error)
        return "its memory is full: close other programs that use it" if full else first_sentence(error)
    return None


def execute(folder: RunFolder, chosen: Device, control: Control) -> str:
    """Trains the run in `folder` until it ends for any reason; the caller holds its lock.

    Returns:
        The final state: "finished", "stopped" or "failed". The error is in the run's last event, and the
        traceback of an unexpected one in its error.log.
    """
    import torch

    def stop() -> bool:
        return control.asked_to_stop(folder.append)

    try:
        folder.mend_events()
        folder.append(RunStarted(str(chosen.device), torch.get_num_threads(), chosen.note))
        if stop():
            raise Stopped
        from engine.runs.pipeline import train

        train(folder, device=chosen.device, emit=folder.append, stop=stop)
        folder.append(RunFinished())
        return "finished"
    except Stopped:
        folder.append(RunStopped())
        return "stopped"
    except SpiceError as error:
        return _failed(folder, str(error))
    except Exception as error:
        if out_of_memory(error):  # an OSError among others, of a file that cannot be mapped
            return _failed(folder, _memory_ran_out(error, chosen))
        if isinstance(error, OSError):
            return _failed(folder, _disk_failed(folder, error))
        with contextlib.suppress(OSError):
            (folder.path / "error.log").write_text(traceback.format_exc(), "utf-8")
        return _failed(folder, sentence_of(error, f"run {folder.path}"))


def _memory_ran_out(error: Exception, chosen: Device) -> str:
    """Which memory ran out, and the remedy. Nothing is lost: the run can be resumed from its checkpoint."""
    where = "this machine" if host_is_full(error) else str(chosen.device)
    instead = "train on the CPU" if where.startswith(("cuda", "mps")) else "close other programs"
    return f"{where} is out of memory: choose smaller batches, or {instead}"


def _disk_failed(folder: RunFolder, error: OSError) -> str:
    """Why a file could not be read or written, which, and the remedy. What is saved stays, and the run can go on."""
    where = f" ({error.filename})" if isinstance(error.filename, (str, Path)) else ""
    cure = disk_cure(error, f"move {folder.name} to another disk")
    return f"{reason_of(error)}{where}: {cure}, and resume the run"


def _failed(folder: RunFolder, message: str) -> str:
    log.error("%s: %s", folder.path.name, message)
    with contextlib.suppress(OSError):  # on a full disk even this may not be possible
        folder.append(RunFailed(message))
    return "failed"


@dataclass(frozen=True)
class _Job:
    folder: RunFolder
    device: Device
    control: Control
    lock: AcquireReturnProxy


class Runner(Background):
    """Queues runs and trains them, one at a time on each device, in daemon threads."""

    def __init__(self, threads: int | None = None) -> None:
        """`threads`: CPU threads of a training thread; by default all cores but one, so that
        the app stays responsive."""
        self._threads = threads or max(1, (os.cpu_count() or 2) - 1)
        self._jobs: dict[Path, _Job] = {}
        self._queues: dict[str, queue.SimpleQueue[_Job]] = {}
        self._guard = threading.Lock()
        self._idle = threading.Condition(self._guard)
        self._closed = False
        super().__init__()

    def submit(self, folder: RunFolder, device: str = "auto") -> None:
        """Queues the run on its device, to start or to resume it.

        Raises:
            RunError: when it is being trained already, the device is not there, or the runner is closed.
        """
        job = _Job(folder, choose_device(device), Control(), folder.lock())
        try:
            with self._guard:  # the end of the server comes before all of this, or finds the job
                self._put(job)
        except BaseException:
            job.lock.lock.release()
            raise

    def _put(self, job: _Job) -> None:
        folder, device = job.folder, str(job.device.device)
        if self._closed:
            raise RunError(f"{folder.name} is not queued: the app is closing; start it again and resume the run")
        folder.mend_events()
        folder.append(RunQueued())
        self._jobs[folder.path.resolve()] = job
        if device not in self._queues:
            self._queues[device] = queue.SimpleQueue()
            self._start(self._work, self._queues[device])
        self._queues[device].put(job)

    def pause(self, folder: RunFolder) -> None:
        self._with(folder, Control.pause)

    def resume(self, folder: RunFolder) -> None:
        self._with(folder, Control.resume)

    def stop(self, folder: RunFolder) -> None:
        self._with(folder, Control.stop)

    def owns(self, folder: RunFolder) -> bool:
        """True when this runner trains or queues the run, so that it can pause and stop it."""
        with self._guard:
            return folder.path.resolve() in self._jobs

    @property
    def threads(self) -> int:
        """CPU threads of a training thread."""
        return self._threads

    def trains_on(self, device: torch.device) -> bool:
        """True while this runner trains a run on the device, or has one in the device's queue."""
        with self._guard:
            return any(job.device.device == device for job in self._jobs.values())

    def close(self, seconds: float = CLOSING_SECONDS) -> None:
        """Stops every run, takes no other, and waits, at most `seconds`, until their checkpoints are written."""
        with self._guard:
            self._closed = True
            for job in self._jobs.values():
                job.control.stop()
            self._idle.wait_for(lambda: not self._jobs, timeout=seconds)

    def _with(self, folder: RunFolder, act: Callable[[Control], None]) -> None:
        with self._guard:
            job = self._jobs.get(folder.path.resolve())
        if job is None:
            raise RunError(f"{folder.path.name} is not trained by this process: it cannot be controlled from here")
        act(job.control)

    def _work(self, jobs: queue.SimpleQueue[_Job]) -> None:
        scipy_before_torch()
        import torch

        torch.set_num_threads(self._threads)
        while True:
            job = jobs.get()
            try:
                execute(job.folder, job.device, job.control)
            except Exception:  # disk full, final event lost; keep serving the queue
                log.exception("run %s ended without a final event", job.folder.path)
            finally:
                with self._guard:
                    job.lock.lock.release()
                    self._jobs.pop(job.folder.path.resolve(), None)
                    self._idle.notify_all()

    @staticmethod
    def _start(work: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=work, args=arguments, daemon=True, name="spice-training").start()


_runner: Runner | None = None
_making = threading.Lock()


def the_runner() -> Runner:
    """The one runner of this process: it outlives page reloads, browser tabs and cleared caches."""
    global _runner
    with _making:
        if _runner is None:
            _runner = Runner()
        return _runner
