"""The Export page's part for labels that were edited elsewhere: compared with the run first, then decided, undone as
one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from engine.errors import SpiceError
from engine.sources.open_source import absolute
from spice_explorer import session
from spice_explorer.components import gallery
from spice_explorer.present import export as present
from spice_explorer.queries import decisions, exports
from spice_explorer.web import curate_api

if TYPE_CHECKING:
    from engine.exports.returned import Conflict
    from engine.runs.folder import RunFolder
    from spice_explorer.queries.exports import Compared

MOST_LISTED = 200


def show(run: RunFolder) -> None:
    """What was edited and where; what that would change; and the last import, to be undone."""
    st.subheader("Labels back in")
    st.caption(
        "Labels of this run that were edited in another tool become decisions. They are compared with the run first; "
        "nothing changes before you say so, and an import is undone as one."
    )
    told = st.session_state.pop("back told", None)
    if told:
        (st.success if told[0] else st.error)(told[1])
    _form(run)


def _form(run: RunFolder) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom", key="back controls"):
        form = st.selectbox(
            "Edited with", list(present.RETURNS), format_func=present.RETURNS.__getitem__, key="back form"
        )
        typed = st.text_input("Edited file or folder", key="back place", width="stretch")
        name = st.text_input("Who decided", st.session_state.get("reviewer", ""), key="back name", width=190)
    looked = st.checkbox("Somebody has looked at every image that changed", key="back looked")
    conflicts = st.checkbox("Where there is a conflict, take the file's answer", key="back conflicts")
    with session.plain_errors():
        reviewer = _reviewer(name)
        _last(run, reviewer)
        if not typed.strip():
            return
        file = Path(absolute(typed))
        found = exports.compared(run, file, str(form), looked=looked, conflicts_too=conflicts)
        _told(run, found)
        count = len(found.preview.rows)
        st.button(
            f"Decide so for {count:,} {'image' if count == 1 else 'images'}",
            type="primary",
            key="back decide",
            disabled=not count or not reviewer,
            help=None if reviewer else "Say who decided first.",
            on_click=_say,
            args=(lambda: f"{exports.bring_back(run, found, reviewer):,} images are decided so.",),
        )


def _reviewer(name: str) -> str:
    """The name as it is kept; "" while there is none."""
    try:
        return curate_api.reviewer(name) if name.strip() else ""
    except SpiceError as error:
        st.error(session.sentence(str(error)), icon=":material/error:")
        return ""


def _told(run: RunFolder, found: Compared) -> None:
    """In numbers, what would change; the conflicts; and the images with their new classes."""
    about = found.preview
    with st.container(horizontal=True, key="back numbers"):
        for title, count in present.compared(about).items():
            st.metric(title, f"{count:,}", border=True)
    if about.conflicts:
        _conflicts(about.conflicts)
    if len(about.rows):
        after = np.array(decisions.classes_of(run), np.int64)
        after[about.rows] = about.classes
        known = decisions.known(run, None)  # the model's confidence is in its own label, not in this
        gallery.gallery(run, replace(known, labels=after), about.rows, key="back", per_page=60, side=52)


def _conflicts(conflicts: tuple[Conflict, ...]) -> None:
    st.warning(present.conflict_words(len(conflicts)), icon=":material/warning:")
    listed = [(one.image, one.here, one.reviewer, one.file) for one in conflicts[:MOST_LISTED]]
    st.dataframe(
        pd.DataFrame(listed, columns=["image", "here", "decided by", "in the file"]), hide_index=True, key="back list"
    )


def _last(run: RunFolder, reviewer: str) -> None:
    """Takes back the last import of this person, if it is the last thing that they decided."""
    if reviewer and exports.can_take_back(run, reviewer):
        st.button(
            f"Undo the last import of {session.plain(reviewer)}",
            icon=":material/undo:",
            key="back undo",
            on_click=_say,
            args=(lambda: f"{exports.take_back(run, reviewer):,} images are as before the import.",),
        )


def _say(act: Callable[[], str]) -> None:
    """Keeps what is to be said of an act, or why it was refused; a callback of buttons."""
    try:
        st.session_state["back told"] = True, act()
    except SpiceError as error:
        st.session_state["back told"] = False, session.sentence(str(error))
