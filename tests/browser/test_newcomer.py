"""A newcomer's way through the real app in a real browser: start, refresh, wait, export."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Page, sync_playwright

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--enable-unsafe-swiftshader"]
# Far more than is needed alone on two cores: the machine may be busy.
TRAINING_MS = 420_000


def chromium() -> str:
    found = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)  # fmt: skip
    if found is None:
        reason = "Chromium is not installed: the browser test needs it"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server of its own, with an empty workspace."""
    port = free_port()
    command = [
        sys.executable, "-m", "streamlit", "run", str(ROOT / "spice_explorer" / "app.py"),
        f"--server.port={port}", "--server.headless=true",
    ]  # fmt: skip
    environment = {**os.environ, "SPICE_EXPLORER_RUNS": str(tmp_path / "runs")}
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
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
def page(address: str) -> Iterator[Page]:
    """The app in a browser that may reach nothing but this machine."""
    strangers: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        shown = browser.new_page(viewport={"width": 1400, "height": 1000})
        shown.on("request", lambda request: strangers.append(request.url))
        shown.goto(address)
        yield shown
        browser.close()
    assert not [url for url in strangers if not url.startswith((address, "data:", "blob:"))]


def set_number(page: Page, group: str, label: str, value: str) -> None:
    """Opens a group of settings, sets one of them and closes the group again."""
    box = page.locator("[data-testid=stExpander]").filter(has_text=group)
    box.get_by_text(group).click()
    field = box.get_by_label(label, exact=True)
    field.fill(value)
    field.press("Enter")
    page.get_by_text(f"= {value}").wait_for()
    box.get_by_text(group).click()


def test_a_newcomer_gets_labels_from_the_digits(page: Page) -> None:
    page.locator("h1", has_text="Dataset").wait_for()
    page.get_by_role("link", name="Train", exact=True).click()
    page.get_by_role("button", name="Start training").wait_for()
    set_number(page, "Stage 1 · features", "epochs", "12")
    page.get_by_role("button", name="Start training").click()

    page.locator(".spice-step.active").wait_for(timeout=60_000)
    assert "run=digits-k10-seed0-1" in page.url
    page.reload()
    page.locator(".spice-step").first.wait_for(timeout=60_000)
    assert page.get_by_text("digits-k10-seed0-1 · ").first.is_visible()

    page.locator(".spice-state", has_text="digits-k10-seed0-1 · finished").wait_for(
        timeout=TRAINING_MS
    )
    assert page.locator(".spice-step.done").count() == 4

    page.get_by_role("link", name="Export").click()
    button = page.get_by_role("button", name="Download 1,797 rows as CSV")
    button.wait_for()
    with page.expect_download() as waiting:
        button.click()
    table = pd.read_csv(BytesIO(Path(waiting.value.path()).read_bytes()))
    assert list(table.columns) == [
        "id", "name", "label", "confidence", "agreement", "reliable", "stage", "epoch",
    ]  # fmt: skip
    assert len(table) == 1797
    assert table["label"].between(0, 9).all()
    assert (table["stage"] == "joint").all()
    assert table["reliable"].sum() > 100


def test_a_strange_host_name_is_refused_on_every_route(address: str) -> None:
    for path in ("/", "/spice/sprites/any/0.json"):
        request = urllib.request.Request(address + path, headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(request, timeout=10)
