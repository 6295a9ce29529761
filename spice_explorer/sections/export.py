"""The Export page's parts: which rows, a preview, the download."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from engine.curate.audit import LEAST_ANSWERS
from spice_explorer import session
from spice_explorer.present import export as present
from spice_explorer.present.export import Rows
from spice_explorer.queries import exports
from spice_explorer.queries.runs import Run
from spice_explorer.sections import needs, other_tools, purity

if TYPE_CHECKING:
    import pandas as pd

    from engine.exports.label_table import Format
    from engine.runs.folder import RunFolder

PREVIEW = 500


def show(look: Run) -> None:
    """The whole page; the CSV is built on request."""
    run = look.folder
    table = exports.label_table(run)
    needs.whole_log(run)
    if look.live:
        st.info("The run is not finished: these are its latest labels.", icon=":material/hourglass_top:")
    _reliable(run, table)
    found = _rows(run, table)
    with st.container(horizontal=True, key="export numbers"):
        for name, count in present.figures(found).items():
            st.metric(name, f"{count:,}", border=True)
        st.metric("Stage", {"heads": "2", "joint": "3"}[str(table["stage"].iloc[0])], border=True)
    _preview(found)
    with st.expander("What the columns mean"):
        st.dataframe(present.columns_table(list(table.columns)), hide_index=True, key="columns")
    other_tools.show(run, table)


def _reliable(run: RunFolder, table: pd.DataFrame) -> None:
    """How far the word can be trusted, or what to do where no label deserves it."""
    if not table["reliable"].any():
        st.caption(purity.NONE)
    elif words := purity.of_reliable(run):
        st.caption(f"Of the model's reliable labels, {words}. A seen answer is reliable itself.")
    else:
        st.caption(
            f"How many of the model's reliable labels are right is not measured: {LEAST_ANSWERS} answers in the order "
            "“Random audit” on the Curate page do that."
        )


def _rows(run: RunFolder, table: pd.DataFrame) -> pd.DataFrame:
    """The rows that are asked for, with the button that downloads them."""
    selected = session.selection(run)
    choices: list[Rows] = ["all", "reliable only"]
    if "decision" in table:
        choices.append("decided only")
    if len(selected):
        choices.append("selected images")
    with st.container(horizontal=True, vertical_alignment="bottom", key="export controls"):
        rows: Rows = st.segmented_control(
            "Rows", choices, default="all", required=True, key=f"rows-{len(choices)}", format_func=str.capitalize
        )
        form: Format = st.segmented_control(
            "File", list(present.FORMS), default="csv", required=True, key="form", format_func=present.FORMS.__getitem__
        )
        found, dropped = present.chosen(table, rows, selected)
        st.download_button(
            f"Download {len(found):,} rows as {present.FORMS[form]}",
            lambda: exports.file(found, form),
            file_name=present.file_name(run.name, rows, form),
            mime="text/csv" if form == "csv" else "application/octet-stream",
            type="primary",
            key="download",
            on_click="ignore",
            icon=":material/download:",
        )
    if form == "csv":
        st.caption(present.GUARDED)
    if dropped:
        st.caption(present.dropped_words(dropped))
    return found


def _preview(found: pd.DataFrame) -> None:
    st.markdown(f"**Preview** · the first {PREVIEW:,} rows" if len(found) > PREVIEW else "**Preview**")
    st.dataframe(
        found.head(PREVIEW),
        hide_index=True,
        height=360,
        key="preview",
        column_config={
            "confidence": st.column_config.NumberColumn(format="%.4f"),
            "agreement": st.column_config.NumberColumn(format="%.3f"),
        },
    )
