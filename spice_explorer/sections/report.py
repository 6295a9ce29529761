"""The report on the Export page: one HTML file to send to somebody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from spice_explorer.queries import reports

if TYPE_CHECKING:
    from engine.runs.folder import RunFolder

WORDS = (
    "One HTML file with the map, clusters, prototypes, scores, decisions and settings. It opens on any computer or "
    "phone, without a network and without this app, and can be printed. The folders of your images are not named in it."
)


def show(run: RunFolder) -> None:
    """The report with its button; the file is made when that is pressed."""
    st.markdown("**Report** · to send to somebody else")
    with st.container(horizontal=True, vertical_alignment="center", key="report"):
        st.download_button(
            "Download the report",
            lambda: reports.file(run),
            file_name=f"{run.name}-report.html",
            mime="text/html",
            key="download report",
            on_click="ignore",
            icon=":material/summarize:",
        )
        st.caption(WORDS)
