"""How long a class waits: from a fresh start to the first step of the lesson and to the finished run, and
for each frame of the animation; and the size of the lesson as a file.

Needs Chromium. Every round has a new server and an empty workspace, like a first start.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.browser import Figure
from benchmarks.made import made_run
from benchmarks.report import table, write
from benchmarks.start import server, wait_for_port

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROUNDS, IMAGES = 3, 2_000
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage"]
# Moves the film to each frame and waits until it is drawn; milliseconds.
STEPS = """async () => {
  const find = (root) => [...root.querySelectorAll('input[aria-label="Time in training"]'),
    ...[...root.querySelectorAll('*')].flatMap((one) => one.shadowRoot ? find(one.shadowRoot) : [])];
  const slider = find(document)[0], taken = [];
  const drawn = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  for (let turn = 0; turn < 2; turn++) {
    for (let at = 0; at <= Number(slider.max); at++) {
      const began = performance.now();
      slider.value = at;
      slider.dispatchEvent(new Event("input", { bubbles: true }));
      await drawn();
      taken.push(performance.now() - began);
    }
  }
  return taken;
}"""


def measure() -> None:
    """Writes results/lesson."""
    from playwright.sync_api import sync_playwright

    first = Figure("fresh start to the first step of the lesson", "s", 5, [])
    whole = Figure("fresh start to all nine steps of the finished run", "s", 40, [])
    film = Figure("a frame of the animation, 1,797 digits in the app", "ms", 100, [])
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory() as place, browser.new_page() as page:
                os.environ["SPICE_EXPLORER_CACHE"] = f"{place}/cache"
                began = time.perf_counter()
                with server(f"{place}/runs") as served:
                    wait_for_port(served.address)
                    page.goto(f"{served.address}/learn")
                    page.locator(".lesson[data-screen='1']").wait_for(timeout=120_000)
                    first.values.append(time.perf_counter() - began)
                    page.get_by_role("button", name="Train the lesson's run").click()
                    page.locator(".dots .locked").first.wait_for(state="detached", timeout=600_000)
                    whole.values.append(time.perf_counter() - began)
                    film.values += page.evaluate(STEPS)
        offline = Figure(f"a frame of the animation, {IMAGES:,} images in a file, offline", "ms", 100, [])
        with tempfile.TemporaryDirectory() as place:
            file = _file(Path(place))
            size = file.stat().st_size
            page = browser.new_context(offline=True).new_page()
            offline.values += _of_the_file(page, file)
        browser.close()
    figures = [first, whole, film, offline]
    body = (
        f"{table(['', 'median', 'worst', 'times', 'goal', ''], [one.row() for one in figures])}\n\n"
        f"The lesson of {IMAGES:,} synthetic colour images of 32 × 32 pixels as one file: "
        f"{size / 1e6:.1f} MB (goal: < 15 MB). Times in seconds are from the start of the server process: "
        f"{ROUNDS} new servers, empty workspace and cache, browser already open; the digits train on "
        "all cores but one."
    )
    data = {"figures": [{**vars(one), "met": one.met} for one in figures], "bytes": size}
    write("lesson", "The lesson", data, body)


def _file(place: Path) -> Path:
    from engine.lesson.html_file import replay

    run = made_run(place / "made", images=IMAGES)
    file = place / "lesson.html"
    file.write_text(replay(run), "utf-8")
    return file


def _of_the_file(page: Page, file: Path) -> list[float]:
    page.goto(file.as_uri())
    page.locator(".lesson[data-ready]").wait_for()
    page.keyboard.press("0")
    return list(page.evaluate(STEPS))
