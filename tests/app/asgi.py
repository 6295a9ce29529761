"""Sends requests to routes without a server or a client library, through ASGI directly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

# A part of a request after which nobody is there any more.
GONE = b"gone"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode()

    def json(self) -> Any:
        return json.loads(self.content)


class Client:
    """Sends requests like a browser at http://localhost."""

    def __init__(self, routes: Sequence[BaseRoute], middleware: Sequence[Middleware] = ()) -> None:
        self._app = Starlette(routes=list(routes), middleware=list(middleware))

    def get(self, path: str, cookie: str = "", **query: Any) -> Answer:
        headers = {"cookie": cookie} if cookie else {}
        return asyncio.run(self._ask("GET", path, urlencode(query), b"", headers))

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        """Sends `body`, as JSON unless it is text."""
        content = body if isinstance(body, str) else json.dumps(body)
        sent = {"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        return asyncio.run(self._ask("POST", path, "", content.encode(), sent))

    def post_parts(self, path: str, parts: Iterable[bytes], **headers: str) -> Answer:
        """Sends JSON in parts, as a request without a length does: `parts` is only read as far as it is taken."""
        sent = {"content-type": "application/json", "transfer-encoding": "chunked"}
        sent |= {k.replace("_", "-"): v for k, v in headers.items()}
        return asyncio.run(self._sent("POST", path, "", iter(parts), sent))

    async def _ask(self, method: str, path: str, query: str, body: bytes, headers: dict[str, str]) -> Answer:
        return await self._sent(method, path, query, iter([body]), {"content-length": str(len(body)), **headers})

    async def _sent(
        self, method: str, path: str, query: str, parts: Iterator[bytes], headers: dict[str, str]
    ) -> Answer:
        sent = {"host": "localhost", **headers}
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path,
            "root_path": "",
            "query_string": query.encode(),
            "scheme": "http",
            "server": ("localhost", 80),
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        }
        messages: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            part = next(parts, None)
            if part is GONE:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": part or b"", "more_body": part is not None}

        async def send(message: Any) -> None:
            messages.append(message)

        await self._app(scope, receive, send)
        start = messages[0]
        told = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], told, b"".join(one.get("body", b"") for one in messages[1:]))
