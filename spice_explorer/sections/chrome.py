"""The frame of every page: style sheet, heading, sidebar, empty states."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from engine.errors import printable
from engine.runs.folder import RunFolder
from spice_explorer import session
from spice_explorer.palette import STATES
from spice_explorer.present import progress
from spice_explorer.queries import runs
from spice_explorer.queries.runs import Listed

SIDEBAR_SECONDS = 1.0
# Runs that cannot be shown and are named.
MOST_TROUBLED = 5
STYLE = Path(__file__).with_name("style.css").read_text("utf-8")


def style() -> None:
    st.html(f"<style>{STYLE}</style>")


def heading(title: str, purpose: str) -> None:
    """A page's title and one sentence on what it is for."""
    st.html(f"<header class='spice-head'><h1>{html.escape(title)}</h1><p>{html.escape(purpose)}</p></header>")


def empty(title: str, next_step: str, page: str | None = None, label: str = "") -> None:
    """An empty state: what is missing, what to do next, and a link that leads there."""
    with st.container(border=True, key=f"empty-{title[:12]}"):
        st.html(f"<div class='spice-empty'><b>{html.escape(title)}</b><p>{html.escape(next_step)}</p></div>")
        if page:
            st.page_link(f"../pages/{page}.py", label=label, icon=":material/arrow_forward:")


def dot(state: str) -> str:
    return f"<span class='spice-dot' style='background:{STATES[state]}'></span>"


# -- the sidebar -------------------------------------------------------------------------------


def sidebar() -> None:
    """Run picker, the chosen run's state and the travelling selection."""
    names, lost, troubled = runs.run_names(), session.missing_run(), runs.troubled()
    st.html("<div class='spice-side-title'>Run</div>")
    if lost and lost not in {one.name for one in troubled}:
        st.warning(f"The run “{session.plain(lost)}” no longer exists.")
    if not names:
        st.caption("No run yet. Start one on the **Train** page.")
        _troubled(troubled)
        return
    chosen = session.current_run()
    st.session_state["run picker"] = None if chosen is None or chosen.name not in names else chosen.name
    st.selectbox(
        "Run",
        names,
        None if chosen is None else 0,
        key="run picker",
        placeholder="Choose a run",
        label_visibility="collapsed",
        on_change=_pick,
    )
    _troubled(troubled)
    if chosen is None:
        return
    live = runs.look(chosen).live
    st.fragment(_state, run_every=SIDEBAR_SECONDS if live else None)(chosen, live)
    _selection(chosen)


def _troubled(found: Sequence[Listed]) -> None:
    """A grey line for each run that cannot be shown: the others can."""
    lines = [f"{one.name}: {one.trouble}" for one in found[:MOST_TROUBLED]]
    if len(found) > MOST_TROUBLED:
        lines.append(f"{len(found) - MOST_TROUBLED:,} more cannot be shown")
    if lines:
        st.html("".join(f"<div class='spice-troubled'>{html.escape(printable(line))}</div>" for line in lines))


def _pick() -> None:
    if st.session_state["run picker"] is not None:  # what was not chosen yet can be cleared, too
        session.choose_run(st.session_state["run picker"])


def _state(run: RunFolder, was_live: bool) -> None:
    with session.plain_errors():
        look = runs.look(run)
        if was_live and not look.live:
            st.rerun()
        words = html.escape(progress.short_state(look.snapshot))
        about = f"{look.card.images:,} images · K = {look.card.config.clusters}"
        bars = "".join(
            f"<span title='{html.escape(progress.TITLES[stage])}: {progress.how_far(view)}'>"
            f"<i style='width:{100 * view.fraction:.1f}%'></i></span>"
            for stage, view in look.snapshot.stages.items()
        )
        st.html(
            f"<div class='spice-state'>{dot(look.snapshot.state)}<b>{words}</b></div>"
            f"<div class='spice-bars'>{bars}</div><div class='spice-about'>{about}</div>"
        )


def _selection(run: RunFolder) -> None:
    count = len(session.selection(run))
    if not count:
        return
    with st.container(key="selection-box"):
        noun = "image" if count == 1 else "images"
        st.html(f"<div class='spice-selected'><b>{count:,}</b> {noun} selected</div>")
        st.button("Clear selection", on_click=session.clear_selection, key="clear selection", width="stretch")
