"""Forecasts of a run's time: a probe on request, with results for each preset and the current settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from engine.config import RunConfig
from engine.errors import RunError
from engine.forecast.forecast import can_forecast
from engine.runs.kept_forecast import load_forecast
from spice_explorer import session
from spice_explorer.present import forecast as present
from spice_explorer.present import settings
from spice_explorer.queries import forecasts, training

if TYPE_CHECKING:
    from engine.runs.kept_forecast import Forecast
    from engine.sources.open_source import Opened
    from spice_explorer.queries.runs import Run

POLL_SECONDS = 0.5
PRESETS = ("quick", "fast", "paper")
PHOTOS = "photos"
ASK = "How long will it take?"
BUSY = "Forecasts need an idle device; try again when this run ends."

UNKNOWN = "No forecast is available for external vectors, or for a network of the Hub before it is downloaded."


def ahead(opened: Opened, config: RunConfig, device: str) -> None:
    """A button first, then the forecast for each preset and `config`; never blocks."""
    probing = forecasts.probe_of(opened, device).state == "probing"
    st.fragment(_ahead, run_every=POLL_SECONDS if probing else None)(opened, config, device, probing)


def _ahead(opened: Opened, config: RunConfig, device: str, was_probing: bool) -> None:
    probe = forecasts.probe_of(opened, device)
    if was_probing and probe.state != "probing":
        st.rerun()
    asked = _asked(opened, config)
    found = {name: probe.of(one) for name, one in asked.items()}
    if probe.state == "probing":
        long = "half a minute" if settings.photographs(opened.images) else "ten seconds"
        st.progress(probe.done, f"A few steps of each preset are timed: about {long}…")
    elif None in found.values() and st.button(
        "Measure these settings" if probe.costs else ASK,
        key="forecast",
        icon=":material/timer:",
        help="Times a few real steps on these images in the background.",
    ):
        missing = [asked[name] for name, one in found.items() if one is None]
        forecasts.ask(opened, missing, device)
        st.rerun()
    if probe.state == "busy":
        st.caption(BUSY)
    elif probe.state == "failed" and set(asked.values()) & set(probe.asked):
        st.warning(session.sentence(probe.message), icon=":material/warning:")
    if probe.costs:
        if not can_forecast(config):
            st.caption(UNKNOWN)
        _table(found, probe.free)


def _asked(opened: Opened, config: RunConfig) -> dict[str, RunConfig]:
    """Settings by the name of their row: each preset, and `config` where it is none of them."""
    names = (PHOTOS, *PRESETS) if settings.photographs(opened.images) else PRESETS
    presets = {
        name.capitalize(): training.preset(name, config.clusters, opened.images.channels, config.seed) for name in names
    }
    if config in presets.values() or not can_forecast(config):
        return presets
    return {**presets, present.OWN: config}


def _table(found: dict[str, Forecast | None], free: int | None) -> None:
    head, *rows = present.rows(found)
    lines = [head, ("---",) * len(head), *rows]
    st.markdown("\n".join(f"| {' | '.join(line)} |" for line in lines))
    known = next(one for one in found.values() if one is not None)
    st.caption(present.footing(known))
    for told in present.warnings(found, free):
        st.caption(f":material/warning: {session.plain(told)}.")


def compared(look: Run) -> None:
    """The run's forecast, if any, next to the actual time."""
    try:
        found = load_forecast(look.folder)
    except RunError as error:
        st.caption(f":material/warning: {session.sentence(str(error))}.")
        return
    if found is not None:
        st.caption(f":material/timer: {present.compared(look.snapshot, found)}")
