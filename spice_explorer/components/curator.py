"""The curator: assigns classes to images from the keyboard. Drawn by curator/*.js.

Decisions go from the browser straight to the routes of `curating`, and are shown before they are written.
Python learns of three things, in the session state under the component's key: `changed`, the last row
written, shortly afterwards, so that the page below is redrawn; and, for one run of the page, `open`, an
image, and `propagate`, the decided images (`ids`) whose class is offered to the images that agree.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import streamlit as st

_HERE = Path(__file__).parent
# Joined in this order: each file uses definitions of the files before it.
_SCRIPTS = (
    "elements",
    "server",
    "labels",
    "queue",
    "outbox",
    "decisions",
    "pace",
    "pictures",
    "marks",
    "tiles",
    "keys",
    "keyboard",
    "classes",
    "question",
    "about",
    "bar",
    "stage",
    "face",
    "hands",
    "curator",
)


def curator(data: dict[str, Any], *, key: str, on_open: Callable[[], None]) -> None:
    """Draws it.

    Args:
        data: what it is told; a queue with a `mark` asks about all its images, decided or not, and the mark
            goes as text with each decision.
        key: distinct for each run.
        on_open: called when the panel of an image is asked for.
    """
    # Registered again on every redraw, as Streamlit expects: a new runtime has no components yet.
    html, css, js = _sources()
    draw = st.components.v2.component("spice_curator", html=html, css=css, js=js)
    draw(key=key, data=data, on_changed_change=lambda: None, on_open_change=on_open, on_propagate_change=lambda: None)


@lru_cache
def _sources() -> tuple[str, str, str]:
    """HTML, CSS and JavaScript of the curator."""
    script = "\n".join((_HERE / "curator" / f"{one}.js").read_text("utf-8") for one in _SCRIPTS)
    html, css = ((_HERE / f"curator.{kind}").read_text("utf-8") for kind in ("html", "css"))
    return html, css, script
