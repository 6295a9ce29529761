"""Files that are made of a run in the background: how one is coming along, how it ended, and its download."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from spice_explorer import session
from spice_explorer.queries import exports

if TYPE_CHECKING:
    from engine.jobs import Job
    from engine.runs.folder import RunFolder
    from spice_explorer.queries.exports import Making

LIVE_SECONDS = 0.5
# By a job: the share that is done, and words for it.
Words = Callable[["Job"], tuple[float, str]]


def underway(making: Making, run: RunFolder, words: Words) -> bool:
    """Whether a file of this kind is being made; if so, shows how it is coming along, with a button to cancel it."""
    job = making.job(run)
    if job is None or not job.underway:
        return False
    st.fragment(_underway, run_every=LIVE_SECONDS)(making, run, words)
    return True


def _underway(making: Making, run: RunFolder, words: Words) -> None:
    with session.plain_errors():
        job = making.job(run)
        if job is None or not job.underway:
            st.rerun()
        share, said = words(job)
        with st.container(horizontal=True, vertical_alignment="center", key=f"making {making.name}"):
            st.progress(share, said, width="stretch")
            if job.state != "cancelling":
                st.button(
                    "Cancel", key=f"cancel {making.name}", icon=":material/close:", on_click=making.cancel, args=(run,)
                )


def ended(making: Making, run: RunFolder, done: Callable[[Any], None], download: Callable[[Any], None]) -> None:
    """What the last job has brought, or why nothing, until it is dismissed.

    Args:
        done: draws the result.
        download: draws the button that downloads it.
    """
    job = making.job(run)
    if job is None or job.underway:
        return
    if job.state == "cancelled":
        st.info(f"The {making.name} was cancelled and left nothing behind.", icon=":material/block:")
    elif job.state == "failed":
        st.error(session.sentence(job.message), icon=":material/error:")
    else:
        done(job.result)
    with st.container(horizontal=True, vertical_alignment="center", key=f"ended {making.name}"):
        if job.state == "done":
            download(job.result)
        st.button("Dismiss", key=f"dismiss {making.name}", on_click=making.dismiss, args=(run,))


def download_of(making: Making, *made: Path) -> None:
    """The download of what is there: one file as it is, a folder or several files as a zip archive."""
    with contextlib.suppress(OSError):  # they have been moved away since
        if not exports.downloadable(*made):
            st.caption("This is too large to be downloaded from the page: take it from there.")
            return
        st.download_button(
            "Download",
            lambda: exports.download(*made),
            file_name=made[0].name if len(made) == 1 and made[0].is_file() else f"{_bare(made[0])}.zip",
            mime="application/octet-stream",
            key=f"download {making.name}",
            on_click="ignore",
            icon=":material/download:",
        )


def _bare(path: Path) -> str:
    return path.stem if path.is_file() else path.name
