"""Routes that the browser fetches directly, part two: images of a run, one at a time or in pages.

/spice/thumbs/RUN/ID.webp             no larger than a thumbnail
/spice/thumbs/RUN/ID.webp?full=1      every stored pixel
/spice/pages/RUN.webp?ids=ID.ID.…     thumbnails in 12 columns, as a gallery shows them

Thumbnails of large images are kept in the workspace's folder .thumbs, under the images' fingerprint, so
that all runs on the same images share them.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from engine.data.contact_sheet import contact_sheet
from engine.errors import SpiceError
from engine.runs.folder import RunFolder
from spice_explorer.addresses import address_of
from spice_explorer.present.gallery import PIXELATED, THUMBNAIL, encoded, thumbnail_size, webp
from spice_explorer.queries import artefacts, runs

HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=3600"}
CACHE = ".thumbs"
# Files in one folder of the cache: few enough for every file system and for a look into it.
EACH = 1000
COLUMNS = 12
MOST_DIGITS = 12
# Images that one sheet may hold: more than any gallery shows at a time.
MOST_ON_A_SHEET = 400


def source(run: RunFolder) -> str:
    """Changes with the images, so that another run of the same name shows none of these."""
    return f"{run.name}-{_version(run)}"


def address(run: RunFolder) -> tuple[str, str]:
    """What comes before and after an image's id in the address of its thumbnail."""
    return f"{address_of('thumbs', run.name)}/", f".webp?v={_version(run)}"


def sheet_of(run: RunFolder, ids: Sequence[int], size: Sequence[int]) -> dict[str, Any]:
    """The address of a sheet with the thumbnails of `ids`, and how to cut it.

    `size` is the height and width of the run's images.
    """
    height, width = thumbnail_size(size)
    asked = ".".join(map(str, ids))
    return {
        "url": f"{address_of('pages', run.name)}.webp?ids={asked}&v={_version(run)}",
        "source": source(run),
        "columns": COLUMNS,
        "width": width,
        "height": height,
    }


def _version(run: RunFolder) -> str:
    return run.card().fingerprint[:12]


def routes() -> list[Route]:
    return [
        Route("/spice/thumbs/{run}/{id}.webp", thumb, methods=["GET"]),
        Route("/spice/pages/{run}.webp", sheet, methods=["GET"]),
    ]


def sheet(request: Request) -> Response:
    """Thumbnails of the images asked for as one WebP; 404 when one of them is not there."""
    asked = request.query_params.get("ids", "").split(".")
    if len(asked) > MOST_ON_A_SHEET or not all(one.isdecimal() and len(one) <= MOST_DIGITS for one in asked):
        return _missing("no such images")
    ids = [int(one) for one in asked]
    try:
        run = runs.folder_of(request.path_params["run"])
        images = artefacts.images(run)
        if max(ids) >= len(images):
            return _missing("no such image")
        body = _sheet(run, images.pixels, ids)
    except (SpiceError, OSError):
        return _missing("no such run")
    except (KeyError, ValueError):
        return _missing("the pixels of this run are missing or damaged")
    return Response(body, media_type="image/webp", headers=HEADERS)


def _sheet(run: RunFolder, pixels: np.ndarray, ids: list[int]) -> bytes:
    """Row after row of thumbnails; small images all at once, large ones from their cache."""
    height, width = thumbnail_size(pixels.shape[2:])
    if max(pixels.shape[2:]) <= THUMBNAIL:
        return encoded(contact_sheet(pixels[ids], COLUMNS), exact=max(height, width) <= PIXELATED)
    board = Image.new("RGB", (COLUMNS * width, -(-len(ids) // COLUMNS) * height))
    for place, index in enumerate(ids):
        with Image.open(io.BytesIO(_picture(run, pixels, index, full=False))) as one:
            board.paste(one, (place % COLUMNS * width, place // COLUMNS * height))
    return encoded(board, exact=False)


def thumb(request: Request) -> Response:
    """One image as WebP; 404 for runs, images and pixels that are not there."""
    wanted = request.path_params["id"]
    try:
        run = runs.folder_of(request.path_params["run"])
        images = artefacts.images(run)
        if not wanted.isdecimal() or int(wanted) >= len(images):
            return _missing("no such image")
        body = _picture(run, images.pixels, int(wanted), full="full" in request.query_params)
    except (SpiceError, OSError):
        return _missing("no such run")
    except (KeyError, ValueError):
        return _missing("the pixels of this run are missing or damaged")
    return Response(body, media_type="image/webp", headers=HEADERS)


def _missing(why: str) -> Response:
    # Not to be remembered: the run may be made, or put back, a moment later.
    return PlainTextResponse(why, 404, {**HEADERS, "Cache-Control": "no-store"})


def _picture(run: RunFolder, pixels: np.ndarray, index: int, *, full: bool) -> bytes:
    if full:
        return webp(pixels[index], side=None)
    # A small image is encoded in less than a millisecond, about what writing a file takes, and the
    # browser remembers it: files would only fill the disk.
    if max(pixels.shape[2:]) <= THUMBNAIL:
        return webp(pixels[index])
    file = run.path.parent / CACHE / run.card().fingerprint / str(index // EACH) / f"{index}.webp"
    return _kept(file) or _keep(file, webp(pixels[index]))


def _kept(file: Path) -> bytes | None:
    """The thumbnail in `file`; None if it is missing, or incomplete after a power cut."""
    try:
        body = file.read_bytes()
    except OSError:
        return None
    whole = len(body) >= 12 and int.from_bytes(body[4:8], "little") + 8 == len(body)
    return body if whole and body[:4] == b"RIFF" and body[8:12] == b"WEBP" else None


def _keep(file: Path, body: bytes) -> bytes:
    """Saves `body` if the disk allows it, and returns it."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=file.parent, prefix=".", suffix=".tmp")
        try:
            with open(handle, "wb") as out:
                out.write(body)
            os.replace(draft, file)
        except OSError:
            os.unlink(draft)
            raise
    return body
