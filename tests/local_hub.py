"""A Hugging Face Hub on this machine, for downloads without a network."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Hub:
    """What the hub has, how it misbehaves, and what it was asked.

    Attributes:
        files: content by "ORG/NAME/FILE".
        errors: the hub's own code of an error by "ORG/NAME" ("GatedRepo", "RepoNotFound"), "Disabled", or a status
            without a code ("401").
        breaks: bytes of a file that are sent before the connection breaks off.
        asked: "METHOD FILE RANGE" of each request for a file.
        sums: what the hub says of a file instead of its true sum.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    breaks: int | None = None
    asked: list[str] = field(default_factory=list)
    sums: dict[str, str] = field(default_factory=dict)


def _answers(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Answers(BaseHTTPRequestHandler):
        def answer(self) -> None:
            place, _, name = self.path[1:].partition("/resolve/")
            name = name.partition("/")[2]
            asked = self.headers.get("Range", "")
            if name:  # huggingface_hub has questions of its own
                hub.asked.append(f"{self.command} {name} {asked}".strip())
            content = hub.files.get(f"{place}/{name}")
            if place in hub.errors:
                code = hub.errors[place]
                status = int(code) if code.isdecimal() else {"GatedRepo": 403, "Disabled": 403}.get(code, 404)
                self._refuse(status, "" if code.isdecimal() else code)
            elif content is None:
                known = any(file.startswith(f"{place}/") for file in hub.files)
                self._refuse(404, "EntryNotFound" if known else "RepoNotFound")
            else:
                self._send(f"{place}/{name}", content, int(re.sub(r"\D", "", asked) or 0))

        def _refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            if code == "Disabled":
                self.send_header("X-Error-Message", "Access to this resource is disabled.")
            elif code:
                self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _send(self, file: str, content: bytes, start: int) -> None:
            self.send_response(206 if start else 200)
            self.send_header("ETag", hub.sums.get(file, hashlib.sha256(content).hexdigest()))
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", str(len(content) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if self.command == "GET":
                end = None if hub.breaks is None else hub.breaks
                self.wfile.write(content[start:end])
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    for method in ("HEAD", "GET"):
        setattr(Answers, f"do_{method}", Answers.answer)
    return Answers


@contextmanager
def serving_hub() -> Iterator[tuple[Hub, str]]:
    """A hub without files, and its address."""
    found = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _answers(found))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """The hub that huggingface_hub asks in this test; its cache is empty."""
    with serving_hub() as (found, address):
        _ask(address, monkeypatch, str(tmp_path_factory.mktemp("hub")))
        yield found


@pytest.fixture
def hub_of_servers(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """The hub that processes ask which begin in this test; their cache is empty."""
    with serving_hub() as (found, address):
        for name, value in (
            ("HF_ENDPOINT", address),
            ("HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub"))),
            ("HF_HUB_OFFLINE", "0"),
            ("NO_PROXY", "127.0.0.1"),
        ):
            monkeypatch.setenv(name, value)
        yield found


def _ask(address: str, monkeypatch: pytest.MonkeyPatch, cache: str) -> None:
    """Makes huggingface_hub ask the hub at `address` in this process."""
    from huggingface_hub import constants, file_download

    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", cache)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 2**16)
    # It waits a second before it tries again.
    monkeypatch.setattr(file_download.time, "sleep", lambda _seconds: None)


def in_cache(repository: str, name: str, content: bytes) -> None:
    """Puts a file where huggingface_hub keeps what it has downloaded."""
    from huggingface_hub import constants

    place = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    commit = "0" * 40
    for folder in (place / "refs", place / "snapshots" / commit):
        folder.mkdir(parents=True, exist_ok=True)
    (place / "refs" / "main").write_text(commit)
    (place / "snapshots" / commit / name).write_bytes(content)
