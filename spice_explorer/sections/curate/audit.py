"""The purity of the classes, estimated from a random sample that a person has checked."""

from __future__ import annotations

import streamlit as st

from engine.curate.audit import HALF_WIDTH, Share, more_needed, wilson
from engine.runs.folder import RunFolder
from spice_explorer.present import curation as present
from spice_explorer.queries import decisions
from spice_explorer.sections.curate.classes import named


def show(run: RunFolder) -> None:
    """Each class with its share of right labels, an interval, and how many more to look at."""
    st.caption(
        "Choose “Random audit” above: it shows random images of every class that nobody looked at. "
        "A accepts a label; any other answer counts it as wrong. Accuracy is estimated from these "
        "answers alone; no truth is looked at. A spread, or another change of many labels, begins a new audit."
    )
    classes, own = decisions.classes(run), decisions.classes_of(run)
    answers = decisions.audited(run)
    sizes = {one.number: int((own == one.number).sum()) for one in classes}
    shares = {one.number: wilson(*answers.get(one.number, (0, 0))) for one in classes}
    _overall(sizes, shares)
    st.dataframe(
        {
            "class": [named(one) for one in classes],
            "images": list(sizes.values()),
            "correct, estimated (95\N{NO-BREAK SPACE}%)": [_words(one) for one in shares.values()],
            f"more for ± {HALF_WIDTH:.0%}": [
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
    """Weights each class by its size, since the sample has equally many of every class."""
    known = [one for one, share in shares.items() if share.total]
    if not known or any(not shares[one].total for one, size in sizes.items() if size):
        return
    whole = sum(sizes.values())
    value = sum(sizes[one] * (shares[one].value or 0) for one in known) / whole
    looked = sum(share.total for share in shares.values())
    st.markdown(f"Correct labels over all classes: **{present.percent(value)}**, from {looked:,} images.")
