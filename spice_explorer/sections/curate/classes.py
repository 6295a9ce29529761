"""Clusters as classes: their contents, and actions on a whole class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import streamlit as st

from engine.curate.audit import LEAST_ANSWERS
from engine.curate.curation import default_name
from engine.curate.decisions import Action, Decision
from engine.errors import SpiceError
from engine.runs.folder import RunFolder
from spice_explorer import session
from spice_explorer.components import gallery
from spice_explorer.present import curation as present
from spice_explorer.queries import artefacts, decisions
from spice_explorer.queries.decisions import Shown
from spice_explorer.sections import purity
from spice_explorer.web import originals, thumbs

# Images of each half that a split shows before it is done.
HALF = 36
# Pictures of each class in the table.
PICTURES = 3
# In a sentence about a decision: how many images it was about in the end.
COUNT = "COUNT"


def show(run: RunFolder, reviewer: str) -> None:
    """The table of classes, and the actions on the one that is chosen."""
    classes = decisions.classes(run)
    by_number = {one.number: one for one in classes}
    _table(run, classes)
    _disputed_names(run, by_number)
    chosen = _chosen(run, by_number)
    if chosen is None:
        return
    left, right = st.columns(2, gap="large")
    with left:
        _accept(run, reviewer, by_number[chosen])
        _rename(run, reviewer, by_number[chosen])
    with right:
        _merge(run, reviewer, by_number, chosen)
        _new(run, reviewer)
    _split(run, reviewer, by_number[chosen])


def _chosen(run: RunFolder, by_number: dict[int, Shown]) -> int | None:
    """The selected class."""
    kept = st.session_state.get(f"class of {run.name}")
    chosen = box("Class", by_number, kept, key=f"class-{run.name}", width=340)
    st.session_state[f"class of {run.name}"] = chosen
    return chosen


def box(
    label: str, by_number: dict[int, Shown], wanted: int | None, *, key: str, width: int, place: int = 0
) -> int | None:
    """A box of classes: at first the one `wanted`, or that at `place`. It shows the names that it was
    drawn with: other names, another box."""
    numbers, names = list(by_number), tuple(map(named, by_number.values()))
    first = numbers.index(wanted) if wanted in by_number else min(place, len(numbers) - 1)
    return st.selectbox(
        label, numbers, first, width=width, key=f"{key}-{hash(names)}", format_func=lambda one: named(by_number[one])
    )


def named(one: Shown) -> str:
    return one.name if one.name == default_name(one.number) else f"{one.name} ({one.number})"


def act(run: RunFolder, action: Action, reviewer: str, done: str, **about: Any) -> None:
    """Commits one decision and remembers what to say of it, with the number of images in the place of COUNT; a callback
    of buttons. Nobody has looked at its images one by one, so it is one in bulk, unless `about` says otherwise."""
    _committed(run, action, reviewer, done, **about)


def _committed(run: RunFolder, action: Action, reviewer: str, done: str, **about: Any) -> bool:
    """The same; False if it was rejected."""
    try:
        (kept,) = decisions.commit(run, [Decision(action, reviewer, visit=visit(), seen=_seen(run), **about)])
        count = len(kept.images)
        newer = len(about.get("images", kept.images)) - count
        stay = f" {newer:,} more keep the answers that you gave since this page was drawn." if newer else ""
        st.session_state["curation told"] = True, done.replace(COUNT, f"{count:,}") + stay
        return True
    except SpiceError as error:
        st.session_state["curation told"] = False, session.sentence(str(error))
        return False


def visit() -> str:
    """This browser tab, for the log."""
    return f"page-{session.visitor()}"


def drawn(run: RunFolder, row: int) -> None:
    """The page shows all decisions up to `row`, so any action on it has seen these."""
    st.session_state[f"curation seen-{run.name}"] = row


def _seen(run: RunFolder) -> int:
    return int(st.session_state.get(f"curation seen-{run.name}", 0))


def tell() -> None:
    """The result of the latest decision."""
    told = st.session_state.pop("curation told", None)
    if told:
        (st.success if told[0] else st.error)(told[1])


# -- the table ---------------------------------------------------------------------------------


def _table(run: RunFolder, classes: list[Shown]) -> None:
    own, state, reliable = _now(run)
    provenance = decisions.curation(run).provenance
    rows = present.class_counts([one.number for one in classes], own, state, reliable, provenance)
    (start, end), typical = thumbs.address(originals.pictures(run)), decisions.typical(run)
    pictures = [[f"{start}{image}{end}" for image in typical.get(one.number, [])] for one in classes]
    places = [f"picture {place}" for place in range(PICTURES)]
    st.dataframe(
        {
            "class": [named(one) for one in classes],
            **{name: [some[i] if i < len(some) else None for some in pictures] for i, name in enumerate(places)},
            "images": [one.images for one in rows],
            "seen": [one.seen for one in rows],
            "bulk": [one.bulk for one in rows],
            "voted": [one.voted for one in rows],
            "rejected": [one.rejected for one in rows],
            "left out": [one.excluded for one in rows],
            "to decide": [one.left for one in rows],
            "of these reliable": [one.sure for one in rows],
        },
        hide_index=True,
        column_config={name: st.column_config.ImageColumn(" ", width=46) for name in places},
        height=min(36 + 35 * len(rows), 400),
        key=f"classes-{run.name}",
    )


def _now(run: RunFolder) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class, state and reliability of each image."""
    said = decisions.needed_model(run)
    reliable = artefacts.reliable(run, artefacts.judged_stages(run)[0]).mask
    now = decisions.curation(run)
    return now.classes_of(said.labels), now.state, reliable


def _disputed_names(run: RunFolder, by_number: dict[int, Shown]) -> None:
    for number, answers in decisions.curation(run).renamed.items():
        both = " and ".join(f"“{session.plain(name)}” ({session.plain(who)})" for who, name in answers)
        shown = session.plain(by_number[number].name)
        st.warning(f"Cluster {number} got two names at the same time: {both}. “{shown}” is used.")


# -- one class ---------------------------------------------------------------------------------


def _accept(run: RunFolder, reviewer: str, one: Shown) -> None:
    own, state, reliable = _now(run)
    sure, every = (
        present.to_accept(own, state, reliable, one.number, all_of_it=all_of_it) for all_of_it in (False, True)
    )
    st.markdown(f"**Accept “{session.plain(one.name)}”** · one decision for all images, which count as bulk")
    words = purity.of_reliable(run)
    with st.container(horizontal=True):
        _bulk(run, reviewer, "accept", sure, f"Accept reliable {len(sure):,}", note=purity.short(run))
        _bulk(run, reviewer, "accept", every, f"Accept all {len(every):,}")
        _bulk(
            run,
            reviewer,
            "exclude",
            every,
            f"Leave out {len(every):,}",
            "Leaves the undecided images out of training and exports.",
        )
    if words:
        st.caption(f"Of all reliable labels, {words}.")
    elif len(sure):
        st.caption(
            f"How many reliable labels are right is not measured yet: {LEAST_ANSWERS} answers in the order “Random "
            "audit” do that."
        )
    if not len(sure):
        st.caption(
            "None of these is reliable: look at them one by one above, or spread the suggestions that follow from your "
            "answers."
        )


def _bulk(
    run: RunFolder, reviewer: str, action: Action, ids: np.ndarray, label: str, help: str | None = None, note: str = ""
) -> None:
    done = f"{COUNT} {'accepted' if action == 'accept' else 'left out'}."
    st.button(
        f"{label} · {note}" if note else label,
        key=label.rpartition(" ")[0],
        disabled=not reviewer or not len(ids),
        help=help,
        on_click=lambda: act(run, action, reviewer, done, images=ids),
    )


def _button(label: str, key: str, disabled: bool, on_click: Callable[[], None]) -> None:
    st.button(label, key=key, disabled=disabled, on_click=on_click)


def _rename(run: RunFolder, reviewer: str, one: Shown) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Name", one.name, key=f"name-{one.number}-{one.name}", width=240)
        colour = st.color_picker("Colour", one.colour, key=f"colour-{one.number}-{one.colour}")
        changed = name != one.name, colour != one.colour

        def keep() -> None:
            if changed[0] and not _committed(run, "rename", reviewer, "Renamed.", class_=one.number, text=name):
                return
            if changed[1]:
                done = "Renamed and coloured." if changed[0] else "Coloured."
                act(run, "recolour", reviewer, done, class_=one.number, text=colour)

        _button("Keep", "keep name", not reviewer or not any(changed), keep)


def _merge(run: RunFolder, reviewer: str, by_number: dict[int, Shown], chosen: int) -> None:
    others = [one for one in by_number if one != chosen]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        into = st.selectbox(
            "Merge it into",
            others,
            index=None,
            placeholder="choose a class",
            width=240,
            format_func=lambda one: named(by_number[one]),
            key=f"into-{chosen}",
        )
        _button(
            "Merge",
            "merge",
            not reviewer or into is None,
            lambda: act(run, "merge", reviewer, "Merged.", class_=into, other=chosen),
        )


def _new(run: RunFolder, reviewer: str) -> None:
    ids = session.selection(run)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("New class", key="new class name", width=240)
        _button(
            f"New class from {len(ids):,} selected" if len(ids) else "Create",
            "new class",
            not reviewer or not name.strip(),
            lambda: act(run, "new class", reviewer, "Made.", text=name, images=ids),
        )


# -- splitting ---------------------------------------------------------------------------------


def _split(run: RunFolder, reviewer: str, one: Shown) -> None:
    label = f"Split “{session.plain(one.name)}” in two"
    with st.expander(label, key=f"split-{one.number}", on_change="rerun") as opened:
        if opened.open:
            _halves(run, reviewer, one)


def _halves(run: RunFolder, reviewer: str, one: Shown) -> None:
    """Both halves as 2-means on the features would have them, before anything is decided."""
    members = np.flatnonzero(decisions.classes_of(run) == one.number)
    if len(members) < 2:
        st.caption("A class needs at least two images to be split.")
        return
    second = decisions.halves(run, members)
    known = decisions.known(run, None)
    for column, ids, title in zip(st.columns(2), (members[~second], members[second]), ("stays", "goes"), strict=True):
        with column:
            st.markdown(f"**{len(ids):,} images · {title}**")
            gallery.gallery(run, known, ids, key=f"half-{title}", per_page=HALF, side=46)
    moving = members[second]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Name of the second half", key="split name", width=240)
        _button(
            "Split",
            "split now",
            not reviewer or not name.strip(),
            lambda: act(run, "split", reviewer, "Split.", other=one.number, images=moving, text=name),
        )
        st.button(
            "Select the second half",
            key="select half",
            on_click=lambda: session.select_anew(run, moving),
            help="The selection is kept on other pages: see it on the Map.",
        )
