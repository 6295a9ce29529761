"""Vetoes of one visitor: images excluded from forming a prototype, and the effect on the labels.

Vetoes are kept in the session, and nothing is trained with them: the page shows the result of equations
2–4 of the paper on stage 2's last probabilities.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from engine.errors import RunError
from spice_explorer import session
from spice_explorer.components import gallery
from spice_explorer.palette import cluster_colour
from spice_explorer.present import prototypes as present
from spice_explorer.present.gallery import Known
from spice_explorer.present.prototypes import Change, Veto
from spice_explorer.queries import prototypes
from spice_explorer.queries.decisions import names

if TYPE_CHECKING:
    from engine.runs.folder import RunFolder
    from engine.stages.prototypes import Claims
    from spice_explorer.present.names import Names

MOST_LINES = 8
# Images on a page of the galleries that show a change.
FEW = 24


@dataclass(frozen=True, eq=False)
class Preview:
    """The effect of the vetoes: the claims after them, and the change in each affected cluster."""

    vetoed: dict[int, tuple[int, ...]]
    after: Claims
    changes: dict[int, Change]


# -- the decisions -----------------------------------------------------------------------------


def decisions(run: RunFolder) -> list[Veto]:
    """The vetoes on the run's current stage 2: a recreated run starts without any."""
    kept = st.session_state.setdefault("vetoes", {})
    return kept.setdefault((run.name, run.modified("heads")), [])


def add(run: RunFolder, cluster: int, ids: np.ndarray, *, taken_back: bool = False) -> None:
    decisions(run).append(Veto(cluster, tuple(ids.tolist()), taken_back))


def _undo(run: RunFolder) -> None:
    decisions(run).pop()


def _clear(run: RunFolder) -> None:
    decisions(run).clear()


# -- the effect of the vetoes --------------------------------------------------------------------


def summary(run: RunFolder, only: str) -> Preview | None:
    """A box with the combined effect of all vetoes; nothing if there are none.

    Args:
        only: the session key under which the page keeps the clusters that it shows.
    """
    made = decisions(run)
    if not made:
        return None
    vetoed, preview = present.vetoed(made), None
    with st.container(border=True, key="veto-summary"):
        count = sum(len(ids) for ids in vetoed.values())
        st.markdown(
            f"**{count:,} {'veto' if count == 1 else 'vetoes'}** · Preview only: nothing is retrained, "
            "and the run is not modified."
        )
        try:
            preview = _preview(run, vetoed)
        except RunError as error:
            st.error(session.sentence(str(error)), icon=":material/error:")
        if preview is not None:
            _lines(preview, names(run))
        _buttons(run, list(vetoed), only)
    return preview


def _preview(run: RunFolder, vetoed: dict[int, tuple[int, ...]]) -> Preview:
    after, changes = prototypes.without(run, vetoed)
    return Preview(vetoed, after, {change.cluster: change for change in changes})


def _lines(preview: Preview, called: Names) -> None:
    changes = list(preview.changes.values())
    rows = "".join(_line(change, preview, called) for change in changes[:MOST_LINES])
    more = len(changes) - MOST_LINES
    rest = f"<tr><td colspan=5>and {more:,} more clusters</td></tr>" if more > 0 else ""
    st.html(
        "<table class='spice-vetoes'><tr><th></th><th>vetoed</th>"
        "<th title='Cosine of the prototype as it is and as it would be'>prototype, old · new</th>"
        f"<th>lose its label</th><th>gain its label</th></tr>{rows}{rest}</table>"
    )


def _line(change: Change, preview: Preview, called: Names) -> str:
    numbers = (
        f"{len(preview.vetoed[change.cluster]):,}",
        f"{change.cosine:.4f}",
        _count(change.lost, change.lost_to, "to", called),
        _count(change.gained, change.gained_from, "from", called),
    )
    cells = "".join(f"<td>{html.escape(one)}</td>" for one in numbers)
    swatch, name = f"<i style='background:{cluster_colour(change.cluster)}'></i>", called.title(change.cluster)
    return f"<tr><td>{swatch}{html.escape(name)}</td>{cells}</tr>"


def _count(ids: np.ndarray, labels: np.ndarray, way: str, called: Names) -> str:
    return f"{len(ids):,}: {present.tally(labels, way, called)}" if len(ids) else "0"


def _buttons(run: RunFolder, clusters: list[int], only: str) -> None:
    def show() -> None:
        st.session_state[only] = clusters

    with st.container(horizontal=True, key="veto-buttons"):
        st.button("Undo last", on_click=_undo, args=(run,), key="undo veto")
        st.button("Clear all", on_click=_clear, args=(run,), key="clear vetoes")
        if clusters:
            st.button("Show these clusters only", on_click=show, key="show vetoed")


# -- one cluster ---------------------------------------------------------------------------------


def forming(run: RunFolder, known: Known, cluster: int, preview: Preview | None) -> None:
    """What the vetoes in a cluster change, and all images that form its prototype, to be vetoed."""
    if preview is not None and cluster in preview.vetoed:
        _changed(run, known, preview.changes[cluster], preview.vetoed[cluster])
    found = prototypes.claims(run) if preview is None else preview.after
    ids = found.confident[cluster]
    st.caption(
        f"{len(ids):,} images form the prototype, most confident first. Mark and veto some to see "
        "what the labels would be without them."
    )
    asked = gallery.gallery(run, known, ids, key=f"forming-{cluster}", actions=[gallery.Action("veto", "Veto")])
    if asked is not None:
        add(run, cluster, asked.ids)
        st.rerun()


def _changed(run: RunFolder, known: Known, change: Change, vetoed: tuple[int, ...]) -> None:
    cluster = change.cluster
    with st.container(border=True, key=f"veto-{cluster}"):
        st.markdown(
            "**With these vetoes** · Nothing is retrained. Cosine of the prototype as it is and as it "
            f"would be: {change.cosine:.4f}."
        )
        _part(run, known, f"lost-{cluster}", change.lost, "Lose its label", change.lost_to, "to")
        _part(run, known, f"gained-{cluster}", change.gained, "Gain its label", change.gained_from, "from")
        _part(run, known, f"joined-{cluster}", change.joined, "Replace the vetoed images", None, "")
        _title(f"Vetoed ({len(vetoed):,})")
        asked = gallery.gallery(
            run,
            known,
            np.array(vetoed, np.int64),
            key=f"vetoed-{cluster}",
            per_page=FEW,
            actions=[gallery.Action("back", "Undo the veto")],
        )
        if asked is not None:
            add(run, cluster, asked.ids, taken_back=True)
            st.rerun()


def _part(
    run: RunFolder, known: Known, key: str, ids: np.ndarray, title: str, labels: np.ndarray | None, way: str
) -> None:
    where = f": {present.tally(labels, way, known.called)}" if labels is not None and len(ids) else ""
    _title(f"{title} ({len(ids):,}){where}")
    gallery.gallery(run, known, ids, key=key, per_page=FEW, nothing="No images.")


def _title(text: str) -> None:
    st.html(f"<div class='spice-label'>{html.escape(text)}</div>")
