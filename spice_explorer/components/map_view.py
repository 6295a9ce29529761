"""The Map page's parts: what colours mean, the map itself, the gallery of the selection."""

from __future__ import annotations

import html
from typing import Literal

import numpy as np
import streamlit as st

from engine.events import Stage
from spice_explorer import artefacts, routes, services, session
from spice_explorer.components import gallery, scatter
from spice_explorer.components.scatter import Points
from spice_explorer.present import maps
from spice_explorer.present.gallery import Known
from spice_explorer.services import Run

Labels = Literal["features", "heads", "joint"]
STAGES: dict[Labels, str] = {"features": "stage 1", "heads": "stage 2", "joint": "stage 3"}
PAINTS = ("cluster", "reliable or not", "confidence", "agreement", "truth")
POLL_SECONDS = 2.0


def show(run: Run) -> None:
    """Controls, map, legend and the pictures of what is selected."""
    stage, paint = _controls(run)
    known = _known(run.name, stage)
    points, state, message = artefacts.map_points(run.name)
    _caption(state, message)
    if state == "computing":
        st.fragment(_until_ready, run_every=POLL_SECONDS)(run.name)
    painted = _paint(run.name, known, stage, paint)
    drawn = _draw(run, points, known, painted, state)
    _legend(painted)
    if drawn is not None:
        st.caption(
            f"{drawn:,} of {len(points):,} images are drawn: the same share of every cluster, at "
            "random."
        )
    _selected(run.name, known)


def _controls(run: Run) -> tuple[Labels, str]:
    judged = artefacts.judged_stages(run.name)
    stages: list[Labels] = [*judged, "features"]
    paints = [
        one for one in PAINTS
        if (one == "cluster" or judged) and (one != "truth" or run.has_truth)
    ]  # fmt: skip
    if run.has_truth and "truth" not in paints:
        paints.append("truth")
    with st.container(horizontal=True, vertical_alignment="bottom", key="map controls"):
        paint = st.segmented_control(
            "Colour", paints, default="cluster", required=True, key=f"paint-{len(judged)}"
        )
        stage = st.segmented_control(
            "Labels of", stages, default=stages[0], required=True, format_func=STAGES.__getitem__,
            key=f"map stage-{run.name}-{len(judged)}",
            help="Stage 1's labels are a k-means of the features, numbered to fit the newest labels.",
        )  # fmt: skip
    return stage, paint


def _known(name: str, stage: Labels) -> Known:
    """What is known with the labels of `stage`; stage 1 has labels only."""
    if stage != "features":
        return artefacts.known(name, stage)
    bare = artefacts.known(name, None)
    return Known(bare.pixels, bare.names, artefacts.stage_one_labels(name), truth=bare.truth)


def _caption(state: str, message: str) -> None:
    if state == "computing":
        st.caption(
            ":material/hourglass_top: Principal components; UMAP is being computed and takes their "
            "place when it is ready (the first one takes half a minute)."
        )
    elif state == "failed":
        st.warning(
            f"Principal components: UMAP failed ({session.sentence(message)}). Restart the server "
            "to try again.",
            icon=":material/warning:",
        )
    else:
        st.caption("UMAP of stage 1's features. Wheel zooms, Shift adds to the selection.")


def _until_ready(name: str) -> None:
    with session.plain_errors():
        if artefacts.map_points(name)[1] != "computing":
            st.rerun()


def _paint(name: str, known: Known, stage: Labels, paint: str) -> maps.Paint:
    labels = known.labels
    assert labels is not None
    if paint == "truth":
        return _truth_paint(name, labels)
    if paint == "cluster":
        clusters = services.look(name).card.config.clusters
        return maps.by_number(labels, [str(one) for one in range(clusters)])
    judged: Stage = artefacts.judged_stages(name)[0] if stage == "features" else stage
    verdict = artefacts.reliable(name, judged)
    if paint == "confidence":
        return maps.by_confidence(verdict.confidence)
    if paint == "agreement":
        return maps.by_share(verdict.agreement)
    return maps.by_verdict(verdict.verdicts)


def _truth_paint(name: str, labels: np.ndarray) -> maps.Paint:
    """True classes in the colours of the clusters that fit them best."""
    found, matched = artefacts.truth(name), artefacts.matched_truth(name, labels)
    assert found is not None
    assert matched is not None
    names = [""] * (int(matched.max()) + 1)
    for number, index in zip(matched.tolist(), found.labels.tolist(), strict=True):
        names[number] = found.class_names[index]
    return maps.by_number(matched, names)


def _draw(run: Run, points: np.ndarray, known: Known, paint: maps.Paint, state: str) -> int | None:
    """Draws the map; returns how many points are drawn where that is a sample."""
    assert known.labels is not None
    ids = maps.sample(known.labels)
    shown = _points(run.name, points, known, paint, state, ids)
    chosen, drawn = session.selection(run.name), len(shown.place)
    among = chosen if ids is None else np.flatnonzero(np.isin(ids, chosen))
    key = f"map-{run.name}"

    def selected() -> None:
        places = scatter.picked(key, drawn)
        session.select(run.name, places if ids is None else ids[places])

    data = scatter.payload(
        shown, routes.address(run.name), gallery.sharp(known), among, session.selection_version()
    )
    scatter.scatter(data, key=key, on_selection=selected)
    return None if ids is None else drawn


def _points(
    name: str,
    points: np.ndarray,
    known: Known,
    paint: maps.Paint,
    state: str,
    ids: np.ndarray | None,
) -> Points:
    """The images `ids` (all for None) as points with their colours and hover texts."""
    assert known.labels is not None
    every = slice(None) if ids is None else ids
    place, labels = maps.squared(points)[every], known.labels[every]
    found, nothing = artefacts.truth(name), np.zeros(0)
    return Points(
        key=f"{name}-{state}-{services.made(services.folder_of(name))}-{len(place)}",
        place=place,
        paint=maps.Paint(paint.values[every], paint.palette),
        ids=ids,
        labels=labels,
        confidence=nothing if known.confidence is None else known.confidence[every],
        agreement=nothing if known.agreement is None else known.agreement[every],
        truth=None if found is None else found.labels[every],
        classes=() if found is None else found.class_names,
        marks=maps.marks(place, labels),
    )


def _legend(paint: maps.Paint) -> None:
    if paint.scale is not None:
        stops = ", ".join(paint.palette)
        st.html(
            f"<div class='spice-legend'><span>{paint.scale[0]}<i class='spice-ramp' "
            f"style='background:linear-gradient(90deg,{stops})'></i>{paint.scale[1]}</span></div>"
        )
        return
    entries = "".join(
        f"<span><i style='background:{entry.colour}'></i>{html.escape(entry.label)} "
        f"<em>{entry.images:,}</em></span>"
        for entry in paint.legend
    )
    st.html(f"<div class='spice-legend'>{entries}</div>")


def _selected(name: str, known: Known) -> None:
    chosen = session.selection(name)
    if not len(chosen):
        st.caption("Select points with the lasso, a box or a click to see their images here.")
        return
    noun = "image" if len(chosen) == 1 else "images"
    st.subheader(f"{len(chosen):,} {noun} selected")
    st.caption("Under each: cluster · confidence · agreement")
    gallery.gallery(known, chosen, key="selected")
