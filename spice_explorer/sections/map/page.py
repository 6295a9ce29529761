"""The Map page's parts: the map's data, the progress of UMAP, the pictures below the map."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from engine.errors import SpiceError
from engine.runs.folder import RunFolder
from engine.runs.maps import has_maps
from engine.shares import percent
from spice_explorer import session
from spice_explorer.components import gallery, image_map
from spice_explorer.present import maps as present
from spice_explorer.present import sprites
from spice_explorer.present.gallery import Known
from spice_explorer.queries import artefacts, decisions, maps, runs
from spice_explorer.queries.runs import Run
from spice_explorer.sections import panel
from spice_explorer.sections.map import colourings
from spice_explorer.web import columns, originals, routes, thumbs

POLL_SECONDS = 2.0
LAYOUT = "15-0.1"
MOST_FLIPPED = 2_000
SHOWN = {"selection": "Selected", "flipped": "Most label changes"}


def show(look: Run) -> None:
    """Map with its legend and replay, then pictures."""
    run = look.folder
    key = f"map-{run.name.replace('__', '-')}"  # Streamlit keeps two underlines for itself
    replaying = image_map.replaying(key)
    shown = _shown(run)
    wait = POLL_SECONDS if look.live or not all(_layouts(look, replaying)) else None
    st.fragment(_state_of_the_map, run_every=wait)(run, replaying, shown)
    ids = maps.drawn(run)
    count = look.card.images if ids is None else len(ids)

    def selected() -> None:
        places = image_map.picked(key, count)
        session.select(run, places if ids is None else ids[places])

    def opened() -> None:
        index = image_map.opened(key)
        if index is not None:
            session.show_image(index)

    image_map.image_map(
        _told(look, ids, count), key=key, on_selection=selected, on_opened=opened, on_replay=lambda: None
    )
    _import(run)
    _pictures(run)
    panel.show(run)


# -- how the map is coming along ---------------------------------------------------------------


def _layouts(look: Run, replaying: bool) -> tuple[bool, bool]:
    """Whether UMAP is ready for the map, and for the replay if there is one; the call starts it."""
    settings = maps.map_settings(LAYOUT)
    job = maps.map_job(look.folder, settings, frames=False)
    # While a run trains, moments are added: their maps wait until all are there.
    replayed = not replaying or look.live or job.state != "ready"
    if not replayed:
        replayed = maps.map_job(look.folder, settings, frames=True).state == "ready"
    return job.state == "ready", replayed


def _shown(run: RunFolder) -> tuple[int, int, bool, bool]:
    """How much there is to show: moments, judged stages, UMAP and that of every moment."""
    settings = maps.map_settings(LAYOUT)
    ready = [has_maps(run, settings, frames=frames) for frames in (False, True)]
    return len(maps.moments(run)), len(artefacts.judged_stages(run)), ready[0], ready[1]


def _state_of_the_map(run: RunFolder, replaying: bool, shown: tuple[int, int, bool, bool]) -> None:
    """A line about the layout; runs the page again when there is more to show."""
    with session.plain_errors():
        if _shown(run) != shown:
            st.rerun()
        frames = replaying and shown[2] and not runs.look(run).live
        job = maps.map_job(run, maps.map_settings(LAYOUT), frames=frames)
        if job.state == "ready":
            st.caption("UMAP of stage 1's features. Scroll to zoom, click a point to open its image.")
        elif job.state == "failed":
            _failed(run, job.message, replaying)
        elif job.state == "waiting":
            st.caption(
                ":material/hourglass_top: Principal components of stage 1's features so far; "
                "UMAP follows when the stage is done."
            )
        else:
            what = "UMAP" if job.part == "map" else "UMAP of every frame"
            st.caption(
                f":material/hourglass_top: {what} is being computed ({percent(job.done, 0)}); until then "
                f"{'the map' if not shown[2] else 'the replay'} shows principal components."
            )


def _failed(run: RunFolder, message: str, replaying: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.warning(f"Principal components: UMAP failed ({session.sentence(message)}).", icon=":material/warning:")
        st.button("Try again", key="map again", on_click=_again, args=(run, replaying))


def _again(run: RunFolder, replaying: bool) -> None:
    maps.map_job(run, maps.map_settings(LAYOUT), frames=replaying, again=True)


# -- the map's data ----------------------------------------------------------------------------


def _told(look: Run, ids: np.ndarray | None, count: int) -> dict[str, Any]:
    run = look.folder
    addresses, (_, _, mapped, replayed) = columns.Addresses(run), _shown(run)
    at = addresses.at
    chosen = session.selection(run)
    among = chosen if ids is None else np.flatnonzero(np.isin(ids, chosen))
    index = session.open_image(run)
    return {
        "key": f"{run.name}-{runs.made(run)}-{count}",
        "run": run.name,
        "n": count,
        "ids": None if ids is None else at("ids", "u4"),
        "note": _note(look.card.images, count),
        "place": at(f"place.{LAYOUT if mapped else 'pca'}", "u2"),
        "stages": colourings.stages(run, at),
        "frames": colourings.moments(look, LAYOUT if replayed else "pca", at),
        "frameNote": "" if replayed else "principal components",
        "open": index,
        "near": _near(run, index),
        "photographs": _photographs(run),
        "sprites": {
            "address": routes.address(run),
            "each": sprites.EACH,
            "columns": sprites.COLUMNS,
            "sharp": originals.pictures(run).sharp,
            "version": addresses.made,
        },
        "selection": present.to_bits(among, count),
        "version": session.selection_version(),
    }


def _photographs(run: RunFolder) -> dict[str, str] | None:
    """What comes before and after an image's id in the address of its whole photograph; None without any."""
    found = originals.pictures(run)
    if not found.photographs:
        return None
    start, end = thumbs.address(found)
    return {"start": start, "end": end}


def _note(images: int, drawn: int) -> str:
    if drawn == images:
        return ""
    return f"{drawn:,} of {images:,} images: a random sample with the same share of every cluster"


def _near(run: RunFolder, index: int | None) -> list[int]:
    """The neighbours that the open image's label was compared with."""
    if index is None or not run.has("neighbors"):
        return []
    found = artefacts.arrays(run, "neighbors")["ids"][index, : artefacts.neighbor_count(run)]
    return np.asarray(found).tolist()


# -- your columns ------------------------------------------------------------------------------


def _import(run: RunFolder) -> None:
    with st.popover("Colour by your own table", icon=":material/table:"):
        st.caption(
            f"A CSV or Parquet file with a column of image names (such as “{_example(run)}”) and "
            "columns of numbers or texts. They colour and filter the map, and are never used in training."
        )
        file = st.file_uploader("Table", ["csv", "parquet"], key=f"table-{run.name}")
        if file is not None:
            st.button("Use table", key="use table", on_click=_take_table, args=(run, file))
        told = st.session_state.pop("table told", None)
        if told:
            (st.success if told[0] else st.error)(told[1])


def _example(run: RunFolder) -> str:
    return session.plain(str(artefacts.images(run).ids[0]))


def _take_table(run: RunFolder, file: Any) -> None:
    try:
        found = maps.import_columns(run, file.getvalue(), file.name)
    except (SpiceError, OSError) as error:
        st.session_state["table told"] = False, session.sentence(str(error))
        return
    titles = ", ".join(session.plain(one.title) for one in found)
    st.session_state["table told"] = True, f"You can now colour the map by: {titles}."


# -- the pictures ------------------------------------------------------------------------------


def _pictures(run: RunFolder) -> None:
    flips = artefacts.history(run).flips if maps.moments(run) else np.zeros(0, np.uint8)
    chosen = session.selection(run)
    options = list(SHOWN) if flips.any() else ["selection"]
    titles = {"selection": f"Selected ({len(chosen):,})", "flipped": SHOWN["flipped"]}
    what = st.segmented_control(
        "Pictures",
        options,
        default="selection",
        required=True,
        key=f"pictures-{run.name}",
        format_func=titles.__getitem__,
        label_visibility="collapsed",
    )
    known = _known(run)
    if what == "flipped":
        _flipped(run, known, flips)
    else:
        _selected(run, known, chosen)


def _known(run: RunFolder) -> Known:
    judged = artefacts.judged_stages(run)
    return decisions.known(run, judged[0] if judged else None)


def _flipped(run: RunFolder, known: Known, flips: np.ndarray) -> None:
    order = np.argsort(-flips.astype(np.int16), kind="stable")[:MOST_FLIPPED]
    order = order[flips[order] > 0]
    st.caption(
        f"{np.count_nonzero(flips):,} images changed their label while stages 2 and 3 trained, the "
        f"first of these {int(flips.max())} times."
    )
    _act(run, gallery.gallery(run, known, order, key=f"flipped-{run.name}", actions=SELECT))


def _selected(run: RunFolder, known: Known, chosen: np.ndarray) -> None:
    if not len(chosen):
        st.caption("Draw around points to see their images here; click a point to open its image.")
        return
    st.caption("Under each: cluster · confidence · agreement")
    _act(run, gallery.gallery(run, known, chosen, key=f"selected-{run.name}", actions=REFINE))


SELECT = (gallery.Action("only", "Select only these"), gallery.Action("add", "Add to selection"))
REFINE = (gallery.Action("only", "Keep only these"), gallery.Action("drop", "Remove these"))


def _act(run: RunFolder, asked: gallery.Asked | None) -> None:
    """Applies the requested action to the marked images: they replace, join or leave the selection."""
    if asked is None:
        return
    chosen = session.selection(run)
    result = {"only": asked.ids, "add": np.union1d(chosen, asked.ids), "drop": np.setdiff1d(chosen, asked.ids)}[
        asked.action
    ]
    session.select_anew(run, result)
    st.rerun()
