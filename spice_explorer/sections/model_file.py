"""The Export page's part for the run's model: one file to label images elsewhere, written in the background."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from engine.runs.folder import IMPORTED
from engine.sources.open_source import absolute
from spice_explorer import session
from spice_explorer.present import export as present
from spice_explorer.queries import models
from spice_explorer.sections import background

if TYPE_CHECKING:
    from engine.models.model_file import ModelFile
    from engine.runs.folder import RunFolder


def show(run: RunFolder) -> None:
    """In which format and where, or how that is coming along; or why there is no model."""
    st.subheader("The model")
    if run.has(IMPORTED):
        st.caption(
            "This run learned from external vectors and has no network, so there is no model that could label new "
            "images."
        )
        return
    st.caption(present.MODEL)
    if background.underway(models.making, run, present.model_progress):
        return
    background.ended(
        models.making, run, _done, lambda made: background.download_of(models.making, made.file, made.card)
    )
    _form(run)


def _form(run: RunFolder) -> None:
    absent = models.without_onnx()
    offered = [one for one in present.MODELS if one != "onnx" or not absent]
    form = st.segmented_control(
        "Model as", offered, default=offered[0], required=True, format_func=present.MODELS.__getitem__, key="model form"
    )
    if absent:
        st.caption(session.plain(f"{absent}. safetensors needs nothing more."))
    typed = st.text_input("Model file to write", str(models.default_place(run, form)), key=f"model place {form}")
    out = Path(absolute(typed))
    replace = out.exists() and st.checkbox("Replace the earlier model at this place", key="model overwrite")
    if st.button("Write the model", icon=":material/neurology:", key="write model"):
        with session.plain_errors():
            models.begin(run, form, out, overwrite=bool(replace))
            st.rerun()


def _done(done: ModelFile) -> None:
    st.success(session.plain(present.model_words(done)), icon=":material/check:")
    for note in done.notes:
        st.info(session.sentence(f"{note}."), icon=":material/info:")
    st.code(f"{done.file}\n{done.card}", language=None)
