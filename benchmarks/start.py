"""The time from `streamlit run` to the first page in a browser that is already open.

Needs Chromium. The workspace is empty at the start of each round, like a first start.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import spread, table, write

ROUNDS = 5
ROOT = Path(__file__).parents[1]
FIRST, WHOLE = "first paint (the page's heading)", "whole page"


@dataclass(frozen=True)
class Server:
    """The address and the process id of a server."""

    address: str
    process: int

    def kill(self) -> None:
        """Kills the process without letting it clean up."""
        os.kill(self.process, signal.SIGKILL)


@contextmanager
def server(workspace: str, log: Any = subprocess.DEVNULL) -> Iterator[Server]:
    """Starts a new server that writes to the file `log`. The block begins at once: see `wait_for_port`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        str(ROOT / "spice_explorer" / "app.py"),
        f"--server.port={port}",
        "--server.headless=true",
    ]
    environment = {**os.environ, "SPICE_EXPLORER_RUNS": workspace}
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        yield Server(f"http://127.0.0.1:{port}", process.pid)
    finally:
        process.terminate()
        process.wait()


def measure() -> None:
    """Writes results/start."""
    from playwright.sync_api import sync_playwright

    seconds: dict[str, list[float]] = {FIRST: [], WHOLE: []}
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(ROUNDS):
            page = browser.new_page()
            with tempfile.TemporaryDirectory() as workspace:
                began = time.perf_counter()
                with server(workspace) as served:
                    wait_for_port(served.address)
                    page.goto(served.address)
                    page.wait_for_selector("h1")
                    seconds[FIRST].append(time.perf_counter() - began)
                    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
                    seconds[WHOLE].append(time.perf_counter() - began)
            page.close()
    rows = [[name, spread(values, 2), f"{max(values):.2f}"] for name, values in seconds.items()]
    body = (
        f"Seconds from the start of the server process, {ROUNDS} new servers, empty workspace, "
        "browser already open: mean ± standard deviation (lowest), highest.\n\n"
        + table(["", "seconds", "slowest"], rows)
    )
    write("start", "Start of the app", {"seconds": seconds}, body)


def wait_for_port(address: str) -> None:
    host, port = address.removeprefix("http://").split(":")
    while True:
        try:
            with socket.create_connection((host, int(port)), timeout=1):
                return
        except OSError:
            time.sleep(0.02)
