""" "What is this?": the class of an image that the run has not seen, from a file that is dropped onto the page."""

from __future__ import annotations

import html

import streamlit as st

from engine.data.thumbnails import as_image
from engine.errors import SourceError
from engine.runs.folder import IMPORTED, RunFolder
from spice_explorer import session
from spice_explorer.components import gallery
from spice_explorer.queries import models
from spice_explorer.queries.artefacts import judged_stages
from spice_explorer.queries.decisions import known
from spice_explorer.queries.models import Answer
from spice_explorer.queries.runs import Run

# The picture of the image, in CSS pixels.
SIDE = 160


def show(look: Run) -> None:
    """The drop box, and the answer once there is an image in it."""
    st.subheader("What is this?")
    if look.folder.has(IMPORTED):
        st.caption(
            "This run learned from external vectors and has no network, so it cannot say anything about new images."
        )
        return
    st.caption(
        "Drop an image that the run has not seen. It is *unknown* if the model is less sure, or the image farther from "
        "the run's own, than in all but 1 in 100 of these."
    )
    st.fragment(_box)(look.folder)


def _box(run: RunFolder) -> None:
    dropped = st.file_uploader("An image", key=f"what-is-this-{run.name}", label_visibility="collapsed")
    if dropped is None:
        return
    with session.plain_errors():
        try:
            said = models.answer(run, dropped.getvalue())
        except SourceError as error:
            st.error(session.plain(f"{dropped.name} cannot be read: {error}"), icon=":material/broken_image:")
            return
        _answer(run, dropped.name, said)


def _answer(run: RunFolder, name: str, said: Answer) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="what is this"):
        st.image(as_image(said.square), width=SIDE, caption=session.plain(name))
        title = f"Unknown; most like {said.name}" if said.unknown else said.name
        st.html(
            f"<div class='spice-panel-label'><b>{html.escape(title)}</b><span>{html.escape(said.sure)}</span></div>",
            width="stretch",
        )
    if said.unknown:
        st.info(f"{said.why_unknown} The image may be of none of the run's classes.", icon=":material/help:")
    st.markdown("The images of the run that are most like it, in stage 1's features:")
    gallery.gallery(
        run,
        known(run, judged_stages(run)[0]),
        said.nearest,
        key="what-is-this",
        fixed=True,
        notes=[f"cosine {cosine:.3f}" for cosine in said.cosines.tolist()],
    )
