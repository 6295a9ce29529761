"""The Curate page's parts: the reviewer, the order of images, the component, and spreading an answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import streamlit as st

from engine.errors import SpiceError
from engine.runs.folder import RunFolder
from spice_explorer import session
from spice_explorer.components import curator, gallery
from spice_explorer.queries import decisions, runs
from spice_explorer.sections import needs, panel
from spice_explorer.sections.curate import audit, classes, retrain, spreading
from spice_explorer.sections.curate.classes import COUNT, act
from spice_explorer.web import columns, curate_api, originals, thumbs

QUEUES = {
    "rejected": "Rejected first",
    "undecided": "Most ambiguous",
    "flipped": "Changed most",
    "typical": "Typical of many",
    "unsure": "Least sure",
    "class": "One class",
    "border": "Border of two classes",
    "duplicates": "Similar, labelled differently",
    "audit": "Random audit",
    "disputed": "Disputes",
    "selection": "The selection",
}
VIEWS = ("Classes", "Spread", "Purity audit", "Train with my decisions")
AUDIT_SEED = 0


def show(run: RunFolder) -> None:
    """The reviewer and the order; the component; below it, the actions on whole classes."""
    seen = decisions.curation(run).row
    needs.whole_log(run)
    with st.container(horizontal=True, vertical_alignment="bottom", key="curate controls"):
        typed = _typed()
        queue = _queue(run)
    reviewer = _reviewer(run, typed)
    key = f"curator-{run.name.replace('__', '-')}"
    curator.curator(_told(run, reviewer, queue), key=key, on_open=lambda: _opened(key))
    _assumed(run)
    _agreeing(run, reviewer, key)
    view = st.segmented_control(
        "Show", VIEWS, default=VIEWS[0], required=True, key="curate view", label_visibility="collapsed"
    )
    with session.plain_errors():
        if view == VIEWS[0]:
            classes.show(run, reviewer)
        elif view == VIEWS[1]:
            spreading.show(run, reviewer)
        elif view == VIEWS[2]:
            audit.show(run)
        else:
            retrain.show(run)
        classes.tell()
    classes.drawn(run, seen)
    panel.show(run)


def _assumed(run: RunFolder) -> None:
    """Says that nobody may have looked at some labels, of which the log does not say more."""
    count = decisions.curation(run).assumed
    if count:
        st.caption(
            f"{count:,} labels were decided with an earlier version, which did not record whether anybody looked at "
            "each image: they count as bulk. Decide an image once more to have it count as seen."
        )


def _opened(key: str) -> None:
    index = st.session_state[key].get("open")
    if isinstance(index, int):
        session.show_image(index)


# -- who ---------------------------------------------------------------------------------------


def _typed() -> str:
    kept = st.session_state.get("reviewer", "")
    typed = st.text_input(
        "Your name",
        kept,
        key="reviewer name",
        width=190,
        placeholder="who is deciding?",
        help="Saved with every decision; undo reverts only your own.",
    )
    session.keep("reviewer", typed)
    return typed


def _reviewer(run: RunFolder, typed: str) -> str:
    """The normalised name, "" while it is missing or invalid."""
    try:
        name = curate_api.reviewer(typed) if typed.strip() else ""
    except SpiceError as error:
        st.error(session.sentence(str(error)))
        return ""
    if name and session.also_present(run, name):
        st.warning(
            f"“{session.plain(name)}” is also deciding in another tab: undo reverts the "
            "decisions of both. If that is not you, choose another name."
        )
    return name


# -- what comes next ---------------------------------------------------------------------------


def _queue(run: RunFolder) -> dict[str, Any]:
    asked, *about = str(st.session_state.get("queue") or st.query_params.get("queue", "")).split("-")
    first = list(QUEUES).index(asked) if asked in QUEUES else 0
    kind = st.selectbox("Next images", QUEUES, first, format_func=QUEUES.__getitem__, key="queue kind", width=230)
    name = _named_queue(run, kind, [int(one) for one in about if one.isdecimal()])
    # For the next time on this page, and for the address; a selection is this visit's alone.
    session.keep("queue", kind if kind == "selection" else name)
    if st.query_params.get("queue") != st.session_state["queue"]:
        st.query_params["queue"] = st.session_state["queue"]
    version = st.session_state.setdefault("queue version", 0)
    st.button("Refresh", key="queue again", on_click=_again, help="Rebuild the queue from the images that are left.")
    return {
        "name": name,
        "title": QUEUES[kind],
        "address": curate_api.queue_address(run, name),
        "version": f"{name}-{version}",
        "mark": "audit" if kind == "audit" else "",
    }


def _again() -> None:
    st.session_state["queue version"] += 1


def _named_queue(run: RunFolder, kind: str, asked: list[int]) -> str:
    """The queue's name for the server, with its parameters: initially the classes `asked` for."""
    by_number = {one.number: one for one in decisions.classes(run)}

    def choose(label: str, place: int) -> int | None:
        wanted = asked[place] if place < len(asked) else None
        return classes.box(label, by_number, wanted, key=f"queue {label}", width=180, place=place)

    if kind == "class":
        return f"class-{choose('Of class', 0)}"
    if kind == "border":
        return f"border-{choose('Between', 0)}-{choose('and', 1)}"
    if kind == "audit":
        return f"audit-{AUDIT_SEED}"
    if kind == "selection":
        return decisions.keep(session.selection(run))
    return kind


# -- the component -----------------------------------------------------------------------------


def _told(run: RunFolder, reviewer: str, queue: dict[str, Any]) -> dict[str, Any]:
    said, at = decisions.needed_model(run), columns.Addresses(run).at
    found = originals.pictures(run)
    (start, end), facts = thumbs.address(found), thumbs.facts_address(found)
    return {
        "key": f"{run.name}-{runs.made(run)}-{said.stage}",
        "run": run.name,
        "api": curate_api.address(run),
        "n": run.card().images,
        "reviewer": reviewer,
        "classes": [vars(one) for one in decisions.classes(run)],
        "typical": _typical(run, found),
        "queue": queue,
        "stage": said.stage,
        "columns": {
            "label": at(f"label.{said.stage}", "u2"),
            "confidence": at(f"confidence.{said.stage}", "f4"),
            "agreement": at(f"agreement.{said.stage}", "f4"),
        },
        "thumbs": {"start": start, "end": end},
        "facts": {"start": facts[0], "end": facts[1]},
        "sharp": found.sharp,
        "readOnly": "",
    }


def _typical(run: RunFolder, found: originals.Pictures) -> dict[str, Any]:
    """The typical images of each class, and the sheets that show them, in the order of the classes."""
    typical = decisions.typical(run)
    ids = [image for one in decisions.classes(run) for image in typical.get(one.number, [])]
    return {"ids": typical, "sheets": thumbs.small_sheets(found, ids)}


# -- what agrees -------------------------------------------------------------------------------


def _agreeing(run: RunFolder, reviewer: str, key: str) -> None:
    """The images that agree with those just marked, and one button that gives them the class."""
    asked = st.session_state.get(key, {}).get("propagate") or st.session_state.get("agreeing")
    if not asked or asked.get("run", run.name) != run.name:
        return
    st.session_state["agreeing"] = {**asked, "run": run.name}
    seeds = np.array([i for i in asked.get("ids", []) if 0 <= i < run.card().images], np.int64)
    own = decisions.classes_of(run)
    if not len(seeds):
        return
    class_ = int(np.bincount(own[seeds]).argmax())
    shown = next(one for one in decisions.classes(run) if one.number == class_)
    with st.container(border=True, key="agreeing box"):
        share = st.slider(
            f"Images that agree with {len(seeds):,} of “{session.plain(shown.name)}”",
            0.1,
            1.0,
            0.6,
            0.05,
            help="Smallest share of an image's neighbours that must have that class.",
            key="agreeing share",
        )
        found = decisions.agreeing(run, seeds, class_, share)
        known = replace(decisions.known(run, None), labels=own.astype(np.int64))
        gallery.gallery(
            run,
            known,
            found,
            key="agreeing",
            per_page=60,
            side=52,
            nothing="No undecided image reaches this share: lower it.",
        )
        with st.container(horizontal=True):
            st.button(
                f"Give these {len(found):,} the class “{session.plain(shown.name)}”",
                type="primary",
                disabled=not reviewer or not len(found),
                key="agree",
                on_click=_agree,
                args=(run, reviewer, found, class_),
            )
            st.button("Cancel", key="disagree", on_click=_leave)


def _agree(run: RunFolder, reviewer: str, ids: np.ndarray, class_: int) -> None:
    act(run, "relabel", reviewer, f"{COUNT} images decided.", images=ids, class_=class_)
    _leave()


def _leave() -> None:
    st.session_state["agreeing"] = {"ids": []}
