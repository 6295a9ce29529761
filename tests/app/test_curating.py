"""The routes of the curator component: what it may read and write, and the answers it gets."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from engine.curate.curation import Curation
from engine.curate.decisions import Decision
from engine.curate.log import FILE
from engine.curate.provenance import Provenance
from engine.runs.folder import RunFolder
from spice_explorer import browsers
from spice_explorer.queries import decisions
from spice_explorer.web import curate_api
from tests.app.asgi import Client
from tests.app.conftest import CLUSTERS, IMAGES, demo

ACT = "/spice/curate/demo/act"
MODEL, VOTED, BULK, SEEN = Provenance


@pytest.fixture
def client() -> Client:
    return Client(curate_api.routes())


def act(client: Client, *ops: dict[str, Any], by: str = "Ann", seen: int = 0) -> Any:
    numbered = [{"key": f"{by}-{seen}-{n}", **op} for n, op in enumerate(ops)]
    body = {"reviewer": by, "visit": f"tab of {by}", "seen": seen, "ops": numbered}
    answer = client.post(ACT, body)
    assert answer.status == 200, answer.text
    return answer.json()


@pytest.mark.usefixtures("finished")
def test_the_browser_keeps_the_name_of_who_decided_for_a_server_that_starts_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    op = {"key": "k", "action": "reject", "ids": [1]}
    answer = client.post(ACT, {"reviewer": "Eve Ü; x", "visit": "tab", "seen": 0, "ops": [op]})
    assert answer.status == 200, answer.text
    name, _, about = answer.headers["set-cookie"].partition("; ")
    assert about == "Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax"
    key, _, kept = name.partition("=")
    assert key == browsers.REVIEWER_COOKIE
    monkeypatch.setattr(browsers, "current", lambda: "a browser that this server has not met")
    monkeypatch.setattr(browsers, "reviewer_cookie", lambda: kept)
    assert browsers.remembered("reviewer") == "Eve Ü; x"
    browsers.remember("reviewer", "")
    assert browsers.remembered("reviewer") == "", "the field was emptied since"


def read(client: Client) -> tuple[np.ndarray, np.ndarray, int]:
    answer = client.get("/spice/curate/demo/images.bin")
    body = answer.content
    assert len(body) == 4 * IMAGES
    return (
        np.frombuffer(body[: 2 * IMAGES], "<u2"),
        np.frombuffer(body[2 * IMAGES : 3 * IMAGES], np.uint8),
        int(answer.headers["x-spice-row"]),
    )


def queue(client: Client, name: str) -> list[int]:
    answer = client.get(f"/spice/curate/demo/queue/{name}.bin")
    assert answer.status == 200, answer.text
    return np.frombuffer(answer.content, "<u4").tolist()


@pytest.mark.usefixtures("finished")
def test_at_first_every_image_has_the_models_label(client: Client) -> None:
    classes, states, row = read(client)
    assert classes.tolist() == decisions.needed_model(demo()).labels.tolist()
    assert not states.any()
    assert row == 0


def test_decisions_are_on_disk_when_the_answer_comes(client: Client, finished: RunFolder) -> None:
    own = read(client)[0]
    told = act(
        client,
        {"action": "accept", "ids": [0]},
        {"action": "relabel", "ids": [1, 2], "class": 3},
        {"action": "reject", "ids": [3]},
        {"action": "exclude", "ids": [4]},
    )
    assert [one["row"] for one in told["results"]] == [1, 2, 3, 4]
    assert told["row"] == 4
    assert told["changed"]["ids"] == [0, 1, 2, 3, 4]
    assert told["changed"]["classes"] == [int(own[0]), 3, 3, int(own[3]), int(own[4])]
    assert told["changed"]["states"] == [1, 1, 1, 2, 3]
    assert told["changed"]["provenances"] == [SEEN, BULK, BULK, MODEL, MODEL]
    assert client.get("/spice/curate/demo/images.bin").content[-IMAGES:][:4] == bytes([SEEN, BULK, BULK, MODEL])
    assert told["counts"] == {"decided": 3, "rejected": 1, "excluded": 1}
    assert (told["undo"], told["redo"]) == ("leave out, 1 image", None)
    assert (finished.path / FILE).exists()
    decisions._logs.clear()  # as in another process
    assert read(client)[1][:6].tolist() == [1, 1, 1, 2, 3, 0]


@pytest.mark.usefixtures("finished")
def test_one_that_cannot_be_done_does_not_stop_the_others(client: Client) -> None:
    told = act(client, {"action": "relabel", "ids": [0], "class": 99}, {"action": "reject", "ids": [1]})
    assert told["results"][0]["error"] == f"there is no class 99: choose one of the {CLUSTERS} classes"
    assert told["results"][1]["row"] == 1


@pytest.mark.usefixtures("finished")
def test_a_request_sent_again_is_written_once(client: Client) -> None:
    first = act(client, {"action": "reject", "ids": [1]})
    again = act(client, {"action": "reject", "ids": [1]})
    assert first["results"] == again["results"]
    assert again["row"] == 1


@pytest.mark.usefixtures("finished")
def test_what_others_did_is_told_with_both_answers(client: Client) -> None:
    act(client, {"action": "relabel", "ids": [5, 6], "class": 1}, by="Ann")
    told = act(client, {"action": "relabel", "ids": [5], "class": 2}, by="Bob")
    assert told["changed"]["ids"] == [5, 6]
    assert told["changed"]["states"] == [1 + curate_api.DISPUTED, 1]
    (dispute,) = told["disputes"]
    assert dispute["id"] == 5
    assert [(one["reviewer"], one["class"]) for one in dispute["answers"]] == [("Bob", 2), ("Ann", 1)]
    later = client.get("/spice/curate/demo/since", row=1, reviewer="Ann").json()
    assert later["changed"]["ids"] == [5]
    assert later["undo"] == "relabel, 2 images"


def other() -> int:
    """A class that the model does not give image 5."""
    return (int(decisions.needed_model(demo()).labels[5]) + 1) % CLUSTERS


def in_between(monkeypatch: pytest.MonkeyPatch, read: str) -> None:
    """Lets Bob relabel image 5 as soon as `read` is read from the fold, if he can at that moment."""
    whole, log, model = getattr(Curation, read), decisions.log_of(demo()), decisions.model(demo())
    asked = [Decision("relabel", "Bob", visit="tab of Bob", images=np.array([5]), class_=other())]

    def decide() -> None:
        if log._guard.acquire(blocking=False):
            log.commit(asked, model)
            log._guard.release()

    def reading(now: Curation, *about: Any) -> Any:
        found = whole(now, *about)
        bob = threading.Thread(target=decide)
        bob.start()
        bob.join()
        return found

    monkeypatch.setattr(Curation, read, reading)


@pytest.mark.usefixtures("finished")
def test_a_contrary_answer_given_unseen_is_a_dispute_however_close(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        in_between(patch, "changed_since")
        seen = client.get("/spice/curate/demo/since", row=0, reviewer="Ann").json()
    if not seen["row"]:  # Bob had to wait
        act(client, {"action": "relabel", "ids": [5], "class": other()}, by="Bob")
    assert seen["changed"]["ids"] == []
    told = act(client, {"action": "reject", "ids": [5]}, by="Ann", seen=seen["row"])
    assert [one["id"] for one in told["disputes"]] == [5]
    assert {one["reviewer"] for one in told["disputes"][0]["answers"]} == {"Ann", "Bob"}


@pytest.mark.usefixtures("finished")
def test_the_row_of_all_images_is_that_of_their_classes(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        in_between(patch, "classes_of")
        classes, _, row = read(client)
    assert (classes[5] == other()) == (row > 0)


@pytest.mark.usefixtures("finished")
def test_undo_and_redo_tell_which_images_change(client: Client) -> None:
    own = read(client)[0]
    act(client, {"action": "relabel", "ids": [7, 8], "class": 3})
    told = act(client, {"action": "undo"}, seen=1)
    assert told["changed"]["ids"] == [7, 8]
    assert told["changed"]["classes"] == own[7:9].tolist()
    assert (told["undo"], told["redo"]) == (None, "relabel, 2 images")
    assert act(client, {"action": "redo"}, seen=2)["changed"]["classes"] == [3, 3]


@pytest.mark.usefixtures("finished")
def test_queues_leave_out_what_is_decided(client: Client) -> None:
    verdict = decisions.artefacts.reliable(demo(), "joint")
    first = queue(client, "rejected")
    assert sorted(first) == list(range(IMAGES))
    rejected = np.flatnonzero(verdict.verdicts != 0)
    assert set(first[: len(rejected)]) == set(rejected.tolist())
    act(client, {"action": "accept", "ids": first[:3]})
    assert queue(client, "rejected") == first[3:]
    assert set(queue(client, "undecided")) == set(first[3:])
    assert set(queue(client, "class-1")) <= set(np.flatnonzero(verdict.labels == 1).tolist())
    border = queue(client, "border-0-1")
    assert set(border) <= set(np.flatnonzero(verdict.labels < 2).tolist())
    assert sorted(queue(client, "audit-0")) == list(range(IMAGES)), "decided or not"
    assert queue(client, decisions.keep(np.array([9, 4]))) == [9, 4]
    for name in ("flipped", "duplicates", "disputed"):
        assert set(queue(client, name)) <= set(range(IMAGES))


@pytest.mark.usefixtures("finished")
def test_an_audit_goes_on_with_the_images_that_have_no_answer_in_it(client: Client) -> None:
    order = queue(client, "audit-0")
    audited = [{"action": "accept", "ids": [one], "text": "audit"} for one in order[:2]]
    act(client, *audited, {"action": "accept", "ids": order[3:4]}, {"action": "accept", "ids": order[4:6]})
    assert queue(client, "audit-0") == [order[2], *order[4:]], "the last two were accepted at once: nobody looked"
    act(client, *[{"action": "undo"}] * 4, seen=4)
    assert queue(client, "audit-0") == order


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("name", ["nothing", "class-x", "border-1", "kept-0", "border-1-2-3"])
def test_queues_that_do_not_exist(client: Client, name: str) -> None:
    assert client.get(f"/spice/curate/demo/queue/{name}.bin").status == 404


@pytest.mark.usefixtures("finished")
def test_an_audit_counts_by_the_class_an_image_had(client: Client) -> None:
    own = read(client)[0]
    zero, one = int(own[0]), int((own[0] + 1) % CLUSTERS)
    some = np.flatnonzero(own == zero)[:3].tolist()
    act(client, {"action": "accept", "ids": some[:2], "text": "audit"})
    act(client, {"action": "relabel", "ids": some[2:], "class": one, "text": "audit"}, seen=1)
    act(client, {"action": "accept", "ids": [IMAGES - 1]}, seen=2)
    assert decisions.audited(demo()) == {zero: (0, 1)}, "the two that were accepted at once were not looked at"
    act(client, {"action": "accept", "ids": some[:1], "text": "audit"}, seen=3)
    act(client, {"action": "accept", "ids": some[1:2], "text": "audit", "mark": "audit"}, seen=4)
    assert decisions.audited(demo()) == {zero: (2, 3)}
    act(client, {"action": "undo"}, {"action": "undo"}, seen=5)
    assert decisions.audited(demo()) == {zero: (0, 1)}


@pytest.mark.usefixtures("finished")
def test_an_audit_asks_about_no_image_that_a_person_has_looked_at(client: Client) -> None:
    first = queue(client, "audit-0")
    act(client, {"action": "accept", "ids": first[:1], "text": "audit"})
    act(client, {"action": "reject", "ids": first[1:2]}, seen=1)
    act(client, {"action": "accept", "ids": first[2:5]}, seen=2)
    asked = queue(client, "audit-0")
    assert set(asked) == set(first[2:]), "its own answer would be found right; what was accepted in bulk may be wrong"
    many = [one for one in asked if one != first[5]]
    act(client, {"action": "relabel", "ids": many, "class": 0}, seen=3)
    assert set(queue(client, "audit-0")) == set(first[2:])


@pytest.mark.usefixtures("finished")
def test_a_new_class_in_an_audit_is_an_answer_of_it(client: Client) -> None:
    own = read(client)[0]
    act(client, {"action": "new class", "ids": [0], "text": "odd", "mark": "audit"})
    act(client, {"action": "new class", "ids": [1], "text": "audit", "mark": ""}, seen=1)
    assert decisions.audited(demo()) == {int(own[0]): (0, 1)}
    assert decisions.curation(demo()).among[:2].tolist() == [int((own == own[0]).sum()), 0]


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"content_type": "text/plain"}, 403),
        ({"origin": "http://localhost"}, 200),
    ],
)
def test_other_sites_pages_cannot_decide(client: Client, headers: dict[str, str], status: int) -> None:
    body = {"reviewer": "Eve", "visit": "x", "seen": 0, "ops": [{"key": "k", "action": "reject", "ids": [0]}]}
    assert client.post(ACT, body, **headers).status == status
    assert read(client)[2] == (1 if status == 200 else 0)


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        "{}",
        '{"reviewer": "A", "visit": "v", "seen": "x", "ops": []}',
        '{"reviewer": "A", "visit": "v", "seen": 0, "ops": [{"action": "accept", "ids": ["a"]}]}',
        '{"reviewer": "A", "visit": "v", "seen": 0, "ops": [{"key": 1, "ids": [0]}]}',
    ],
)
def test_nonsense_is_refused_in_words(client: Client, body: str) -> None:
    answer = client.post(ACT, body)
    assert answer.status == 400
    assert "no list of decisions" in answer.json()["error"]
    assert read(client)[2] == 0


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(
    ("by", "ids", "complaint"),
    [
        (" ", [0], "the name of the reviewer is empty"),
        ("x" * 10_000, [0], "has 10,000 letters"),
        ("A\u0000", [0], "contains control characters"),
        ("Ann", [IMAGES], f"image {IMAGES} is not among the {IMAGES} images"),
        ("Ann", [-1], "image -1 is not among"),
        ("Ann", [], "no image to reject"),
    ],
)
def test_what_cannot_be_decided_says_why(client: Client, by: str, ids: list[int], complaint: str) -> None:
    told = act(client, {"action": "reject", "ids": ids}, by=by)
    assert complaint in told["results"][0]["error"]


@pytest.mark.usefixtures("interrupted")
def test_a_run_without_labels_or_no_run_at_all(client: Client) -> None:
    assert client.get("/spice/curate/halfway/images.bin").status == 404
    assert client.get("/spice/curate/gone/since").status == 404
    body = {"reviewer": "A", "visit": "v", "seen": 0, "ops": [{"key": "1", "action": "accept", "ids": [0]}]}
    answer = client.post("/spice/curate/halfway/act", body)
    assert answer.status == 409
    assert "has no labels yet" in answer.json()["error"]
