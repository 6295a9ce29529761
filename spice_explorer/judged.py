"""What the reliability instrument fetches by itself: one number for every image, as plain bytes.

/spice/judged/RUN/STAGE/labels.bin      uint16, the cluster
/spice/judged/RUN/STAGE/confidence.bin  float32, 0 to 1
/spice/judged/RUN/STAGE/agreed-C.bin    uint16, how many of the C nearest neighbours have its label

All little-endian. An address with another version is another array, so that a browser may keep it.
"""

from __future__ import annotations

import re
from typing import cast, get_args
from urllib.parse import quote

import numpy as np
import streamlit as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from engine.errors import SpiceError
from engine.events import Stage
from spice_explorer import artefacts, services

SAFE = {"X-Content-Type-Options": "nosniff"}
HEADERS = {**SAFE, "Cache-Control": "private, max-age=604800"}
_AGREED = re.compile(r"agreed-([1-9]\d{0,4})")


def route() -> Route:
    return Route("/spice/judged/{run}/{stage}/{what}.bin", serve, methods=["GET"])


def address(run: str, stage: Stage) -> str:
    """Where the numbers of a stage begin; `/WHAT.bin?v=VERSION` follows."""
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"{'/' + base if base else ''}/spice/judged/{quote(run, safe='')}/{stage}"


def version(run: str, stage: Stage) -> str:
    """Changes when the labels of `stage` or the neighbours are written anew."""
    folder = services.folder_of(run)
    return f"{folder.modified(f'reliable-{stage}')}-{folder.modified('neighbors')}"


def serve(request: Request) -> Response:
    """The bytes; 404 in words for what is not there (yet, or any more)."""
    asked = request.path_params
    try:
        values = numbers(asked["run"], asked["stage"], asked["what"])
    except (SpiceError, OSError, LookupError) as error:
        return PlainTextResponse(str(error), 404, {**SAFE, "Cache-Control": "no-store"})
    return Response(values.tobytes(), media_type="application/octet-stream", headers=HEADERS)


def numbers(run: str, stage: str, what: str) -> np.ndarray:
    """(N,) numbers, little-endian.

    Raises:
        LookupError: when there are no such numbers.
        RunError: when there is no such run, or it has not got that far.
    """
    if stage not in get_args(Stage):
        raise LookupError(f"no stage {stage}")
    judged = cast(Stage, stage)
    if what == "labels":
        return artefacts.reliable(run, judged).labels.astype("<u2")
    if what == "confidence":
        return artefacts.reliable(run, judged).confidence.astype("<f4")
    if found := _AGREED.fullmatch(what):
        count = int(found[1])
        if count <= artefacts.arrays(run, "neighbors")["ids"].shape[1]:
            return np.round(artefacts.agreement(run, judged, count) * count).astype("<u2")
    raise LookupError(f"no numbers {what}")
