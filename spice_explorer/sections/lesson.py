"""The Learn page's parts: the choice of run, its training state, the player, the lesson file.

The player is in assets/lesson; the page and the lesson file share it.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import streamlit as st

from engine.runs.folder import RunFolder
from engine.runs.snapshot import LIVE
from spice_explorer import session
from spice_explorer.components.scripts import component
from spice_explorer.present import lesson as present
from spice_explorer.queries import lessons, runs, training
from spice_explorer.queries.lessons import PREPARED, Made
from spice_explorer.queries.runs import Run
from spice_explorer.sections import chrome, needs

POLL_SECONDS = 1.0
OWN = "own"


def show() -> None:
    """The whole page, redrawn every second while something is being prepared."""
    run = _taught()
    unsettled = _unsettled(run)
    st.fragment(_lesson, run_every=POLL_SECONDS if unsettled else None)(run, unsettled)


def _taught() -> RunFolder:
    """The run used for teaching: the prepared one, or the one chosen in the sidebar."""
    chosen = session.current_run()
    other = None if chosen is None or chosen.name == PREPARED else chosen
    wanted = st.query_params.get("teach") or st.session_state.get("teach")
    own = wanted == OWN and other is not None
    if own:
        _teach(True)
    if other is None:
        return lessons.run_of(PREPARED)
    if own:
        needs.without_originals(other)
    with st.container(horizontal=True, vertical_alignment="center", key="teach"):
        if own:
            st.caption(f"This lesson uses **{session.plain(other.name)}**.")
            st.button("Use the prepared digits", key="teach prepared", on_click=_teach, args=(False,))
        else:
            st.caption("This lesson uses a prepared run on the built-in digits.")
            st.button(f"Use {other.name}", key="teach own", on_click=_teach, args=(True,))
    return other if own else lessons.run_of(PREPARED)


def _teach(own: bool) -> None:
    st.session_state["teach"] = OWN if own else ""
    if own:
        st.query_params["teach"] = OWN
    else:
        st.query_params.pop("teach", None)


def _unsettled(run: RunFolder) -> bool:
    """True while the page is waiting for something."""
    if not run.exists:
        return lessons.preparing()
    look = runs.look(run)
    lessons.follow(look)
    return look.live or lessons.making(run) or lessons.trying(run) is not None


def _lesson(run: RunFolder, was_unsettled: bool) -> None:
    with session.plain_errors():
        there = run.exists
        if was_unsettled != _unsettled(run):  # switch the automatic redraw on or off
            st.rerun()
        if not there:
            _beginning()
            waits = present.waits((), (), live=True, making=False) if lessons.preparing() else present.UNTRAINED
            player(run, None, waits)
            return
        look = runs.look(run)
        made = lessons.follow(look)
        with st.container(horizontal=True, vertical_alignment="center", key="lesson head"):
            _state(look)
            _file(run, made)
        shown, making = made.stages if made else (), lessons.making(run)
        player(run, made, present.waits(run.done, shown, live=look.live, making=making))


# -- how training goes -------------------------------------------------------------------------


def _beginning() -> None:
    trouble = lessons.trouble()
    if trouble:
        st.error(session.sentence(trouble), icon=":material/error:")
        st.button("Try again", key="try again", on_click=lessons.prepare, args=(True,))
    elif lessons.preparing():
        _line("queued", "Preparing a run on the digits: about half a minute.")
    else:
        _start()


def _start() -> None:
    """Nothing is trained before somebody asks for it."""
    with st.container(horizontal=True, vertical_alignment="center", key="lesson start"):
        st.button(
            "Train the lesson's run",
            type="primary",
            key="start lesson",
            icon=":material/play_arrow:",
            on_click=lessons.prepare,
        )
        st.caption(
            "Trains all three stages on the built-in digits: about half a minute. Short examples of what can go "
            "wrong follow. Your own runs stay as they are."
        )


def _state(look: Run) -> None:
    run, state = look.folder, look.snapshot.state
    trial, ahead = lessons.trying(run), lessons.ahead_of(look)
    words = present.line(run.name, look.snapshot, (ahead.name, ahead.snapshot) if ahead else None)
    if state == "finished":
        words = f"{run.name} · {look.card.images:,} images · K = {look.card.config.clusters}"
    if state == "failed":
        st.error(session.sentence(look.snapshot.message), icon=":material/error:")
    elif lessons.fault(run):
        st.error(session.sentence(lessons.fault(run)), icon=":material/error:")
    elif trial is not None:
        _line("running", present.trial_line(*trial))
    elif lessons.making(run) and not look.live:
        _line(state, f"{words} · {present.MAKING}")
    else:
        _line(state, words)
    if state == "paused" and look.mine:
        st.button("Continue", key="continue lesson", icon=":material/play_arrow:", on_click=_continue, args=(run,))
    elif state == "finished" and trial is None and lessons.lacks_trials(run):
        st.button(
            "Train the failure examples",
            key="want trials",
            icon=":material/play_arrow:",
            on_click=lessons.want_trials,
            args=(run,),
            help="Short trainings that show what goes wrong without a part of the method.",
        )
    elif state not in (*LIVE, "finished"):
        st.button("Resume", key="resume lesson", icon=":material/play_arrow:", on_click=_resume, args=(run,))


def _line(state: str, words: str) -> None:
    body = f"<div class='spice-state'>{chrome.dot(state)}{html.escape(words)}</div>"
    st.html(body, width="stretch")


def _resume(run: RunFolder) -> None:
    with session.plain_errors():
        training.resume(run)


def _continue(run: RunFolder) -> None:
    with session.plain_errors():
        training.steer(run, "continue")


# -- the lesson as a file ----------------------------------------------------------------------


def _file(run: RunFolder, made: Made | None) -> None:
    if made is not None:
        # A link: the file is built on request, from the lesson shown at that time.
        st.link_button(
            "Take it home as one HTML file",
            lessons.file_address(run),
            key="take lesson",
            icon=":material/download:",
            help="The whole lesson and the run's film in one file: no network, no Python, any browser.",
        )


# -- the player ----------------------------------------------------------------------------------


def player(run: RunFolder, made: Made | None, waits: Mapping[str, str]) -> None:
    """Draws it; the browser fetches the lesson when its address is a new one."""
    data: dict[str, Any] = {"address": lessons.address(run, made), "waits": dict(waits)}
    component("lesson")(key="lesson", data=data, height="content")
