"""Jobs: started once, watched, controlled, queued, and ended with the server."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

from engine import jobs as module
from engine.errors import RunError, Stopped
from engine.jobs import Background, Control, Job, Jobs, Task, close_all

AGES = 120.0
BEGUN = Job("working")
Work = Callable[[Task[Job]], object]


@pytest.fixture(autouse=True)
def _no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Does not close jobs started by other tests."""
    monkeypatch.setattr(module, "_known", weakref.WeakSet())


@pytest.fixture
def go() -> Iterator[threading.Event]:
    """Lets waiting threads continue, at the latest at the end of the test."""
    event = threading.Event()
    yield event
    event.set()


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + AGES
    while not done():
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.005)


def state(jobs: Jobs[str, Job], key: str) -> str:
    job = jobs.look(key)
    return "" if job is None else job.state


def held(go: threading.Event) -> tuple[Work, threading.Event]:
    """Work that ignores everything until `go`, and an event that is set when it has started."""
    begun = threading.Event()

    def work(_task: Task[Job]) -> None:
        begun.set()
        go.wait(AGES)

    return work, begun


def endless(task: Task[Job]) -> None:
    """Works until asked to stop."""
    while not task.asked_to_stop():
        time.sleep(0.001)
    raise Stopped


def test_a_job_tells_how_it_goes_and_ends_with_its_result(go: threading.Event) -> None:
    def work(task: Task[Job]) -> str:
        task.tell("halfway", 3, 6)
        go.wait(AGES)
        return "bread"

    jobs = Jobs[str, Job]("test", BEGUN)
    assert jobs.look("loaf") is None
    assert jobs.ask("loaf", work, "baking").underway
    until(lambda: jobs.look("loaf") == Job("halfway", 3, 6))
    assert jobs.busy
    go.set()
    assert jobs.ask("loaf", work, "baking", patience=AGES) == Job("done", 3, 6, result="bread")
    assert not jobs.busy
    jobs.forget("loaf")
    assert jobs.look("loaf") is None


def test_what_goes_wrong_is_one_sentence() -> None:
    def refuse(_task: Task[Job]) -> None:
        raise RunError("there is no flour: buy some")

    def broken(_task: Task[Job]) -> None:
        raise ZeroDivisionError("division by zero")

    jobs = Jobs[str, Job]("test", BEGUN)
    assert jobs.ask("loaf", refuse, "baking", patience=AGES) == Job("failed", message="there is no flour: buy some")
    bug = "unexpected ZeroDivisionError: division by zero (this is a bug: please report it)"
    assert jobs.ask("roll", broken, "baking", patience=AGES).message == bug


def test_a_job_that_has_ended_begins_anew_only_if_asked_so() -> None:
    done: list[int] = []

    def ask(*again: str) -> Job:
        return jobs.ask("loaf", lambda _task: done.append(1), "baking", again=again, patience=AGES)

    jobs = Jobs[str, Job]("test", BEGUN)
    assert [ask().state, ask().state, ask("failed").state] == ["done"] * 3
    assert len(done) == 1
    assert ask("done").state == "done"
    assert len(done) == 2


def test_many_who_ask_at_once_begin_one_job(go: threading.Event) -> None:
    class Slow(str):
        """Looking it up takes so long that others look it up at the same time."""

        def __hash__(self) -> int:
            time.sleep(0.02)
            return super().__hash__()

    jobs, done = Jobs[str, Job]("test", BEGUN), list[int]()

    def work(_task: Task[Job]) -> None:
        done.append(1)
        go.wait(AGES)

    threads = [threading.Thread(target=jobs.ask, args=(Slow("loaf"), work, "baking")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(AGES)
    go.set()
    until(lambda: not jobs.busy)
    assert len(done) == 1


def test_a_job_is_paused_continued_and_cancelled() -> None:
    jobs = Jobs[str, Job]("test", BEGUN)
    jobs.ask("loaf", endless, "baking")
    jobs.pause("loaf")
    assert state(jobs, "loaf") == "paused"
    jobs.resume("loaf")
    assert state(jobs, "loaf") == "working"
    jobs.pause("loaf")
    jobs.forget("loaf")  # has no effect while it is running
    jobs.cancel("loaf")
    until(lambda: state(jobs, "loaf") == "cancelled")


def test_a_job_is_cancelling_until_what_is_in_hand_is_finished(go: threading.Event) -> None:
    jobs, (work, begun) = Jobs[str, Job]("test", BEGUN), held(go)
    jobs.ask("loaf", work, "baking")
    assert begun.wait(AGES)
    jobs.cancel("loaf")
    assert state(jobs, "loaf") == "cancelling"
    assert jobs.ask("loaf", endless, "baking", again=("cancelling",)).state == "working"
    jobs.cancel("loaf")
    until(lambda: state(jobs, "loaf") == "cancelled")


def test_a_queue_does_one_job_after_the_other_and_skips_the_cancelled(go: threading.Event) -> None:
    done: list[str] = []

    def work(name: str) -> Work:
        return lambda _task: go.wait(AGES) and done.append(name)

    jobs = Jobs[str, Job]("test", BEGUN, at_once=1)
    for name in ("first", "second", "third"):
        jobs.ask(name, work(name), "baking")
    jobs.cancel("second")
    go.set()
    until(lambda: not jobs.busy)
    assert done == ["first", "third"]
    assert state(jobs, "second") == "cancelled"
    assert jobs.ask("fourth", work("fourth"), "baking", patience=AGES).state == "done"


def test_few_ended_jobs_are_remembered() -> None:
    jobs = Jobs[str, Job]("test", BEGUN, keep=2)
    for name in "abc":
        jobs.ask(name, lambda _task: None, "baking", patience=AGES)
    jobs.ask("b", lambda _task: None, "baking", patience=AGES)
    jobs.ask("d", lambda _task: None, "baking", patience=AGES)
    assert [name for name in "abcd" if jobs.look(name)] == ["b", "d"]


def test_the_end_of_the_server_ends_every_job_of_every_kind() -> None:
    begun: list[str] = []

    def ask(jobs: Jobs[str, Job], key: str) -> Job:
        return jobs.ask(key, lambda task: begun.append(key) or endless(task), "baking")

    queue, others = Jobs[str, Job]("test", BEGUN, at_once=1), Jobs[str, Job]("test", BEGUN)
    keys = [(queue, "first"), (queue, "second"), (others, "third")]
    for jobs, key in keys:
        ask(jobs, key)
    others.pause("third")
    until(lambda: sorted(begun) == ["first", "third"])
    close_all(AGES)
    assert [state(jobs, key) for jobs, key in keys] == ["cancelled"] * 3
    assert ask(others, "fourth").state == "cancelled"
    assert sorted(begun) == ["first", "third"]


def test_the_end_of_the_server_does_not_wait_for_ever(go: threading.Event) -> None:
    jobs, (work, begun) = Jobs[str, Job]("test", BEGUN), held(go)
    jobs.ask("loaf", work, "baking")
    assert begun.wait(AGES)
    close_all(0.01)
    assert state(jobs, "loaf") == "cancelling"


def test_all_are_told_of_the_end_before_any_is_waited_for() -> None:
    told: list[tuple[str, float]] = []

    class One(Background):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def close(self, seconds: float = 1.0) -> None:
            told.append((self.name, seconds))

    both = One("this"), One("that")
    close_all(AGES)
    assert {name for name, _ in told[:2]} == {name for name, _ in told[2:]} == {one.name for one in both}
    assert [seconds for _, seconds in told[:2]] == [0, 0]
    assert all(0 < seconds <= AGES for _, seconds in told[2:])


def test_whoever_waits_hears_of_the_stop_at_once() -> None:
    control, heard = Control(), list[str]()
    control.at_stop(lambda: heard.append("before"))
    control.stop()
    control.at_stop(lambda: heard.append("after"))
    assert heard == ["before", "after"]
    with pytest.raises(Stopped):
        control.sleep(AGES)
