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
from spice_explorer.present.gallery import Known, Tile
from spice_explorer.web import originals, thumbs
from spice_explorer.web.originals import Pictures

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
        captions: whether the numbers stand under the pictures; they are in the title anyway.
        notes: M more lines for the titles.
        odd: (M,) bool, images to be outlined.
        key, actions, nothing, side, fixed, per_page: as in `Look`.

    Returns:
        The action that was asked for since the last drawing, once; else None.
    """
    shown = np.asarray(ids, np.int64)
    look = Look(key, actions, nothing, side, fixed, per_page)
    asked = pictures(
        run.name,
        originals.pictures(run) if len(shown) else None,
        shown,
        _page_of_run(known, shown, captions, notes, odd),
        look,
        current=_open_image(),
        on_open=session.show_image,
    )
    if st.session_state.pop(f"opened {look.place}", False) and only_a_fragment():
        st.rerun()  # the panel is drawn by the page
    return asked


def _page_of_run(
    known: Known, ids: np.ndarray, captions: bool, notes: Sequence[str], odd: np.ndarray | None
) -> Callable[[slice], Page]:
    """What makes a page of images `ids`, with what is known of them."""

    def page(part: slice) -> Page:
        tiles = present.described(known, ids[part].tolist(), captions=captions)
        lines = list(notes)[part] or [""] * len(tiles)
        titles = ["\n".join(filter(None, (tile.title, line))) for tile, line in zip(tiles, lines, strict=True)]
        return Page(
            [replace(tile, title=title) for tile, title in zip(tiles, titles, strict=True)],
            [] if odd is None else np.asarray(odd, bool)[part].tolist(),
        )

    return page


@dataclass(frozen=True)
class Page:
    """What is on one page: `tiles` without their pictures, and which are outlined."""

    tiles: list[Tile]
    odd: list[bool] = field(default_factory=list)


@dataclass(frozen=True)
class Look:
    """How a gallery looks, and what it can be asked.

    Attributes:
        key: distinct for each gallery of a page.
        actions: what can be done with marked images; without any, nothing can be marked.
        nothing: the sentence for an empty list.
        side: the least width of a picture in CSS pixels, until the user chooses another for all galleries;
            photographs begin larger, in proportion.
        fixed: whether the user cannot change that: strips, of which a page shows many.
    """

    key: str
    actions: Sequence[Action] = ()
    nothing: str = "No image here."
    side: int = SIDE
    fixed: bool = False
    per_page: int = PER_PAGE

    @property
    def place(self) -> str:
        """The component's key; Streamlit reserves double underscores."""
        return re.sub("__+", "-", f"gallery-{self.key}")


def pictures(
    of: str,
    found: Pictures | None,
    ids: np.ndarray,
    page: Callable[[slice], Page],
    look: Look,
    *,
    current: int = -1,
    on_open: Callable[[int], None],
) -> Asked | None:
    """The gallery itself, of images of a run or an opened source.

    Args:
        of: what the images belong to; what was asked elsewhere is not answered here.
        found: all their pictures; may be None if none is to be shown.
        ids: (M,) those to show, in their order.
        page: makes a page of `ids`; it is asked for the shown one only.
        current: the image that is open, -1 for none; on_open: told when one is to be opened.
    """
    asked = _take_asked(look.place, of)
    if found is None or not len(ids):
        st.caption(session.plain(look.nothing))
        return asked
    version = present.version(of, thumbs.source(found), ids)
    number = _page(look.place, version, len(ids), look.per_page)
    part = present.page_slice(number, look.per_page)
    data = {
        "version": version,
        "page": number,
        "pages": present.pages(len(ids), look.per_page),
        "total": len(ids),
        "open": current,
        "ids": ids[part].tolist(),
        "sheet": thumbs.sheet_of(found, ids[part].tolist(), _pixels(look.place)),
        "ahead": _ahead(look, found, ids, number),
        **_words(page(part)),
        **_manner(look, found),
    }
    _draw(of, len(found.images), look, data, on_open)
    return asked


def _ahead(look: Look, found: Pictures, ids: np.ndarray, number: int) -> list[str]:
    """What the browser may fetch of the next page while people look at this one."""
    if look.fixed:  # of many strips, hardly any is turned
        return []
    following = ids[present.page_slice(number + 1, look.per_page)].tolist()
    return thumbs.ahead_of(found, following, _pixels(look.place))


def _words(shown: Page) -> dict[str, Any]:
    """What stands with the pictures of a page."""
    return {
        "titles": [tile.title for tile in shown.tiles],
        "captions": [tile.caption for tile in shown.tiles],
        "colours": [tile.colour for tile in shown.tiles],
        "odd": shown.odd,
    }


def _manner(look: Look, found: Pictures) -> dict[str, Any]:
    """What is the same on all pages."""
    return {
        "perPage": look.per_page,
        "oddColour": VERDICTS[1],
        "actions": [{"name": one.name, "label": one.label} for one in look.actions],
        "side": round(look.side * PHOTOGRAPH_SCALE) if found.photographs else look.side,
        "fixed": look.fixed,
        "sharp": found.sharp,
    }


def _draw(of: str, images: int, look: Look, data: dict[str, Any], on_open: Callable[[int], None]) -> None:
    place, actions = look.place, {one.name for one in look.actions}

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


def _take_asked(place: str, of: str) -> Asked | None:
    """The result of the callback, which runs once per click even if the page is interrupted."""
    name = f"asked {place}"
    kept = st.session_state.get(name)
    if kept is None or kept[0] != of:
        return None
    asked: Asked = st.session_state.pop(name)[1]
    return asked


def _page(place: str, version: str, count: int, per_page: int) -> int:
    """The page to show: the last one chosen in this list, even before another page was visited."""
    state: Any = st.session_state.get(place) or {}
    number = present.turned(state.get("page"), version, count, per_page)
    kept = f"page of {place}"
    if number is not None:
        st.session_state[kept] = {"version": version, "number": number}
    return present.turned(st.session_state.get(kept), version, count, per_page) or 1


def _pixels(place: str) -> int:
    """The longer side of pictures on the sheet: what the browser asked for, to match the size of its tiles."""
    state: Any = st.session_state.get(place) or {}
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


def strip(found: Pictures, shown: Sequence[Tile], ids: Sequence[int], *, columns: int) -> None:
    """Static pictures of images `ids` with the words of the tiles `shown`, in so many columns."""
    (start, end), kind = thumbs.address(found), " class='sharp'" if found.sharp else ""
    body = "".join(_figure(tile, f"{start}{index}{end}", kind) for tile, index in zip(shown, ids, strict=True))
    st.html(f"<div class='spice-grid' style='grid-template-columns:repeat({columns},1fr)'>{body}</div>")


def _figure(tile: Tile, address: str, kind: str) -> str:
    title, name, source = (html.escape(text, quote=True) for text in (tile.title, tile.name, address))
    line = f" style='border-color:{tile.colour}'" if tile.colour else ""
    caption = f"<figcaption>{html.escape(tile.caption)}</figcaption>" if tile.caption else ""
    return f"<figure title='{title}'><img src='{source}' alt='{name}' loading='lazy'{kind}{line}>{caption}</figure>"
