"""Requests that no page of the app sends: refused in words, never an error of the server, and nothing is written."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.routing import BaseRoute

from engine.curate.decisions import MOST_LETTERS
from engine.runs.folder import RunFolder
from spice_explorer.queries import decisions
from spice_explorer.web import curate_api, decision_request, routes
from tests.app.asgi import GONE, Client
from tests.app.conftest import demo

ACT = "/spice/curate/demo/act"


@pytest.fixture
def client(finished: RunFolder) -> Client:
    assert finished.exists
    return Client(curate_api.routes())


def rows() -> int:
    return decisions.curation(demo()).row


def asked(**changed: Any) -> dict[str, Any]:
    return {"reviewer": "Ann", "visit": "tab", "seen": 0, "ops": [], **changed}


def op(**changed: Any) -> dict[str, Any]:
    return {"key": "k", "action": "relabel", "ids": [0], "class": 1, **changed}


@pytest.mark.parametrize("announced", [None, "1", "-5", "9" * 30, "many"])
def test_a_long_body_is_not_read_to_its_end_whatever_it_announces(client: Client, announced: str | None) -> None:
    taken = 0

    def parts() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(1000):
            taken += 2**20
            yield b" " * 2**20

    headers = {} if announced is None else {"content_length": announced}
    answer = client.post_parts(ACT, parts(), **headers)
    assert answer.status == 413
    assert answer.json()["error"] == "more than 16,777,216 bytes at a time: send fewer decisions at once"
    assert taken <= decision_request.MOST_BYTES + 2 * 2**20


def test_a_body_in_parts_is_a_body(client: Client) -> None:
    body = json.dumps(asked(ops=[op()])).encode()
    answer = client.post_parts(ACT, [body[:7], b"", body[7:]])
    assert (answer.status, rows()) == (200, 1)


def test_a_request_that_breaks_off_decides_nothing(client: Client) -> None:
    body = json.dumps(asked(ops=[op()])).encode()
    assert client.post_parts(ACT, [body, GONE]).status == 400
    assert rows() == 0


def test_json_is_parsed_away_from_the_thread_that_serves_everybody(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    where: list[int] = []
    parse = decision_request.parsed
    monkeypatch.setattr(curate_api, "parsed", lambda content: (where.append(threading.get_ident()), parse(content))[1])
    assert client.post(ACT, asked(ops=[op()])).status == 200
    assert len(where) == 1
    assert where[0] != threading.get_ident()


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("[" * 200_000 + "]" * 200_000, "nested too deeply"),
        ('{"a":' * 100_000 + "0" + "}" * 100_000, "nested too deeply"),
        ("[" * 500 + "]" * 500, "the request is a list, expected an object"),
        ('{"seen": ' + "9" * 5_000 + "}", "Exceeds the limit"),
        (asked(seen=10**30), "seen has a number beyond"),
        (asked(seen=0.5), "seen is a fraction"),
        (asked(seen=True), "seen is true or false"),
        (asked(seen=None), "seen is missing"),
        (asked(ops={}), "ops is an object"),
        (asked(ops=[7]), "a decision is a number"),
        (asked(ops=[op()] * 501), "501 at a time"),
        (asked(reviewer=["Ann"]), "reviewer is a list"),
        (asked(reviewer="\ud800"), "reviewer is not valid Unicode"),
        (asked(visit=3), "visit is a number"),
        (asked(reviewer="x" * 50_000), "reviewer has 50,000 letters"),
        (asked(ops=[op(ids=[2**63])]), "ids has a number beyond"),
        (asked(ops=[op(ids=[0.5])]), "ids is a fraction"),
        (asked(ops=[op(ids=[True])]), "ids is true or false"),
        (asked(ops=[op(ids="0")]), "ids is a text"),
        (asked(ops=[op(ids=[[0]])]), "ids is a list"),
        (asked(ops=[op(**{"class": 10**40})]), "class has a number beyond"),
        (asked(ops=[op(other={"a": 1})]), "other is an object"),
        (asked(ops=[op(action="accept", classes=[70_000])]), "classes has numbers from 70000"),
        (asked(ops=[op(action="accept", classes=[-1])]), "classes has numbers from -1"),
        (asked(ops=[op(key="\udfff")]), "key is not valid Unicode"),
        (asked(ops=[op(key="k" * 20_001)]), "key has 20,001 letters"),
        (asked(ops=[op(text=4)]), "text is a number"),
        ('{"reviewer": "A", "visit": "v", "seen": 0, "ops": [{"key": "k", "ids": [1e999]}]}', "action is missing"),
        ('{"reviewer": "A", "visit": "v", "seen": 1e999, "ops": []}', "seen is a fraction"),
        ('{"reviewer": "A", "visit": "v", "seen": NaN, "ops": []}', "seen is a fraction"),
    ],
)
def test_what_is_no_list_of_decisions_is_refused_before_any_is_written(
    client: Client, body: str | dict[str, Any], complaint: str
) -> None:
    answer = client.post(ACT, body)
    assert answer.status == 400
    said = answer.json()["error"]
    assert said.startswith("this is no list of decisions (")
    assert complaint in said
    assert rows() == 0


def test_of_a_request_with_one_malformed_decision_none_is_written(client: Client) -> None:
    answer = client.post(ACT, asked(ops=[op(key="a"), op(key="b", ids=[2**63])]))
    assert (answer.status, rows()) == (400, 0)


def test_numbers_and_actions_that_there_are_not_are_named_for_each_decision(client: Client) -> None:
    far = 2**53
    ops = [op(key="a", ids=[far]), op(key="b", **{"class": far}), op(key="c", action="fly"), op(key="d")]
    answer = client.post(ACT, asked(seen=far, ops=ops))
    assert answer.status == 200, answer.text
    image, class_, action, good = answer.json()["results"]
    assert f"image {far:,} is not among" in image["error"]
    assert f"no class {far}" in class_["error"]
    assert "'fly' is not an action" in action["error"]
    assert good["row"] == rows() == 1


def test_only_a_name_that_can_be_one_is_kept_by_the_browser(client: Client) -> None:
    assert "set-cookie" not in client.post(ACT, asked(reviewer="x" * (MOST_LETTERS + 1))).headers
    assert "set-cookie" not in client.post(ACT, asked(reviewer="a\r\nb")).headers
    assert "spice-reviewer=Ann" in client.post(ACT, asked()).headers["set-cookie"]


@pytest.mark.parametrize("origin", ["http://[", "//", "\x00"])
def test_an_origin_that_is_no_address_is_not_ours(client: Client, origin: str) -> None:
    assert client.post(ACT, asked(ops=[op()]), origin=origin).status == 403
    assert rows() == 0


# -- every other route -------------------------------------------------------------------------

# What is not UTF-8 in an address is replaced before a route sees it.
ODD = [
    "",
    "-1",
    "9" * 30,
    "9" * 5_000,
    "1e999",
    "NaN",
    "½",
    "²",
    "٣",
    "a\x00b",
    "\ufffd",
    "..",
    "x" * 300,
    "0x1",
    "1_0",
]
PATHS = [
    "/spice/curate/{run}/images.bin",
    "/spice/curate/demo/queue/{odd}.bin",
    "/spice/curate/demo/queue/class-{odd}.bin",
    "/spice/curate/demo/queue/border-{odd}-{odd}.bin",
    "/spice/curate/demo/queue/audit-{odd}.bin",
    "/spice/curate/demo/queue/audit-1-{odd}.bin",
    "/spice/columns/{run}/ids.bin",
    "/spice/columns/demo/{odd}.bin",
    "/spice/columns/demo/label.heads.{odd}.bin",
    "/spice/columns/demo/agreed.heads.{odd}.bin",
    "/spice/columns/demo/imported.{odd}.bin",
    "/spice/columns/demo/place.{odd}-0.1.bin",
    "/spice/columns/demo/place.15-{odd}.heads.1.bin",
    "/spice/sprites/{run}/0.webp",
    "/spice/sprites/demo/{odd}.json",
    "/spice/thumbs/{run}/0.webp",
    "/spice/thumbs/demo/{odd}.webp",
    "/spice/originals/demo/{odd}.json",
    "/spice/lesson/{run}.html",
]
QUERIES = [
    ("/spice/curate/demo/since", "row"),
    ("/spice/curate/demo/since", "reviewer"),
    ("/spice/curate/demo/suggested", "ids"),
    ("/spice/pages/demo.webp", "ids"),
    ("/spice/lesson/demo.json", "v"),
]


@pytest.fixture
def served(finished: RunFolder) -> Client:
    assert finished.exists
    found: list[BaseRoute] = routes.options()["routes"]
    return Client(found)


@pytest.mark.parametrize("path", PATHS)
def test_no_address_is_an_error_of_the_server(served: Client, path: str) -> None:
    statuses = {odd: served.get(path.format(run=odd, odd=odd)).status for odd in ODD}
    assert {odd: status for odd, status in statuses.items() if status >= 500} == {}
    assert statuses["9" * 30] == 404


@pytest.mark.parametrize(("path", "name"), QUERIES)
def test_no_question_is_an_error_of_the_server(served: Client, path: str, name: str) -> None:
    statuses = {odd: served.get(path, **{name: odd}).status for odd in ODD}
    assert {odd: status for odd, status in statuses.items() if status >= 500} == {}
    assert set(statuses.values()) <= {200, 404}


def test_a_sheet_is_asked_for_with_numbers(served: Client) -> None:
    assert served.get("/spice/pages/demo.webp", ids="0", side="96").status == 200
    for name in ("side", "whole"):
        found = [served.get("/spice/pages/demo.webp", ids="0", **{name: odd}).status for odd in ("9" * 300, "²", "x")]
        assert set(found) == {404}, name
