"""The purity of the classes, estimated from a random sample that a person has checked."""

from __future__ import annotations

import streamlit as st

from engine.curate.audit import HALF_WIDTH, Share, more_needed, overall, wilson
from engine.runs.folder import RunFolder
from engine.shares import percent
from spice_explorer.present import curation as present
from spice_explorer.queries import decisions
from spice_explorer.sections.curate.classes import named


def show(run: RunFolder) -> None:
    """Each class with its share of right labels, an interval, and how many more to look at."""
    st.caption(
        "Choose “Random audit” above: it shows random images of every class that nobody looked at. "
        "An answer with the class that an image has, by A or by the class's own key, counts its label as right; any "
        "other as wrong. What is estimated from these answers is how many labels are right of those that nobody looked "
        "at; no truth is looked at. A spread, or another change of many labels, begins a new audit."
    )
    classes, own = decisions.classes(run), decisions.classes_of(run)
    answers = decisions.audited(run)
    unseen = ~decisions.curation(run).answered
    sizes = {one.number: int((own == one.number).sum()) for one in classes}
    left = {one.number: int(((own == one.number) & unseen).sum()) for one in classes}
    shares = {one.number: wilson(*answers.get(one.number, (0, 0))) for one in classes}
    _overall(left, shares)
    st.dataframe(
        {
            "class": [named(one) for one in classes],
            "images": list(sizes.values()),
            "right of those not looked at (95\N{NO-BREAK SPACE}%)": [_words(one) for one in shares.values()],
            f"more for ± {percent(HALF_WIDTH, 0)}": [
                more_needed(one.right, one.total, sizes[number]) for number, one in shares.items()
            ],
        },
        hide_index=True,
        height=min(36 + 35 * len(classes), 400),
        key=f"audit-{run.name}",
    )


def _words(share: Share) -> str:
    return present.interval(share.right, share.total, share.low, share.high)


def _overall(sizes: dict[int, int], shares: dict[int, Share]) -> None:
    """Weights each class by how many images nobody looked at, since the sample has equally many of every class."""
    if any(not shares[one].total for one, size in sizes.items() if size):
        return
    found = overall([shares[one] for one in sizes], list(sizes.values()))
    if found is not None:
        st.markdown(
            f"Of all labels that nobody looked at, **{present.estimate(found)}** are right: estimated from "
            f"{found.answers:,} random answers."
        )
