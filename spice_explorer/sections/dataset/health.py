"""The Dataset page's health report: findings, galleries, and the images left out before training."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import streamlit as st

from engine.errors import SpiceError
from engine.health.duplicates import LOOSEST, STRICTEST, USUAL
from engine.health.exclusions import BY_HAND, REASONS
from spice_explorer import session
from spice_explorer.components import gallery, viewer
from spice_explorer.present import dataset as tables
from spice_explorer.present import health as present
from spice_explorer.present.gallery import Tile
from spice_explorer.queries import health
from spice_explorer.web import originals, thumbs

if TYPE_CHECKING:
    from engine.health.exclusions import Exclusions
    from engine.health.health import Finding, Health, Problem
    from engine.sources.open_source import Opened
    from spice_explorer.web.originals import Pictures

POLL_SECONDS = 0.5
PER_PAGE = 96
LARGE_SIDE, MOST_BESIDE, SLIDER_WIDTH = 240, 3, 320
NEAR: Final = "near duplicates"
UNREADABLE, LEFT_OUT = "unreadable", "left out"
LEAVE_OUT = gallery.Action("exclude", "Leave out marked")
PUT_BACK = gallery.Action("put back", "Put back marked")


def show(opened: Opened) -> None:
    """The report or its progress; a click in it redraws only the report."""
    st.subheader("Health")
    live = health.checkup(opened, patient=True).state == "examining"
    st.fragment(_report, run_every=POLL_SECONDS if live else None)(opened, live)


def _report(opened: Opened, was_live: bool) -> None:
    with session.plain_errors():
        job = health.checkup(opened)
        if job.state == "examining":
            st.progress(*present.progress(job.done, job.total))
        elif was_live and gallery.only_a_fragment():
            st.rerun()  # the report is there: nobody has to ask any more
        elif job.health is None:
            st.warning(f"The health check failed: {session.plain(job.message)}.", icon=":material/warning:")
            st.button("Try again", key="examine again", on_click=_again, args=(opened,))
        else:
            _findings(_Seen(opened, job.health.at(_most(opened)), health.decided(opened)))


def _again(opened: Opened) -> None:
    health.checkup(opened, again=True)


@dataclass(frozen=True)
class _Seen:
    """The state shown: a report, and the images currently left out."""

    opened: Opened
    health: Health
    decided: Exclusions

    @property
    def key(self) -> str:
        return _key(self.opened)


def _key(opened: Opened) -> str:
    return opened.images.fingerprint[:12]


@dataclass(frozen=True, eq=False)
class _Offer:
    """A button that leaves out `images` (m,) for this reason; `primary` where that needs no look at them."""

    label: str
    images: np.ndarray
    reason: str
    primary: bool = False


def _findings(seen: _Seen) -> None:
    reasons, skipped = seen.decided.reasons(), seen.opened.skipped
    counts = present.counts(seen.health, seen.decided.kept)
    titles = {UNREADABLE: f"Unreadable {len(skipped):,}"} if skipped else {}
    titles |= {one.problem: one.label for one in counts}
    titles |= {LEFT_OUT: f"Left out {len(reasons):,}"} if reasons else {}
    if error := st.session_state.pop("health error", None):
        st.error(error, icon=":material/error:")
    if not titles:
        st.success("No problems were found.", icon=":material/check_circle:")
    st.caption(" ".join(filter(None, (present.nothing_found(seen.health), _compared_by(seen)))))
    chosen = _choice(seen, titles) if titles else None
    if chosen == UNREADABLE:
        table = tables.skipped_table([(one.name, one.reason) for one in skipped])
        st.dataframe(table, hide_index=True, height=min(320, 38 + 35 * len(table)), key="skipped")
    elif chosen == LEFT_OUT:
        _left_out(seen, reasons)
    elif chosen is not None:
        _finding(seen, next(one for one in counts if one.problem == chosen).problem, reasons)
    else:
        _buttons(seen)


def _compared_by(seen: _Seen) -> str:
    run = health.trained(seen.opened)
    return f"Near duplicates and outliers also use the features of {session.plain(run)}." if run else ""


def _choice(seen: _Seen, titles: dict[str, str]) -> str:
    """The finding to look at; it stays when counts change, which makes the control another one."""
    kept, options = f"finding of {seen.key}", list(titles)
    before = st.session_state.get(kept)
    chosen = st.segmented_control(
        "Finding",
        options,
        format_func=titles.__getitem__,
        required=True,
        key=f"finding-{seen.key}",
        default=before if before in options else options[0],
        label_visibility="collapsed",
    )
    st.session_state[kept] = chosen
    return str(chosen)


# -- a finding -------------------------------------------------------------------------------------


def _finding(seen: _Seen, problem: Problem, reasons: dict[int, str]) -> None:
    found, names = seen.health.findings[problem], seen.opened.images.ids
    st.caption(" ".join(filter(None, (present.MEANING[problem], _aside(seen, problem)))))
    if problem == NEAR:
        _strictness(seen)
        _buttons(seen, *_near_offers(seen, found))
    else:
        _buttons(seen, *_offers(seen, problem, found))
    _one(seen, found, problem)

    def tiles(part: slice) -> list[Tile]:
        return present.tiles(problem, found, part, names, reasons)

    _gallery(seen, found.images, tiles, (LEAVE_OUT, PUT_BACK), problem)


def _aside(seen: _Seen, problem: Problem) -> str:
    return present.unseen(seen.health) if problem == NEAR else ""


def _offers(seen: _Seen, problem: Problem, found: Finding) -> list[_Offer]:
    """What one click would leave out of a finding that is certain."""
    every = found.images[seen.decided.kept[found.images]]
    if not len(found.groups):
        return [_Offer(f"Leave out these {len(every):,}", every, REASONS[problem], True)]
    some = present.leaving(problem, found, seen.decided.kept)
    return [
        _Offer(f"Keep one of each, leave out {len(some):,}", some, REASONS[problem], True),
        _Offer(f"Leave out all {len(every):,}", every, REASONS[problem]),
    ]


def _near_offers(seen: _Seen, found: Finding) -> list[_Offer]:
    """The same of near duplicates, which are to be looked at first: by default of the groups that were opened."""
    if not len(found.images):
        return []
    groups = present.opened_groups(found, st.session_state.get(_opened_key(seen), ()))
    every = present.leaving(NEAR, found, seen.decided.kept)
    if not len(groups):
        return [_Offer(f"Keep one of each, leave out {len(every):,}", every, REASONS[NEAR])]
    some = present.leaving(NEAR, present.in_groups(found, groups), seen.decided.kept)
    opened = "the group" if len(groups) == 1 else f"each of the {len(groups):,} groups"
    return [
        _Offer(f"Keep one of {opened} you opened, leave out {len(some):,}", some, REASONS[NEAR], True),
        _Offer(f"All {int(found.groups.max()) + 1:,} groups: leave out {len(every):,}", every, REASONS[NEAR]),
    ]


def _most(opened: Opened) -> float:
    """By how much near duplicates may differ, as was chosen for this source."""
    return float(st.session_state.get(f"near duplicates of {_key(opened)}", USUAL))


def _strictness(seen: _Seen) -> None:
    """What counts as a near duplicate; the value is kept where the control is not drawn."""
    kept, control = f"near duplicates of {seen.key}", f"may differ {seen.key}"

    def choose() -> None:
        st.session_state[kept] = st.session_state[control]

    with st.container(horizontal=True, vertical_alignment="center", key="strictness"):
        st.slider(
            "How much copies may differ",
            STRICTEST,
            LOOSEST,
            _most(seen.opened),
            0.05,
            key=control,
            on_change=choose,
            width=SLIDER_WIDTH,
            help=f"0 is the same picture; parts of different things have 1.4 and more. The default is {USUAL}.",
        )
        st.caption(present.strictness(_most(seen.opened)))


def _left_out(seen: _Seen, reasons: dict[int, str]) -> None:
    """The images left out, by reason."""
    images = np.array(sorted(reasons, key=lambda image: (reasons[image], image)))
    st.caption("These images are not used for training. Their files are not touched, and you can put them back.")
    with st.container(horizontal=True, vertical_alignment="center", key="put back"):
        st.button(
            f"Put back all {len(images):,}",
            key="put all back",
            icon=":material/undo:",
            on_click=_act,
            args=(seen, lambda decided: decided.put_back(images, _visit())),
        )
        _undo(seen)
    _one(seen, None, None)

    def tiles(part: slice) -> list[Tile]:
        return present.left_out_tiles(images, part, seen.opened.images.ids, reasons)

    _gallery(seen, images, tiles, (PUT_BACK,), LEFT_OUT)


def _buttons(seen: _Seen, *offered: _Offer) -> None:
    """One click each, and the undo of the last."""
    if not offered and seen.decided.undoable() is None:
        return
    with st.container(horizontal=True, vertical_alignment="center", key="leave out"):
        for place, offer in enumerate(offered):
            st.button(
                offer.label,
                key=f"leave out {place}",
                type="primary" if offer.primary else "secondary",
                disabled=not len(offer.images),
                on_click=_act,
                args=(seen, _leaving_out(offer.images, offer.reason)),
            )
        _undo(seen)


def _leaving_out(images: np.ndarray, reason: str) -> Callable[[Exclusions], object]:
    return lambda decided: decided.exclude(images, reason, _visit())


def _undo(seen: _Seen) -> None:
    last = seen.decided.undoable()
    if last is not None:
        many = f"{len(last.images):,} image{'' if len(last.images) == 1 else 's'}"
        st.button(
            f"Undo: {session.plain(last.text)}, {many}",
            key="undo leaving out",
            icon=":material/undo:",
            on_click=_act,
            args=(seen, lambda decided: decided.undo(_visit())),
        )


def _act(seen: _Seen, decide: Callable[[Exclusions], object]) -> None:
    try:
        decide(seen.decided)
    except SpiceError as error:
        st.session_state["health error"] = session.sentence(str(error))


def _visit() -> str:
    return session.visitor()


# -- pictures --------------------------------------------------------------------------------------


def _gallery(
    seen: _Seen,
    images: np.ndarray,
    tiles: Callable[[slice], list[Tile]],
    actions: tuple[gallery.Action, ...],
    what: str,
) -> None:
    def page(part: slice) -> gallery.Page:
        return gallery.Page(tiles(part), [] if what == LEFT_OUT else (~seen.decided.kept[images[part]]).tolist())

    asked = gallery.pictures(
        seen.key,
        originals.pictures_of_source(seen.opened),
        np.asarray(images, np.int64),
        page,
        gallery.Look(f"health-{seen.key}-{what}", actions, per_page=PER_PAGE),
        current=_opened_image(seen),
        on_open=lambda image: _open_tile(seen, image, what),
    )
    if asked is not None:
        if asked.action == "exclude":
            _act(seen, lambda decided: decided.exclude(asked.ids, _by_hand(), _visit()))
        else:
            _act(seen, lambda decided: decided.put_back(asked.ids, _visit()))
        st.rerun(scope="fragment" if gallery.only_a_fragment() else "app")


def _by_hand() -> str:
    return BY_HAND


def _open(of: str, image: int | None) -> None:
    st.session_state["health image"] = None if image is None else (of, image)


def _open_tile(seen: _Seen, image: int | None, what: str) -> None:
    """Opens an image of the gallery, and with it its group."""
    _open(seen.key, image)
    if image is not None and what == NEAR:
        st.session_state.setdefault(_opened_key(seen), set()).add(image)


def _opened_key(seen: _Seen) -> str:
    return f"opened near duplicates of {seen.key}"


def _opened_image(seen: _Seen) -> int:
    of, image = st.session_state.get("health image") or ("", -1)
    return image if of == seen.key else -1


def _one(seen: _Seen, found: Finding | None, problem: Problem | None) -> None:
    """The clicked image, larger, with its measurements and actions."""
    image = _opened_image(seen)
    if image < 0:
        return
    images, kept = seen.opened.images, bool(seen.decided.kept[image])
    with st.container(horizontal=True, border=True, key="one image"):
        pictures = originals.pictures_of_source(seen.opened)
        enlarged(pictures, image, "health picture")
        others = present.beside(found, image) if found is not None else []
        for other in others[:MOST_BESIDE]:
            with st.container(width=LARGE_SIDE):
                enlarged(pictures, other, f"health picture {other}")
                st.caption(session.plain(images.ids[other]))
        with st.container():
            st.markdown(f"**{session.plain(images.ids[image])}**")
            for line in _lines(seen, image, found, problem):
                st.caption(session.plain(line))
            with st.container(horizontal=True):
                st.button(
                    "Leave out this image" if kept else "Put back",
                    key="this one",
                    on_click=_act,
                    args=(seen, _turning(image, kept)),
                )
                st.button("Close", key="close one", on_click=_open, args=(seen.key, None))


def enlarged(found: Pictures, image: int, key: str) -> None:
    """One image of a source, larger: the whole original with its facts, or what is trained on."""
    name = found.images.ids[image]
    with st.container(width=LARGE_SIDE):
        if found.pictured[image]:
            viewer.viewer(found, image, name, key=key)
            return
        (start, end), sharp = thumbs.address(found), ";image-rendering:pixelated" if found.sharp else ""
        source = html.escape(f"{start}{image}{end}&square=1", quote=True)
        st.html(f"<img src='{source}' alt='{html.escape(name, quote=True)}' style='width:{LARGE_SIDE}px{sharp}'>")


def _turning(image: int, kept: bool) -> Callable[[Exclusions], object]:
    one = np.array([image])
    if kept:
        return lambda decided: decided.exclude(one, _by_hand(), _visit())
    return lambda decided: decided.put_back(one, _visit())


def _lines(seen: _Seen, image: int, found: Finding | None, problem: Problem | None) -> list[str]:
    lines, extents = [], seen.opened.extents
    if extents is not None and not originals.pictures_of_source(seen.opened).pictured[image]:  # which says it itself
        lines.append(f"original: {extents[image, 0]:,} × {extents[image, 1]:,} pixels")
    if found is not None and problem is not None:
        at = np.flatnonzero(found.images == image)
        lines += [present.measured_at(problem, found, int(at[0]))] if len(at) else []
    reason = seen.decided.reasons().get(image)
    return [*lines, f"left out: {reason}"] if reason else lines
