"""Routes that the browser fetches directly: sheets of thumbnails and their names, for the map's hover card.

/spice/sprites/RUN/SHEET.webp   1,024 thumbnails in 32 columns
/spice/sprites/RUN/SHEET.json   their names
/spice/lesson/RUN.json?v=…      the lesson of a run; "opening" before there is one
/spice/lesson/RUN.html          the same as one file, to be saved
/dataset                        the first page, which is at /
"""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import quote

import streamlit as st
from PIL import Image
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from engine.data.decode_image import fitted
from engine.data.thumbnails import size_of
from engine.errors import SpiceError
from engine.runs.folder import RunFolder
from spice_explorer.addresses import address_of
from spice_explorer.present import sprites
from spice_explorer.queries import artefacts, lessons, runs
from spice_explorer.queries.cache import cached
from spice_explorer.web import columns, curate_api, originals, thumbs
from spice_explorer.web.browser_cookie import BrowserCookie
from spice_explorer.web.originals import HEADERS, MOST_DIGITS

# A lesson grows while its run trains.
FRESH = {**HEADERS, "Cache-Control": "no-store"}


def address(run: RunFolder) -> str:
    """Where the sheets of a run are served; changes with the run's images."""
    return address_of("sprites", run.name)


def sheet(request: Request) -> Response:
    """One sheet as WebP, or its names as JSON; 404 for runs and sheets that are not there."""
    asked = str(request.path_params["sheet"])
    if not asked.isdecimal() or len(asked) > MOST_DIGITS:
        return PlainTextResponse("no such sheet", 404, HEADERS)
    number = int(asked)
    try:
        run = runs.folder_of(request.path_params["run"])
        images = artefacts.images(run)
    except (SpiceError, OSError):
        return PlainTextResponse("no such run", 404, HEADERS)
    if not 0 <= number < sprites.sheets(len(images)):
        return PlainTextResponse("no such sheet", 404, HEADERS)
    if request.path_params["kind"] == "json":
        return JSONResponse(images.names[sprites.ids_of(number, len(images))], headers=HEADERS)
    body, headers = _sheet_of(run, number)
    return Response(body, media_type="image/webp", headers=headers)


def _sheet_of(run: RunFolder, number: int) -> tuple[bytes, dict[str, str]]:
    """A sheet and its headers: it is made again once more thumbnails of its images are kept."""
    found = originals.pictures(run)
    ids = range(len(found.images))[sprites.ids_of(number, len(found.images))]
    whole = found.pictured[ids.start : ids.stop]
    kept = int(found.kept_of(ids).sum()) if whole.any() else 0
    return _picture(run, number, kept), HEADERS if kept == whole.sum() else FRESH


@cached(entries=64)
def _picture(run: RunFolder, number: int, kept: int) -> bytes:
    found, file = originals.pictures(run), io.BytesIO()
    part = sprites.ids_of(number, len(found.images))
    drawn = _whole(found, range(len(found.images))[part]) if kept else sprites.sheet(found.images.pixels[part])
    drawn.save(file, "webp", lossless=not kept and found.images.size[0] <= sprites.SHARP, quality=80)
    return file.getvalue()


def _whole(found: originals.Pictures, ids: range) -> Image.Image:
    """The thumbnails that are kept, each in the middle of its cell; what is trained on in place of others."""
    side = sprites.MOST_SIDE
    board = Image.new("RGBA", (sprites.COLUMNS * side, -(-len(ids) // sprites.COLUMNS) * side))
    for place, (index, body) in enumerate(zip(ids, found.bodies(ids, make=False), strict=True)):
        extent = size_of(body) if body is not None else found.images.size[::-1]
        cell = Image.fromarray(thumbs.cell(found.images.pixels[index], body, fitted(extent, side)))
        cell = cell.resize(fitted(extent, side, enlarge=True), Image.Resampling.NEAREST)
        y, x = divmod(place, sprites.COLUMNS)
        board.paste(cell, (x * side + (side - cell.width) // 2, y * side + (side - cell.height) // 2))
    return board


def lesson(request: Request) -> Response:
    """A run's lesson as the player reads it; 404 for runs that are not there."""
    try:
        body = lessons.body(lessons.run_of(request.path_params["run"]), request.query_params.get("v", ""))
    except (SpiceError, OSError):
        return PlainTextResponse("this run no longer exists", 404, FRESH)
    return Response(body, media_type="application/json", headers=FRESH)


def lesson_file(request: Request) -> Response:
    """A run's lesson as one HTML file; it is saved, never opened as a page of this server."""
    try:
        run = lessons.run_of(request.path_params["run"])
        body = lessons.file(run)
    except (SpiceError, OSError) as error:
        return PlainTextResponse(str(error), 404, FRESH)
    saved = f"attachment; filename*=UTF-8''{quote(run.name, safe='')}.html"
    return Response(body, media_type="text/html", headers={**FRESH, "Content-Disposition": saved})


def first_page(request: Request) -> Response:
    """Redirects /dataset to /: the first page of an app has no separate address."""
    query = request.url.query
    return RedirectResponse(f"./?{query}" if query else "./")


def options() -> dict[str, Any]:
    """Routes and middleware for `st.App`: strangers' host names are refused on every route."""
    hosts = list(st.get_option("server.allowedHosts") or []) or ["*"]
    if st.get_option("server.address") not in (None, "127.0.0.1", "localhost"):
        hosts.append(str(st.get_option("server.address")))
    path = "/spice/sprites/{run}/{sheet}.{kind}"
    return {
        "routes": [
            Route("/dataset", first_page, methods=["GET"]),
            Route(path, sheet, methods=["GET"]),
            Route("/spice/lesson/{run}.json", lesson, methods=["GET"]),
            Route("/spice/lesson/{run}.html", lesson_file, methods=["GET"]),
            *thumbs.routes(),
            columns.route(),
            *curate_api.routes(),
        ],
        "middleware": [Middleware(TrustedHostMiddleware, allowed_hosts=hosts), Middleware(BrowserCookie)],
    }
