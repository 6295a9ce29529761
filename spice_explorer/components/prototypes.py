"""The Prototypes page's parts: a row a cluster, and how alike the prototypes are."""

from __future__ import annotations

import html

import numpy as np
import streamlit as st

from spice_explorer import artefacts, charts
from spice_explorer.components import gallery
from spice_explorer.palette import cluster_colour
from spice_explorer.present import prototypes as present
from spice_explorer.present.gallery import Known, page_slice, pages, tiles
from spice_explorer.present.prototypes import Row
from spice_explorer.services import Run

ROWS = 10
COLUMNS = 8
SHOWN = 2 * COLUMNS


def show(run: Run) -> None:
    """Rows of stage 2's clusters, sorted as asked, then the heat map."""
    heads = artefacts.arrays(run.name, "heads")
    verdict, truth = artefacts.reliable(run.name, "heads"), artefacts.truth(run.name)
    rows = present.rows(
        np.asarray(verdict.labels), verdict.mask, heads["confident"], heads["nearest"],
        None if truth is None else truth.labels, () if truth is None else truth.class_names,
    )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="bottom", key="prototype controls"):
        how = st.segmented_control(
            "Order", present.SORTS, default=present.SORTS[0], required=True, key="prototype order"
        )
        last = pages(len(rows), ROWS)
        page = st.pagination(last, key=f"page-prototypes-{last}") if last > 1 else 1
    st.caption("Stage 2's labels and prototypes. Hover over an image for its name and numbers.")
    known = artefacts.known(run.name, "heads")
    for row in present.sort(rows, how)[page_slice(page, ROWS)]:
        _row(row, known)
    _similarity(heads["prototypes"])


def _row(row: Row, known: Known) -> None:
    with st.container(border=True, key=f"cluster-{row.cluster}"):
        about, formed, got = st.columns([1.15, 2.4, 2.4])
        about.html(_about(row))
        with formed:
            _strip(
                f"Form the prototype ({len(row.confident):,}, surest first)", known, row.confident
            )
        with got:
            _strip(f"Nearest to it ({len(row.nearest):,}, nearest first)", known, row.nearest)


def _strip(title: str, known: Known, ids: np.ndarray) -> None:
    st.html(f"<div class='spice-label'>{html.escape(title)}</div>")
    shown = tiles(known, ids[:SHOWN], captions=False)
    gallery.strip(shown, columns=COLUMNS, sharp=gallery.sharp(known))


def _about(row: Row) -> str:
    facts = [("images", f"{row.size:,}"), ("reliable", f"{row.reliable:,} ({row.share:.0%})")]
    truth = ""
    if row.purity is not None and row.majority is not None:
        truth = (
            "<div class='spice-truth-line'>truth: "
            f"{row.purity:.0%} are “{html.escape(row.majority)}”</div>"
        )
    listed = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts)
    return (
        f"<div class='spice-cluster'><div class='name'><i style='background:"
        f"{cluster_colour(row.cluster)}'></i>Cluster {row.cluster}</div><dl>{listed}</dl>{truth}</div>"
    )


def _similarity(prototypes: np.ndarray) -> None:
    with st.expander("How alike are the prototypes?", key="alike"):
        cosines = present.similarity(prototypes)
        hints = present.merge_hints(cosines)
        if hints:
            listed = ", ".join(f"{a} and {b} ({cosine:.2f})" for a, b, cosine in hints[:10])
            st.markdown(f"Clusters that may belong together: {listed}.")
        else:
            st.markdown(f"No two prototypes have a cosine above {present.MERGE_HINT}.")
        charts.draw(charts.similarities(cosines), "similarity", "Cosines between prototypes")
