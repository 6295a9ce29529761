"""Spreads answers to all other images: suggestions, what is known about them, one decision for all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from engine.curate.audit import LEAST_ANSWERS
from engine.curate.provenance import Provenance
from engine.runs.folder import RunFolder
from engine.shares import percent
from spice_explorer.components import gallery
from spice_explorer.present import curation as present
from spice_explorer.queries import decisions
from spice_explorer.sections.curate.classes import COUNT, act

if TYPE_CHECKING:
    from engine.curate.suggestions import Suggestions

CAUTION = "that is too much if these images are harder than those you looked at"


def show(run: RunFolder, reviewer: str) -> None:
    """How often suggestions are right, which images they would change, and the button."""
    now, found = decisions.curation(run), decisions.to_spread(run)
    st.markdown(f"Decided: **{present.who_said(now.state, now.provenance)}**.")
    if found is None:
        st.caption(
            "Decide some images of at least two classes one by one, ideally in the order “Typical of many”. "
            "A classifier then learns from them and suggests a class for all others."
        )
        return
    least = st.slider(
        "Smallest confidence",
        0.0,
        1.0,
        0.7,
        0.05,
        key="least confidence",
        help="Of a classifier that learns in a moment from the images you looked at; nothing from those that were "
        "voted or accepted in bulk, nor from answers that are held back from training.",
    )
    left = np.flatnonzero(now.state == present.UNDECIDED)
    ids = left[found.confidence[left] >= least]
    _honestly(found, least, float(found.confidence[ids].mean()) if len(ids) else None)
    classes, own = found.labels[ids], decisions.classes_of(run)
    changed = ids[classes != own[ids]]
    st.markdown(
        f"**{len(ids):,}** of {len(left):,} undecided images have a suggestion this sure; "
        f"**{len(changed):,}** of them would get another class:"
    )
    _changes(run, own, ids, classes, changed)
    st.button(
        f"Give these {len(ids):,} images their classes",
        type="primary",
        key="spread suggestions",
        disabled=not reviewer or not len(ids),
        on_click=lambda: act(
            run, "accept", reviewer, f"{COUNT} images voted.", images=ids, new=classes, provenance=Provenance.VOTED
        ),
    )


def _honestly(found: Suggestions, least: float, expected: float | None) -> None:
    """How many suggestions are right: of all images only if enough of them were drawn at random; no truth is needed."""
    drawn = int((found.among > 0).sum())
    own, model = found.estimate(least), found.model_estimate(least)
    worse = False
    if drawn >= LEAST_ANSWERS and own is not None and model is not None:
        st.markdown(
            "Of all images you did not look at, voted or not, whose suggestion is this sure, "
            f"**{present.estimate(own)}** have the right one, and {present.estimate(model)} the right label of the "
            f"model: estimated from {own.answers:,} random answers."
        )
        worse = own.value < model.value
    elif drawn >= LEAST_ANSWERS:
        st.markdown(f"None of your {drawn:,} random answers is about an image with a suggestion this sure.")
    else:
        guess = "" if expected is None else f" The classifier itself expects {percent(expected)}; {CAUTION}."
        st.markdown(
            f"How many of these suggestions are right is **not known yet**: that needs {LEAST_ANSWERS} answers in the "
            f"order “Random audit”; there are {drawn:,}.{guess}"
        )
        if len(found.checked):
            st.markdown(
                f"Of the {len(found.checked):,} images you looked at, each held back from it, the suggestions are "
                f"right about {int(found.right.sum()):,}, the model about {int(found.model_right.sum()):,}; these were "
                "not chosen at random, so the others may be much harder."
            )
            worse = bool(found.right.sum() < found.model_right.sum())
    if worse:
        st.warning(
            "On these images the model's own labels are better than the suggestions: accept only very sure ones, or "
            "train with your decisions instead."
        )


def _changes(run: RunFolder, own: np.ndarray, ids: np.ndarray, classes: np.ndarray, changed: np.ndarray) -> None:
    after = own.astype(np.int64)
    after[ids] = classes
    known = decisions.known(run, None)  # the model's confidence is in its own label, not in this
    gallery.gallery(
        run,
        replace(known, labels=after),
        changed,
        key="suggested",
        per_page=60,
        side=52,
        nothing="None: all of them agree with their current class.",
    )
