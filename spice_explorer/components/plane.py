"""The reliability chart, which applies any thresholds in the browser. Drawn by plane/*.js."""

from __future__ import annotations

from typing import Any

import streamlit as st

from spice_explorer.components.scripts import component


def plane(data: dict[str, Any], *, key: str) -> None:
    """Draws it; the requested thresholds are in the session state under `key` (see `asked`)."""
    component("plane")(key=key, data=data, on_thresholds_change=lambda: None, on_pick_change=lambda: None)


def asked(key: str, what: str) -> dict[str, Any] | None:
    """The `thresholds` or the `pick` that the browser sent, once for each time that it did."""
    state: Any = st.session_state.get(key) or {}
    found = state.get(what)
    taken = f"{key} {what} taken"
    if not found or st.session_state.get(taken) == found["serial"]:
        return None
    st.session_state[taken] = found["serial"]
    return dict(found)
