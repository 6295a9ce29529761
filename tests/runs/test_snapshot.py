from __future__ import annotations

import pytest

from engine.events import (
    Alarm,
    Event,
    Progress,
    Record,
    RunContinued,
    RunFailed,
    RunFinished,
    RunPaused,
    RunQueued,
    RunStarted,
    RunStopped,
    StageFinished,
    StageSkipped,
    StageStarted,
    from_json,
)
from engine.runs.snapshot import MOST_POINTS, fold

START = RunStarted("cpu", 2)


def at(*timed: tuple[float, Event]) -> list[Record]:
    return [Record(time, event) for time, event in timed]


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([], "new"),
        ([RunQueued()], "queued"),
        ([RunQueued(), START], "running"),
        ([START, RunPaused()], "paused"),
        ([START, RunPaused(), RunContinued()], "running"),
        ([START, RunStopped()], "stopped"),
        ([START, RunFailed("no")], "failed"),
        ([START, RunFinished()], "finished"),
        ([START, RunStopped(), RunQueued()], "queued"),
    ],
)
def test_the_last_word_decides_the_state(events: list[Event], state: str) -> None:
    assert fold(at(*((float(i), e) for i, e in enumerate(events)))).state == state


def test_time_counts_only_while_running() -> None:
    found = fold(
        at(
            (0, RunQueued()),
            (10, START),
            (14, RunPaused()),
            (100, RunContinued()),
            (103, RunStopped()),
            (500, RunQueued()),
            (510, START),
            (511, RunFinished()),
        )
    )
    assert found.seconds == 4 + 3 + 1


def test_the_gap_after_an_interruption_does_not_count() -> None:
    killed = at((0, START), (5, Progress("features", 1, 1.0, {})))
    assert fold([*killed, *at((900, START), (902, RunFinished()))]).seconds == 5 + 2
    resumed = at((900, RunQueued()), (901, START), (903, RunFinished()))
    assert fold([*killed, *resumed]).seconds == 5 + 2


def test_folding_in_pieces_equals_folding_at_once() -> None:
    records = at(
        (0, START),
        (1, StageStarted("heads", 4)),
        (2, Progress("heads", 2, 9.0, {"loss": 2.0})),
        (3, Alarm("heads", "a", "b")),
        (4, Progress("heads", 4, 9.0, {"loss": 1.0}, (3, 4))),
        (5, StageFinished("heads", 4.0)),
    )
    piecewise = fold([])
    for record in records:
        piecewise = fold([record], piecewise)
    assert piecewise == fold(records)
    stage = piecewise.stages["heads"]
    assert (stage.fraction, stage.cluster_sizes, stage.seconds) == (1.0, (3, 4), 4.0)
    assert stage.history == ((2, {"loss": 2.0}), (4, {"loss": 1.0}))


def test_steps_repeated_after_an_interruption_replace_their_points() -> None:
    found = fold(
        at(
            (0, StageStarted("joint", 9)),
            (1, Progress("joint", 3, 1.0, {"loss": 3.0})),
            (2, Progress("joint", 6, 1.0, {"loss": 2.0})),
            (9, StageStarted("joint", 9)),
            (10, Progress("joint", 4, 1.0, {"loss": 2.5})),
        )
    )
    assert found.stages["joint"].history == ((3, {"loss": 3.0}), (4, {"loss": 2.5}))


def test_a_long_curve_is_thinned_and_keeps_its_newest_point() -> None:
    steps = range(1, 5 * MOST_POINTS)
    found = fold(at(*((float(s), Progress("joint", s, 1.0, {"loss": float(s)})) for s in steps)))
    history = found.stages["joint"].history
    assert MOST_POINTS / 2 <= len(history) <= MOST_POINTS
    assert history[-1][0] > 0.99 * steps[-1]


def test_an_alarm_is_heard_once() -> None:
    alarm = Alarm("heads", "cluster 3 without any image", "choose fewer clusters")
    assert fold(at((0, alarm), (1, alarm))).alarms == (alarm,)


def test_the_note_is_that_of_the_last_start() -> None:
    noted = RunStarted("cpu", 2, "no GPU was found: training on the CPU")
    assert fold(at((0, noted), (1, RunStopped()))).note == noted.note
    assert fold(at((0, noted), (1, RunStopped()), (2, START))).note == ""


def test_a_start_of_an_older_version_has_no_note() -> None:
    line = {"event": "RunStarted", "time": 1.0, "device": "cpu", "threads": 2}
    assert from_json(line) == Record(1.0, START)


def test_a_new_start_clears_the_old_failure() -> None:
    assert fold(at((0, START), (1, RunFailed("broken")), (2, START))).message == ""


def test_a_stage_that_is_left_out_keeps_the_reason() -> None:
    now = fold([Record(1.0, StageSkipped("joint", "no network")), Record(2.0, RunFinished())])
    assert now.stages["joint"].skipped == "no network"
    assert (now.state, now.stages["joint"].finished) == ("finished", False)
    assert now.stages["heads"].skipped == ""
