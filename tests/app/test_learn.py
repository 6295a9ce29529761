"""The Learn page in every state of its run, and what the browser fetches for it."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.requests import Request
from starlette.responses import Response
from streamlit.testing.v1 import AppTest

from engine.errors import RunError, Stopped
from engine.events import Progress, RunFailed, RunFinished, RunPaused, RunQueued, RunStarted, StageStarted
from engine.lesson import build as lesson_of
from engine.lesson import failure_trials
from engine.lesson.outline import STEPS
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.runs.runner import the_runner
from engine.runs.snapshot import fold
from engine.sources.open_source import Opened
from spice_explorer import lifecycle
from spice_explorer.present import lesson as present
from spice_explorer.queries import lessons, runs, training
from spice_explorer.queries.lessons import PREPARED
from spice_explorer.web import routes
from tests.app.conftest import CLUSTERS, IMAGES, Visit, button, demo, ends_alone, texts, tiny_config, until


def told(at: AppTest) -> dict[str, Any]:
    """The data that the player gets."""
    (component,) = at.get("bidi_component")
    found: dict[str, Any] = json.loads(component.proto.json)
    return found


def fetched(address: str) -> dict[str, Any]:
    """The lesson at a URL, as the browser gets it."""
    parts = urlsplit(address)
    path = {"run": parts.path.rsplit("/", 1)[1].removesuffix(".json")}
    scope = {"type": "http", "path_params": path, "query_string": parts.query.encode(), "headers": []}
    answer = routes.lesson(Request(scope))
    assert answer.status_code == 200
    found: dict[str, Any] = json.loads(bytes(answer.body))
    return found


def file_of(run: str) -> Response:
    """The answer to a request for a lesson file."""
    return routes.lesson_file(Request({"type": "http", "path_params": {"run": run}, "headers": []}))


def taken_home(at: AppTest) -> dict[str, Any]:
    """The lesson in the file that the page offers for download."""
    (link,) = at.get("link_button")
    name = urlsplit(link.proto.url).path.rsplit("/", 1)[1].removesuffix(".html")
    answer = file_of(name)
    # The server must never run scripts from a file as a page of its own.
    assert answer.headers["content-disposition"] == f"attachment; filename*=UTF-8''{name}.html"
    held = re.search(rb'<script[^>]*id="bundle"[^>]*>(.*?)</script>', bytes(answer.body), re.DOTALL)
    assert held is not None
    found: dict[str, Any] = json.loads(held[1])
    return found


def wait_for(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 90
    while not done():
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.02)


def made(at: AppTest) -> bool:
    """Whether the page shows the run's newest lesson, and says so."""
    name = urlsplit(told(at)["address"]).path.rsplit("/", 1)[1].removesuffix(".json")
    return (
        "opening" not in told(at)["address"]
        and not lessons.making(lessons.run_of(name))
        and present.MAKING not in texts(at)
    )


def locked(bundle: dict[str, Any]) -> list[str]:
    return [step["key"] for step in bundle["steps"] if step["needs"]]


# -- the lesson's own run ----------------------------------------------------------------------


def start(at: AppTest) -> AppTest:
    return button(at, "Train the lesson's run").click().run()


@pytest.mark.usefixtures("finished")
def test_a_visit_trains_nothing_and_changes_no_run(workspace: Path, visit: Visit) -> None:
    at = visit("learn", run="demo")
    for _ in range(2):
        at.run()
    assert not lessons.preparing()
    assert [path.name for path in workspace.iterdir() if path.name[0] != "."] == ["demo"]
    assert told(at)["waits"]["joint"] == "This step opens when the lesson's run is trained: start it above."
    until(start(at), lambda _at: (workspace / PREPARED / "run.json").exists())
    at.run()
    assert "demo" in at.query_params["run"]
    assert at.selectbox(key="run picker").value == "demo"


@pytest.mark.usefixtures("finished")
def test_a_new_tab_shows_ones_own_run_and_not_the_lessons(workspace: Path, trained: Path, visit: Visit) -> None:
    shutil.copytree(trained, workspace / PREPARED)
    os.utime(workspace / PREPARED / "run.json")
    os.utime(workspace / "demo" / "run.json", (1, 1))
    assert runs.run_names() == [PREPARED, "demo"]
    assert "demo" in visit("map").query_params["run"]


@pytest.mark.usefixtures("finished")
def test_failure_examples_are_trained_when_they_are_asked_for(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    monkeypatch.setattr(failure_trials, "missing", lambda _folder: [] if tried else ["head"])
    monkeypatch.setattr(failure_trials, "make_trials", lambda folder, **_about: tried.append(folder.name))
    monkeypatch.setattr(lessons, "_busy", lambda: False)
    at = until(visit("learn", run="demo", teach="own"), made)
    assert tried == []
    button(at, "Train the failure examples").click().run()
    until(at, lambda _at: tried == ["demo"])
    at.run()
    assert "Train the failure examples" not in [one.label for one in at.button]


def test_a_first_visit_shows_the_pictures_and_a_click_trains_until_every_step_is_open(
    workspace: Path, visit: Visit
) -> None:
    at = visit("learn")
    opening = fetched(told(at)["address"])
    assert parse_qs(urlsplit(told(at)["address"]).query) == {"v": ["opening"]}
    assert len(opening["steps"]) == 9
    assert opening["steps"][0]["show"]["images"] in (IMAGES, 1797)  # before the run exists: all digits
    assert locked(opening) == [key for key, _, stage in STEPS if stage]
    start(at)
    assert told(at)["waits"]["joint"] == "This step opens automatically when stage 3 is done."
    until(at, lambda at: f"{PREPARED} · {IMAGES} images · K = {CLUSTERS}" in texts(at) and made(at))
    lesson = fetched(told(at)["address"])
    assert locked(lesson) == []
    assert told(at)["waits"] == {}
    assert lesson["images"] == IMAGES
    assert [path.name for path in workspace.iterdir() if path.is_dir() and path.name[0] != "."] == [PREPARED]


def test_a_second_visit_trains_nothing(workspace: Path, trained: Path, visit: Visit) -> None:
    shutil.copytree(trained, workspace / PREPARED)
    before = (workspace / PREPARED / "events.jsonl").read_bytes()
    until(visit("learn"), made)
    assert (workspace / PREPARED / "events.jsonl").read_bytes() == before


def test_it_says_which_run_trains_first(workspace: Path, few_digits: Opened, visit: Visit) -> None:
    first = create_run(workspace / "first", few_digits, tiny_config())
    second = create_run(workspace / PREPARED, few_digits, tiny_config())
    with first.lock(), second.lock():
        for event in (RunStarted("cpu", 1), StageStarted("features", 10), Progress("features", 4, 1.0, {})):
            first.append(event)
        second.append(RunQueued())
        shown = texts(visit("learn"))
    assert f"{PREPARED} waits in the queue: first trains first (running · stage 1, 40\N{NO-BREAK SPACE}%)." in shown


def test_a_paused_run_can_be_continued(
    workspace: Path, few_digits: Opened, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    steered: list[tuple[str, str]] = []
    monkeypatch.setattr(training, "steer", lambda run, action: steered.append((run.name, action)))
    folder = create_run(workspace / PREPARED, few_digits, tiny_config())
    with folder.lock():
        for event in (RunStarted("cpu", 1), StageStarted("features", 10), RunPaused()):
            folder.append(event)
        # A run in another process cannot be controlled from here.
        assert "Continue" not in [one.label for one in visit("learn").button]
        monkeypatch.setattr(the_runner(), "owns", lambda _folder: True)
        at = visit("learn")
        assert "Resume" not in [one.label for one in at.button]
        button(at, "Continue").click().run()
    assert steered == [(PREPARED, "continue")]


def test_a_run_that_failed_says_why_and_can_be_resumed(workspace: Path, few_digits: Opened, visit: Visit) -> None:
    folder = create_run(workspace / PREPARED, few_digits, tiny_config())
    folder.append(RunStarted("cpu", 1))
    folder.append(RunFailed("the loss of stage 1 is nan: lower features.learning_rate"))
    at = visit("learn")
    assert at.error[0].value == "The loss of stage 1 is nan\\: lower features.learning\\_rate"
    assert told(at)["waits"] == {}
    assert "Train stage 1 of lesson-digits" in fetched(told(at)["address"])["steps"][1]["needs"]
    button(at, "Resume").click().run()
    until(at, lambda at: not at.error and "K = 4" in texts(at) and made(at))


@pytest.mark.usefixtures("workspace")
def test_a_run_that_cannot_be_made_is_a_sentence_and_the_pictures_stay(
    visit: Visit, monkeypatch: pytest.MonkeyPatch, few_digits: Opened
) -> None:
    def refuse() -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(lessons, "prepared", refuse)
    at = until(start(visit("learn")), lambda at: bool(at.error))
    assert "no space left on device" in at.error[0].value.lower()
    assert fetched(told(at)["address"])["steps"][0]["show"]["images"] == 1797
    monkeypatch.setattr(lessons, "prepared", lambda: (few_digits, tiny_config()))
    button(at, "Try again").click().run()
    until(at, lambda at: not at.error and "K = 4" in texts(at))


# -- another run -------------------------------------------------------------------------------


@pytest.mark.usefixtures("finished")
def test_the_chosen_run_can_be_taught_instead_and_taken_home(workspace: Path, visit: Visit) -> None:
    at = visit("learn", run="demo")
    button(at, "Use demo").click().run()
    until(at, made)
    assert "This lesson uses **demo**" in texts(at)
    lesson = fetched(told(at)["address"])
    assert (lesson["run"], lesson["clusters"], locked(lesson)) == ("demo", CLUSTERS, [])
    assert taken_home(at) == lesson
    assert "own" in at.query_params["teach"]
    button(at, "Use the prepared digits").click().run()
    start(at)
    until(at, lambda _at: (workspace / PREPARED).exists())


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(("run", "why"), [("demo", "wait for its first pictures"), ("other", "other")])
def test_there_is_no_file_of_a_lesson_that_was_not_made(run: str, why: str) -> None:
    answer = file_of(run)
    assert answer.status_code == 404
    assert why in bytes(answer.body).decode()
    # What is missing now may exist in a second.
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.usefixtures("finished")
def test_a_finished_run_says_that_its_lesson_is_being_made(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    go, make = threading.Event(), lesson_of.lesson
    monkeypatch.setattr(lesson_of, "lesson", lambda folder: go.wait() and make(folder))
    at = visit("learn", run="demo", teach="own")
    try:
        assert told(at)["waits"] == {key: present.MAKING for key, _, stage in STEPS if stage}
        assert f"demo · {IMAGES} images · K = {CLUSTERS} · Preparing the lesson." in texts(at)
    finally:
        go.set()
    until(at, made)
    assert told(at)["waits"] == {}


@pytest.mark.usefixtures("finished")
def test_trials_end_with_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, given_up = threading.Event(), threading.Event()

    def make(_folder: RunFolder, *, progress: Callable[[str, float], None], stop: Callable[[], bool]) -> None:
        progress("head", 0.5)
        begun.set()
        while not stop():
            assert not given_up.wait(0.01)
        raise Stopped

    monkeypatch.setattr(failure_trials, "missing", lambda _folder: ["head"])
    monkeypatch.setattr(failure_trials, "make_trials", make)
    ends_alone(monkeypatch, lessons, "_trials")
    lessons.want_trials(demo())
    # The runner may still be training a run of another test.
    wait_for(lambda: lessons.follow(runs.look(demo())) is not None and begun.is_set())
    assert lessons.trying(demo()) == ("head", 0.5)
    try:
        lifecycle.stop_everything()
        assert lessons.trying(demo()) is None
    finally:
        given_up.set()


def test_no_prepared_run_is_made_when_the_server_has_ended(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends_alone(monkeypatch, lessons, "_preparing")
    monkeypatch.setattr(lessons, "HEAD_START_SECONDS", 600)
    lessons.prepare()
    assert lessons.preparing()
    lifecycle.stop_everything()
    assert not lessons.preparing()
    lessons.prepare(again=True)
    assert not lessons.preparing()
    assert list(workspace.iterdir()) == []


def test_a_lesson_in_the_queue_ends_with_the_server(
    finished: RunFolder, workspace: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = list[str](), threading.Event()

    def make(folder: RunFolder) -> dict[str, Any]:
        begun.append(folder.path.name)
        go.wait(60)
        raise RunError("nobody looks any more")

    shutil.copytree(trained, workspace / "other")
    monkeypatch.setattr(lesson_of, "lesson", make)
    ends_alone(monkeypatch, lessons, "_lessons")
    other = RunFolder(workspace / "other")
    for run in (finished, other):
        lessons.follow(runs.look(run))
    wait_for(lambda: bool(begun))
    end = threading.Timer(0.2, go.set)  # work in progress is waited for
    end.start()
    lifecycle.stop_everything()
    wait_for(lambda: not lessons.making(other))
    assert begun == ["demo"]


def test_a_run_made_anew_under_the_same_name_shows_nothing_of_the_old_one(
    finished: RunFolder, few_digits: Opened, visit: Visit
) -> None:
    at = until(visit("learn", run="demo", teach="own"), made)
    shutil.rmtree(finished.path)
    create_run(finished.path, few_digits, tiny_config())
    at.run()
    assert told(at)["address"].endswith("?v=opening")
    assert len(locked(fetched(told(at)["address"]))) == 8


def test_a_run_without_stage_3_says_what_to_train(finished: RunFolder, visit: Visit) -> None:
    for left in (
        "joint",
        "reliable-joint",
        *(f"frames/{one.name}" for one in (finished.path / "frames").glob("joint*")),
    ):
        shutil.rmtree(finished.path / left)
    at = until(visit("learn", run="demo", teach="own"), made)
    lesson = fetched(told(at)["address"])
    assert locked(lesson) == ["joint"]
    assert "stage 3" in lesson["steps"][8]["needs"]


@pytest.mark.usefixtures("interrupted")
def test_a_run_that_stopped_in_stage_1_shows_its_images_and_what_to_train(visit: Visit) -> None:
    at = visit("learn", run="halfway", teach="own")
    lesson = fetched(told(at)["address"])
    assert len(lesson["names"]) == present.SHOWN
    assert lesson["clusters"] == CLUSTERS
    assert locked(lesson) == [key for key, _, stage in STEPS if stage]
    assert "interrupted" in texts(at)


# -- routes ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("run", ["other", "../runs/demo", ""])
def test_no_other_lesson_is_served(run: str) -> None:
    scope = {"type": "http", "path_params": {"run": run}, "query_string": b"v=1", "headers": []}
    assert routes.lesson(Request(scope)).status_code == 404


def test_an_opening_needs_images_alone(few_digits: Opened) -> None:
    opening = present.opening("mine", few_digits.images, "/photos/mine", 7)
    assert len(opening["names"]) == len(opening["ids"]) == opening["images"] == present.SHOWN
    assert opening["names"][0] == few_digits.images.ids[opening["ids"][0]]
    assert (opening["of"], opening["clusters"], opening["title"]) == (IMAGES, 7, "mine")
    assert opening["steps"][8]["needs"] == "Train stage 3 of mine to see this step."


@pytest.mark.parametrize(
    ("live", "making", "views", "confident", "joint"),
    [
        (True, True, None, "Preparing the lesson", "opens automatically when stage 3"),
        (True, False, None, "Preparing the lesson", "opens automatically when stage 3"),
        (False, True, None, "Preparing the lesson", None),
        (False, False, None, None, None),
    ],
)
def test_a_step_waits_for_its_stage_and_then_for_its_lesson(
    live: bool, making: bool, views: str | None, confident: str | None, joint: str | None
) -> None:
    found = present.waits({"features", "heads"}, {"features"}, live=live, making=making)
    for key, said in (("views", views), ("confident", confident), ("joint", joint)):
        assert (said in found[key]) if said else (key not in found)


def test_an_opening_calls_the_steps_what_the_lesson_calls_them(few_digits: Opened, trained: Path) -> None:
    opening = present.opening("mine", few_digits.images, "digits", CLUSTERS)
    lesson = lesson_of.lesson(RunFolder(trained))
    for part in ("key", "title"):
        assert [one[part] for one in opening["steps"]] == [one[part] for one in lesson["steps"]]


def test_one_line_tells_how_training_goes(interrupted: RunFolder) -> None:
    records, _ = interrupted.records()
    running = fold(records)
    assert present.line("mine", running, None) == "mine is running: stage 1 of 3, step 4 of 10."
    interrupted.append(RunFinished())
    assert present.line("mine", fold(interrupted.records()[0]), None) == ""
