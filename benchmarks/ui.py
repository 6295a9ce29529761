"""Response times of the app with 60,000 and a million images, while another run trains: see `browser`."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.browser import BIG, HEIGHT, HUGE, IMAGES, MANY, MAP, TILE, WIDTH, Bench, browsing, make_runs, yardstick
from benchmarks.report import table, write

# Selectors.
COLOURS = "select[aria-label='Colour by']"
ENTRY, SHOW_ALL, MAP_STATUS = ".map .legend .entry", ".map .legend .clear", ".map .status"
LEGEND_TITLE, FIT = ".map .legend-title", ".map [data-act=home]"
NEXT_PAGE, RANGE = "button[aria-label='Next page']", ".gallery .range"
PLANE, COUNT = ".inspector", ".inspector .tiles .count"
AGREEMENT = "[role=slider][aria-label='Agreement threshold']"
CHECKED = f"deep('{PLANE}')?.dataset.checked === 'true'"  # the server's counts agree

PAGES = ("Dataset", "Train", "Map", "Prototypes", "Reliability", "Export")
ROUNDS, SWITCHES = 7, 60
WARM_UP, INTERACTIONS = 20, 200


def measure() -> None:
    """Writes results/ui."""
    with tempfile.TemporaryDirectory() as place:
        workspace = Path(place) / "runs"
        make_runs(workspace)
        measure_in(workspace, Path(place) / "server.log")


def measure_in(workspace: Path, log: Path) -> None:
    """Measures in a `workspace` filled by `make_runs`."""
    parts = (_first_map, _map, _million, _reliability, _switches, _memory)
    added = [yardstick()]
    with browsing(workspace, log) as bench:
        for part in parts:
            with bench.training.going(part.__name__):
                part(bench)
        paces = bench.training.paces
    added.append(yardstick())
    bench.facts["ten million additions in Python, before and after the measurements, s"] = added
    rows = [one.row() for one in bench.figures]
    data = {
        "figures": [{**vars(one), "met": one.met} for one in bench.figures],
        "training_steps_a_second": paces,
        **bench.facts,
    }
    head = ["", "median", "worst", "times", "goal", ""]
    facts = "\n".join(f"- {name}: {value}" for name, value in bench.facts.items())
    write("ui", "Response times of the app", data, f"{_about(paces)}\n\n{table(head, rows)}\n\n{facts}")


def _about(paces: Sequence[float]) -> str:
    return (
        f"The app in Chromium ({WIDTH} × {HEIGHT}, WebGL in software), with server and browser on one "
        "machine. Meanwhile the built-in digits train in the same server, at "
        f"{min(paces):.0f} to {max(paces):.0f} steps of stage 1 per second. The runs shown are synthetic "
        "(`benchmarks/made.py`): their sizes are real, their labels are not. Times are measured in the "
        "browser, from the event to the frame after the result is drawn."
    )


# -- the map ----------------------------------------------------------------------------------


def _first_map(bench: Bench) -> None:
    """A run without a map: the preview at once, UMAP in a background process."""
    from engine.runs.folder import RunFolder
    from engine.runs.maps import load_map, preview

    folder = RunFolder(bench.training.folder.path.parent / BIG)
    began = time.perf_counter()
    first = bench.open("map", BIG, bench.drawn(IMAGES))
    bench.add(f"map of {IMAGES:,} images without UMAP: preview drawn", "ms", 2000, [first])
    while load_map(folder) is None:
        if time.perf_counter() - began > 300:
            raise RuntimeError("UMAP did not finish within 5 minutes")
        time.sleep(0.2)
    bench.add(f"UMAP of {IMAGES:,} × 512, in the background", "s", 60, [time.perf_counter() - began])
    seconds = [_seconds(lambda: preview(folder)) for _ in range(3)]
    bench.add("preview, in the engine", "ms", None, [1000 * one for one in seconds])


def _map(bench: Bench) -> None:
    name, ready = f"map of {IMAGES:,} images", bench.drawn(IMAGES)
    opened, switched = [], []
    for _ in range(ROUNDS):
        opened.append(bench.open("map", BIG, ready))
        bench.settle()
        bench.go("Export")
        switched.append(bench.go("Map", ready))
    bench.add(f"{name}: drawn after a click on its link", "ms", 1500, switched)
    bench.add(f"{name}: drawn after opening its URL", "ms", 1500, opened)
    bench.add(f"{name}: recoloured", "ms", 250, _recolour(bench, 2 * ROUNDS))
    waited, sent, selected = [], [], []
    for cluster in range(ROUNDS):
        took, said = _lasso(bench, cluster)
        waited.append(took)
        sent.append(said / 1000)
        selected.append(int(bench.data(MAP, "selected")))
    bench.facts["images in the lassos"] = f"{min(selected):,} to {max(selected):,}"
    bench.add(f"{name}: lasso released, pictures shown", "ms", 500, waited)
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
    """Milliseconds from releasing a lasso around a cluster until its pictures are shown, and bytes sent to
    the server. Only that cluster is shown meanwhile, so the lasso contains nothing else."""
    bench.clear()
    bench.page.locator(FIT).click()  # the page remembers its zoom
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
    """Whether zoom and selection survive a rerun and a visit to another page."""
    bench.page.mouse.move(*bench.middle())
    for _ in range(4):
        bench.page.mouse.wheel(0, -200)
    bench.page.wait_for_timeout(600)

    def state() -> tuple[str, str]:
        return bench.data(MAP, "zoom"), bench.data(MAP, "selected")

    zoomed = state()
    if float(zoomed[0]) <= 1 or int(zoomed[1]) == 0:
        raise RuntimeError(f"zoom {zoomed[0]}, {zoomed[1]} selected: there is nothing to keep")
    _turn_page(bench)  # reruns the whole page on the server
    bench.facts["zoom and selection kept when the page is rerun"] = _yes(state() == zoomed)
    bench.go("Reliability")
    bench.go("Map", bench.drawn(IMAGES))
    bench.page.wait_for_timeout(300)
    bench.facts["zoom and selection kept after a visit to Reliability"] = _yes(state() == zoomed)
    bench.clear()
    bench.page.locator(SHOW_ALL).click()


def _yes(kept: bool) -> str:
    return "yes" if kept else "**no**"


def _million(bench: Bench) -> None:
    opened = []
    for _ in range(3):
        opened.append(bench.open("map", HUGE, bench.drawn(MANY)))
        bench.settle()
    bench.add(f"map of {MANY:,} images: drawn after opening its URL", "ms", 4000, opened)
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


# -- reliability ------------------------------------------------------------------------------


def _reliability(bench: Bench) -> None:
    name = f"reliability of {IMAGES:,} images"
    opened = [bench.open("reliability", BIG, CHECKED) for _ in range(3)]
    bench.add(f"{name}: counts drawn after opening its URL", "ms", None, opened)
    moved, checked = _thresholds(bench, 2 * ROUNDS)
    bench.add(f"{name}, k = 100: threshold moved, counts redrawn", "ms", 300, moved)
    bench.add("… and confirmed by the server", "ms", None, checked)
    counted, judged = _engine_judges(bench.training.folder.path.parent / BIG)
    bench.add(f"{name}: verdicts in the engine", "ms", 100, judged)
    bench.add(f"{name}: agreement of 100 neighbours and verdicts in the engine", "ms", 100, counted)


def _thresholds(bench: Bench, times: int) -> tuple[list[float], list[float]]:
    """Moves the agreement threshold down and up again, a neighbour at a time; milliseconds until the counts
    are drawn, and until the server has confirmed them."""
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
    """Milliseconds for agreement and verdicts, and for verdicts alone."""
    from dataclasses import replace

    from engine.runs.folder import RunFolder
    from engine.runs.results import load_reliable
    from engine.space.neighbors import Neighbors, local_agreement
    from engine.stages.reliable import judge

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


# -- the whole app ----------------------------------------------------------------------------


def _switches(bench: Bench) -> None:
    rng, now, took = np.random.default_rng(0), "Dataset", dict[str, list[float]]()
    bench.open("", BIG, "document.querySelector('h1')")
    bench.settle()
    for title in PAGES[::-1]:  # once without measuring: a page's first visit imports libraries
        bench.go(title)
    for _ in range(SWITCHES):
        now = str(rng.choice([one for one in PAGES if one != now]))
        took.setdefault(now, []).append(bench.go(now))
    every = [one for values in took.values() for one in values]
    bench.add("switch to another page, until complete", "ms", 1000, every, share=0.95)
    for title in (one for one in PAGES if one in took):
        bench.add(f"… to {title}", "ms", None, took[title])


def _memory(bench: Bench) -> None:
    """The server's memory during mixed interactions, after each ten."""
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
    bench.add(f"growth of the server's memory in {INTERACTIONS} interactions", "MB", 50, [grown])


def _turn_page(bench: Bench) -> float:
    """Milliseconds from a click on the gallery's "Next page" until its pictures are shown."""
    before = bench.page.locator(RANGE).first.text_content()
    turned = f"deep('{RANGE}')?.textContent !== {json.dumps(before)} && shown({json.dumps(TILE)})"
    took = bench.felt("click", turned, bench.page.locator(NEXT_PAGE).first.click)
    bench.settle()
    return took


def _resident(process: int) -> float:
    """Resident memory of a process in megabytes."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
