"""What one browser is remembered by: it comes back after a reload, and in a second tab.

A cookie names the browser (`web/browser_cookie.py`). What is remembered of it lasts as long as the server.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import streamlit as st

COOKIE = "spice-browser"
MOST_BROWSERS = 100

_remembered: OrderedDict[str, dict[str, Any]] = OrderedDict()
_guard = threading.Lock()


def current() -> str:
    """The name of the browser that shows this page, "" where it keeps no cookies."""
    return st.context.cookies.get(COOKIE, "")


def remember(what: str, value: Any) -> None:
    """Keeps `value` for the next session of this browser."""
    name = current()
    if not name:
        return
    with _guard:
        _remembered.setdefault(name, {})[what] = value
        _remembered.move_to_end(name)
        while len(_remembered) > MOST_BROWSERS:
            _remembered.popitem(last=False)


def remembered(what: str) -> Any:
    """What was kept last; None if nothing was."""
    with _guard:
        return _remembered.get(current(), {}).get(what)
