"""The map component: data in, a selection out. Drawn by scatter.js with WebGL 2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from spice_explorer.present import maps, sprites

_HERE = Path(__file__).parent


@dataclass(frozen=True, eq=False)
class Points:
    """What the map shows of each drawn image.

    Attributes:
        key: changes when the places change, so that they are taken anew.
        place: (n, 2) uint16. paint: of the n points.
        ids: (n,) image ids, None when all images are drawn in order.
        labels, confidence, agreement: (n,), or empty where there are none yet.
        truth: (n,) class numbers, or None; classes: their names.
    """

    key: str
    place: np.ndarray
    paint: maps.Paint
    ids: np.ndarray | None
    labels: np.ndarray
    confidence: np.ndarray
    agreement: np.ndarray
    truth: np.ndarray | None
    classes: tuple[str, ...]
    marks: list[dict[str, Any]]


def payload(
    points: Points, address: str, sharp: bool, chosen: np.ndarray, version: int
) -> dict[str, Any]:
    """What scatter.js is told; `chosen` are places among the drawn points."""
    return {
        "key": points.key,
        "place": maps.text(points.place, "<u2"),
        "value": maps.text(points.paint.values, "<u2"),
        "palette": list(points.paint.palette),
        "marks": points.marks,
        "ids": None if points.ids is None else maps.text(points.ids, "<u4"),
        "label": maps.text(points.labels, "<u2"),
        "confidence": maps.text(maps.share_bytes(points.confidence), "u1"),
        "agreement": maps.text(maps.share_bytes(points.agreement), "u1"),
        "truth": None if points.truth is None else maps.text(points.truth, "<u2"),
        "classes": list(points.classes),
        "sprites": {
            "address": address, "each": sprites.EACH, "columns": sprites.COLUMNS, "sharp": sharp,
        },
        "selection": maps.to_bits(chosen, len(points.place)),
        "version": version,
    }  # fmt: skip


def scatter(data: dict[str, Any], *, key: str, on_selection: Callable[[], None]) -> None:
    """Draws the map; the newest selection lies in the session state under `key`."""
    # Registered anew for every drawing, as Streamlit expects: a new runtime knows no component yet.
    html, css, js = _sources()
    draw = st.components.v2.component("spice_map", html=html, css=css, js=js)
    draw(key=key, data=data, on_selection_change=on_selection)


def picked(key: str, drawn: int) -> np.ndarray:
    """Places among the `drawn` points that were selected last."""
    state: Any = st.session_state.get(key) or {}
    found = state.get("selection")
    if not found or found["drawn"] != drawn:
        return np.zeros(0, np.int64)
    return maps.from_bits(found["bits"], drawn)


@lru_cache
def _sources() -> list[str]:
    """HTML, CSS and JavaScript of the map."""
    return [(_HERE / f"scatter.{kind}").read_text("utf-8") for kind in ("html", "css", "js")]
