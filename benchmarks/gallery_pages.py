"""What the benchmark `gallery` measures in the browser: the curator, pages of a gallery, the image panel, the map.

The list whose pages are turned is that of the Curate page: images that agree with a decision, 60 on a page.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.browser import TILE, Bench, browsing
from benchmarks.gallery_report import FIRST_GOAL, HOVER_GOAL, NEXT_GOAL, ORIGINAL_GOAL, PER_PAGE, SHARE
from benchmarks.made_photographs import SIZE, grid
from benchmarks.painted import SCRIPT, painted
from engine.curate.propagation import agreeing
from engine.data.thumbnail_store import ThumbnailStore
from engine.runs.folder import RunFolder
from engine.runs.results import load_reliable
from engine.sources.open_source import Opened
from engine.sources.originals import make_thumbnails
from engine.stages.reliable import neighbor_count
from spice_explorer.present.maps import SPAN, Box, squared

# Selectors.
CURATOR, PICTURE = ".curator", ".curator .viewer .view-sheet img"
HOVERED = ".map .card .tile"
GALLERY, RANGE = ".gallery", ".gallery .range"
NEXT, BACK = "[data-turn=on]", "[data-turn=back]"
ENLARGE = ".beside .enlarge"

# How often each is measured, in a set that is large enough.
ROUNDS, HOVERS = 10, 20
# Someone looks so long at a page before turning to the next; at a picture in the panel, or in the curator; and the
# mouse rests so long between two points of the map.
LOOK_SECONDS, PANEL_SECONDS, PICTURE_SECONDS, REST_SECONDS = 6.0, 3.0, 2.0, 0.4
# Before a jump, until the page after the shown one is prepared; and between two pages with stored thumbnails.
PREPARED_SECONDS, SOON_SECONDS = 4.5, 1.0
# The most pages between two that are jumped to, and the fewest: neither was prepared with the one before.
FAR, NEAR = 6, 3
# The curator has shown a few images before: so many of them may be on a page "without stored thumbnails".
FEW = 6
# The share of neighbours that the Curate page asks for at first.
AGREEING = 0.6
# How the map lies in its canvas, from components/map/map.js.
FILLED, HOME_ZOOM, STRETCH = 0.88, 1.5, 1.5
# This part of the map, in its middle, is hovered over.
INNER = 0.25, 0.75


class Photographs:
    """The run that is shown, and its thumbnails."""

    def __init__(self, run: RunFolder, photographs: Opened) -> None:
        assert photographs.origin is not None
        assert photographs.stamps is not None
        self.run, self.names = run, photographs.images.ids
        self.origin, self.stamps = photographs.origin, photographs.stamps

    def kept(self, ids: np.ndarray) -> np.ndarray:
        """(m,) bool: the thumbnails of which images are kept."""
        with ThumbnailStore(self.origin.place) as store:
            return store.present([self.names[index] for index in ids], self.stamps[ids])

    def keep(self, ids: np.ndarray) -> None:
        """Makes the thumbnails of `ids`, as an import does."""
        make_thumbnails(self.origin, [self.names[index] for index in ids], self.stamps[ids])


def in_the_browser(place: Path, photographs: Photographs) -> dict[str, Any]:
    """The figures of all parts; a server shows the runs in `place`/runs."""
    parts: Sequence[Callable[[Bench, Photographs], None]] = (_curator, _pages, _panel, _map)
    with browsing(place / "runs", place / "server.log") as bench:
        bench.page.add_init_script(SCRIPT)
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


def _curator(bench: Bench, photographs: Photographs) -> None:
    """The original of the next image in the curator, after the key."""
    run = photographs.run.name
    bench.open("curate", f"{run}&queue=class-0", f"deep('{CURATOR}')?.dataset.current")
    bench.settle()
    image = f"deep('{PICTURE}')"
    original = f"{image}?.src.startsWith('blob:') && {image}.naturalWidth === {SIZE[0]} && inWindow({image})"
    bench.page.wait_for_function(original)
    bench.page.locator(CURATOR).focus()
    took = []
    for _ in range(ROUNDS):
        _wait(bench, PICTURE_SECONDS)
        before = json.dumps(bench.page.evaluate(f"{image}.src"))
        ready = f"{original} && {image}.src !== {before} && {image}"
        took += painted(bench.page, "keydown", [ready], partial(bench.page.keyboard.press, "j"))
    name = f"curator: original of the next image, {PICTURE_SECONDS:g} s after the one before"
    bench.add(name, "ms", ORIGINAL_GOAL, took, SHARE)


# -- pages of a gallery ------------------------------------------------------------------------


def _pages(bench: Bench, photographs: Photographs) -> None:
    ids = _agreeing(bench, photographs.run)
    pages = len(ids) // PER_PAGE  # those that are full
    rounds = rounds_in(pages)
    _new_pages(bench, photographs, ids, jumps(pages, rounds, np.random.default_rng(0)))
    _kept_pages(bench, photographs, ids, range(pages - 1, pages - 2 - rounds, -1))


def _agreeing(bench: Bench, run: RunFolder) -> np.ndarray:
    """Decides a typical image on the Curate page, and opens the list of images that agree: their ids, in order."""
    page = bench.page
    bench.open("curate", f"{run.name}&queue=typical", f"deep('{CURATOR}')?.dataset.current")
    bench.settle()
    page.get_by_role("textbox", name="Your name").fill("Ann")
    page.keyboard.press("Enter")
    _wait(bench, PICTURE_SECONDS)
    bench.settle()
    page.wait_for_function(f"deep('{CURATOR}').dataset.ready === 'true'")
    page.locator(CURATOR).focus()
    seed = int(bench.data(CURATOR, "current"))
    ids = agreeing_with(run, seed)
    rounds_in(len(ids) // PER_PAGE)  # raises when they are too few
    page.keyboard.press("a")
    page.wait_for_function(f"deep('{CURATOR}').dataset.waiting === '0' && +deep('{CURATOR}').dataset.saved > 0")
    _wait(bench, PANEL_SECONDS)  # a decision draws the page again after 1.5 s; meanwhile it could miss the next key
    bench.settle()
    page.locator(CURATOR).focus()
    page.keyboard.press("p")
    page.wait_for_function(f"shown('{TILE}')")
    bench.settle()
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


def rounds_in(pages: int) -> int:
    """How many pages can be jumped to, and as many shown again, among so many; ROUNDS at most.

    Raises:
        RuntimeError: if not even one can.
    """
    rounds = min(ROUNDS, (pages - NEAR - 1) // (NEAR + 1))
    if rounds < 1:
        raise RuntimeError(f"a gallery of {pages} pages is too short for a jump: make a larger set (--images)")
    return rounds


def jumps(pages: int, rounds: int, rng: np.random.Generator) -> list[int]:
    """Random pages to jump to, in their order; before each, neither it nor the page before it was shown or
    prepared. After the last and the two that follow it, `rounds` + 1 pages are left; see `rounds_in`."""
    width = min(FAR, (pages - rounds - NEAR - 1) // rounds)
    return [NEAR + number * width + int(rng.integers(width - NEAR + 1)) for number in range(rounds)]


def _page_of(ids: np.ndarray, number: int) -> np.ndarray:
    return ids[(number - 1) * PER_PAGE : number * PER_PAGE]


def _new_pages(bench: Bench, photographs: Photographs, ids: np.ndarray, numbers: Sequence[int]) -> None:
    """The pages `numbers` without stored thumbnails, and after each of them the next one."""
    now, first, whole, following, kept, alone = 1, [], [], [], [], []
    for number in numbers:
        alone.append(_stored(photographs, _page_of(ids, number), 0, FEW))
        took = _turn(bench, NEXT, number, number - now)
        first.append(took[0])
        whole.append(took[1])
        _wait(bench, LOOK_SECONDS)
        now = number + 1
        kept.append(int(photographs.kept(_page_of(ids, now)).sum()))
        following.append(_turn(bench, NEXT, now, 1)[1])
        _wait(bench, PREPARED_SECONDS)
    bench.facts[f"thumbnails of a page, of {PER_PAGE}, that the curator had left when it was jumped to"] = alone
    bench.facts[f"thumbnails of the next page, of {PER_PAGE}, that were there when it was turned to"] = kept
    name = f"page of {PER_PAGE} without stored thumbnails, jumped to:"
    bench.add(f"{name} first pictures", "ms", FIRST_GOAL, first, SHARE)
    bench.add(f"{name} whole page", "ms", FIRST_GOAL, whole, SHARE)
    bench.add(
        f"next page of {PER_PAGE} after {LOOK_SECONDS:g} s of looking: whole page", "ms", NEXT_GOAL, following, SHARE
    )


def _kept_pages(bench: Bench, photographs: Photographs, ids: np.ndarray, numbers: Sequence[int]) -> None:
    """Pages with stored thumbnails, from the first of `numbers` backwards: the browser has prepared none of them."""
    for number in numbers:
        photographs.keep(_page_of(ids, number))
    _turn(bench, NEXT, numbers[0], numbers[0] - _shown_page(bench))
    _wait(bench, PREPARED_SECONDS)
    whole = []
    for number in numbers[1:]:
        _wait(bench, SOON_SECONDS)
        _stored(photographs, _page_of(ids, number), PER_PAGE, PER_PAGE)
        whole.append(_turn(bench, BACK, number, 1)[1])
    bench.add(f"page of {PER_PAGE} with stored thumbnails: whole page", "ms", FIRST_GOAL, whole, SHARE)


def _stored(photographs: Photographs, ids: np.ndarray, least: int, most: int) -> int:
    """How many thumbnails of a page are stored; raises RuntimeError unless that is from `least` to `most`."""
    kept = int(photographs.kept(ids).sum())
    if not least <= kept <= most:
        raise RuntimeError(f"{kept} thumbnails of a page are stored before it is shown, not {least} to {most}")
    return kept


def _shown_page(bench: Bench) -> int:
    start = str(bench.page.evaluate(f"deep('{RANGE}').textContent")).split("–")[0]
    return 1 + int(start.replace(",", "")) // PER_PAGE


def _turn(bench: Bench, button: str, number: int, times: int) -> tuple[float, float]:
    """Milliseconds until the first pictures of page `number`, `times` turns away, and all of them are painted."""
    there = f"deep('{RANGE}').textContent.startsWith('{1 + (number - 1) * PER_PAGE:,}–')"
    first = f"{there} && deepAll('{TILE}').some((one) => one.dataset.shown && inWindow(one))"
    press = "([button, times]) => { for (let i = 0; i < times; i++) deep(button).click(); }"
    bench.page.evaluate(f"deep('{GALLERY}').scrollIntoView()")
    took = painted(
        bench.page,
        "click",
        [first, f"{there} && shown('{TILE}')"],
        partial(bench.page.evaluate, press, [f"{GALLERY} {button}", times]),
    )
    _check_pictures(bench)
    bench.settle()
    return took[0], took[1]


def _check_pictures(bench: Bench) -> None:
    """Raises RuntimeError unless every tile has a picture with different pixels, so that nothing blank was timed."""
    blank = bench.page.evaluate(
        f"""deepAll('{TILE}').filter((one) => {{
            const canvas = one.querySelector("canvas");
            const {{ data }} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return new Set(new Uint32Array(data.buffer)).size < 100;
        }}).length"""
    )
    if blank:
        raise RuntimeError(f"{blank} pictures of the page are blank")


# -- the panel and the map ---------------------------------------------------------------------


def _panel(bench: Bench, photographs: Photographs) -> None:
    """The original in the image panel, after Enter in the gallery that `_pages` has left."""
    took = []
    for at in range(ROUNDS):
        _wait(bench, PANEL_SECONDS)
        bench.page.evaluate(f"at => deepAll('{TILE}')[at].focus()", at)
        bench.page.keyboard.press("ArrowRight")
        index = int(bench.page.evaluate(f"at => deepAll('{TILE}')[at].dataset.id", at + 1))
        ready = _opened(photographs.names[index])
        took += painted(bench.page, "keydown", [ready], partial(bench.page.keyboard.press, "Enter"))
        bench.settle()
    bench.add("gallery: original in the panel after Enter", "ms", ORIGINAL_GOAL, took, SHARE)


def _opened(name: str) -> str:
    """JavaScript: the image in the panel once it is the original called `name`, not its thumbnail."""
    image = f"deep('{ENLARGE} img')"
    return (
        f"deep('{ENLARGE}')?.getAttribute('aria-label') === {json.dumps(f'Enlarge {name}')} && "
        f"{image}?.src.startsWith('blob:') && {image}.naturalWidth === {SIZE[0]} && inWindow({image}) && {image}"
    )


def _map(bench: Bench, photographs: Photographs) -> None:
    """The whole photograph under the pointer."""
    count = len(photographs.names)
    bench.open("map", photographs.run.name, bench.drawn(count))
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
    ready = f"deep('{HOVERED}')?.dataset.whole === '{index}' && inWindow(deep('{HOVERED}'))"
    move = partial(bench.page.mouse.move, *screen(index, count, bench.canvas()))
    return painted(bench.page, "pointermove", [ready], move)[0]


def screen(index: int, count: int, canvas: tuple[float, float, float, float]) -> tuple[float, float]:
    """Where image `index` of the grid is on the map's `canvas` (left, top, width, height), in the same pixels."""
    left, top, width, height = canvas
    places = grid(count)
    x, y = (squared(places, Box.of(places))[index].astype(float) / SPAN - 0.5) * FILLED * HOME_ZOOM
    across, down = min(width, STRETCH * height), min(height, STRETCH * width)
    return left + width / 2 + x * across, top + height / 2 - y * down
