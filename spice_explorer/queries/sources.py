"""Images from where a person points, and the built-in ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import streamlit as st

if TYPE_CHECKING:
    from engine.sources.open_source import Opened


def open_source(
    source: str,
    size: int | None = None,
    labels: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Opened:
    """The images at `source`; raises SourceError in a sentence for the page."""
    from engine.sources import open_source as engine_side

    return engine_side.open_source(source, size=size, labels=labels, progress=progress)


@st.cache_resource(show_spinner=False)
def digits() -> Opened:
    """The built-in digits, opened once a process."""
    return open_source("digits")


@st.cache_resource(show_spinner=False)
def shapes() -> Opened:
    """The built-in drawn shapes, opened once a process."""
    return open_source("shapes")
