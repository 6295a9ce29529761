"""What one browser is remembered by: it comes back after a reload, and in a second tab.

A cookie names the browser (`web/browser_cookie.py`). What is remembered of it lasts as long as the server. Another
cookie holds the name of who decides, which outlasts the server.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any
from urllib.parse import quote, unquote

import streamlit as st

from engine.curate.decisions import plain_name
from engine.errors import DecisionError

COOKIE = "spice-browser"
REVIEWER_COOKIE = "spice-reviewer"
YEAR_SECONDS = 365 * 24 * 3600
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
    """What was kept last; None if nothing was. The reviewer's name is also known to a server that has just started."""
    with _guard:
        found = _remembered.get(current(), {}).get(what)
    return reviewer_of(reviewer_cookie()) if found is None and what == "reviewer" else found


def cookie_of(reviewer: str) -> str:
    """The header that has the browser keep the name of who decides."""
    return f"{REVIEWER_COOKIE}={quote(reviewer, safe='')}; {lasting()}"


def lasting() -> str:
    """A cookie that scripts cannot read and other sites' requests do not carry."""
    return f"Path=/; Max-Age={YEAR_SECONDS}; HttpOnly; SameSite=Lax"


def reviewer_cookie() -> str:
    """What the browser keeps under `REVIEWER_COOKIE`, "" for nothing."""
    return str(st.context.cookies.get(REVIEWER_COOKIE, ""))  # where there is no browser, it is no text


def reviewer_of(cookie: str) -> str | None:
    """The name that `cookie_of` has written; None for anything else, such as another program's."""
    try:
        return plain_name(unquote(cookie), "the reviewer")
    except DecisionError:
        return None
