"""One gallery for every page: a grid of small pictures, page after page, no widget per picture."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
import streamlit as st

from spice_explorer.present.gallery import PIXELATED, Known, Tile, page_slice, pages, tiles

PER_PAGE = 96


def gallery(
    known: Known,
    ids: Sequence[int] | np.ndarray,
    *,
    key: str,
    side: int = 76,
    per_page: int = PER_PAGE,
    nothing: str = "No image here.",
    captions: bool = True,
) -> None:
    """Images `ids` in pages; `side` is the least width of a picture in CSS pixels."""
    if not len(ids):
        st.caption(nothing)
        return
    last = pages(len(ids), per_page)
    place = st.empty()
    page = 1
    if last > 1:
        page = min(last, st.pagination(last, key=f"page-{key}-{last}"))
    chosen = ids[page_slice(page, per_page)]
    with place.container():
        strip(tiles(known, chosen, captions=captions), side=side, sharp=sharp(known))


def sharp(known: Known) -> bool:
    """True when pictures are so small that they are drawn as squares."""
    return max(known.pixels.shape[2:]) <= PIXELATED


def strip(
    shown: Sequence[Tile], *, side: int = 76, columns: int | None = None, sharp: bool = False
) -> None:
    """The tiles in a grid of so many columns, or of as many as are `side` pixels wide."""
    kind = " class='sharp'" if sharp else ""
    body = "".join(_figure(tile, kind) for tile in shown)
    repeat = f"{columns},1fr" if columns else f"auto-fill,minmax({side}px,1fr)"
    st.html(f"<div class='spice-grid' style='grid-template-columns:repeat({repeat})'>{body}</div>")


def _figure(tile: Tile, kind: str) -> str:
    title, name = html.escape(tile.title, quote=True), html.escape(tile.name, quote=True)
    line = f" style='border-color:{tile.colour}'" if tile.colour else ""
    caption = f"<figcaption>{html.escape(tile.caption)}</figcaption>" if tile.caption else ""
    return (
        f"<figure title='{title}'><img src='{tile.source}' alt='{name}' loading='lazy'{kind}{line}>"
        f"{caption}</figure>"
    )
