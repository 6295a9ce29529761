"""The cost of decisions: the log and its fold, a key press in the page, and a server that is killed.

The browser part uses a synthetic run of 60,000 images, while the built-in digits train in the same
server (see `browser`).
"""

from __future__ import annotations

import json
import random
import sqlite3
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.browser import BIG, IMAGES, Bench, Figure, browsing, make_runs
from benchmarks.report import table, write
from benchmarks.start import Server, server, wait_for_port
from engine.curate.decisions import INSERT, Decision, values_of
from engine.curate.judging import Model
from engine.curate.log import FILE, DecisionLog
from engine.runs.folder import RunFolder

MANY = 1_000_000
BULK = 10_000
CLUSTERS = 10
SINGLES, KEYS = 300, 120
KILLS = 50
# One in this many decisions of the long log is an undo.
UNDO_EVERY = 50
CURATOR = ".curator"


def measure() -> None:
    """Writes results/decisions."""
    with tempfile.TemporaryDirectory() as place:
        figures = [*of_the_log(Path(place)), *of_the_page(Path(place))]
        confirmed, lost = kills(Path(place) / "killed", KILLS)
    rows = [one.row() for one in figures]
    body = (
        f"{table(['', 'median', 'worst', 'times', 'goal', ''], rows)}\n\n"
        f"The server was killed (SIGKILL) {KILLS} times, at random moments while decisions were "
        f"posted as the page posts them: {confirmed:,} decisions were confirmed, **{lost} of them "
        "lost**.\n\nThe log and its fold were timed without a server. The keys were pressed "
        "in Chromium on a synthetic run while the built-in digits trained in the same server; a key "
        "press is complete when its decision is committed, the page says so, and the next image "
        "is shown."
    )
    data = {
        "figures": [{**vars(one), "met": one.met} for one in figures],
        "kills": {"times": KILLS, "confirmed": confirmed, "lost": lost},
    }
    write("decisions", "The cost of decisions", data, body)


# -- the log -----------------------------------------------------------------------------------


def of_the_log(place: Path) -> Iterator[Figure]:
    """Folding a million decisions, single decisions after it, and bulk decisions."""
    model = Model(np.arange(IMAGES) % CLUSTERS, np.ones(IMAGES, np.float32), "joint")
    long_log(place, MANY)
    began = time.perf_counter()
    log = _opened(place)
    yield Figure(f"log of {MANY:,} decisions opened and folded", "s", 5, [time.perf_counter() - began])
    singles = [_seconds(log, "relabel", np.array([image]), model, class_=image % CLUSTERS) for image in range(SINGLES)]
    yield Figure("one more decision, judged, committed, folded", "ms", None, [1000 * one for one in singles], 0.95)
    bulk = [
        _seconds(log, "relabel", np.arange(start, start + BULK), model, class_=1) for start in range(0, 5 * BULK, BULK)
    ]
    yield Figure(f"one decision over {BULK:,} images", "ms", 1000, [1000 * one for one in bulk])
    undone = [_seconds(log, "undo", np.zeros(0, int), model) for _ in range(5)]
    yield Figure("its undo", "ms", 1000, [1000 * one for one in undone])
    log.close()


def long_log(place: Path, decisions: int) -> None:
    """Writes a log of `decisions` decisions on single images, as fast as SQLite can."""
    first = _opened(place)
    first.commit([Decision("note", "Ann", text="the first")])
    first.close()  # closing the last connection moves the journal into the database
    rng = np.random.default_rng(0)
    images, classes = rng.integers(0, IMAGES, decisions), rng.integers(0, CLUSTERS, decisions)
    rows = (_row(number, images, classes) for number in range(1, decisions))
    with sqlite3.connect(place / FILE) as database:
        database.executemany(INSERT, ((None, *one) for one in rows))
    database.close()


def _row(number: int, images: np.ndarray, classes: np.ndarray) -> tuple[object, ...]:
    if number % UNDO_EVERY == 0:
        return values_of(Decision("undo", "Ann", visit="made", seen=number, target=number))
    return values_of(
        Decision(
            "relabel",
            "Ann",
            visit="made",
            seen=number,
            images=images[number : number + 1],
            old=classes[:1],
            class_=int(classes[number]),
            time=1e9 + number,
        )
    )


def _opened(place: Path) -> DecisionLog:
    return DecisionLog(place, images=IMAGES, clusters=CLUSTERS, fingerprint="made")


def _seconds(log: DecisionLog, action: Any, ids: np.ndarray, model: Model, **about: Any) -> float:
    began = time.perf_counter()
    log.commit([Decision(action, "Bob", visit="timed", images=ids, **about)], model)
    return time.perf_counter() - began


# -- the page ----------------------------------------------------------------------------------


def of_the_page(place: Path) -> Iterator[Figure]:
    """Key presses on the Curate page of a run of 60,000 images, and accepting whole classes."""
    workspace = place / "runs"
    make_runs(workspace, huge=False)
    with browsing(workspace, place / "server.log") as bench, bench.training.going("the keys"):
        singles = list(_keys(bench))
        bulk = list(_whole_classes(bench))
    name = f"{IMAGES:,} images: "
    yield Figure(name + "key pressed, committed and next image shown", "ms", 150, singles, 0.95)
    yield Figure(name + "a whole class accepted, committed and shown", "ms", 1000, bulk)


def _keys(bench: Bench) -> Iterator[float]:
    bench.open("curate", BIG, f"deep('{CURATOR}')?.dataset.current")
    bench.page.get_by_role("textbox", name="Your name").fill("Ann")
    bench.page.keyboard.press("Enter")
    bench.page.get_by_text("Type your name above to decide.").wait_for(state="hidden")
    bench.settle()
    bench.page.locator(CURATOR).focus()
    for number in range(KEYS):
        yield answered(bench, "a" if number % 3 else str(1 + number % 9))


def answered(bench: Bench, key: str) -> float:
    """Milliseconds from pressing a key in the curator until it is committed and the next image is shown."""
    before = bench.data(CURATOR, "current")
    ready = (
        f"deep('{CURATOR}').dataset.waiting === '0' && deep('{CURATOR}').dataset.current !== "
        f"{json.dumps(before)} && deep('{CURATOR} .picture img')?.complete"
    )
    return bench.felt("keydown", ready, partial(bench.page.keyboard.press, key))


def _whole_classes(bench: Bench) -> Iterator[float]:
    for cluster in range(5):
        if cluster:
            bench.page.get_by_role("combobox", name="Class").click()
            bench.page.keyboard.type(f"Cluster {cluster}")
            bench.page.keyboard.press("Enter")
            bench.page.wait_for_timeout(300)
            bench.settle()
        before = bench.data(CURATOR, "decided")
        button = bench.page.get_by_role("button", name="Accept all")
        button.scroll_into_view_if_needed()
        ready = f"deep('{CURATOR}').dataset.decided !== {json.dumps(before)}"
        yield bench.felt("click", ready, button.click)
        bench.settle()


# -- a server that is killed ---------------------------------------------------------------------


def kills(workspace: Path, times: int) -> tuple[int, int]:
    """The number of decisions confirmed before the server was killed, and how many of them were lost."""
    from benchmarks.made import made_run

    run = made_run(workspace / "demo", images=2000, features=16, neighbors=20, frames=False)
    chance, confirmed = random.Random(0), list[int]()
    for round_ in range(times):
        with server(str(workspace)) as served:
            wait_for_port(served.address)
            poster = threading.Thread(target=_post, args=(served, round_, confirmed))
            before = len(confirmed)
            poster.start()
            while len(confirmed) == before:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.4))
            served.kill()
            poster.join()
    kept = {one.row for one in _log_of(run).decisions()}
    return len(confirmed), len(set(confirmed) - kept)


def _post(served: Server, round_: int, confirmed: list[int]) -> None:
    """Posts decisions one by one until the server is gone; records the row of each confirmed one."""
    with suppress(OSError, HTTPException):
        for number in range(10_000):
            op = {"key": f"{round_}-{number}", "action": "relabel", "ids": [number % 2000], "class": 1}
            body = {"reviewer": "Ann", "visit": f"{round_}", "seen": 0, "ops": [op]}
            request = urllib.request.Request(
                f"{served.address}/spice/curate/demo/act",
                json.dumps(body).encode(),
                {"content-type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                confirmed.append(json.loads(answer.read())["results"][0]["row"])


def _log_of(run: RunFolder) -> DecisionLog:
    card = run.card()
    return DecisionLog(run.path, images=card.images, clusters=card.config.clusters, fingerprint=card.fingerprint)
