"""The reliability chart, which applies any thresholds in the browser. Drawn by plane.js."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import streamlit as st

_HERE = Path(__file__).parent


def plane(data: dict[str, Any], *, key: str) -> None:
    """Draws it; the requested thresholds are in the session state under `key` (see `asked`)."""
    # Registered again on every redraw, as Streamlit expects: a new runtime has no components yet.
    html, css, js = _sources()
    draw = st.components.v2.component("spice_plane", html=html, css=css, js=js)
    draw(key=key, data=data, on_thresholds_change=lambda: None, on_pick_change=lambda: None)


def asked(key: str, what: str) -> dict[str, Any] | None:
    """The `thresholds` or the `pick` that the browser sent, once for each time that it did."""
    state: Any = st.session_state.get(key) or {}
    found = state.get(what)
    taken = f"{key} {what} taken"
    if not found or st.session_state.get(taken) == found["serial"]:
        return None
    st.session_state[taken] = found["serial"]
    return dict(found)


@lru_cache
def _sources() -> list[str]:
    """HTML, CSS and JavaScript of the instrument."""
    return [(_HERE / f"plane.{kind}").read_text("utf-8") for kind in ("html", "css", "js")]
