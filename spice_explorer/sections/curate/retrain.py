"""Training with decisions: the training input, the button, and the improvement."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from engine.curate.audit import wilson
from engine.curate.curation import State
from engine.curate.guidance import Unseen
from engine.curate.provenance import Provenance
from engine.errors import SpiceError
from spice_explorer import session
from spice_explorer.palette import cluster_colour
from spice_explorer.present import curation as present
from spice_explorer.queries import decisions, training

if TYPE_CHECKING:
    from engine.curate.guidance import Guidance
    from engine.runs.comparison import Agreement, BeforeAfter
    from engine.runs.folder import RunFolder
    from spice_explorer.present.names import Names

MOST_FLOWS = 8
# What becomes of decided labels that nobody looked at.
UNSEEN: dict[Unseen, str] = {
    "doubted": "begin with them, in doubt",
    "fixed": "fix them like answers",
    "unused": "do not use them",
}


def show(run: RunFolder) -> None:
    """The report of this run, if it was trained with decisions, and what the next run would learn."""
    _report(run)
    unseen = _unseen(run)
    try:
        guidance = decisions.guidance(run, unseen)
    except SpiceError as error:
        st.error(session.sentence(str(error)), icon=":material/error:")
        return
    left_out = int((~guidance.keep).sum())
    st.markdown(
        f"A new run starts from stage 1 of **{session.plain(run.name)}**, with "
        f"**{guidance.clusters} classes**. Stages 2 and 3 learn from **{int(guidance.taught.sum()):,}** "
        f"decided labels, regardless of the thresholds; **{int(guidance.held.sum()):,}** more, all seen, are held "
        f"back from training to measure the improvement. {_doubted(guidance)}Left out: {left_out:,}."
    )
    decided = guidance.taught.any() or guidance.doubted.any()
    nothing = not decided and guidance.clusters == run.card().config.clusters
    if nothing:
        st.caption("Nothing is decided yet: the new run would repeat this one.")
    if st.button(
        "Train with my decisions",
        type="primary",
        key="train with decisions",
        disabled=nothing,
        icon=":material/model_training:",
    ):
        _start(run, unseen)


def _unseen(run: RunFolder) -> Unseen:
    """What the person wants to become of labels that nobody looked at; asked only where there are any."""
    now = decisions.curation(run)
    unseen = (now.state == State.DECIDED) & (now.provenance != Provenance.SEEN)
    if not unseen.any():
        return "doubted"
    words = present.who_said(now.state[unseen], now.provenance[unseen])
    chosen: Unseen | None = st.radio(
        f"Labels that nobody looked at ({words})",
        list(UNSEEN),
        format_func=lambda one: UNSEEN[one].capitalize(),
        horizontal=True,
        key="unseen labels",
        help="In doubt: stage 2 begins with them, but the thresholds judge them like the model's own labels.",
    )
    return chosen or "doubted"


def _doubted(guidance: Guidance) -> str:
    count = int(guidance.doubted.sum())
    return f"**{count:,}** labels that nobody looked at are where stage 2 begins, and may be doubted. " if count else ""


def _start(run: RunFolder, unseen: Unseen) -> None:
    try:
        name = training.train_with_decisions(run, unseen)
    except SpiceError as error:
        st.error(session.sentence(str(error)), icon=":material/error:")
        return
    session.watch_run(name)
    st.switch_page("../pages/train.py")


# -- before and after --------------------------------------------------------------------------


def _report(run: RunFolder) -> None:
    found = decisions.before_after(run)
    if found is None:
        return
    parent = session.plain(run.card().parent)
    with st.container(border=True, key="before and after"):
        st.markdown(f"**Before and after** · {parent} → {session.plain(run.name)}")
        st.markdown(
            f"{found.changed:,} of {found.images:,} images have another label now"
            + (f"; {found.left_out:,} were left out" if found.left_out else "")
            + "."
        )
        compared = found.light is not None
        rows = [
            _row("seen answers it was trained with", found.taught, "–" if compared else None),
            _row("seen answers held back from training", found.held, found.light),
        ]
        if not found.certain:
            st.caption(
                "An earlier version trained this run: the answers may include labels that were voted or accepted in "
                "bulk, which nobody looked at."
            )
        st.html(
            "<table class='spice-scores'><tr><th>agrees with the reviewer</th><th>before</th>"
            f"<th>after</th>{'<th>suggestions</th>' if compared else ''}</tr>{''.join(rows)}</table>"
        )
        _advice(found, parent)
        st.html(_flows(found.flow, decisions.names(run)))


def _row(what: str, found: Agreement, light: int | str | None) -> str:
    """`light`: what the light classifier gets right, or a word in its place; None if it is not compared."""
    columns = [one for one in (found.before, found.after, light) if one is not None]
    words = [one if isinstance(one, str) else _interval(one, found.total) for one in columns]
    cells = "".join(f"<td>{html.escape(one)}</td>" for one in words)
    return f"<tr><th>{html.escape(what)}</th>{cells}</tr>"


def _advice(found: BeforeAfter, parent: str) -> None:
    """What the comparison with the light classifier asks for."""
    if found.light is None:
        return
    st.caption(
        "Suggestions: a light classifier that learned in a moment from the same answers, on the features and "
        f"probabilities of {parent}."
    )
    if found.beaten:
        st.warning(
            f"Training did not beat the suggestions: of {found.held.total:,} answers held back, the new run gets "
            f"{found.held.after:,} right, and they get {found.light:,}. Spread these instead: open {parent} "
            "and choose “Spread”."
        )


def _interval(right: int, total: int) -> str:
    share = wilson(right, total)
    return present.interval(right, total, share.low, share.high)


def _flows(flow: np.ndarray, called: Names) -> str:
    """The largest groups of images that changed their class."""
    moved = flow.copy()
    np.fill_diagonal(moved, 0)
    order = np.argsort(-moved, axis=None, kind="stable")[:MOST_FLOWS]
    lines = [
        f"<span>{_swatch(one)}{html.escape(called.short(int(one)))} → "
        f"{_swatch(other)}{html.escape(called.short(int(other)))}: {moved[one, other]:,}</span>"
        for one, other in zip(*np.unravel_index(order, moved.shape), strict=True)
        if moved[one, other]
    ]
    return f"<div class='spice-legend'>{''.join(lines)}</div>" if lines else ""


def _swatch(cluster: int) -> str:
    return f"<i style='background:{cluster_colour(int(cluster))}'></i>"
