"""The one gallery of the app: pages of pictures in a component, never a widget per picture.

Marking, focus and the keyboard are handled in the browser (gallery/*.js). The server sends the current page
and is notified of four things: a page turn, an opened image, a requested action, and that the pictures are shown so
large that they need more pixels.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from engine.runs.folder import RunFolder
from spice_explorer import session
from spice_explorer.components.scripts import component
from spice_explorer.palette import VERDICTS
from spice_explorer.present import gallery as present
from spice_explorer.present.gallery import PIXELATED, Known, Tile
from spice_explorer.web import originals, thumbs

PER_PAGE = 120
SIDE = 76
# Photographs, which show more than a training image does, begin at 132 CSS pixels instead of 76.
PHOTOGRAPH_SCALE = 132 / SIDE


@dataclass(frozen=True)
class Action:
    """A button shown while images are marked. `name` is returned in `Asked`."""

    name: str
    label: str


@dataclass(frozen=True, eq=False)
class Asked:
    """A requested action on the images `ids`: (M,) int64, sorted, without duplicates."""

    action: str
    ids: np.ndarray


def gallery(
    run: RunFolder,
    known: Known,
    ids: Sequence[int] | np.ndarray,
    *,
    key: str,
    actions: Sequence[Action] = (),
    nothing: str = "No image here.",
    captions: bool = True,
    side: int = SIDE,
    fixed: bool = False,
    per_page: int = PER_PAGE,
    notes: Sequence[str] = (),
    odd: np.ndarray | None = None,
) -> Asked | None:
    """Images `ids` of a run in pages; a click or Enter opens an image's panel.

    Args:
        known: of all images of the run.
        ids: (M,) in the order in which they are shown.
        key: distinct for each gallery of a page.
        actions: what can be done with marked images; without any, nothing can be marked.
        nothing: the sentence for an empty list.
        captions: whether the numbers stand under the pictures; they are in the title anyway.
        side: the least width of a picture in CSS pixels, until the user chooses another for all galleries;
            photographs begin larger, in proportion.
        fixed: whether the user cannot change that: strips, of which a page shows many.
        notes: M more lines for the titles.
        odd: (M,) bool, images to be outlined.

    Returns:
        The action that was asked for since the last drawing, once; else None.
    """
    shown = np.asarray(ids, np.int64)

    def page(part: slice) -> Page:
        here = shown[part].tolist()
        tiles = present.described(known, here, captions=captions)
        lines = list(notes)[part] or [""] * len(tiles)
        return Page(
            [
                replace(tile, title="\n".join(filter(None, (tile.title, line))))
                for tile, line in zip(tiles, lines, strict=True)
            ],
            thumbs.sheet_of(run, here, _pixels(key)),
            [] if odd is None else np.asarray(odd, bool)[part].tolist(),
        )

    asked = pictures(
        run.name,
        thumbs.source(run) if len(shown) else "",
        len(known.pixels),
        shown,
        page,
        key=key,
        actions=actions,
        nothing=nothing,
        side=round(side * PHOTOGRAPH_SCALE) if len(shown) and originals.photographs(run) else side,
        fixed=fixed,
        per_page=per_page,
        sharp=originals.sharp(run) if len(shown) else False,
        current=_open_image(),
        on_open=session.show_image,
    )
    if st.session_state.pop(f"opened {_place(key)}", False) and only_a_fragment():
        st.rerun()  # the panel is drawn by the page
    return asked


@dataclass(frozen=True)
class Page:
    """What is on one page: `tiles` without their pictures, which are on the `sheet` (as
    `thumbs.sheet_of` has it, its address may be a data URI), and which are outlined."""

    tiles: list[Tile]
    sheet: dict[str, Any]
    odd: list[bool] = field(default_factory=list)


def pictures(
    of: str,
    source: str,
    images: int,
    ids: np.ndarray,
    page: Callable[[slice], Page],
    *,
    key: str,
    actions: Sequence[Action] = (),
    nothing: str = "No image here.",
    side: int = SIDE,
    fixed: bool = False,
    per_page: int = PER_PAGE,
    sharp: bool = False,
    current: int = -1,
    on_open: Callable[[int], None],
) -> Asked | None:
    """The gallery itself, of images from anywhere.

    Args:
        of: what the images belong to; what was asked elsewhere is not answered here.
        source: changes with the images.
        images: how many there are in all, N.
        ids: (M,) those to show, in their order.
        page: makes a page of `ids`; it is asked for the shown one only.
        current: the image that is open, -1 for none; on_open: told when one is to be opened.
    """
    asked = _take_asked(key, of)
    if not len(ids):
        st.caption(session.plain(nothing))
        return asked
    version = present.version(of, source, ids)
    number = _page(key, version, len(ids), per_page)
    part = present.page_slice(number, per_page)
    shown = page(part)
    data = {
        "version": version,
        "page": number,
        "pages": present.pages(len(ids), per_page),
        "perPage": per_page,
        "total": len(ids),
        "ids": ids[part].tolist(),
        "titles": [tile.title for tile in shown.tiles],
        "captions": [tile.caption for tile in shown.tiles],
        "colours": [tile.colour for tile in shown.tiles],
        "odd": shown.odd,
        "oddColour": VERDICTS[1],
        "sheet": shown.sheet,
        "actions": [{"name": one.name, "label": one.label} for one in actions],
        "open": current,
        "side": side,
        "fixed": fixed,
        "sharp": sharp,
    }
    _draw(of, images, key, data, {one.name for one in actions}, on_open)
    return asked


def _draw(
    of: str, images: int, key: str, data: dict[str, Any], actions: set[str], on_open: Callable[[int], None]
) -> None:
    place = _place(key)

    def opened() -> None:
        index = st.session_state[place].get("open")
        if isinstance(index, int) and 0 <= index < images:
            on_open(index)
            st.session_state[f"opened {place}"] = True

    def asked() -> None:
        found = st.session_state[place].get("ask") or {}
        if found.get("action") in actions:
            chosen = present.marked(found.get("ids", []), images)
            st.session_state[f"asked {place}"] = (of, Asked(found["action"], chosen))

    component("gallery")(
        key=place,
        data=data,
        on_page_change=lambda: None,
        on_pixels_change=lambda: None,
        on_open_change=opened,
        on_ask_change=asked,
    )


def _place(key: str) -> str:
    """The component's key; Streamlit reserves double underscores."""
    return re.sub("__+", "-", f"gallery-{key}")


def _take_asked(key: str, of: str) -> Asked | None:
    """The result of the callback, which runs once per click even if the page is interrupted."""
    name = f"asked {_place(key)}"
    kept = st.session_state.get(name)
    if kept is None or kept[0] != of:
        return None
    asked: Asked = st.session_state.pop(name)[1]
    return asked


def _page(key: str, version: str, count: int, per_page: int) -> int:
    """The page to show: the last one chosen in this list, even before another page was visited."""
    place = _place(key)
    state: Any = st.session_state.get(place) or {}
    number = present.turned(state.get("page"), version, count, per_page)
    kept = f"page of {place}"
    if number is not None:
        st.session_state[kept] = {"version": version, "number": number}
    return present.turned(st.session_state.get(kept), version, count, per_page) or 1


def _pixels(key: str) -> int:
    """The longer side of pictures on the sheet: what the browser asked for, to match the size of its tiles."""
    state: Any = st.session_state.get(_place(key)) or {}
    asked = state.get("pixels")
    return asked if isinstance(asked, int) else thumbs.SIDE


def _open_image() -> int:
    """The image whose panel is open, -1 for none: `session.open_image` would read the run."""
    wanted = str(st.query_params.get("image") or st.session_state.get("image", ""))
    return int(wanted) if wanted.isdecimal() and len(wanted) <= 12 else -1


def only_a_fragment() -> bool:
    """True while a fragment is drawn alone, without the rest of the page."""
    context = get_script_run_ctx()
    return context is not None and bool(context.fragment_ids_this_run)


def sharp(known: Known) -> bool:
    """True when pictures are so small that they are drawn as squares."""
    return max(known.pixels.shape[2:]) <= PIXELATED


def strip(shown: Sequence[Tile], *, side: int = SIDE, columns: int | None = None, sharp: bool = False) -> None:
    """Static pictures, in a given number of columns or as many as fit at `side` pixels each."""
    kind = " class='sharp'" if sharp else ""
    body = "".join(_figure(tile, kind) for tile in shown)
    repeat = f"{columns},1fr" if columns else f"auto-fill,minmax({side}px,1fr)"
    st.html(f"<div class='spice-grid' style='grid-template-columns:repeat({repeat})'>{body}</div>")


def _figure(tile: Tile, kind: str) -> str:
    title, name = html.escape(tile.title, quote=True), html.escape(tile.name, quote=True)
    line = f" style='border-color:{tile.colour}'" if tile.colour else ""
    caption = f"<figcaption>{html.escape(tile.caption)}</figcaption>" if tile.caption else ""
    return (
        f"<figure title='{title}'><img src='{tile.source}' alt='{name}' loading='lazy'{kind}{line}>{caption}</figure>"
    )
