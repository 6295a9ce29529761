"""The app's access to the health of a source: the report, and the images a visitor leaves out."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from engine.errors import RunError, SpiceError
from engine.runs.folder import RunFolder
from spice_explorer.queries import runs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from engine.data.skipped import Skipped
    from engine.health.exclusions import Exclusions
    from engine.health.reports import Checkup
    from engine.sources.open_source import Opened

# A small set is examined within this time: its report comes with the page, and not a moment later.
PATIENCE_SECONDS = 0.4


def checkup(opened: Opened, *, again: bool = False, patient: bool = False) -> Checkup:
    """How the report on these images is coming along; asks for it the first time."""
    from engine.health.reports import the_examiner

    run = trained(opened)
    return the_examiner().request(
        opened, None if run is None else _vectors(run), again=again, patience=PATIENCE_SECONDS if patient else 0.0
    )


def trained(opened: Opened) -> str | None:
    """The newest run of exactly these images that has features, by which they can be compared."""
    same = _of_these(opened.images.fingerprint, tuple(_runs()))
    return next((name for name in same if _vectors(name).is_file()), None)


def _runs() -> Iterator[tuple[str, float]]:
    """The runs of the workspace, newest first, and when each was made."""
    for name in runs.run_names():
        with contextlib.suppress(RunError):  # it was removed at this moment
            yield name, runs.made(RunFolder(runs.workspace() / name))


@st.cache_data(show_spinner=False, max_entries=8)
def _of_these(fingerprint: str, names: tuple[tuple[str, float], ...]) -> list[str]:
    """The runs of exactly these images; to look at all cards again and again would take its time."""
    found = []
    for name, _ in names:
        try:
            if runs.folder_of(name).card().fingerprint == fingerprint:
                found.append(name)
        except (SpiceError, OSError):
            continue
    return found


def _vectors(name: str) -> Path:
    return runs.workspace() / name / "features" / "vectors.npy"


def decided(opened: Opened) -> Exclusions:
    """The images left out of this source, including other people's decisions since."""
    found = _exclusions(opened.images.source, opened.images.fingerprint, opened)
    found.refresh()
    return found


@st.cache_resource(show_spinner=False, max_entries=8)
def _exclusions(source: str, fingerprint: str, _opened: Opened) -> Exclusions:
    from engine.health.exclusions import Exclusions

    del source, fingerprint  # of the cache's key alone
    return Exclusions(_opened.images)


def to_train(opened: Opened) -> tuple[Opened, tuple[Skipped, ...]]:
    """The images that are not left out, and those that are; raises SpiceError when too few are left."""
    kept, excluded = decided(opened).parted()
    if not excluded:
        return opened, ()
    bits = np.packbits(kept).tobytes()
    return _cut(opened.images.source, opened.images.fingerprint, bits, opened), excluded


# Only a few states are remembered: each may hold on to a copy of the pixels. A state is known by the
# images themselves, not by a row: a log that was removed restarts its row numbers.
@st.cache_resource(show_spinner="Leaving images out…", max_entries=2)
def _cut(source: str, fingerprint: str, bits: bytes, _opened: Opened) -> Opened:
    from engine.health.exclusions import cut

    del source, fingerprint  # of the cache's key alone
    kept = np.unpackbits(np.frombuffer(bits, np.uint8), count=len(_opened.images))
    return cut(_opened, kept.astype(bool))
