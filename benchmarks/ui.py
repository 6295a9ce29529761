"""The speed a person feels: the real app in a real browser, while a run trains in the same server.

Needs Linux, Chromium and playwright. The runs that are looked at are made up (see `made`); the one that
trains is real, and a figure counts only if its steps went on meanwhile.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.made import made_run
from benchmarks.report import table, write
from benchmarks.start import Server, server, wait_for_port

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from engine.runs.folder import RunFolder

# -- what is looked for on the pages -----------------------------------------------------------

SETTLED = "[data-testid=stApp][data-test-script-state=notRunning]"
LINK = "[data-testid=stSidebarNav] a"
MAP, CANVAS, CLEAR = ".map", ".map canvas.over", ".map [data-act=clear]"
COLOURS = "select[aria-label='Colour by']"
ENTRY, SHOW_ALL, MAP_STATUS = ".map .legend .entry", ".map .legend .clear", ".map .status"
LEGEND_TITLE, FIT = ".map .legend-title", ".map [data-act=home]"
TILE = ".gallery .tile"
NEXT_PAGE, RANGE = "button[aria-label='Next page']", ".gallery .range"
PLANE, COUNT = ".inspector", ".inspector .tiles .count"
AGREEMENT = "[role=slider][aria-label='Agreement threshold']"
CHECKED = f"deep('{PLANE}')?.dataset.checked === 'true'"  # the server has counted the same

# -- what is measured --------------------------------------------------------------------------

BIG, HUGE, TRAINS = "made60k", "made1m", "digits"
IMAGES, MANY = 60_000, 1_000_000
PAGES = ("Dataset", "Train", "Map", "Prototypes", "Reliability", "Export")
WIDTH, HEIGHT = 1400, 1000
FLAGS = ["--no-sandbox", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage"]
ROUNDS, SWITCHES = 7, 60
WARM_UP, INTERACTIONS = 20, 200
# So long that it trains until all is measured.
EPOCHS = 50_000
PATIENCE_SECONDS = 60.0  # for a sign that it does

# In the browser: `felt` times from an event to the frame after something has become true.
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
    """One thing that a person waits for; `goal` is what it may be at most, in its unit."""

    name: str
    unit: str
    goal: float | None
    values: list[float]
    share: float = 1.0  # the quantile that the goal is about; 1 is the worst

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
    """The run that trains meanwhile."""

    folder: RunFolder
    paces: list[float] = field(default_factory=list)

    def step(self) -> int:
        from engine.runs.snapshot import fold

        return fold(self.folder.records()[0]).stages["features"].step

    @contextmanager
    def going(self, what: str) -> Iterator[None]:
        """Raises RuntimeError if no step was made while `what` was measured."""
        before, began = self.step(), time.perf_counter()
        yield
        while (made := self.step() - before) == 0:
            if time.perf_counter() - began > PATIENCE_SECONDS:
                raise RuntimeError(f"nothing trained while {what} was measured: that is no figure")
            time.sleep(0.2)
        self.paces.append(made / (time.perf_counter() - began))


@dataclass
class Bench:
    """The browser's page, the server, the run that trains, and what has been measured."""

    page: Page
    server: Server
    training: Training
    figures: list[Figure] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)
    sent: list[int] = field(default_factory=list)

    def add(self, name: str, unit: str, goal: float | None, values: Sequence[float], share: float = 1.0) -> None:
        self.figures.append(Figure(name, unit, goal, list(values), share))
        print(" | ".join(self.figures[-1].row()), flush=True)

    # -- doing and waiting ---------------------------------------------------------------------

    def open(self, where: str, run: str, ready: str) -> float:
        """Milliseconds from asking for a page by its address until `ready` is true."""
        self.page.goto(f"{self.server.address}/{where}?run={run}", wait_until="commit")
        self.page.evaluate("ready => felt(null, ready)", ready)
        return self._felt()

    def felt(self, event: str, ready: str, act: Callable[[], object]) -> float:
        """Milliseconds from the `event` that `act` brings about until `ready` is true and drawn."""
        self.page.evaluate("([event, ready]) => felt(event, ready)", [event, ready])
        act()
        return self._felt()

    def _felt(self) -> float:
        return float(self.page.evaluate("feeling"))

    def settle(self) -> None:
        self.page.wait_for_selector(SETTLED)

    def go(self, title: str, ready: str = "true") -> float:
        """Milliseconds of switching to the page `title` by its link."""
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
        """Left, top, width and height of the map's canvas in pixels of the window."""
        box = self.page.locator(CANVAS).bounding_box()
        assert box is not None
        return box["x"], box["y"], box["width"], box["height"]

    def middle(self) -> tuple[float, float]:
        left, top, width, height = self.canvas()
        return left + width / 2, top + height / 2

    def surround(self) -> None:
        """Draws a lasso round everything on the canvas, and does not let go."""
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


@contextmanager
def browsing(workspace: Path, log: Path) -> Iterator[Bench]:
    """A new server on `workspace` with a browser at it, the run TRAINS in training."""
    from playwright.sync_api import sync_playwright

    from engine.runs.folder import RunFolder

    with log.open("wb") as out, server(str(workspace), out) as served, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.set_default_timeout(60_000)
        page.add_init_script(SCRIPT)
        bench = Bench(page, served, Training(RunFolder(workspace / TRAINS)))
        page.on("websocket", lambda socket: socket.on("framesent", lambda said: bench.sent.append(len(said))))
        wait_for_port(served.address)
        page.goto(f"{served.address}/train?run={TRAINS}")
        page.get_by_role("button", name="Resume").click()
        with bench.training.going("the start"):
            bench.settle()
        bench.training.paces.clear()
        yield bench
        browser.close()


def measure() -> None:
    """Writes results/ui."""
    with tempfile.TemporaryDirectory() as place:
        workspace = Path(place) / "runs"
        make_runs(workspace)
        measure_in(workspace, Path(place) / "server.log")


def make_runs(workspace: Path, *, huge: bool = True) -> None:
    """The runs: 60,000 images without a map, a million with one if asked for, and one to be trained."""
    from engine.config import with_setting
    from engine.presets import preset
    from engine.runs.create import create_run
    from engine.runs.maps import DEFAULT, artefact_of, preview
    from engine.sources.open_source import open_source

    made_run(workspace / BIG, images=IMAGES)
    if huge:
        large = made_run(workspace / HUGE, images=MANY, features=8, neighbors=15, size=8, channels=1)
        # Any places will do for drawing; UMAP would take an hour to find better ones.
        large.save(artefact_of(large, DEFAULT), {"points": preview(large)})
    config = preset("quick", clusters=10, channels=1)
    config = with_setting(config, "features.epochs", EPOCHS)
    create_run(workspace / TRAINS, open_source("digits"), config)


def measure_in(workspace: Path, log: Path) -> None:
    """Measures in a `workspace` that `make_runs` has filled."""
    parts = (_first_map, _map, _million, _reliability, _switches, _memory)
    yardstick = [_yardstick()]
    with browsing(workspace, log) as bench:
        for part in parts:
            with bench.training.going(part.__name__):
                part(bench)
        paces = bench.training.paces
    yardstick.append(_yardstick())
    bench.facts["ten million additions in Python, before and after all this, s"] = yardstick
    rows = [one.row() for one in bench.figures]
    data = {
        "figures": [{**vars(one), "met": one.met} for one in bench.figures],
        "training_steps_a_second": paces,
        **bench.facts,
    }
    head = ["", "median", "worst", "times", "goal", ""]
    facts = "\n".join(f"- {name}: {value}" for name, value in bench.facts.items())
    write("ui", "The speed a person feels", data, f"{_about(paces)}\n\n{table(head, rows)}\n\n{facts}")


def _yardstick() -> float:
    """Seconds for a thing that never changes: machines, and the hours of one, differ by half."""

    def add() -> None:
        total = 0
        for number in range(10_000_000):
            total += number

    return round(_seconds(add), 2)


def _about(paces: Sequence[float]) -> str:
    return (
        f"The app in Chromium ({WIDTH} × {HEIGHT}, WebGL drawn by the processor), on "
        "the machine on which it runs. Meanwhile the built-in digits train in the same server, at "
        f"{min(paces):.0f} to {max(paces):.0f} steps of stage 1 a second. The runs that are looked at "
        "are made up (`benchmarks/made.py`): their sizes are real, their labels are not. Times are "
        "taken by the browser, from the event to the frame after the result is there."
    )


# -- the map -----------------------------------------------------------------------------------


def _first_map(bench: Bench) -> None:
    """A run without a map: the preview at once, UMAP by a process in the background."""
    from engine.runs.folder import RunFolder
    from engine.runs.maps import load_map, preview

    folder = RunFolder(bench.training.folder.path.parent / BIG)
    began = time.perf_counter()
    first = bench.open("map", BIG, bench.drawn(IMAGES))
    bench.add(f"map of {IMAGES:,} images without UMAP: preview drawn", "ms", 2000, [first])
    while load_map(folder) is None:
        if time.perf_counter() - began > 300:
            raise RuntimeError("UMAP is not done after 5 minutes")
        time.sleep(0.2)
    bench.add(f"UMAP of {IMAGES:,} × 512, in the background", "s", 60, [time.perf_counter() - began])
    seconds = [_seconds(lambda: preview(folder)) for _ in range(3)]
    bench.add("preview, the engine's part", "ms", None, [1000 * one for one in seconds])


def _map(bench: Bench) -> None:
    name, ready = f"map of {IMAGES:,} images", bench.drawn(IMAGES)
    opened, switched = [], []
    for _ in range(ROUNDS):
        opened.append(bench.open("map", BIG, ready))
        bench.settle()
        bench.go("Export")
        switched.append(bench.go("Map", ready))
    bench.add(f"{name}: drawn after a click on its link", "ms", 1500, switched)
    bench.add(f"{name}: drawn after opening its address", "ms", 1500, opened)
    bench.add(f"{name}: recoloured", "ms", 250, _recolour(bench, 2 * ROUNDS))
    waited, sent, selected = [], [], []
    for cluster in range(ROUNDS):
        took, said = _lasso(bench, cluster)
        waited.append(took)
        sent.append(said / 1000)
        selected.append(int(bench.data(MAP, "selected")))
    bench.facts["images in the lassos"] = f"{min(selected):,} to {max(selected):,}"
    bench.add(f"{name}: lasso let go, pictures shown", "ms", 500, waited)
    bench.add(f"{name}: sent to the server by a lasso", "kB", 20, sent)
    turned = [_turn_page(bench) for _ in range(ROUNDS)]
    bench.add(f"{name}: next page of the gallery shown", "ms", None, turned)
    _kept(bench)


def _recolour(bench: Bench, times: int) -> list[float]:
    menu = bench.page.locator(COLOURS)
    colours = [one.get_attribute("value") or "" for one in menu.locator("option").all()]
    now, out = bench.data(MAP, "colour"), []
    for index in range(times):
        others = [one for one in colours if one != now]
        now = others[index % len(others)]
        ready = f"deep('{MAP}').dataset.colour === {json.dumps(now)}"
        out.append(bench.felt("input", ready, partial(menu.select_option, now)))
        bench.settle()
    return out


def _lasso(bench: Bench, cluster: int) -> tuple[float, int]:
    """Milliseconds from letting go of a lasso round a cluster until its pictures are shown, and bytes
    sent to the server. Only that cluster is shown when it is drawn, so that it holds just that."""
    bench.clear()
    bench.page.locator(FIT).click()  # the page remembers how it was zoomed
    bench.page.locator(COLOURS).select_option("cluster")
    bench.page.wait_for_function(f"deep({json.dumps(LEGEND_TITLE)})?.textContent === 'cluster'")
    entry = bench.page.locator(ENTRY).nth(cluster)
    if entry.get_attribute("aria-pressed") == "false":
        entry.click()
    bench.page.wait_for_function(f"deep({json.dumps(MAP_STATUS)}).textContent.includes('pass')")
    bench.settle()
    bench.surround()
    before = len(bench.sent)
    some = f"+deep('{MAP}').dataset.selected > 0 && shown({json.dumps(TILE)})"
    took = bench.felt("pointerup", some, bench.page.mouse.up)
    bench.settle()
    return took, sum(bench.sent[before:])


def _kept(bench: Bench) -> None:
    """Whether zoom and selection survive what one does on the way."""
    bench.page.mouse.move(*bench.middle())
    for _ in range(4):
        bench.page.mouse.wheel(0, -200)
    bench.page.wait_for_timeout(600)

    def state() -> tuple[str, str]:
        return bench.data(MAP, "zoom"), bench.data(MAP, "selected")

    zoomed = state()
    if float(zoomed[0]) <= 1 or int(zoomed[1]) == 0:
        raise RuntimeError(f"zoom {zoomed[0]}, {zoomed[1]} selected: there is nothing to be kept")
    _turn_page(bench)  # the server draws the whole page anew
    bench.facts["zoom and selection kept when the page is drawn anew"] = _yes(state() == zoomed)
    bench.go("Reliability")
    bench.go("Map", bench.drawn(IMAGES))
    bench.page.wait_for_timeout(300)
    bench.facts["zoom and selection kept over Reliability and back"] = _yes(state() == zoomed)
    bench.clear()
    bench.page.locator(SHOW_ALL).click()


def _yes(kept: bool) -> str:
    return "yes" if kept else "**no**"


def _million(bench: Bench) -> None:
    opened = []
    for _ in range(3):
        opened.append(bench.open("map", HUGE, bench.drawn(MANY)))
        bench.settle()
    bench.add(f"map of {MANY:,} images: drawn after opening its address", "ms", 4000, opened)
    x, y = bench.middle()
    bench.page.mouse.move(x, y)
    bench.page.evaluate("frames()")
    for turn in range(20):
        bench.page.mouse.wheel(0, -120 if turn < 10 else 120)
        bench.page.wait_for_timeout(50)
    bench.add(f"map of {MANY:,} images: a frame while zooming", "ms", None, bench.page.evaluate("stopFrames()"))
    bench.page.mouse.down(button="right")
    bench.page.evaluate("frames()")
    for turn in range(20):
        bench.page.mouse.move(x + 10 * turn, y + 5 * turn)
        bench.page.wait_for_timeout(30)
    bench.add(f"map of {MANY:,} images: a frame while panning", "ms", None, bench.page.evaluate("stopFrames()"))
    bench.page.mouse.up(button="right")


# -- reliability -------------------------------------------------------------------------------


def _reliability(bench: Bench) -> None:
    name = f"reliability of {IMAGES:,} images"
    opened = [bench.open("reliability", BIG, CHECKED) for _ in range(3)]
    bench.add(f"{name}: counts drawn after opening its address", "ms", None, opened)
    moved, checked = _thresholds(bench, 2 * ROUNDS)
    bench.add(f"{name}, k = 100: threshold moved, counts drawn anew", "ms", 300, moved)
    bench.add("… and the server has counted the same", "ms", None, checked)
    counted, judged = _engine_judges(bench.training.folder.path.parent / BIG)
    bench.add(f"{name}: the engine judges anew", "ms", 100, judged)
    bench.add(f"{name}: the engine asks 100 neighbours and judges", "ms", 100, counted)


def _thresholds(bench: Bench, times: int) -> tuple[list[float], list[float]]:
    """Moves the agreement down and up again, a neighbour at a time; milliseconds until the counts
    are drawn, and until the server has counted the same."""
    line, counted, checked = bench.page.locator(AGREEMENT), [], []
    counts = f"deepAll({json.dumps(COUNT)}).map((one) => one.textContent).join()"
    for index in range(times):
        line.focus()
        key = "ArrowDown" if index < times / 2 else "ArrowUp"
        before = bench.page.evaluate(counts)
        began = time.perf_counter()
        ready = f"{counts} !== {json.dumps(before)}"
        counted.append(bench.felt("keydown", ready, partial(bench.page.keyboard.press, key)))
        bench.page.wait_for_function(CHECKED)
        checked.append(1000 * (time.perf_counter() - began))
        bench.settle()
    return counted, checked


def _engine_judges(path: Path) -> tuple[list[float], list[float]]:
    """Milliseconds of asking the neighbours and judging, and of judging alone."""
    from dataclasses import replace

    from engine.runs.folder import RunFolder
    from engine.runs.results import load_reliable
    from engine.space.neighbors import Neighbors
    from engine.stages.reliable import judge, local_agreement

    folder = RunFolder(path)
    own, near = load_reliable(folder, "joint"), folder.load("neighbors")
    neighbors = Neighbors(np.asarray(near["ids"]), np.asarray(near["similarity"]))
    labels, confidence = np.asarray(own.labels), np.asarray(own.confidence)
    config = folder.card().config
    counted, judged = [], []
    for index in range(ROUNDS):
        settings = replace(config.reliable, agreement=0.9 - 0.01 * index)
        began = time.perf_counter()
        agreement = local_agreement(labels, neighbors, 100)
        middle = time.perf_counter()
        judge(labels, confidence, agreement, config.clusters, settings)
        end = time.perf_counter()
        counted.append(1000 * (end - began))
        judged.append(1000 * (end - middle))
    return counted, judged


def _seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


# -- the whole app -----------------------------------------------------------------------------


def _switches(bench: Bench) -> None:
    rng, now, took = np.random.default_rng(0), "Dataset", dict[str, list[float]]()
    bench.open("", BIG, "document.querySelector('h1')")
    bench.settle()
    for title in PAGES[::-1]:  # each once without being counted: what it imports is imported
        bench.go(title)
    for _ in range(SWITCHES):
        now = str(rng.choice([one for one in PAGES if one != now]))
        took.setdefault(now, []).append(bench.go(now))
    every = [one for values in took.values() for one in values]
    bench.add("switch to another page, all of it there", "ms", 1000, every, share=0.95)
    for title in (one for one in PAGES if one in took):
        bench.add(f"… to {title}", "ms", None, took[title])


def _memory(bench: Bench) -> None:
    """The server's memory over mixed interactions, in rounds of ten."""
    each = 10
    resident = []
    bench.open("", BIG, "document.querySelector('h1')")
    bench.settle()
    for round_ in range((WARM_UP + INTERACTIONS) // each):
        bench.go("Map", bench.drawn(IMAGES))
        _recolour(bench, 2)
        _lasso(bench, round_ % 10)
        _turn_page(bench)
        bench.go("Reliability", CHECKED)
        _thresholds(bench, 2)
        bench.go("Prototypes")
        bench.go("Dataset")
        if (round_ + 1) * each >= WARM_UP:
            resident.append(_resident(bench.server.process))
    grown = resident[-1] - resident[0]
    bench.facts["server's memory after each ten interactions, MB"] = [round(one) for one in resident]
    bench.add(f"server's memory grown by {INTERACTIONS} interactions", "MB", 50, [grown])


def _turn_page(bench: Bench) -> float:
    """Milliseconds from a click on "next page" of the gallery until its pictures are shown."""
    before = bench.page.locator(RANGE).first.text_content()
    turned = f"deep('{RANGE}')?.textContent !== {json.dumps(before)} && shown({json.dumps(TILE)})"
    took = bench.felt("click", turned, bench.page.locator(NEXT_PAGE).first.click)
    bench.settle()
    return took


def _resident(process: int) -> float:
    """Megabytes of memory that a process holds."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
