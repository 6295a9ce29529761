"""Spreads decided labels to all other images: the votes, how reliable they are, one decision for all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import streamlit as st

from engine.curate.audit import wilson
from engine.runs.folder import RunFolder
from spice_explorer.components import gallery
from spice_explorer.present import curation as present
from spice_explorer.queries import decisions
from spice_explorer.queries.decisions import Votes
from spice_explorer.sections.curate.classes import act


def show(run: RunFolder, reviewer: str) -> None:
    """How often the votes are right, which images they would change, and the button."""
    found = decisions.votes(run)
    if found is None:
        st.caption(
            "Decide some images of at least two classes, ideally in the order “Typical of many”. "
            "They then vote on all others."
        )
        return
    _honestly(found)
    share = st.slider(
        "Smallest share of the votes",
        0.0,
        1.0,
        0.7,
        0.05,
        key="least votes",
        help="Of the votes of the most similar decided images, weighted by similarity.",
    )
    sure = found.agreement >= share
    ids, classes = found.ids[sure], found.classes[sure]
    own = decisions.classes_of(run)
    changed = ids[classes != own[ids]]
    st.markdown(
        f"**{len(ids):,}** of {len(found.ids):,} undecided images have votes this confident; "
        f"**{len(changed):,}** of them would get another class:"
    )
    _changes(run, own, ids, classes, changed)
    st.button(
        f"Give these {len(ids):,} images their classes",
        type="primary",
        key="spread votes",
        disabled=not reviewer or not len(ids),
        on_click=lambda: act(run, "accept", reviewer, f"{len(ids):,} images decided.", images=ids, new=classes),
    )


def _honestly(found: Votes) -> None:
    """Each decided image asked as if it were not: no truth is needed for that."""
    votes, model = (wilson(right, found.total) for right in (found.right, found.model_right))
    st.markdown(
        f"Predicting each other, your **{found.total:,}** decided images are right about "
        f"**{present.interval(votes.right, votes.total, votes.low, votes.high)}**; the model is right "
        f"about {present.interval(model.right, model.total, model.low, model.high)} of them."
    )
    if found.right < found.model_right:
        st.warning(
            "On these images the model's own labels are better than these votes: spread only very "
            "confident votes, or train with your decisions instead."
        )


def _changes(run: RunFolder, own: np.ndarray, ids: np.ndarray, classes: np.ndarray, changed: np.ndarray) -> None:
    after = own.astype(np.int64)
    after[ids] = classes
    known = decisions.known(run, None)  # the model's confidence is in its own label, not in this
    gallery.gallery(
        run,
        replace(known, labels=after),
        changed,
        key="votes",
        per_page=60,
        side=52,
        nothing="None: all of them agree with their current class.",
    )
