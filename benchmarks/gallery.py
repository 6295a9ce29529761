"""Response times of photographs in the app: 10,000 images whose originals have 12 megapixels (see
`made_photographs`), while another run trains (see `browser`). And what thumbnails cost: time of the import, disk.

The list whose pages are turned is that of the Curate page: images that agree with a decision, 60 on a page.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.browser import TILE, Bench, browsing, make_training_run
from benchmarks.gallery_report import FIRST_GOAL, HOVER_GOAL, NEXT_GOAL, ORIGINAL_GOAL, PER_PAGE, SHARE, report_body
from benchmarks.imports import empty_cache
from benchmarks.made_photographs import DIFFERENT, IMAGES, SIDE, SIZE, draw, grid, link, opened, run_of_photographs
from benchmarks.report import write
from engine.curate.propagation import agreeing
from engine.data.import_images import import_images
from engine.data.origin import Origin
from engine.data.thumbnail_store import ThumbnailStore
from engine.runs.folder import RunFolder
from engine.runs.results import load_reliable
from engine.sources.open_source import Opened, source_of
from engine.sources.originals import make_thumbnails
from engine.stages.reliable import neighbor_count
from spice_explorer.present.maps import SPAN, Box, squared

PHOTOS = "photos"
# Selectors.
CURATOR, PICTURE = ".curator", ".curator .viewer .view-sheet img"
HOVERED = ".map .card .tile"
NEXT, BACK = "button[aria-label='Next page']", "button[aria-label='Previous page']"
ENLARGE = ".beside .enlarge"

ROUNDS, HOVERS = 7, 20
# Someone looks so long at a page before turning to the next; at a picture in the panel, or in the curator; and the
# mouse rests so long between two points of the map.
LOOK_SECONDS, PANEL_SECONDS, PICTURE_SECONDS, REST_SECONDS = 6.0, 3.0, 2.0, 0.4
# Before a jump, until the page after the shown one is prepared; and between two pages with stored thumbnails.
PREPARED_SECONDS, SOON_SECONDS = 4.5, 1.0
# The most pages between two that are jumped to, and the fewest: neither was prepared with the one before.
FAR, NEAR = 6, 3
IMPORTED, PAIRS = 40, 4
# The share of neighbours that the Curate page asks for at first.
AGREEING = 0.6
# How the map lies in its canvas, from components/map/map.js.
FILLED, HOME_ZOOM, STRETCH = 0.88, 1.5, 1.5
# This part of the map, in its middle, is hovered over.
INNER = 0.25, 0.75
# Presses a button of the gallery several times at once; milliseconds until the first picture of the page that
# begins with `range` is there, and until all are drawn.
TURN = """
([button, times, range]) => new Promise((resolve, reject) => {
  const began = performance.now();
  let first;
  for (let i = 0; i < times; i++) deep(button).click();
  const look = () => {
    const took = performance.now() - began;
    if (took > 60000) return reject(new Error(`the page from ${range} is not shown within a minute`));
    const there = deep(".gallery .range").textContent.startsWith(range);
    const tiles = there ? deepAll(".gallery .tile") : [];
    const shown = tiles.filter((one) => one.dataset.shown).length;
    if (shown) first ??= took;
    if (shown && shown === tiles.length) requestAnimationFrame(() => resolve([first, performance.now() - began]));
    else requestAnimationFrame(look);
  };
  look();
})
"""


def measure() -> None:
    """Writes results/gallery-cpu."""
    with tempfile.TemporaryDirectory() as name, empty_cache():
        place = Path(name)
        files = draw(place / "drawn", DIFFERENT)
        found: dict[str, Any] = {
            "images": IMAGES,
            "different": DIFFERENT,
            "megabytes": [file.stat().st_size / 1e6 for file in files],
            "import": imports(files[:IMPORTED], place / "import"),
        }
        link(files, place / "photographs", IMAGES)
        photographs = opened(place / "photographs", files)
        run = run_of_photographs(place / "runs" / PHOTOS, photographs)
        make_training_run(place / "runs")
        found |= _in_the_browser(place, Photographs(run, photographs))
        found["thumbnails"] = disk(photographs)
    write("gallery", "Photographs in the app", found, report_body(found), slug="cpu")


# -- what thumbnails cost ----------------------------------------------------------------------


def imports(files: Sequence[Path], folder: Path) -> dict[str, Any]:
    """Seconds of processor time to import `files`, linked in the new `folder`, with thumbnails and without, in
    pairs that begin with each in turn."""
    link(files, folder, len(files))
    _import(folder, thumbnails=True)  # once without measuring: libraries are imported
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for pair in range(PAIRS):
        for thumbnails in (True, False) if pair % 2 else (False, True):
            seconds[thumbnails].append(_import(folder, thumbnails=thumbnails))
    return {"images": len(files), "with": seconds[True], "without": seconds[False]}


def _import(folder: Path, *, thumbnails: bool) -> float:
    """Seconds of processor time of all threads; so few images are decoded in threads."""
    with empty_cache():
        began = time.process_time()
        import_images(
            source_of(f"folder:{folder}"),
            SIDE,
            "crop",
            thumbnails=thumbnails,
            progress=lambda _done, _total: None,
            stop=lambda: False,
            waiting=lambda _waits: None,
        )
        return time.process_time() - began


def disk(photographs: Opened) -> dict[str, int]:
    """How many thumbnails are kept, and how many bytes they take."""
    origin, stamps = _origin(photographs), photographs.stamps
    assert stamps is not None
    with ThumbnailStore(origin.place) as store:
        count = int(store.present(photographs.images.ids, stamps).sum())
    with closing(sqlite3.connect(store.path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return {"count": count, "bytes": store.path.stat().st_size}


def _origin(photographs: Opened) -> Origin:
    assert photographs.origin is not None
    return photographs.origin


# -- in the browser ----------------------------------------------------------------------------


class Photographs:
    """The run that is shown, and its thumbnails."""

    def __init__(self, run: RunFolder, photographs: Opened) -> None:
        assert photographs.stamps is not None
        self.run, self.names, self.stamps = run, photographs.images.ids, photographs.stamps
        self.origin = _origin(photographs)

    def kept(self, ids: np.ndarray) -> np.ndarray:
        """(m,) bool: the thumbnails of which images are kept."""
        with ThumbnailStore(self.origin.place) as store:
            return store.present([self.names[index] for index in ids], self.stamps[ids])

    def keep(self, ids: np.ndarray) -> None:
        """Makes the thumbnails of `ids`, as an import does."""
        for start in range(0, len(ids), PER_PAGE):
            part = ids[start : start + PER_PAGE]
            make_thumbnails(self.origin, [self.names[index] for index in part], self.stamps[part])


def _in_the_browser(place: Path, photographs: Photographs) -> dict[str, Any]:
    parts: Sequence[Callable[[Bench, Photographs], None]] = (_curator, _pages, _panel, _map)
    with browsing(place / "runs", place / "server.log") as bench:
        for part in parts:
            with bench.training.going(part.__name__):
                part(bench, photographs)
        paces = bench.training.paces
    return {
        "figures": [{**asdict(one), "judged": one.judged, "met": one.met} for one in bench.figures],
        "training_steps_a_second": paces,
        "facts": bench.facts,
    }


def _wait(bench: Bench, seconds: float) -> None:
    bench.page.wait_for_timeout(1000 * seconds)


def _curator(bench: Bench, _photographs: Photographs) -> None:
    """The original of the next image in the curator, after the key."""
    bench.open("curate", f"{PHOTOS}&queue=class-0", f"deep('{CURATOR}')?.dataset.current")
    bench.settle()
    image = f"deep('{PICTURE}')"
    bench.page.wait_for_function(f"{image}?.src.startsWith('blob:')")
    bench.page.locator(CURATOR).focus()
    took = []
    for _ in range(ROUNDS):
        _wait(bench, PICTURE_SECONDS)
        before = json.dumps(bench.page.evaluate(f"{image}.src"))
        ready = f"{image}?.src.startsWith('blob:') && {image}.src !== {before}"
        took.append(bench.felt("keydown", ready, partial(bench.page.keyboard.press, "j")))
    name = f"curator: original of the next image drawn, {PICTURE_SECONDS:g} s after the one before"
    bench.add(name, "ms", ORIGINAL_GOAL, took, SHARE)


# -- pages of a gallery ------------------------------------------------------------------------


def _pages(bench: Bench, photographs: Photographs) -> None:
    ids = _agreeing(bench, photographs.run)
    pages = len(ids) // PER_PAGE  # those that are full
    _new_pages(bench, photographs, ids, pages)
    _kept_pages(bench, photographs, ids, pages)


def _agreeing(bench: Bench, run: RunFolder) -> np.ndarray:
    """Decides one image on the Curate page, and opens the list of images that agree: their ids, in order."""
    page = bench.page
    page.get_by_role("textbox", name="Your name").fill("Ann")
    page.keyboard.press("Enter")
    page.wait_for_function(f"deep('{CURATOR}').dataset.ready === 'true'")
    bench.settle()
    page.locator(CURATOR).focus()
    seed = int(bench.data(CURATOR, "current"))
    page.keyboard.press("a")
    page.wait_for_function(f"deep('{CURATOR}').dataset.waiting === '0' && +deep('{CURATOR}').dataset.saved > 0")
    page.keyboard.press("p")
    page.wait_for_function(f"shown('{TILE}')")
    bench.settle()
    ids = agreeing_with(run, seed)
    shown = page.evaluate(f"deepAll('{TILE}').map((one) => Number(one.dataset.id))")
    if shown != ids[:PER_PAGE].tolist():
        raise RuntimeError(f"the page shows other images than those that agree with image {seed}: {shown[:5]} …")
    _wait(bench, LOOK_SECONDS)
    return ids


def agreeing_with(run: RunFolder, seed: int) -> np.ndarray:
    """The images that agree with image `seed`, once that is decided to be of its own cluster."""
    labels, card = np.asarray(load_reliable(run, "joint").labels), run.card()
    count = neighbor_count(card.config.reliable, card.images, card.config.clusters)
    near = np.asarray(run.load("neighbors")["ids"])[:, :count]
    decided = np.arange(len(labels)) == seed
    return agreeing(np.array([seed]), labels == labels[seed], decided, near, AGREEING)


def jumps(pages: int, rounds: int, rng: np.random.Generator) -> list[int]:
    """Random pages to jump to, in their order; before each, neither it nor the page before it was shown or
    prepared. After the last, `rounds` + 2 pages are left.

    Raises:
        RuntimeError: if there are too few pages.
    """
    width = min(FAR, (pages - rounds - 4) // rounds)
    if width < NEAR:
        raise RuntimeError(f"a gallery of {pages} pages is too short for {rounds} jumps: make a larger set")
    return [NEAR + number * width + int(rng.integers(width - NEAR + 1)) for number in range(rounds)]


def _page_of(ids: np.ndarray, number: int) -> np.ndarray:
    return ids[(number - 1) * PER_PAGE : number * PER_PAGE]


def _new_pages(bench: Bench, photographs: Photographs, ids: np.ndarray, pages: int) -> None:
    """Pages without stored thumbnails, and after each of them the next one."""
    now, first, whole, following = 1, [], [], []
    kept: dict[str, list[int]] = {"jumped": [], "next": []}
    for number in jumps(pages, ROUNDS, np.random.default_rng(0)):
        kept["jumped"].append(int(photographs.kept(_page_of(ids, number)).sum()))
        took = _turn(bench, NEXT, number, number - now)
        first.append(took[0])
        whole.append(took[1])
        _wait(bench, LOOK_SECONDS)
        now = number + 1
        kept["next"].append(int(photographs.kept(_page_of(ids, now)).sum()))
        following.append(_turn(bench, NEXT, now, 1)[1])
        _wait(bench, PREPARED_SECONDS)
    bench.facts["thumbnails of a page that were stored before a jump to it, of 60"] = kept["jumped"]
    bench.facts["… and of the next page, before it was turned to"] = kept["next"]
    name = f"page of {PER_PAGE} without stored thumbnails, jumped to:"
    bench.add(f"{name} first pictures", "ms", FIRST_GOAL, first, SHARE)
    bench.add(f"{name} whole page", "ms", FIRST_GOAL, whole, SHARE)
    bench.add(f"next page of {PER_PAGE} after {LOOK_SECONDS:g} s of looking", "ms", NEXT_GOAL, following, SHARE)


def _kept_pages(bench: Bench, photographs: Photographs, ids: np.ndarray, pages: int) -> None:
    """Pages with stored thumbnails, from the last but one backwards: none of them was prepared by the browser."""
    numbers = range(pages - 2, pages - 2 - ROUNDS, -1)
    for number in (pages - 1, *numbers):
        photographs.keep(_page_of(ids, number))
    _turn(bench, NEXT, pages - 1, pages - 1 - _shown_page(bench))
    _wait(bench, PREPARED_SECONDS)
    whole = []
    for number in numbers:
        _wait(bench, SOON_SECONDS)
        whole.append(_turn(bench, BACK, number, 1)[1])
    bench.add(f"page of {PER_PAGE} with stored thumbnails: whole page", "ms", FIRST_GOAL, whole, SHARE)


def _shown_page(bench: Bench) -> int:
    start = bench.page.locator(".gallery .range").first.inner_text().split("–")[0]
    return 1 + int(start.replace(",", "")) // PER_PAGE


def _turn(bench: Bench, button: str, number: int, times: int) -> tuple[float, float]:
    """Milliseconds until the first pictures of page `number`, `times` turns away, and all of them are drawn."""
    start = f"{1 + (number - 1) * PER_PAGE:,}–"
    first, whole = bench.page.evaluate(TURN, [button, times, start])
    bench.settle()
    return float(first), float(whole)


# -- the panel and the map ---------------------------------------------------------------------


def _panel(bench: Bench, photographs: Photographs) -> None:
    """The original in the image panel, after Enter in the gallery that `_pages` has left."""
    took = []
    for at in range(ROUNDS):
        _wait(bench, PANEL_SECONDS)
        bench.page.evaluate(f"at => deepAll('{TILE}')[at].focus()", at)
        bench.page.keyboard.press("ArrowRight")
        index = int(bench.page.evaluate(f"at => deepAll('{TILE}')[at].dataset.id", at + 1))
        took.append(bench.felt("keydown", _opened(photographs.names[index]), _enter(bench)))
        bench.settle()
    bench.add("gallery: original in the panel drawn after Enter", "ms", ORIGINAL_GOAL, took, SHARE)


def _enter(bench: Bench) -> Callable[[], None]:
    return partial(bench.page.keyboard.press, "Enter")


def _opened(name: str) -> str:
    """JavaScript: whether the panel shows the original called `name`, not its thumbnail."""
    image = f"deep('{ENLARGE} img')"
    return (
        f"deep('{ENLARGE}')?.getAttribute('aria-label') === {json.dumps(f'Enlarge {name}')} && "
        f"{image}?.src.startsWith('blob:') && {image}.complete && {image}.naturalWidth === {SIZE[0]}"
    )


def _map(bench: Bench, photographs: Photographs) -> None:
    """The whole photograph under the pointer."""
    count = len(photographs.names)
    bench.open("map", PHOTOS, bench.drawn(count))
    bench.settle()
    _wait(bench, PANEL_SECONDS)
    inner = _inner(count)
    kept = photographs.kept(inner)
    rng = np.random.default_rng(0)
    for stored, words in ((True, "a stored"), (False, "no stored")):
        ids = rng.permutation(inner[kept == stored])[:HOVERS]
        took = [_hover(bench, index, count) for index in ids.tolist()]
        bench.add(f"map: whole photograph under the pointer, with {words} thumbnail", "ms", HOVER_GOAL, took, SHARE)


def _inner(count: int) -> np.ndarray:
    """The images in the middle of the map."""
    share = grid(count) / grid(count).max(0)
    return np.flatnonzero(((share > INNER[0]) & (share < INNER[1])).all(1))


def _hover(bench: Bench, index: int, count: int) -> float:
    _wait(bench, REST_SECONDS)
    ready = f"deep('{HOVERED}')?.dataset.whole === '{index}'"
    return bench.felt("pointermove", ready, partial(bench.page.mouse.move, *screen(index, count, bench.canvas())))


def screen(index: int, count: int, canvas: tuple[float, float, float, float]) -> tuple[float, float]:
    """Where image `index` of the grid is on the map's `canvas` (left, top, width, height), in the same pixels."""
    left, top, width, height = canvas
    places = grid(count)
    x, y = (squared(places, Box.of(places))[index].astype(float) / SPAN - 0.5) * FILLED * HOME_ZOOM
    across, down = min(width, STRETCH * height), min(height, STRETCH * width)
    return left + width / 2 + x * across, top + height / 2 - y * down
