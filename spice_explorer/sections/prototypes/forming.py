"""The history of the prototypes over the rounds of stage 2, live during training."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import streamlit as st

from spice_explorer import charts, session
from spice_explorer.components import gallery
from spice_explorer.palette import cluster_colour
from spice_explorer.present import prototypes as present
from spice_explorer.present.gallery import Known, described, page_slice, pages
from spice_explorer.queries import artefacts, decisions, runs
from spice_explorer.queries.runs import Run
from spice_explorer.web import originals

if TYPE_CHECKING:
    from engine.runs.folder import RunFolder
    from engine.runs.history import PrototypeHistory
    from spice_explorer.web.originals import Pictures

POLL_SECONDS = 2.0
ROWS = 10
SHOWN, COLUMNS = 12, 6


def history_of(run: RunFolder, known: Known, cluster: int) -> None:
    """Images that formed one prototype at the first, a middle and the last round; its path."""
    history = artefacts.prototype_history(run)
    if history is None:
        st.caption("This run saved no frames of stage 2.")
        return
    _moments(originals.pictures(run), history, known, cluster)
    cosines, sizes = present.path(history, cluster)
    left, right = st.columns(2)
    with left:
        figure = charts.over_rounds(history.rounds, cosines, "cosine to the last", cluster, decimals=3)
        charts.draw(figure, f"cosines-{cluster}", "Cosine of the prototype to the last one")
    with right:
        figure = charts.over_rounds(history.rounds, sizes, "images", cluster)
        charts.draw(figure, f"sizes-{cluster}", "Images of the cluster over the rounds")


def _moments(found: Pictures, history: PrototypeHistory, known: Known, cluster: int) -> None:
    cosines, sizes = present.path(history, cluster)
    chosen = present.moments(history.rounds)
    for column, place in zip(st.columns(3), chosen, strict=False):
        title = f"Round {history.rounds[place]}: {_having_it(int(sizes[place]))}"
        if place < len(history.rounds) - 1:
            title += f", cosine {cosines[place]:.3f} to the last"
        with column:
            st.html(f"<div class='spice-label'>{html.escape(title)}</div>")
            ids = history.confident[place, cluster, :SHOWN].tolist()
            gallery.strip(found, described(known, ids, captions=False), ids, columns=COLUMNS)


def _having_it(size: int) -> str:
    """The sentence about the size of a cluster. Its prototype may exist even if no image is assigned to it."""
    return "top cluster for 1 image" if size == 1 else f"top cluster for {size:,} images"


# -- while stage 2 trains ------------------------------------------------------------------------


def live(look: Run) -> None:
    """The prototypes so far, once stage 2 has started; redrawn during training."""
    if artefacts.prototype_history(look.folder) is None:
        return
    st.fragment(_so_far, run_every=POLL_SECONDS if look.live else None)(look.folder)


def _so_far(run: RunFolder) -> None:
    with session.plain_errors():
        history = artefacts.prototype_history(run)
        if history is None:
            return
        look = runs.look(run)
        view = look.snapshot.stages["heads"]
        now = "is forming prototypes" if look.live else "was interrupted while forming prototypes"
        st.markdown(
            f"**Stage 2 {now}: round {view.step:,} of {view.steps:,}.** Below are those of the first "
            f"of its heads, the last as they were after round {history.rounds[-1]}."
        )
        clusters = history.sizes.shape[1]
        last = pages(clusters, ROWS)
        page = st.pagination(last, key=f"page-forming-{last}") if last > 1 else 1
        found, known = originals.pictures(run), decisions.known(run, None)
        for cluster in range(clusters)[page_slice(page, ROWS)]:
            with st.container(border=True, key=f"forming-{cluster}"):
                st.html(
                    "<div class='spice-cluster'><div class='name'><i style='background:"
                    f"{cluster_colour(cluster)}'></i>{html.escape(known.called.title(cluster))}</div></div>"
                )
                _moments(found, history, known, cluster)
