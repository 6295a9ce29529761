"""The image panel: everything about one image, next to the page it was opened from."""

from __future__ import annotations

import html
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from engine.curate.curation import State
from engine.curate.provenance import NAMES
from engine.errors import DecisionError, SpiceError
from engine.events import Stage
from spice_explorer import session
from spice_explorer.components import gallery, viewer
from spice_explorer.palette import VERDICTS, cluster_colour
from spice_explorer.present import panel as present
from spice_explorer.present.curation import STATES
from spice_explorer.queries import artefacts, decisions
from spice_explorer.queries.decisions import known, names
from spice_explorer.web import originals, thumbs

if TYPE_CHECKING:
    from engine.data.images import ImageSet
    from engine.runs.folder import RunFolder
    from engine.stages.reliable import ReliableSet
    from spice_explorer.present.names import Names

MOST_VOTES = 4
NEIGHBORS_A_PAGE = 24
STAGES: dict[Stage, str] = {"heads": "stage 2", "joint": "stage 3"}


@dataclass(frozen=True, eq=False)
class _Judged:
    """The labels and verdicts that the panel explains."""

    stage: Stage
    found: ReliableSet
    count: int
    confidence: float


def show(
    run: RunFolder,
    *,
    stage: Stage | None = None,
    judged: ReliableSet | None = None,
    count: int | None = None,
    confidence: float | None = None,
) -> None:
    """Draws the panel of the open image, if one is open; once, at the end of a page.

    Args:
        stage: whose labels are explained; the newest that are judged, unless given.
        judged: the verdict on them under other settings; the run's own, unless given.
        count: how many neighbours that verdict asked; as many as the run did, unless given.
        confidence: the confidence that it asked; what the run did, unless given.
    """
    index = session.open_image(run)
    if index is None:
        return
    with st.container(key="image-panel"):
        _close()
        with session.plain_errors():
            images = _images(run)
            _picture(run, images, index)
            verdict = _judged(run, stage, judged, count, confidence)
            labels = _no_label(run) if verdict is None else np.asarray(verdict.found.labels)
            if verdict is not None:
                _label(index, verdict, names(run))
                _curated(run, index)
            _truth(run, index)
            _select(run, index)
            if labels is not None:
                asked = artefacts.neighbor_count(run) if verdict is None else verdict.count
                _neighbors(run, images, index, labels, asked)
            _history(run, index)


def _judged(
    run: RunFolder, stage: Stage | None, judged: ReliableSet | None, count: int | None, confidence: float | None
) -> _Judged | None:
    """The given values, and the run's own for missing ones; None before stage 2 is judged."""
    stages, settings = artefacts.judged_stages(run), run.card().config.reliable
    if not stages:
        return None
    chosen = stage or stages[0]
    return _Judged(
        chosen,
        artefacts.reliable(run, chosen) if judged is None else judged,
        artefacts.neighbor_count(run) if count is None else count,
        settings.confidence if confidence is None else confidence,
    )


def _close() -> None:
    st.button(
        "Close",
        on_click=session.close_image,
        key="close image",
        icon=":material/close:",
        shortcut="Escape",
        type="tertiary",
    )


def _images(run: RunFolder) -> ImageSet | None:
    """The run's images; None if they are missing from its folder, or damaged."""
    try:
        return artefacts.images(run)
    except (SpiceError, OSError, KeyError, ValueError):
        return None


def _picture(run: RunFolder, images: ImageSet | None, index: int) -> None:
    number = f"image {index:,}"
    if images is None:
        st.html(_heading(number, ""))
        st.caption("The picture is missing: its pixels were removed from the run's folder.")
        return
    place, _, name = images.ids[index].rpartition("/")
    found = originals.pictures(run)
    if found.origin is not None:
        st.html(_heading(name, number))
        viewer.viewer(found, index, name)
        return
    start, end = thumbs.address(found)
    kind = " class='sharp'" if found.sharp else ""
    source = html.escape(f"{start}{index}{end}&full=1", quote=True)
    st.html(
        f"{_heading(name, f'{place}/ · {number}' if place else number)}"
        f"<div class='spice-panel-picture'><img src='{source}'{kind} "
        f"alt='{html.escape(name, quote=True)}'></div>"
    )


def _heading(name: str, where: str) -> str:
    return f"<div class='spice-panel-name'><b>{html.escape(name)}</b><span>{html.escape(where)}</span></div>"


def _truth(run: RunFolder, index: int) -> None:
    found = artefacts.truth(run)
    if found is not None:
        name = html.escape(found.class_names[found.labels[index]])
        st.html(f"<div class='spice-truth-line'>truth: {name} · never used in training</div>")


def _select(run: RunFolder, index: int) -> None:
    chosen = session.selection(run)
    if index in chosen:
        words, then = "Remove from selection", np.setdiff1d(chosen, [index])
    else:
        words, then = "Select", np.append(chosen, index)
    st.button(words, on_click=session.select_anew, args=(run, then), key="select image")


def _label(index: int, judged: _Judged, called: Names) -> None:
    found = judged.found
    label, verdict = int(found.labels[index]), int(found.verdicts[index])
    why = present.explanation(
        label,
        float(found.agreement[index]),
        float(found.confidence[index]),
        verdict,
        threshold=float(found.thresholds[label]),
        asked_confidence=judged.confidence,
        count=judged.count,
        names=called,
    )
    reasons = "".join(
        f"<li class='{'holds' if one.holds else 'fails'}'>{html.escape(one.text)}</li>" for one in why.reasons
    )
    st.html(
        f"<div class='spice-panel-label'>{_swatch(label)}<b>{html.escape(called.title(label))}</b>"
        f"<span>label of {STAGES[judged.stage]}</span></div>"
        f"<div class='spice-panel-why' style='border-color:{VERDICTS[verdict]}'>"
        f"<b>{html.escape(why.verdict)}</b><ul>{reasons}</ul></div>"
    )


def _curated(run: RunFolder, index: int) -> None:
    """The class that people gave the image, and who said so."""
    try:
        now = decisions.curation(run)
    except DecisionError:  # said on the Curate page; the panel is good without
        return
    state, provenance = State(int(now.state[index])), int(now.provenance[index])
    if state == State.UNDECIDED and not provenance:
        return
    number = int(decisions.classes_of(run)[index])
    shown = next(one for one in decisions.classes(run) if one.number == number)
    said = now.answers(index)
    who = said[0].reviewer if said else ""
    words = [STATES[state] if state else "", NAMES[provenance], f"by {who}" if who else ""]
    st.html(
        f"<div class='spice-panel-label'><i class='spice-swatch' style='background:{html.escape(shown.colour)}'></i>"
        f"<b>{html.escape(shown.name)}</b><span>{html.escape(' · '.join(filter(None, words)))}</span></div>"
    )


def _no_label(run: RunFolder) -> np.ndarray | None:
    """Says which stages are still missing; returns the labels of stage 1, if it is done."""
    there = run.has("neighbors")
    st.caption(present.what_is_to_come(there))
    return artefacts.stage_one_labels(run) if there else None


def _neighbors(run: RunFolder, images: ImageSet | None, index: int, labels: np.ndarray, count: int) -> None:
    """What the neighbours say, and the neighbours themselves, nearest first."""
    if not run.has("neighbors"):
        st.caption("The neighbours are missing: they were removed from the run's folder.")
        return
    near, called = artefacts.arrays(run, "neighbors"), names(run)
    ids, cosines = np.asarray(near["ids"][index, :count]), near["similarity"][index, :count]
    st.html(_votes(present.votes(labels, ids), called))
    if images is None:
        return
    odd = labels[ids] != labels[index]
    st.html(
        f"<div class='spice-panel-title'>The {len(ids):,} nearest images"
        f"<span>{'dashed: another label' if odd.any() else 'all with its label'}</span></div>"
    )
    gallery.gallery(
        run,
        replace(known(run, None), labels=labels),
        ids,
        key="neighbors",
        side=46,
        per_page=NEIGHBORS_A_PAGE,
        odd=odd,
        notes=[f"cosine {cosine:.3f}" for cosine in cosines.tolist()],
    )


def _votes(found: list[tuple[int, int]], called: Names) -> str:
    most, rest = max(count for _, count in found), sum(count for _, count in found[MOST_VOTES:])
    rows = "".join(
        f"<span>{_swatch(label)}{html.escape(called.short(label))}</span><i><i style='width:{100 * count / most:.1f}%;"
        f"background:{cluster_colour(label)}'></i></i><em>{count:,}</em>"
        for label, count in found[:MOST_VOTES]
    )
    if rest:
        rows += f"<span>others</span><i></i><em>{rest:,}</em>"
    return f"<div class='spice-panel-title'>Its neighbours' labels</div><div class='spice-panel-votes'>{rows}</div>"


def _swatch(label: int) -> str:
    return f"<i class='spice-swatch' style='background:{cluster_colour(label)}'></i>"


def _history(run: RunFolder, index: int) -> None:
    told = artefacts.history(run)
    if not len(told.steps):
        return
    labels = told.labels[:, index]
    cells = present.cells(told.stages, told.steps, labels, told.confidence[:, index], names(run))
    parts = [
        f"<div style='flex:{len(mine)}'>{''.join(mine)}<span>{STAGES[stage]}</span></div>"
        for stage in STAGES
        if (mine := [_cell(one) for one in cells if one.stage == stage])
    ]
    st.html(
        "<div class='spice-panel-title'>Its label during training"
        f"<span>{present.changes(labels)}</span></div>"
        f"<div class='spice-panel-history'>{''.join(parts)}</div>"
    )


def _cell(cell: present.Cell) -> str:
    title = html.escape(cell.title, quote=True)
    return f"<i title='{title}' style='background:{cell.colour}'></i>"
