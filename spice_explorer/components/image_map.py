"""The map component: data in, a selection or a clicked image out. Drawn by map/*.js with WebGL 2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import streamlit as st

from spice_explorer.components.scripts import component
from spice_explorer.present import maps


def image_map(
    data: dict[str, Any],
    *,
    key: str,
    on_selection: Callable[[], None],
    on_opened: Callable[[], None],
    on_replay: Callable[[], None],
) -> None:
    """Draws the map; the last user action is in the session state under `key`."""
    component("map")(
        key=key,
        data=data,
        height="content",
        on_selection_change=on_selection,
        on_opened_change=on_opened,
        on_replay_change=on_replay,
    )


def picked(key: str, drawn: int) -> np.ndarray:
    """Places among the `drawn` points that were selected last."""
    state: Any = st.session_state.get(key) or {}
    found = state.get("selection")
    if not found or found["drawn"] != drawn:
        return np.zeros(0, np.int64)
    return maps.from_bits(found["bits"], drawn)


def opened(key: str) -> int | None:
    """The image that was clicked just now."""
    state: Any = st.session_state.get(key) or {}
    found = state.get("opened")
    return None if found is None else int(found["id"])


def replaying(key: str) -> bool:
    state: Any = st.session_state.get(key) or {}
    return bool(state.get("replay"))
