"""The report on the Export page: one HTML file to send to somebody else, made in the background."""

from __future__ import annotations

import streamlit as st

from engine.errors import RunError, sized
from engine.report.contents import day
from engine.runs.folder import RunFolder
from spice_explorer import session
from spice_explorer.present import export as present
from spice_explorer.queries import reports
from spice_explorer.queries.reports import Report
from spice_explorer.queries.runs import Run
from spice_explorer.sections import background, needs


def show(look: Run) -> None:
    """The button that makes the report, how that is coming along, and its download; or why there is none yet."""
    run = look.folder
    st.subheader("Report")
    st.caption(present.REPORT)
    try:
        reports.check_ready(run)
    except RunError as error:
        st.info(session.sentence(f"{error}."), icon=":material/hourglass_top:")
        needs.wait_for(look, "features")
        return
    if not reports.judged(run):
        st.info(present.UNJUDGED, icon=":material/info:")
    if background.underway(reports.making, run, present.report_progress):
        return
    background.ended(reports.making, run, lambda made: _done(run, made), lambda made: _download(run, made))
    job = reports.making.job(run)
    again = job is not None and job.state == "done"
    if st.button("Make it again" if again else "Make the report", icon=":material/summarize:", key="make report"):
        with session.plain_errors():
            reports.begin(run)
            st.rerun()


def _done(run: RunFolder, made: Report) -> None:
    st.success(f"Made {day(made.made)}, {sized(len(made.content))}.", icon=":material/check:")
    if reports.outdated(run, made):
        st.warning(present.OUTDATED, icon=":material/history:")


def _download(run: RunFolder, made: Report) -> None:
    st.download_button(
        "Download the report",
        made.content,
        file_name=f"{run.name}-report.html",
        mime="text/html",
        key="download report",
        on_click="ignore",
        icon=":material/download:",
    )
