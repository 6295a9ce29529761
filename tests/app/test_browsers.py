"""What comes back in a browser after a reload, and the cookie by which the browser is known."""

from __future__ import annotations

import pytest
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route

from spice_explorer import browsers
from spice_explorer.web.browser_cookie import BrowserCookie
from tests.app.asgi import Client
from tests.app.conftest import Visit, button, texts


@pytest.fixture
def client() -> Client:
    routes = [
        Route("/", lambda _request: HTMLResponse("<p>a page</p>")),
        Route("/data", lambda _request: JSONResponse({})),
    ]
    return Client(routes, [Middleware(BrowserCookie)])


def test_each_new_browser_gets_a_name_of_its_own_that_scripts_cannot_read(client: Client) -> None:
    first, second = (client.get("/").headers["set-cookie"] for _ in range(2))
    name, _, about = first.partition("; ")
    assert name.startswith(f"{browsers.COOKIE}=")
    assert len(name) > len(browsers.COOKIE) + 20
    assert about == "Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax"
    assert first != second
    assert client.get("/").content == b"<p>a page</p>"


def test_a_known_browser_keeps_its_name_and_data_brings_none(client: Client) -> None:
    assert "set-cookie" not in client.get("/", cookie=f"theme=dark; {browsers.COOKIE}=abc").headers
    assert "set-cookie" in client.get("/", cookie="theme=dark").headers
    assert "set-cookie" not in client.get("/data").headers


@pytest.mark.usefixtures("workspace")
def test_a_reload_brings_back_the_opened_source(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browsers, "current", lambda: "one")
    at = visit("dataset")
    at.session_state["source kind"] = "shapes"
    at.run()
    button(at, "Use the shapes").click().run()
    assert "960" in [one.value for one in visit("dataset").metric]
    assert "960 images" in texts(visit("train"))
    monkeypatch.setattr(browsers, "current", lambda: "another")
    assert "960 images" not in texts(visit("train"))


def test_only_so_many_browsers_are_remembered_and_none_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(browsers.MOST_BROWSERS + 1):
        monkeypatch.setattr(browsers, "current", lambda number=number: f"browser {number}")
        browsers.remember("reviewer", f"Ann {number}")
    found = []
    for number in (0, 1, browsers.MOST_BROWSERS):
        monkeypatch.setattr(browsers, "current", lambda number=number: f"browser {number}")
        found.append(browsers.remembered("reviewer"))
    assert found == [None, "Ann 1", f"Ann {browsers.MOST_BROWSERS}"]
    monkeypatch.setattr(browsers, "current", lambda: "")
    browsers.remember("reviewer", "Eve")
    assert browsers.remembered("reviewer") is None


@pytest.mark.parametrize("cookie", ["", "%00", "x" * 61, "%0Aname"])
def test_a_cookie_that_holds_no_name_is_no_name(cookie: str) -> None:
    assert browsers.reviewer_of(cookie) is None
    assert browsers.reviewer_of("Zo%C3%AB%20B") == "Zo\u00eb B"
