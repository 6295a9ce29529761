"""Spreads answers to all other images: the votes, what is known about them, one decision for all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from engine.curate.audit import LEAST_ANSWERS
from engine.curate.provenance import Provenance
from engine.runs.folder import RunFolder
from spice_explorer.components import gallery
from spice_explorer.present import curation as present
from spice_explorer.queries import artefacts, decisions
from spice_explorer.sections.curate.classes import act

if TYPE_CHECKING:
    from engine.curate.propagation import Votes


def show(run: RunFolder, reviewer: str) -> None:
    """How often the votes are right, which images they would change, and the button."""
    now, found = decisions.curation(run), decisions.votes(run)
    st.markdown(f"Decided: **{present.who_said(now.state, now.provenance)}**.")
    if found is None:
        st.caption(
            "Decide some images of at least two classes one by one, ideally in the order “Typical of many”. "
            "They then vote on all others."
        )
        return
    share = st.slider(
        "Smallest share of the votes",
        0.0,
        1.0,
        0.7,
        0.05,
        key="least votes",
        help="Of the votes of the most similar images you looked at, weighted by similarity. Images that were voted or "
        "accepted in bulk never vote, nor do answers that are held back from training.",
    )
    _honestly(found, share)
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
        on_click=lambda: act(
            run, "accept", reviewer, f"{len(ids):,} images voted.", images=ids, new=classes, provenance=Provenance.VOTED
        ),
    )


def _honestly(found: Votes, share: float) -> None:
    """How many votes are right: of all images only if enough of them were drawn at random; no truth is needed."""
    drawn = int((found.among > 0).sum())
    votes, model = found.vote_estimate(share), found.model_estimate(share)
    if drawn >= LEAST_ANSWERS and votes is not None and model is not None:
        st.markdown(
            "Of all images you did not look at, voted or not, whose votes are this confident, "
            f"**{present.estimate(votes)}** of the votes are right, and {present.estimate(model)} of the model's "
            f"labels: estimated from {votes.answers:,} random answers."
        )
        worse = votes.value < model.value
    elif drawn >= LEAST_ANSWERS:
        st.markdown(f"None of your {drawn:,} random answers is about an image with votes this confident.")
        worse = False
    else:
        st.markdown(
            f"How many of these votes are right is **not known yet**: that needs {LEAST_ANSWERS} answers in the order "
            f"“Random audit”; there are {drawn:,}. Of the {len(found.checked):,} images you looked at, the votes of "
            f"the others are right about {int(found.vote_right.sum()):,}, the model about "
            f"{int(found.model_right.sum()):,}; these were not chosen at random, so the others may be much harder."
        )
        worse = bool(found.vote_right.sum() < found.model_right.sum())
    if worse:
        st.warning(
            "On these images the model's own labels are better than these votes: spread only very "
            "confident votes, or train with your decisions instead."
        )


def _changes(run: RunFolder, own: np.ndarray, ids: np.ndarray, classes: np.ndarray, changed: np.ndarray) -> None:
    after = own.astype(np.int64)
    after[ids] = classes
    known = artefacts.known(run, None)  # the model's confidence is in its own label, not in this
    gallery.gallery(
        run,
        replace(known, labels=after),
        changed,
        key="votes",
        per_page=60,
        side=52,
        nothing="None: all of them agree with their current class.",
    )
