"""Components that are drawn in the browser: each has a folder here, whose order.txt lists its parts."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import streamlit as st

from engine.lesson.scripts import joined

FOLDER = Path(__file__).parent


def component(name: str) -> Any:
    """The component in the folder `name`, to be called with its data.

    It is registered for every drawing, as Streamlit expects, because a new runtime has no components.
    """
    made = parts(name)
    return st.components.v2.component(f"spice_{name}", html=made["html"], css=made["css"], js=made["js"])


@lru_cache
def parts(name: str) -> dict[str, str]:
    """The component's `html`, `css` and `js`; the last script exports the function that Streamlit calls."""
    return {kind: joined(FOLDER / name / "order.txt", kind) for kind in ("html", "css", "js")}
