"""How good the reliable set is: measured with answers, or else estimated; and compared with truth, if there is any."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from engine.curate.audit import LEAST_ANSWERS
from engine.errors import DecisionError
from engine.events import Stage
from engine.shares import percent
from spice_explorer import charts
from spice_explorer.present import curation as answers
from spice_explorer.present import reliability as present
from spice_explorer.queries import artefacts, decisions
from spice_explorer.sections import scores

if TYPE_CHECKING:
    from engine.config import ReliableSettings
    from engine.runs.folder import RunFolder
    from engine.stages.reliable import ReliableSet
    from spice_explorer.present.reliability import Split

ESTIMATE = (
    "Estimated from the agreement of heads and neighbours, without ground truth. It "
    "assumes that clusters stand for classes, and cannot see errors that all of them share: it may be far too high. "
    f"{LEAST_ANSWERS} answers in the order “Random audit” on the Curate page measure it."
)
NONE = (
    "None of these labels is reliable. Lower thresholds would take more labels, not better ones: look at images "
    "yourself on the Curate page and train with your decisions, or train stages 1 and 2 for longer."
)


def show(run: RunFolder, stage: Stage, verdict: ReliableSet) -> float | None:
    """What is known of the reliable labels without truth; returns the estimate, None where an answer takes its
    place or nothing can be said."""
    if not verdict.mask.any():
        st.warning(NONE, icon=":material/block:")
        return None
    words = measured(run, np.asarray(verdict.labels), verdict.mask)
    if words:
        st.markdown(f"Of the reliable labels, **{words}**.", width="stretch")
        return None
    estimate = artefacts.estimated_purity(run, stage, verdict.mask)
    if estimate is not None:
        st.markdown(f"Estimated purity of the reliable set: **{percent(estimate)}**", width="stretch", help=ESTIMATE)
    return estimate


def measured(run: RunFolder, labels: np.ndarray, chosen: np.ndarray) -> str:
    """What answers say about the labels `chosen` (N,) bool of this run's model; "" while they are too few."""
    try:
        return answers.measured(decisions.measured(run, labels, chosen))
    except DecisionError:  # said on the Curate page
        return ""


def of_reliable(run: RunFolder) -> str:
    """What answers say about the newest labels that are reliable; "" while they are too few."""
    try:
        return answers.measured(decisions.measured_reliable(run))
    except DecisionError:  # said on the Curate page
        return ""


def short(run: RunFolder) -> str:
    """The same in few words, for a button."""
    return answers.measured_shortly(decisions.measured_reliable(run))


def against_truth(
    run: RunFolder, stage: Stage, settings: ReliableSettings, verdict: ReliableSet, found: Split, estimate: float | None
) -> None:
    """The box that shows the reliable set next to the truth, where there is any."""
    if artefacts.truth(run) is None:
        return
    with scores.truth_box("reliability"):
        _compared(run, stage, settings, verdict, found, estimate)


def _compared(
    run: RunFolder, stage: Stage, settings: ReliableSettings, verdict: ReliableSet, found: Split, estimate: float | None
) -> None:
    words = (
        f"Purity of the reliable set **{percent(found.purity)}** (of all labels "
        f"{percent(found.purity_of_all)}) · right labels that are reliable "
        f"**{percent(found.coverage)}**"
    )
    if estimate is not None and found.purity is not None:
        off = f"{100 * (estimate - found.purity):+.1f}".replace("-", "−")
        words += f" · estimate {percent(estimate)}, truth {percent(found.purity)}: off by {off} points"
    st.markdown(words)
    left, right = st.columns(2, gap="medium")
    with left:
        _curve(run, stage, settings, verdict, found)
    with right:
        _confusion(run, verdict)


def _curve(run: RunFolder, stage: Stage, settings: ReliableSettings, verdict: ReliableSet, found: Split) -> None:
    truth = artefacts.truth(run)
    assert truth is not None
    st.markdown("**Purity and coverage** · for each agreement threshold")
    # A person's label is reliable at any agreement threshold: it joins the curve first.
    always = artefacts.seen(run)
    curve = present.purity_coverage(
        verdict.labels,
        truth.labels,
        np.where(always, np.float32(1), verdict.agreement),
        (verdict.confidence >= np.float32(settings.confidence)) | always,
    )
    if not len(curve.agreement):
        st.caption("No image is confident enough: lower the confidence threshold.")
        return
    kept = artefacts.reliable(run, stage)
    own = present.split(kept.labels, kept.verdicts, truth.labels)
    charts.draw(
        charts.purity_coverage(curve, (found.coverage, found.purity), (own.coverage, own.purity)),
        "purity and coverage",
        "Purity of the reliable set over its coverage",
    )


def _confusion(run: RunFolder, verdict: ReliableSet) -> None:
    truth = artefacts.truth(run)
    assert truth is not None
    st.markdown("**Reliable images** · clusters and their true classes")
    table = present.confusion(verdict.labels, truth.labels, truth.class_names, verdict.mask)
    if not len(table.clusters):
        st.caption("No image is reliable.")
        return
    charts.draw(charts.confusion(table), "confusion", "Reliable images of each cluster and class")
    if table.hidden:
        st.caption(
            f"The {len(table.clusters)} clusters with the most images of other classes; "
            f"{table.hidden:,} more are not shown."
        )
