"""What the map fetches by itself, as plain bytes: one value, or two places, for each drawn image.

/spice/columns/RUN/COLUMN.bin?v=VERSION

COLUMN is `ids`, `none` (zeros), `truth`, `flips`, `changed`, `imported.NUMBER`, `label.STAGE`, `confidence.STAGE`, `agreement.STAGE`,
`label.STAGE.STEP` (what a stage believed on the way) or `place.LAYOUT[.STAGE.STEP]`, where LAYOUT is
`pca` or UMAP's settings as `15-0.1`. An address with another version is another array, so that a
browser may keep what it has for good.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast, get_args

import numpy as np
import streamlit as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from engine.errors import SpiceError
from engine.events import Stage
from spice_explorer import artefacts
from spice_explorer.present import maps

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, max-age=604800, immutable",
}
_STAGES = "|".join(get_args(Stage))
_PLACE = re.compile(rf"place\.(pca|\d+-[\d.]+)(?:\.({_STAGES})\.(\d+))?")
_OF_STAGE = re.compile(rf"(label|confidence|agreement)\.({_STAGES})(?:\.(\d+))?")
_IMPORTED = re.compile(r"imported\.(\d+)")
_PLAIN = re.compile("ids|none|truth|flips|changed")


def address(run: str, column: str, version: str, kind: str) -> dict[str, str]:
    """Where the browser finds a column of a run, and its type."""
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    url = f"{'/' + base if base else ''}/spice/columns/{run}/{column}.bin?v={version}"
    return maps.address(url, kind)


def serve(request: Request) -> Response:
    """The column's bytes, little-endian; 404 in words for what is not there (yet, or any more)."""
    run, name = request.path_params["run"], request.path_params["column"]
    try:
        values = column(run, name)
    except (SpiceError, OSError, LookupError, ValueError) as error:
        return PlainTextResponse(str(error), 404, {"Cache-Control": "no-store"})
    return Response(values.tobytes(), media_type="application/octet-stream", headers=HEADERS)


def column(run: str, name: str) -> np.ndarray:
    """(n,) or (n, 2) values of the drawn images.

    Raises:
        KeyError: when there is no column of that name.
        RunError: when the run has not got that far.
    """
    ids = artefacts.drawn(run)
    values = _read(run, name)
    return np.ascontiguousarray(values if ids is None else values[ids])


def _read(run: str, name: str) -> np.ndarray:
    if place := _PLACE.fullmatch(name):
        layout, stage, step = place.groups()
        moment = None if stage is None else (cast(Stage, stage), int(step))
        if moment and moment not in artefacts.moments(run):
            raise KeyError(f"no moment {name}")
        return artefacts.places(run, layout, moment)
    if of_stage := _OF_STAGE.fullmatch(name):
        what, stage, step = of_stage.groups()
        if step is not None:
            return artefacts.labels_at(run, (cast(Stage, stage), int(step)))
        return _READERS[what](run, stage)
    if imported := _IMPORTED.fullmatch(name):
        return artefacts.imported(run)[int(imported[1])].values
    if _PLAIN.fullmatch(name):
        return _READERS[name](run, "")
    raise KeyError(f"no column {name}")


def _labels(run: str, stage: Stage) -> np.ndarray:
    if stage == "features":
        return artefacts.stage_one_labels(run).astype("<u2")
    return artefacts.reliable(run, stage).labels.astype("<u2")


def _truth(run: str, _stage: str) -> np.ndarray:
    found = artefacts.matched_truth(run)
    if found is None:
        raise KeyError(f"{run} has no ground truth")
    return found[0].astype("<u2")


_READERS: dict[str, Callable[..., np.ndarray]] = {
    "ids": lambda run, _: np.arange(len(artefacts.images(run)), dtype="<u4"),
    "none": lambda run, _: np.zeros(len(artefacts.images(run)), np.uint8),
    "truth": _truth,
    "flips": lambda run, _: artefacts.history(run).flips,
    "changed": lambda run, _: artefacts.changed(run),
    "label": _labels,
    "confidence": lambda run, stage: artefacts.reliable(run, stage).confidence.astype("<f4"),
    "agreement": lambda run, stage: artefacts.reliable(run, stage).agreement.astype("<f4"),
}
