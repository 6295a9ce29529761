"""The Learn page's parts: the choice of run, its training state, the player, the lesson file.

The player is in assets/lesson; the page and the lesson file share it.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import streamlit as st

from engine.runs.snapshot import LIVE
from spice_explorer import session
from spice_explorer.components.scripts import component
from spice_explorer.present import lesson as present
from spice_explorer.queries import lessons, runs, training
from spice_explorer.queries.lessons import PREPARED, Made
from spice_explorer.queries.runs import Run
from spice_explorer.sections import chrome

POLL_SECONDS = 1.0
OWN = "own"


def show() -> None:
    """The whole page, redrawn every second while something is being prepared."""
    name = _taught()
    unsettled = _unsettled(name)
    st.fragment(_lesson, run_every=POLL_SECONDS if unsettled else None)(name, unsettled)


def _taught() -> str:
    """The run used for teaching: the prepared one, or the one chosen in the sidebar."""
    chosen = session.current_run()
    wanted = st.query_params.get("teach") or st.session_state.get("teach")
    own = wanted == OWN and chosen not in (None, PREPARED)
    if own:
        _teach(True)
    else:
        lessons.prepare()
    if chosen is None or chosen == PREPARED:
        return PREPARED
    with st.container(horizontal=True, vertical_alignment="center", key="teach"):
        if own:
            st.caption(f"This lesson uses **{session.plain(chosen)}**.")
            st.button("Use the prepared digits", key="teach prepared", on_click=_teach, args=(False,))
        else:
            st.caption("This lesson uses a prepared run on the built-in digits.")
            st.button(f"Use {chosen}", key="teach own", on_click=_teach, args=(True,))
    return chosen if own else PREPARED


def _teach(own: bool) -> None:
    st.session_state["teach"] = OWN if own else ""
    if own:
        st.query_params["teach"] = OWN
    else:
        st.query_params.pop("teach", None)


def _unsettled(name: str) -> bool:
    """True while the page is waiting for something."""
    if name not in runs.run_names():
        return lessons.preparing()
    run = runs.look(name)
    lessons.follow(run)
    return run.live or lessons.making(name) or lessons.trying(name) is not None


def _lesson(name: str, was_unsettled: bool) -> None:
    with session.plain_errors():
        there = name in runs.run_names()
        if was_unsettled != _unsettled(name):  # switch the automatic redraw on or off
            st.rerun()
        if not there:
            _beginning()
            player(name, None, present.waits((), (), live=lessons.preparing(), making=False))
            return
        run = runs.look(name)
        made = lessons.follow(run)
        with st.container(horizontal=True, vertical_alignment="center", key="lesson head"):
            _state(run)
            _file(name, made)
        shown, making = made.stages if made else (), lessons.making(name)
        player(name, made, present.waits(runs.folder_of(name).done, shown, live=run.live, making=making))


# -- how training goes -------------------------------------------------------------------------


def _beginning() -> None:
    trouble = lessons.trouble()
    if trouble:
        st.error(session.sentence(trouble), icon=":material/error:")
        st.button("Try again", key="try again", on_click=lessons.prepare, args=(True,))
    else:
        _line("queued", "Preparing a run on the digits: about half a minute.")


def _state(run: Run) -> None:
    state, trial = run.snapshot.state, lessons.trying(run.name)
    ahead = lessons.ahead_of(run)
    words = present.line(run.name, run.snapshot, (ahead.name, ahead.snapshot) if ahead else None)
    if state == "finished":
        words = f"{run.name} · {run.card.images:,} images · K = {run.card.config.clusters}"
    if state == "failed":
        st.error(session.sentence(run.snapshot.message), icon=":material/error:")
    elif lessons.fault(run.name):
        st.error(session.sentence(lessons.fault(run.name)), icon=":material/error:")
    elif trial is not None:
        _line("running", present.trial_line(*trial))
    elif lessons.making(run.name) and not run.live:
        _line(state, f"{words} · {present.MAKING}")
    else:
        _line(state, words)
    if state == "paused" and run.mine:
        st.button("Continue", key="continue lesson", icon=":material/play_arrow:", on_click=_continue, args=(run.name,))
    elif state not in (*LIVE, "finished"):
        st.button("Resume", key="resume lesson", icon=":material/play_arrow:", on_click=_resume, args=(run.name,))


def _line(state: str, words: str) -> None:
    body = f"<div class='spice-state'>{chrome.dot(state)}{html.escape(words)}</div>"
    st.html(body, width="stretch")


def _resume(name: str) -> None:
    with session.plain_errors():
        training.resume(name)


def _continue(name: str) -> None:
    with session.plain_errors():
        training.steer(name, "continue")


# -- the lesson as a file ----------------------------------------------------------------------


def _file(name: str, made: Made | None) -> None:
    if made is not None:
        # A link: the file is built on request, from the lesson shown at that time.
        st.link_button(
            "Take it home as one HTML file",
            lessons.file_address(name),
            key="take lesson",
            icon=":material/download:",
            help="The whole lesson and the run's film in one file: no network, no Python, any browser.",
        )


# -- the player ----------------------------------------------------------------------------------


def player(name: str, made: Made | None, waits: Mapping[str, str]) -> None:
    """Draws it; the browser fetches the lesson when its address is a new one."""
    data: dict[str, Any] = {"address": lessons.address(name, made), "waits": dict(waits)}
    component("lesson")(key="lesson", data=data, height="content")
