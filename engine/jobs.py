"""Background work, and the switches that control it."""

from __future__ import annotations

import atexit
import sys
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Generic, TypeVar

from engine.errors import Stopped, sentence_of
from engine.events import Emit, RunContinued, RunPaused

ENDED = ("done", "failed", "cancelled")
# How long the end of the server waits for what is under way.
CLOSING_SECONDS = 10.0


# -- the end of the server -------------------------------------------------------------------------


class Background(ABC):
    """Something that works in the background. It registers itself on creation, so that it ends with the server."""

    def __init__(self) -> None:
        with _guard:
            _known.add(self)

    @abstractmethod
    def close(self, seconds: float = CLOSING_SECONDS) -> None:
        """Ends all work and waits for that, at most `seconds`; a second call only waits."""


_known: weakref.WeakSet[Background] = weakref.WeakSet()
_guard = threading.Lock()


def close_all(seconds: float = CLOSING_SECONDS) -> None:
    """Ends everything that works in the background and waits, at most `seconds` for all of it together."""
    end = time.monotonic() + seconds
    with _guard:
        everyone = list(_known)
    for one in everyone:  # all are told first, and wind up side by side
        one.close(0)
    for one in everyone:
        one.close(max(0.0, end - time.monotonic()))


# -- the end of the process ------------------------------------------------------------------------

# A process that ends without the server's `close_all` ends in this order: pools of threads finish what they have and
# take no more; functions of `atexit` are called; other threads are cut off wherever they are, on which native code
# may abort. So work is told to stop as soon as pools end, waited for in `atexit`, and what fails meanwhile, because a
# pool takes no more, is no failure.


class _End:
    """The end of this process, as an idle pool sees it: its thread ends first of all, and it takes no more work."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "spice-end", initializer=self._enter)
        self._pool.submit(int).result()
        threading.Thread(target=self._watch, daemon=True, name="spice-end").start()
        atexit.register(close_all)

    def _enter(self) -> None:
        self._idle = threading.current_thread()

    def _watch(self) -> None:
        self._idle.join()
        close_all(0)

    @property
    def has_begun(self) -> bool:
        try:
            self._pool.submit(int)
        except RuntimeError:
            return True
        return False


@cache
def _the_end() -> _End:
    return _End()


def process_ends() -> bool:
    """Whether this process is ending. False before any background work has begun."""
    return bool(_the_end.cache_info().currsize) and _the_end().has_begun


def begin(work: Callable[..., object], *arguments: object, name: str) -> None:
    """Does background work in a thread. It is not cut off at the end of the process before it was told to stop and
    had `CLOSING_SECONDS` to do so."""
    _the_end()
    threading.Thread(target=work, args=arguments, daemon=True, name=name).start()


# -- the switches of one piece of work -------------------------------------------------------------


def _unheard(_event: object) -> None:
    """Nobody listens."""


@dataclass
class Control:
    """Two switches that a person sets and a training thread checks at every step."""

    _stop: threading.Event = field(default_factory=threading.Event)
    _go: threading.Event = field(default_factory=threading.Event)
    _at_stop: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._go.set()

    def pause(self) -> None:
        self._go.clear()

    def resume(self) -> None:
        self._go.set()

    def stop(self) -> None:
        self._stop.set()
        self._go.set()
        for act in self._at_stop:
            act()

    def at_stop(self, act: Callable[[], None]) -> None:
        """Has `act` called at the stop, or now if that has come. It may be called twice."""
        self._at_stop.append(act)
        if self.stopped:
            act()

    @property
    def paused(self) -> bool:
        return not self._go.is_set()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def asked_to_stop(self, emit: Emit = _unheard) -> bool:
        """True when the thread shall stop; waits here while the work is paused."""
        if self.paused and not self.stopped:
            emit(RunPaused())
            self._go.wait()
            if not self.stopped:
                emit(RunContinued())
        return self.stopped

    def sleep(self, seconds: float) -> None:
        """Lets others go first; raises Stopped as soon as the work shall stop."""
        if self._stop.wait(seconds):
            raise Stopped


# -- jobs ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """How a job is coming along.

    Attributes:
        state: "done", "failed" or "cancelled" at its end; "paused", or "cancelling" until what was in hand
            is finished; what the work says of itself otherwise.
        done: of `total`, or the share that is done where nothing is counted.
        message: what went wrong, in a sentence.
        result: what the work has brought.
    """

    state: str
    done: float = 0
    total: int = 0
    message: str = ""
    result: Any = field(default=None, repr=False)

    @property
    def underway(self) -> bool:
        return self.state not in ENDED


Key = TypeVar("Key", bound=Hashable)
Seen = TypeVar("Seen", bound=Job)


@dataclass(kw_only=True)
class Task(Control, Generic[Seen]):
    """A job from the worker's side."""

    job: Seen

    def tell(self, state: str, done: float = 0, total: int = 0) -> None:
        """Reports the progress of the work."""
        self.job = replace(self.job, state=state, done=done, total=total)

    def seen(self) -> Seen:
        if self.job.underway and (self.stopped or self.paused):
            return replace(self.job, state="cancelling" if self.stopped else "paused")
        return self.job

    def run(self, work: Callable[[Task[Seen]], object], what: str) -> Seen:
        """The job after `work` has ended, one way or another."""
        try:
            if self.stopped:
                raise Stopped
            result = work(self)
            return replace(self.job, state="done", result=result)
        except Stopped:
            return replace(self.job, state="cancelled")
        except Exception as error:
            if process_ends():
                return replace(self.job, state="cancelled")
            return replace(self.job, state="failed", message=sentence_of(error, what))


class Jobs(Background, Generic[Key, Seen]):
    """Work of one kind, each piece known by a key and done in a thread."""

    def __init__(self, name: str, begins: Seen, *, at_once: int = sys.maxsize, keep: int = sys.maxsize) -> None:
        """
        Args:
            name: what its threads are called.
            begins: a job that was just asked for.
            at_once: jobs that are done side by side; the others wait in a queue.
            keep: ended jobs that are remembered, those that were asked for last.
        """
        self._name, self._begins, self._at_once, self._keep = name, begins, at_once, keep
        self._jobs: dict[Key, Task[Seen]] = {}
        self._queue: deque[tuple[Task[Seen], Callable[[Task[Seen]], object], str]] = deque()
        self._threads = 0
        self._closed = False
        self._change = threading.Condition()
        super().__init__()

    def ask(
        self,
        key: Key,
        work: Callable[[Task[Seen]], object],
        what: str,
        *,
        again: Collection[str] = (),
        patience: float = 0.0,
    ) -> Seen:
        """The state of the job. It is started the first time, and again if its state is in `again`.

        After `close`, nothing is started: requests are cancelled at once.

        Args:
            work: does it, and returns its result. What it raises ends the job: Stopped cancels it.
            what: names it in the log, should its failure be a bug.
            patience: seconds to wait for a job that is nearly done anyway.
        """
        with self._change:
            task = self._jobs.pop(key, None)
            if task is None or task.seen().state in again:
                task = Task(job=self._begins)
                self._begin(task, work, what)
            self._jobs[key] = task  # the last in line to be dropped
            self._change.wait_for(lambda: not task.job.underway, patience)
            return task.seen()

    def look(self, key: Key) -> Seen | None:
        """The job as it is now; None when it was never asked for, or is forgotten."""
        with self._change:
            return self._jobs[key].seen() if key in self._jobs else None

    def underway(self, key: Key) -> bool:
        job = self.look(key)
        return job is not None and job.underway

    @property
    def busy(self) -> bool:
        """True while any job is under way."""
        with self._change:
            return any(task.job.underway for task in self._jobs.values())

    # A job that has been forgotten needs no controls: another user of it has taken care of it.

    def pause(self, key: Key) -> None:
        self._steer(key, Control.pause)

    def resume(self, key: Key) -> None:
        self._steer(key, Control.resume)

    def cancel(self, key: Key) -> None:
        self._steer(key, Control.stop)

    def forget(self, key: Key) -> None:
        """Lets go of a job that has ended, so that nobody holds on to what it brought."""
        with self._change:
            if key in self._jobs and not self._jobs[key].job.underway:
                del self._jobs[key]

    def close(self, seconds: float = CLOSING_SECONDS) -> None:
        """Cancels every job, begins no other, and waits, at most `seconds`, for what is in hand."""
        with self._change:
            self._closed = True
            for task in self._jobs.values():
                task.stop()
            self._change.wait_for(lambda: not self._threads, seconds)

    def _steer(self, key: Key, act: Callable[[Control], None]) -> None:
        with self._change:
            if key in self._jobs:
                act(self._jobs[key])

    def _begin(self, task: Task[Seen], work: Callable[[Task[Seen]], object], what: str) -> None:
        if self._closed:
            task.tell("cancelled")
            return
        if self._threads < self._at_once:
            begin(self._work, name=self._name)
            self._threads += 1
        self._queue.append((task, work, what))

    def _work(self) -> None:
        """What a thread does: one job after the other, until none is left."""
        while True:
            with self._change:
                if not self._queue:
                    self._threads -= 1
                    self._change.notify_all()
                    return
                task, work, what = self._queue.popleft()
            ended = task.run(work, what)
            with self._change:
                task.job = ended
                self._drop()
                self._change.notify_all()

    def _drop(self) -> None:
        ended = [key for key, task in self._jobs.items() if not task.job.underway]
        for key in ended[: -self._keep]:
            del self._jobs[key]
