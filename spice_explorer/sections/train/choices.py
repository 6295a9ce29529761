"""The ways to train on photographs, side by side, and the network that knows photographs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from engine.config import TIMM, RunConfig, with_setting
from engine.networks.origins import PROPOSED
from spice_explorer import session
from spice_explorer.present import choices as present
from spice_explorer.present import settings
from spice_explorer.present.choices import Choice
from spice_explorer.queries import forecasts, imports, training
from spice_explorer.sections.dataset import page as dataset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.networks.origins import Proposed
    from engine.sources.open_source import Opened

# By what `features.source` says of it.
NETWORKS = {f"{TIMM}{one.origin.name}": one for one in PROPOSED}
PHOTOS = "photos"
AGAIN = "photographs again"


def network(config: RunConfig) -> RunConfig:
    """`config` with the network that is chosen among those that know photographs."""
    source = st.selectbox(
        "Network",
        NETWORKS,
        format_func=lambda one: present.option(NETWORKS[one]),
        key="network",
        help="Taken as it is: its features of these images are computed once. Any other network: Stage 1, source.",
    )
    return with_setting(config, "features.source", source)


def table(opened: Opened, config: RunConfig, device: str, offered: Mapping[str, str]) -> None:
    """What each of the `offered` presets (title by name) takes here, downloads and begins with; `config` is chosen."""
    probe = forecasts.probe_of(opened, device)
    found = []
    for name, title in offered.items():
        chosen = name == config.preset
        one = config if chosen else training.preset(name, config.clusters, opened.images.channels, config.seed)
        source = one.features.source
        known = NETWORKS.get(source)
        here = known is not None and training.on_disk(source)
        found.append(Choice(title.partition(":")[0], known, here, probe.of(one), chosen))
    head, *rows = [tuple(map(session.plain, row)) for row in present.rows(found)]
    with st.container(border=True, key="choices"):
        lines = [head, ("---",) * len(head), *rows]
        st.markdown("\n".join(f"| {' | '.join(line)} |" for line in lines))
        st.caption(session.plain(present.FROM_SCRATCH))


# -- photographs that are too small ----------------------------------------------------------------


def larger(opened: Opened) -> bool:
    """For photographs that were imported as tiny squares, the way to a network that knows photographs.

    Returns:
        Whether they are being imported again, so that there is nothing to start yet.
    """
    asked, again = session.current_import(), st.session_state.get(AGAIN)
    if asked is not None and asked == again:
        st.markdown(f"**The photographs are being imported at {settings.PHOTOGRAPH} pixels.**")
        dataset.watch_import()
        return True
    if asked is not None:  # another import took its place
        st.session_state.pop(AGAIN, None)
    elif again is not None:
        dataset.watch_import()  # only what went wrong, if anything
    if opened.origin is not None and settings.tiny(opened.images, opened.extents):
        _proposal(opened, NETWORKS[training.preset(PHOTOS, 2, 3, 0).features.source])
    return False


def _proposal(opened: Opened, known: Proposed) -> None:
    source = f"{TIMM}{known.origin.name}"
    here = training.on_disk(source)
    with st.container(border=True, key="photographs"):
        st.markdown(
            f"**These are photographs**, but they were imported as squares of {min(opened.images.size)} pixels. A "
            "network that knows photographs groups them far better than one that is trained from scratch, and "
            f"needs {settings.PHOTOGRAPH} pixels."
        )
        st.caption(session.plain(f"{present.learned(known)}. Download: {present.download(known, on_disk=here)}."))
        fault = "" if here else training.download_fault(source)
        if fault:
            st.warning(session.sentence(fault), icon=":material/cloud_off:")
        if st.button(f"Import them at {settings.PHOTOGRAPH} pixels", key="import photographs", type="primary"):
            _import_again(opened)


def _import_again(opened: Opened) -> None:
    origin, labels = opened.origin, opened.truth is not None
    if origin is None:
        return
    asked = imports.begin(origin.text, settings.PHOTOGRAPH, labels, str(origin.root or ""), origin.fit)
    session.keep_import(asked)
    st.session_state[AGAIN] = asked
    st.rerun()
