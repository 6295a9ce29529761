"""The real app in a real browser, while a run trains in the same server; and the figures measured there.

Needs Linux, Chromium and playwright. The pages show synthetic runs (see `made`). The training run is real, and
a figure counts only if it made progress meanwhile.
"""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.made import made_run
from benchmarks.start import Server, server, wait_for_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from engine.runs.folder import RunFolder

# Selectors.
SETTLED = "[data-testid=stApp][data-test-script-state=notRunning]"
LINK = "[data-testid=stSidebarNav] a"
MAP, CANVAS, CLEAR = ".map", ".map canvas.over", ".map [data-act=clear]"
TILE = ".gallery .tile"

BIG, HUGE, TRAINS = "made60k", "made1m", "digits"
IMAGES, MANY = 60_000, 1_000_000
WIDTH, HEIGHT = 1400, 1000
FLAGS = ["--no-sandbox", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage"]
# Enough to train until everything is measured.
EPOCHS = 50_000
PATIENCE_SECONDS = 60.0  # to wait for a training step

# In the browser: `felt` measures from an event to the frame after a condition has become true.
SCRIPT = """
window.deepAll = (selector, root = document) => {
  const found = [...root.querySelectorAll(selector)];
  for (const one of root.querySelectorAll("*")) {
    if (one.shadowRoot) found.push(...deepAll(selector, one.shadowRoot));
  }
  return found;
};
window.deep = (selector) => deepAll(selector)[0];
window.shown = (selector) => {
  const tiles = deepAll(selector);
  return tiles.length > 0 && tiles.every((one) => one.dataset.shown);
};
window.felt = (event, ready) => {
  let began;
  const test = new Function(`return ${ready}`);
  if (event) addEventListener(event, () => { began = performance.now(); }, { capture: true, once: true });
  else began = 0;
  const last = performance.now() + 60000;
  window.feeling = new Promise((resolve, reject) => {
    const look = () => {
      if (performance.now() > last) reject(new Error(`not within a minute of ${event}: ${ready}`));
      else if (began === undefined || !test()) requestAnimationFrame(look);
      else requestAnimationFrame(() => resolve(performance.now() - began));
    };
    look();
  });
};
window.frames = () => {
  const times = [];
  const note = (now) => { times.push(now); window.noting = requestAnimationFrame(note); };
  window.noting = requestAnimationFrame(note);
  window.stopFrames = () => { cancelAnimationFrame(window.noting); return times.slice(1).map((t, i) => t - times[i]); };
};
"""


@dataclass
class Figure:
    """A measured figure; `goal` is its upper limit."""

    name: str
    unit: str
    goal: float | None
    values: list[float]
    share: float = 1.0  # the quantile that the goal applies to; 1 is the worst value

    @property
    def judged(self) -> float:
        return float(np.quantile(self.values, self.share))

    @property
    def met(self) -> bool | None:
        return None if self.goal is None else self.judged < self.goal

    def row(self) -> list[str]:
        middle = statistics.median(self.values)
        goal = "" if self.goal is None else f"< {self.goal:,g} {self.unit}"
        if self.goal is not None and self.share < 1:
            goal += f" (p{100 * self.share:.0f}: {self.judged:,.0f})"
        verdict = {None: "", True: "met", False: "**missed**"}[self.met]
        return [
            self.name,
            f"{middle:,.0f} {self.unit}",
            f"{max(self.values):,.0f} {self.unit}",
            str(len(self.values)),
            goal,
            verdict,
        ]


@dataclass
class Training:
    """The run that trains during the measurements."""

    folder: RunFolder
    paces: list[float] = field(default_factory=list)

    def step(self) -> int:
        from engine.runs.snapshot import fold

        return fold(self.folder.records()[0]).stages["features"].step

    @contextmanager
    def going(self, what: str) -> Iterator[None]:
        """Raises RuntimeError if no step was trained while `what` was measured."""
        before, began = self.step(), time.perf_counter()
        yield
        while (made := self.step() - before) == 0:
            if time.perf_counter() - began > PATIENCE_SECONDS:
                raise RuntimeError(f"nothing trained while {what} was measured: the figure does not count")
            time.sleep(0.2)
        self.paces.append(made / (time.perf_counter() - began))


@dataclass
class Bench:
    """The browser page, the server, the training run, and the figures so far."""

    page: Page
    server: Server
    training: Training
    figures: list[Figure] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)
    sent: list[int] = field(default_factory=list)

    def watch(self) -> None:
        """Notes the bytes that the page sends to the server from now on."""
        self.page.on("websocket", lambda socket: socket.on("framesent", lambda said: self.sent.append(len(said))))

    def another_browser(self) -> None:
        """Goes on in a browser that was never here: without cookies, and with nothing kept."""
        browser = self.page.context.browser
        assert browser is not None
        self.page.context.close()
        self.page = _new_page(browser)
        self.watch()

    def add(self, name: str, unit: str, goal: float | None, values: Sequence[float], share: float = 1.0) -> None:
        self.figures.append(Figure(name, unit, goal, list(values), share))
        print(" | ".join(self.figures[-1].row()), flush=True)

    # -- acting and waiting --------------------------------------------------------------------

    def open(self, where: str, run: str, ready: str) -> float:
        """Milliseconds from requesting a page by its URL until `ready` is true."""
        self.page.goto(f"{self.server.address}/{where}?run={run}", wait_until="commit")
        self.page.evaluate("ready => felt(null, ready)", ready)
        return self._felt()

    def felt(self, event: str, ready: str, act: Callable[[], object]) -> float:
        """Milliseconds from the `event` that `act` causes until `ready` is true and drawn."""
        self.page.evaluate("([event, ready]) => felt(event, ready)", [event, ready])
        act()
        return self._felt()

    def _felt(self) -> float:
        return float(self.page.evaluate("feeling"))

    def settle(self) -> None:
        self.page.wait_for_selector(SETTLED)

    def go(self, title: str, ready: str = "true") -> float:
        """Milliseconds to switch to the page `title` by its link."""
        there = f"document.querySelector('h1')?.textContent === {json.dumps(title)}"
        settled = f"document.querySelector({json.dumps(SETTLED)})"
        link = self.page.locator(LINK, has_text=title)
        return self.felt("click", f"{there} && {settled} && ({ready})", link.click)

    def data(self, selector: str, name: str) -> str:
        found = self.page.evaluate("([selector, name]) => deep(selector)?.dataset[name]", [selector, name])
        return str(found)

    # -- the map -------------------------------------------------------------------------------

    @staticmethod
    def drawn(count: int) -> str:
        return f"deep('{MAP}')?.dataset.drawn === '{count}'"

    def canvas(self) -> tuple[float, float, float, float]:
        """Left, top, width and height of the map's canvas in window pixels."""
        box = self.page.locator(CANVAS).bounding_box()
        assert box is not None
        return box["x"], box["y"], box["width"], box["height"]

    def middle(self) -> tuple[float, float]:
        left, top, width, height = self.canvas()
        return left + width / 2, top + height / 2

    def surround(self) -> None:
        """Draws a lasso around everything on the canvas, without releasing the mouse."""
        left, top, width, height = self.canvas()
        edge, mouse = 3, self.page.mouse
        x, y = left + edge, top + height - edge
        mouse.move(x, y)
        mouse.down()
        right, above = left + width - edge, top + edge
        for corner in ((right, y), (right, above), (x, above), (x, y - 20)):
            mouse.move(*corner, steps=8)

    def clear(self) -> None:
        if self.data(MAP, "selected") != "0":
            self.page.locator(CLEAR).click()
            self.page.wait_for_function(f"!deep({json.dumps(TILE)})")
            self.settle()


def yardstick() -> float:
    """Seconds for a fixed computation: speed varies by half between machines, and over time on one."""
    began, total = time.perf_counter(), 0
    for number in range(10_000_000):
        total += number
    return round(time.perf_counter() - began, 2)


@contextmanager
def browsing(workspace: Path, log: Path) -> Iterator[Bench]:
    """A new server on `workspace`, with a browser, while the run TRAINS is training."""
    with visiting(workspace, log) as bench:
        bench.page.goto(f"{bench.server.address}/train?run={TRAINS}")
        bench.page.get_by_role("button", name="Resume").click()
        with bench.training.going("the start"):
            bench.settle()
        bench.training.paces.clear()
        yield bench


@contextmanager
def visiting(workspace: Path, log: Path) -> Iterator[Bench]:
    """A new server on `workspace`, with a browser; nothing trains."""
    from playwright.sync_api import sync_playwright

    from engine.runs.folder import RunFolder

    with log.open("wb") as out, server(str(workspace), out) as served, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        bench = Bench(_new_page(browser), served, Training(RunFolder(workspace / TRAINS)))
        wait_for_port(served.address)
        bench.watch()
        yield bench
        browser.close()


def _new_page(browser: Browser) -> Page:
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
    page.set_default_timeout(60_000)
    page.add_init_script(SCRIPT)
    return page


def make_runs(workspace: Path, *, huge: bool = True) -> None:
    """Makes a run of 60,000 images without a map, one of a million with a map (if `huge`), and one to train."""
    from engine.runs.maps import DEFAULT, artefact_of, preview

    made_run(workspace / BIG, images=IMAGES)
    if huge:
        large = made_run(workspace / HUGE, images=MANY, features=8, neighbors=15, size=8, channels=1)
        # For drawing, any places are good enough; UMAP would take an hour.
        large.save(artefact_of(large, DEFAULT), {"points": preview(large)})
    make_training_run(workspace)


def make_training_run(workspace: Path) -> None:
    """Makes the run TRAINS, which `browsing` trains."""
    from engine.config import with_setting
    from engine.presets import preset
    from engine.runs.create import create_run
    from engine.sources.open_source import open_source

    config = preset("quick", clusters=10, channels=1)
    config = with_setting(config, "features.epochs", EPOCHS)
    create_run(workspace / TRAINS, open_source("digits"), config)
