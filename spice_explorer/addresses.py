"""Where the server answers the browser's own requests (`routes`)."""

from __future__ import annotations

from urllib.parse import quote

import streamlit as st


def address_of(kind: str, run: str) -> str:
    """ "/spice/KIND/RUN", below the path at which the app is served; a run may have any name."""
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"{'/' + base if base else ''}/spice/{kind}/{quote(run, safe='')}"
