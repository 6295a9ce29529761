"""The Reliability page's parts: thresholds, and everything that follows from them at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from engine.config import ReliableSettings
from engine.events import Stage
from spice_explorer import artefacts, charts, session
from spice_explorer.components import gallery, scores
from spice_explorer.present import reliability as present
from spice_explorer.services import Run

if TYPE_CHECKING:
    from engine.stages.reliable import ReliableSet

STAGES: dict[Stage, str] = {
    "joint": "stage 3 · the final labels",
    "heads": "stage 2 · what joint training learned from",
}


@st.fragment
def show(run: Run) -> None:
    """Reruns alone when a threshold moves."""
    with session.plain_errors():
        judged = artefacts.judged_stages(run.name)
        stage: Stage = st.segmented_control(
            "Labels of", judged, default=judged[0], required=True, format_func=STAGES.__getitem__,
            key=f"reliability stage-{run.name}-{len(judged)}",
        )  # fmt: skip
        settings = run.card.config.reliable
        agreement, confidence, floor = _thresholds(run.name, settings)
        asked = replace(settings, agreement=agreement, confidence=confidence, floor=floor)
        verdict = artefacts.judge(run.name, stage, asked)
        _numbers(run, stage, verdict)
        _pictures_of_it(verdict, agreement, confidence)
        _galleries(run, stage, verdict)


def _thresholds(name: str, settings: ReliableSettings) -> tuple[float, float, float]:
    keys = [f"{what}-{name}" for what in ("agreement", "confidence", "relax")]
    own = (settings.agreement, settings.confidence, settings.floor > 0)
    for key, value in zip(keys, own, strict=True):
        st.session_state.setdefault(key, value)

    def reset() -> None:
        st.session_state.update(zip(keys, own, strict=True))

    left, middle, right = st.columns([2, 2, 1.5], vertical_alignment="bottom", gap="large")
    agreement = left.slider(
        "Agreement: share of the neighbours with the same label", 0.0, 1.0, step=0.005,
        format="%.3f", key=keys[0],
    )  # fmt: skip
    confidence = middle.slider(
        "Confidence: lowest probability of the label", 0.0, 1.0, step=0.005, format="%.3f",
        key=keys[1],
    )  # fmt: skip
    with right:
        relax = bool(settings.floor) and st.toggle(
            f"Every cluster keeps {settings.floor:.0%}", key=keys[2],
            help="As the run did: a cluster that would keep less has its agreement lowered until "
            "it does. Off: the plain split by the two thresholds.",
        )  # fmt: skip
        now = (agreement, confidence, bool(relax))
        st.button(
            "Reset to the run's thresholds", on_click=reset, key="reset thresholds",
            disabled=now == own, width="stretch",
        )  # fmt: skip
    return agreement, confidence, settings.floor if relax else 0.0


def _numbers(run: Run, stage: Stage, verdict: ReliableSet) -> None:
    truth = artefacts.truth(run.name)
    found = present.split(verdict.labels, verdict.verdicts, None if truth is None else truth.labels)
    own = present.split(verdict.labels, artefacts.reliable(run.name, stage).verdicts)
    left, right = st.columns([2.4, 1.6] if truth is not None else [1, 0.01])
    with left, st.container(horizontal=True, key="split numbers"):
        moved = found.reliable - own.reliable
        st.metric(
            "Reliable", f"{found.reliable:,} ({found.share:.0%})", border=True,
            delta=f"{moved:+,} against the run" if moved else None, delta_color="off",
        )  # fmt: skip
        for reason in (1, 2, 3):
            name, count = present.REASONS[reason], found.by_reason[reason]
            st.metric(name.capitalize(), f"{count:,}", border=True)
    if truth is not None:
        with right, scores.truth_box("split"):
            purity = "–" if found.purity is None else f"{found.purity:.1%}"
            coverage = "–" if found.coverage is None else f"{found.coverage:.1%}"
            st.markdown(
                f"Purity of the reliable **{purity}** (of all {found.purity_of_all:.1%}) · "
                f"right labels that are reliable **{coverage}**"
            )


def _pictures_of_it(verdict: ReliableSet, agreement: float, confidence: float) -> None:
    left, right = st.columns(2)
    with left:
        st.markdown("**Images by confidence and agreement** · beyond both lines is reliable")
        found = present.histogram(verdict.agreement, verdict.confidence)
        charts.draw(
            charts.plane(found, agreement, confidence),
            "plane",
            "Images by confidence and agreement",
        )
    with right:
        st.markdown("**Clusters**")
        table = present.per_cluster(verdict.labels, verdict.verdicts, len(verdict.thresholds))
        charts.draw(
            charts.reasons(table), "reasons", "Reliable and rejected images of each cluster"
        )
        relaxed = np.flatnonzero(verdict.thresholds < agreement - 1e-6)
        if len(relaxed):
            listed = ", ".join(f"{k} ({verdict.thresholds[k]:.2f})" for k in relaxed.tolist())
            st.caption(f"Agreement lowered so that a share is kept: cluster {listed}")


def _galleries(run: Run, stage: Stage, verdict: ReliableSet) -> None:
    counts = np.bincount(verdict.verdicts, minlength=len(present.REASONS))
    with st.container(horizontal=True, vertical_alignment="bottom", key="gallery controls"):
        reason = st.segmented_control(
            "Images", range(len(present.REASONS)), default=1, required=True, key="reason",
            format_func=lambda one: f"{present.REASONS[one].capitalize()} ({counts[one]:,})",
        )  # fmt: skip
        cluster = st.selectbox(
            "Cluster", [None, *range(len(verdict.thresholds))], key=f"cluster-{run.name}", width=130,
            format_func=lambda one: "all" if one is None else str(one),
        )  # fmt: skip
        selected = session.selection(run.name)
        only = bool(len(selected)) and st.checkbox(
            f"Only the {len(selected):,} selected", key="only selected"
        )
    chosen = verdict.verdicts == reason
    if cluster is not None:
        chosen = chosen & (verdict.labels == cluster)
    if only:
        chosen = chosen & np.isin(np.arange(len(chosen)), selected)
    ids = present.order(
        np.flatnonzero(chosen), verdict.agreement, verdict.confidence, doubtful_first=reason != 0
    )
    st.caption(
        f"{present.EXPLANATIONS[reason]} {'Surest' if reason == 0 else 'Most doubtful'} first; under "
        "each: cluster · confidence · agreement."
    )
    gallery.gallery(
        artefacts.known(run.name, stage), ids, key=f"reason-{reason}",
        nothing="No image has this verdict here.",
    )  # fmt: skip
