"""The Prototypes page's parts: one row per cluster, and the similarity of prototypes."""

from __future__ import annotations

import html

import numpy as np
import streamlit as st

from engine.runs.folder import RunFolder
from engine.shares import percent
from spice_explorer import charts, session
from spice_explorer.components import gallery
from spice_explorer.palette import cluster_colour
from spice_explorer.present import prototypes as present
from spice_explorer.present.gallery import Known, page_slice, pages
from spice_explorer.present.names import Names
from spice_explorer.present.prototypes import Flag, Hint, Overview
from spice_explorer.queries import artefacts, decisions, prototypes
from spice_explorer.sections import panel
from spice_explorer.sections.prototypes import forming, veto
from spice_explorer.sections.prototypes.veto import Preview

ROWS = 10
# Pictures of a strip, and the least width of one in pixels.
STRIP, SIDE = 12, 32
# Borderline images that the sentence about the clusters behind the border counts.
BORDER = 50
VIEWS = ("form the prototype", "got its label", "borderline", "flags", "history")


def show(run: RunFolder) -> None:
    """Vetoes, merge hints and rows of stage 2's clusters, sorted as asked."""
    found, known = prototypes.overview(run), decisions.known(run, "heads")
    only = f"only clusters-{run.name}"
    preview = veto.summary(run, only)
    clusters = _controls(found, only, known.called)
    st.caption(
        "Stage 2's labels and prototypes. A borderline image has the cluster's label but is nearly "
        "as near to another prototype. Click a picture for its details."
    )
    _similarity(run, only, known.called)
    for cluster in clusters:
        _row(run, found, known, cluster, preview)
    panel.show(run, stage="heads")


def _controls(found: Overview, only: str, called: Names) -> list[int]:
    """The clusters of the page that was chosen."""
    count = len(found.sizes)
    with st.container(horizontal=True, vertical_alignment="bottom", key="prototype controls"):
        how = st.segmented_control(
            "Order", present.SORTS, default=present.SORTS[0], required=True, key="order", bind="query-params"
        )
        chosen = st.multiselect(
            "Only clusters", range(count), key=only, placeholder="all", width=220, format_func=called.short
        )
        rows = [k for k in present.order(found, how).tolist() if not chosen or k in chosen]
        last = pages(len(rows), ROWS)
        page = st.pagination(last, key=f"page-prototypes-{last}") if last > 1 else 1
    return rows[page_slice(page, ROWS)]


# -- one cluster ---------------------------------------------------------------------------------


def _row(run: RunFolder, found: Overview, known: Known, cluster: int, preview: Preview | None) -> None:
    odd = present.flags(found, cluster)
    with st.container(border=True, key=f"cluster-{cluster}"):
        about, *strips = st.columns([1.25, 2, 2, 2])
        with about:
            st.html(_about(run, found, cluster, odd, known.called))
            _select(run, known, int(found.sizes[cluster]), cluster)
        _strips(run, known, cluster, strips)
        if not found.sizes[cluster]:
            st.caption(
                "No image is assigned to this cluster; the images above score highest. "
                "To avoid an empty cluster, train with fewer clusters or another seed."
            )
        label = f"Open {session.plain(known.called.inline(cluster))}: all its images, vetoes, history"
        with st.expander(label, key=f"open-{run.name}-{cluster}", on_change="rerun") as opened:
            if opened.open:
                _opened(run, known, cluster, odd, preview)


def _about(run: RunFolder, found: Overview, cluster: int, odd: list[Flag], called: Names) -> str:
    size, reliable = int(found.sizes[cluster]), int(found.reliable[cluster])
    facts = [("images", f"{size:,}"), ("reliable", f"{reliable:,} ({percent(found.share(cluster), 0)})")]
    listed = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts)
    marks = "".join(f"<span title='{html.escape(flag.sentence, quote=True)}'>{_mark(flag)}</span>" for flag in odd)
    return (
        f"<div class='spice-cluster'><div class='name'><i style='background:"
        f"{cluster_colour(cluster)}'></i>{html.escape(called.title(cluster))}</div><dl>{listed}</dl>"
        f"{_truth(run, found, cluster)}<div class='spice-flags'>{marks}</div></div>"
    )


def _mark(flag: Flag) -> str:
    if not len(flag.ids):
        return flag.name
    return "1 " + flag.name.removesuffix("s") if len(flag.ids) == 1 else f"{len(flag.ids):,} {flag.name}"


def _truth(run: RunFolder, found: Overview, cluster: int) -> str:
    truth = artefacts.truth(run)
    if truth is None or found.purity is None or found.majority is None or not found.sizes[cluster]:
        return ""
    name = html.escape(truth.class_names[int(found.majority[cluster])])
    return f"<div class='spice-truth-line'>truth: {percent(float(found.purity[cluster]), 0)} are “{name}”</div>"


def _select(run: RunFolder, known: Known, size: int, cluster: int) -> None:
    labels = known.labels
    assert labels is not None
    if size:
        st.button(
            f"Select all {size:,}",
            key=f"select-{cluster}",
            on_click=lambda: session.select_anew(run, np.flatnonzero(labels == cluster)),
            help="The selection is kept on other pages: see these images on the Map, or export them.",
            wrap=True,
        )


def _strips(run: RunFolder, known: Known, cluster: int, places: list[st.delta_generator.DeltaGenerator]) -> None:
    claims, borderline = prototypes.claims(run), prototypes.borderline(run, cluster)[0]
    formed, got = claims.confident[cluster], claims.members(cluster)
    for place, title, ids in zip(
        places,
        (
            f"Form the prototype ({len(formed):,}, surest first)",
            f"Got its label ({len(got):,}, nearest first)",
            "Borderline (nearest to another first)",
        ),
        (formed, got, borderline),
        strict=True,
    ):
        with place.container(gap="xxsmall"):
            st.html(f"<div class='spice-label'>{html.escape(title)}</div>")
            gallery.gallery(
                run,
                known,
                ids[:STRIP],
                key=f"strip-{title[:4]}-{cluster}",
                captions=False,
                side=SIDE,
                fixed=True,
                per_page=STRIP,
                nothing="Every image it claims is nearer to another prototype.",
            )


def _opened(run: RunFolder, known: Known, cluster: int, odd: list[Flag], preview: Preview | None) -> None:
    view = st.segmented_control(
        "Images that",
        VIEWS,
        default=VIEWS[0],
        required=True,
        key=f"view-{cluster}",
        label_visibility="collapsed",
        format_func=lambda one: one.capitalize(),
    )
    if view == "form the prototype":
        veto.forming(run, known, cluster, preview)
    elif view == "got its label":
        got = prototypes.claims(run).members(cluster)
        st.caption(f"The prototype claims these {len(got):,} images, nearest first.")
        gallery.gallery(run, known, got, key=f"got-{cluster}")
    elif view == "borderline":
        _border(run, known, cluster)
    elif view == "flags":
        _flags(run, known, cluster, odd)
    else:
        forming.history_of(run, known, cluster)


def _border(run: RunFolder, known: Known, cluster: int) -> None:
    ids, margin, other = prototypes.borderline(run, cluster)
    beyond = int((margin < 0).sum())
    nearer = f" {beyond:,} are already nearer to another prototype." if beyond else ""
    st.caption(
        "Images with its label, least clear first. The number says how much nearer (as a cosine) they are to "
        f"this prototype than to the next. Of the first {min(BORDER, len(ids)):,}, "
        f"{session.plain(present.tally(other[:BORDER], 'border on', known.called))}.{nearer}"
    )
    notes = [
        f"{one:+.3f} to {known.called.inline(next_one)}"
        for one, next_one in zip(margin.tolist(), other.tolist(), strict=True)
    ]
    gallery.gallery(run, known, ids, key=f"border-{cluster}", notes=notes)


def _flags(run: RunFolder, known: Known, cluster: int, odd: list[Flag]) -> None:
    if not odd:
        st.caption(
            "Nothing unusual was found: no image that forms the prototype is far from it, and "
            "near-duplicates do not dominate it."
        )
    for flag in odd:
        st.markdown(f"**{flag.name.capitalize()}** · {flag.sentence}")
        if len(flag.ids):
            gallery.gallery(run, known, flag.ids, key=f"flag-{flag.name}-{cluster}")


# -- how alike prototypes are --------------------------------------------------------------------


def _similarity(run: RunFolder, only: str, called: Names) -> None:
    cosines, hints = prototypes.alike(run)
    count = f"{len(hints):,} {'pair' if len(hints) == 1 else 'pairs'} may be the same class"
    label = f"How similar are the prototypes? {count if hints else 'No two seem to be the same class'}."
    with st.expander(label, key="alike", on_change="rerun") as opened:
        if opened.open:
            left, right = st.columns([1.1, 1])
            with left:
                _heat_map(cosines, called)
            with right:
                _hints(hints, only, called)


def _hints(hints: list[Hint], only: str, called: Names) -> None:
    def both(hint: Hint) -> None:
        st.session_state[only] = [hint.first, hint.second]

    safe = Names({number: session.plain(name) for number, name in called.given.items()}, called.merged)
    if not hints:
        st.caption(
            f"No two prototypes have a cosine above {present.ALIKE}, and no two clusters share "
            f"{percent(present.SHARED, 0)} of their images' neighbours."
        )
    for hint in hints[: present.MOST_HINTS]:
        act, words = st.columns([1, 3], vertical_alignment="center")
        act.button("Show both", key=f"both-{hint[:2]}", on_click=both, args=(hint,))
        words.markdown(hint.sentence(safe))
    if len(hints) > present.MOST_HINTS:
        st.caption(f"And {len(hints) - present.MOST_HINTS:,} more pairs.")


def _heat_map(cosines: np.ndarray, called: Names) -> None:
    clusters = np.arange(len(cosines))
    if len(cosines) > present.WHOLE_HEAT_MAP:
        clusters = present.most_alike(cosines, present.HEAT_MAP)
        st.caption(f"The {len(clusters)} of {len(cosines):,} clusters with the most similar prototypes.")
    charts.draw(
        charts.similarities(cosines[np.ix_(clusters, clusters)], [called.short(one) for one in clusters.tolist()]),
        "similarity",
        "Cosines between prototypes",
    )
