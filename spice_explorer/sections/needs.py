"""The stages a page needs, and the message it shows until they exist."""

from __future__ import annotations

import streamlit as st

from engine.errors import SpiceError
from engine.runs.folder import RunFolder
from spice_explorer import session
from spice_explorer.present import progress
from spice_explorer.queries import artefacts, exports, maps, runs
from spice_explorer.queries.runs import Run
from spice_explorer.sections import chrome
from spice_explorer.web import originals

POLL_SECONDS = 2.0


def run_of_page() -> Run | None:
    """The chosen run; says once if its originals are gone. Without a run an empty state is drawn."""
    run = session.current_run()
    if run is not None:
        without_originals(run)
        for told in artefacts.left_out(run):
            st.warning(session.sentence(f"{told}."), icon=":material/warning:")
        return runs.look(run)
    lost = session.missing_run()
    if lost and runs.run_names():
        kept = lost in {one.name for one in runs.troubled()}
        what = "cannot be read" if kept else "no longer exists"
        chrome.empty(f"The run “{lost}” {what}", "Choose another one in the sidebar.")
        return None
    chrome.empty("No run yet", "Start one: the built-in digits take one click.", "train", "Go to Train")
    return None


def without_originals(run: RunFolder) -> None:
    """Says why the page shows the pixels that are trained on in place of the run's photographs, if it does."""
    try:
        words = originals.pictures(run).stand_in()
    except (SpiceError, OSError, KeyError, ValueError):
        return  # the images are missing or damaged, which the page says itself
    if words:
        st.caption(session.plain(words))


def features(look: Run) -> bool:
    """True when stage 1 has left a first frame; else an empty state is drawn, which waits for it."""
    if maps.moments(look.folder) or look.folder.has("features"):
        return True
    _not_yet(look, "frames", "The map shows the features that stage 1 learns.")
    return False


def labels(look: Run) -> bool:
    """True when stage 2 is done and judged; else an empty state is drawn, which waits for it."""
    if artefacts.judged_stages(look.folder):
        return True
    _not_yet(look, "reliable-heads", "The first labels come from stage 2.")
    return False


def whole_log(run: RunFolder) -> None:
    """Warns that a decision log of the run is gone, or was damaged, as long as the damaged file is still there."""
    if lost := exports.lost_log(run):
        st.warning(f"In this run decisions were made, and {lost}")
    damaged = exports.damaged_logs(run)
    if damaged:
        st.warning(
            f"The decision log was damaged. It was moved to {' and '.join(damaged)} in the run's folder, and "
            f"{exports.rows_saved(run):,} of its rows, all that could be read, are in the new log. Nothing in the old "
            "one was overwritten. Move that file away to dismiss this message."
        )


def _not_yet(look: Run, artefact: str, why: str) -> None:
    state = look.snapshot.state
    title = f"{look.name} has not reached this stage"
    advice = {
        "failed": "The run failed. See its message on the Train page, fix the problem and resume.",
        "interrupted": "The run was interrupted. Resume it on the Train page.",
        "stopped": "The run was stopped. Resume it on the Train page.",
        "finished": "Part of what it had is missing. Resume it on the Train page.",
        "paused": "The run is paused. Continue it on the Train page.",
    }
    where = progress.short_state(look.snapshot)
    follow = advice.get(state, f"It is {where}. This page updates automatically.")
    chrome.empty(title, f"{why} {follow}", "train", "Go to Train")
    wait_for(look, artefact)


def wait_for(look: Run, artefact: str) -> None:
    """Draws the page again as soon as the run, if it is still training, has an artefact or has ended."""
    if look.live:
        st.fragment(_wait, run_every=POLL_SECONDS)(look.folder, artefact)


def _wait(run: RunFolder, artefact: str) -> None:
    with session.plain_errors():
        if run.has(artefact) or not runs.look(run).live:
            st.rerun()
