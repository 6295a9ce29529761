"""A separate server, and the app in a browser that can reach only this machine."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.app.conftest import few_digits, trained

__all__ = ["few_digits", "trained"]

ROOT = Path(__file__).parents[2]
PATIENCE = 120_000  # milliseconds: on a machine five times slower a page still comes in time
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--enable-unsafe-swiftshader"]


def until_drawn(page: Page) -> None:
    """Waits until the page is drawn: what is clicked or given before may be replaced, and lost."""
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()


def chromium() -> str:
    found = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    if found is None:
        reason = "Chromium is not installed: the browser test needs it"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@contextmanager
def launched() -> Iterator[Browser]:
    """A Chromium, patient with its pages. Only one at a time: Playwright allows no second one."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests of this folder, which share nothing in it: each opens contexts of its own."""
    with launched() as started:
        yield started


@contextmanager
def blank_page(browser: Browser, width: int, height: int) -> Iterator[Page]:
    """A page without a server."""
    with browser.new_context(viewport={"width": width, "height": height}) as context:
        context.set_default_timeout(PATIENCE)
        yield context.new_page()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The URL of a separate server with an empty workspace."""
    with serving(tmp_path) as where:
        yield where


@contextmanager
def serving(place: Path) -> Iterator[str]:
    """The URL of a server whose runs are in `place`/runs."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        str(ROOT / "spice_explorer" / "app.py"),
        f"--server.port={port}",
        "--server.headless=true",
    ]
    environment = {**os.environ, "SPICE_EXPLORER_RUNS": str(place / "runs")}
    with (place / "server.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=place, env=environment, stdout=log, stderr=log)
        try:
            wait_for(f"http://127.0.0.1:{port}/_stcore/health")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def wait_for(url: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"{url} does not answer after {seconds} s")


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The app in a browser that can reach only this machine."""
    strangers: list[str] = []
    with blank_page(browser, 1400, 1000) as shown:
        shown.on("request", lambda request: strangers.append(request.url))
        shown.goto(address)
        yield shown
    assert not [url for url in strangers if not url.startswith((address, "data:", "blob:"))]
