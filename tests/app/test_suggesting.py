"""What the Curate page is told about suggestions, which are learned in the background."""

from __future__ import annotations

import threading
import time
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from engine.curate.suggestions import Answers, Suggestions, learned, least_sure_first, suggested
from engine.sources.open_source import Opened
from spice_explorer.queries import artefacts, decisions
from spice_explorer.web import curate_api
from tests.app.asgi import Client
from tests.app.conftest import CLUSTERS, IMAGES, demo
from tests.app.test_curating import act

SINCE = "/spice/curate/demo/since"
SUGGESTED = "/spice/curate/demo/suggested"


@pytest.fixture
def client() -> Client:
    return Client(curate_api.routes())


@pytest.fixture
def by_class(few_digits: Opened) -> list[list[int]]:
    """The images of each true class."""
    assert few_digits.truth is not None
    return [np.flatnonzero(few_digits.truth.labels == class_).tolist() for class_ in range(CLUSTERS)]


def answer(client: Client, image: int, class_: int) -> dict[str, Any]:
    """A seen answer; returns what the page hears with its confirmation."""
    found: dict[str, Any] = act(client, {"key": uuid4().hex, "action": "relabel", "ids": [image], "class": class_})
    return found


def told(client: Client) -> dict[str, Any]:
    """What a page hears once nothing is being learned."""
    for _ in range(1000):
        found: dict[str, Any] = client.get(SINCE, row=0, reviewer="Ann").json()
        if not found["learning"]:
            return found
        time.sleep(0.01)
    raise AssertionError("it still learns")


def exactly() -> Suggestions:
    """What the answers there are now suggest."""
    said, now = decisions.needed_model(demo()), decisions.curation(demo())
    probabilities = np.asarray(artefacts.arrays(demo(), said.stage)["probabilities"])
    found = suggested(artefacts.unit_vectors(demo()), probabilities, now, said.labels)
    assert found is not None
    return found


def ask(client: Client, ids: list[int]) -> dict[str, Any]:
    found: dict[str, Any] = client.get(SUGGESTED, ids=",".join(map(str, ids))).json()
    return found


@pytest.mark.usefixtures("finished")
def test_nothing_is_suggested_before_two_classes_have_answers(client: Client, by_class: list[list[int]]) -> None:
    assert told(client)["learned"] == 0
    for image in by_class[0][:7]:
        answer(client, image, 0)
    assert told(client)["learned"] == 0
    assert ask(client, [5]) == {"learned": 0, "ids": [], "classes": [], "confidence": []}
    answer(client, by_class[1][0], 1)
    assert told(client)["learned"] == 8, "at once when a second class has an answer"
    assert ask(client, [5])["ids"] == [5]


@pytest.mark.usefixtures("finished")
def test_a_page_is_told_just_what_the_classifier_says(client: Client, by_class: list[list[int]]) -> None:
    for place in range(34):  # two, and then every five
        class_ = place % CLUSTERS
        answer(client, by_class[class_][place], class_)
        found = told(client)
    assert found["learned"] == 2 + 5 * 6
    for place in range(34, 37):
        answer(client, by_class[0][place], 0)
        found = told(client)
    assert found["learned"] == found["row"] == 37
    expected, ids = exactly(), [200, 3, 77]
    said = ask(client, ids)
    assert (said["learned"], said["ids"]) == (found["row"], ids)
    assert said["classes"] == expected.labels[ids].tolist()
    assert said["confidence"] == pytest.approx(expected.confidence[ids], abs=1e-4)
    shared = decisions.suggestions(demo())
    assert shared is not None
    assert shared.labels.tolist() == expected.labels.tolist()


@pytest.mark.usefixtures("finished")
def test_it_learns_again_after_five_answers_and_at_once_where_one_is_taken_back(
    client: Client, by_class: list[list[int]]
) -> None:
    answer(client, by_class[0][0], 0)
    answer(client, by_class[1][0], 1)
    assert told(client)["learned"] == 2
    for count, image in enumerate(by_class[2][:5], 1):
        answer(client, image, 2)
        assert told(client)["learned"] == (2 if count < 5 else 7)
    act(client, {"key": uuid4().hex, "action": "undo"}, seen=7)
    assert told(client)["learned"] == 8
    answer(client, by_class[0][0], 1)  # another answer in place of the first
    assert told(client)["learned"] == 9
    assert ask(client, [by_class[0][1]])["learned"] == 9


@pytest.mark.usefixtures("finished")
def test_suggestions_end_when_only_one_class_has_answers_left(client: Client, by_class: list[list[int]]) -> None:
    answer(client, by_class[0][0], 0)
    answer(client, by_class[1][0], 1)
    assert told(client)["learned"] == 2
    act(client, {"key": uuid4().hex, "action": "undo"}, seen=2)
    assert told(client)["learned"] == 0
    assert ask(client, [5])["ids"] == []
    act(client, {"key": uuid4().hex, "action": "redo"}, seen=3)
    assert told(client)["learned"] == 4


@pytest.mark.usefixtures("finished")
def test_a_class_that_was_merged_since_is_suggested_as_what_it_became(
    client: Client, by_class: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for class_ in (0, 1):
        answer(client, by_class[class_][0], class_)
    told(client)
    before = ask(client, list(range(200)))["classes"]
    assert set(before) == {0, 1}
    monkeypatch.setattr(Answers, "due", lambda *_: False)  # it has not learned again yet
    act(client, {"key": uuid4().hex, "action": "merge", "class": 3, "other": 1}, seen=2)
    assert ask(client, list(range(200)))["classes"] == [3 if one == 1 else one for one in before]


@pytest.mark.usefixtures("finished")
def test_the_order_least_sure_is_that_of_what_was_learned_last(client: Client, by_class: list[list[int]]) -> None:
    def order() -> list[int]:
        return np.frombuffer(client.get("/spice/curate/demo/queue/unsure.bin").content, "<u4").tolist()

    answered = [(by_class[class_][0], class_) for class_ in (0, 1)]
    for image, class_ in answered:
        answer(client, image, class_)
    assert told(client)["learned"] == 2
    first = least_sure_first(exactly()).tolist()
    for place in (1, 2):
        answered.append((by_class[2][place], 2))
        answer(client, *answered[-1])
    assert told(client)["learned"] == 2
    assert order() == [one for one in first if one not in dict(answered)]
    for place in (3, 4, 5):
        answered.append((by_class[3][place], 3))
        answer(client, *answered[-1])
    assert told(client)["learned"] == 7
    again = least_sure_first(exactly()).tolist()
    assert again != first
    assert order() == [one for one in again if one not in dict(answered)]


@pytest.mark.usefixtures("finished")
def test_no_decision_waits_for_what_is_being_learned(
    client: Client, by_class: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, rows = threading.Event(), threading.Event(), list[int]()

    def slowly(unit: np.ndarray, probabilities: np.ndarray, answers: Answers, **about: Any) -> Suggestions | None:
        begun.set()
        assert go_on.wait(60)
        rows.append(answers.row)
        return learned(unit, probabilities, answers, **about)

    monkeypatch.setattr(decisions, "learned", slowly)
    answer(client, by_class[0][0], 0)
    answer(client, by_class[1][0], 1)
    assert begun.wait(60)
    while_learning = [answer(client, image, 2) for image in by_class[2][:6]]
    assert [one["row"] for one in while_learning] == [3, 4, 5, 6, 7, 8]
    assert [(one["learned"], one["learning"]) for one in while_learning] == [(0, True)] * 6
    go_on.set()
    assert told(client)["learned"] == 8
    assert rows == [2, 8], "what came meanwhile is learned together"


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("ids", ["", "x", "-1", str(IMAGES), "1,,2", "9" * 30, ",".join(["1"] * 201)])
def test_images_that_cannot_be_asked_about(client: Client, ids: str) -> None:
    found = client.get(SUGGESTED, ids=ids)
    assert found.status == 404
    assert found.json()["error"]


def test_there_is_nothing_to_ask_without_a_run(client: Client) -> None:
    assert client.get(SUGGESTED, ids="1").status == 404
