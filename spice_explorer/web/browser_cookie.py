"""Names each browser by a cookie, so that a reload and a second tab are known to be the same person's."""

from __future__ import annotations

import secrets

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spice_explorer.browsers import COOKIE, lasting


class BrowserCookie:
    """Middleware: a page that is sent to a browser without the cookie brings one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or COOKIE in HTTPConnection(scope).cookies:
            await self._app(scope, receive, send)
            return

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith("text/html"):
                    headers.append("set-cookie", _new())
            await send(message)

        await self._app(scope, receive, named)


def _new() -> str:
    """The header with a new name."""
    return f"{COOKIE}={secrets.token_urlsafe(16)}; {lasting()}"
