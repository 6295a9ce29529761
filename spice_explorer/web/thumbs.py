"""Routes that the browser fetches directly, part two: images of a run or of an opened source, one at a time
or in pages.

/spice/thumbs/RUN/ID.webp             the thumbnail of the whole original
/spice/thumbs/RUN/ID.webp?full=1      the original itself
/spice/thumbs/RUN/ID.webp?square=1    every pixel that is trained on
/spice/pages/RUN.webp?ids=ID.ID.…     thumbnails in 12 columns, as a gallery shows them; &side=160: their
                                      longer side in pixels, from 64 to 320
/spice/originals/RUN/ID.json          size, camera, path … of the original

Small images, and those without an original, are shown by the pixels that are trained on. The addresses end
in .webp whatever the answer's media type is.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from engine.data.contact_sheet import contact_sheet
from engine.data.decode_image import THUMBNAIL_SIDE, fitted
from engine.data.thumbnails import as_image, jpeg
from engine.errors import SourceError, SpiceError
from engine.sources.browser_image import for_browser
from spice_explorer.addresses import address_of
from spice_explorer.present.gallery import PIXELATED, encoded, webp
from spice_explorer.web.originals import FRESH, HEADERS, Pictures, about, is_id, pictures_named

COLUMNS = 12
# The side of a picture on a sheet in pixels, in whole blocks of a JPEG: no picture runs into its neighbour.
SIDE, LEAST_SIDE, BLOCK = 160, 64, 16
QUALITY = 82
# Small pictures on one sheet: few enough that one which changes costs little.
SMALL_EACH = 4 * COLUMNS
# The images of the first of several parts of a sheet: as many as are in one row of large pictures.
FIRST_PART = 6
# Images that one sheet may hold: more than any gallery shows at a time.
MOST_ON_A_SHEET = 400
# For each image of a sheet, whether it is shown whole: bits in hexadecimal, the first image first.
WHOLE = re.compile(rf"[0-9a-f]{{0,{MOST_ON_A_SHEET // 4}}}")
# Says what of an image an answer shows: "original", "reduced" (the original with fewer pixels), "changed"
# (the original, which is another now) or "trained" (the pixels that are trained on).
KIND = "X-Spice-Picture"


def source(found: Pictures) -> str:
    """Changes with the images, so that another run of the same name shows none of these."""
    return f"{found.name}-{found.version}"


def address(found: Pictures) -> tuple[str, str]:
    """What comes before and after an image's id in the address of its thumbnail."""
    return f"{address_of('thumbs', found.name)}/", f".webp?v={found.version}"


def facts_address(found: Pictures) -> tuple[str, str]:
    """What comes before and after an image's id in the address of the facts about its original."""
    return f"{address_of('originals', found.name)}/", f".json?v={found.version}"


def sheet_of(found: Pictures, ids: Sequence[int], side: int = SIDE) -> dict[str, Any]:
    """The address of a sheet with the thumbnails of `ids`, and how to cut it.

    Each has a cell of "width" × "height" pixels, of which it fills the part of "sizes" (width and height)
    at the top left. "largest" is the side that can be asked for, 0 if there is only one.

    Where thumbnails have yet to be made, which takes some ten milliseconds each, "parts" are the same in
    several sheets, in their order: the address, the place of the first image in `ids`, and how many there are.
    """
    extents = found.sizes(ids)
    return {
        **_cut(found, ids, extents, side),
        "parts": [
            {
                "url": _sheet_address(found, ids[part], extents[part], _side(side)),
                "first": part.start,
                "count": part.stop - part.start,
            }
            for part in _parts(found, ids, extents)
        ],
        "source": source(found),
        "largest": THUMBNAIL_SIDE if found.pictured.any() else 0,
    }


def small_sheets(found: Pictures, ids: Sequence[int]) -> list[dict[str, Any]]:
    """Sheets with small thumbnails of `ids`, `SMALL_EACH` on one: its images, its address, and how to cut it."""
    extents = found.sizes(ids)
    parts = [slice(start, start + SMALL_EACH) for start in range(0, len(ids), SMALL_EACH)]
    return [{"ids": list(ids[part]), **_cut(found, ids[part], extents[part], LEAST_SIDE)} for part in parts]


def _cut(found: Pictures, ids: Sequence[int], extents: Sequence[tuple[int, int] | None], side: int) -> dict[str, Any]:
    """The address of a sheet, and where the pictures lie on it."""
    side = _side(side) if found.pictured.any() else SIDE
    laid = _Sheet.of(found, extents, side)
    return {
        "url": _sheet_address(found, ids, extents, side),
        "columns": COLUMNS,
        "width": laid.width,
        "height": laid.height,
        "sizes": laid.sizes,
    }


def ahead_of(found: Pictures, ids: Sequence[int], side: int = SIDE) -> list[str]:
    """The addresses to be fetched, one after another, so that the sheet of `ids` is there at once when it is
    shown; none where it is there at once anyway."""
    if not ids or not found.photographs:
        return []
    sheet = sheet_of(found, ids, side)
    return [*(part["url"] for part in sheet["parts"]), sheet["url"]]


def _sheet_address(found: Pictures, ids: Sequence[int], extents: Sequence[tuple[int, int] | None], side: int) -> str:
    asked = f"ids={'.'.join(map(str, ids))}"
    if found.pictured.any():
        marks = "".join("0" if one is None else "1" for one in extents)
        asked += f"&side={side}&whole={int(marks or '0', 2):x}"
    return f"{address_of('pages', found.name)}.webp?{asked}&v={found.version}"


def _parts(found: Pictures, ids: Sequence[int], extents: Sequence[tuple[int, int] | None]) -> list[slice]:
    """Places of `ids`, few at first, because people look at the first row; none where no thumbnail of those
    that can be had is missing."""
    there = np.array([one is not None for one in extents], bool)
    if len(ids) <= FIRST_PART or not (there & ~found.kept_of(ids)).any():
        return []
    starts = [0, *range(FIRST_PART, len(ids), COLUMNS)]
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], len(ids)], strict=True)]


def routes() -> list[Route]:
    return [
        Route("/spice/thumbs/{run}/{id}.webp", thumb, methods=["GET"]),
        Route("/spice/pages/{run}.webp", sheet, methods=["GET"]),
        Route("/spice/originals/{run}/{id}.json", about, methods=["GET"]),
    ]


def _missing(why: str) -> Response:
    # Not to be remembered: the run may be made, or put back, a moment later.
    return PlainTextResponse(why, 404, FRESH)


# -- one image -------------------------------------------------------------------------------------


def thumb(request: Request) -> Response:
    """One image; 404 for runs, images and pixels that are not there."""
    run, wanted, asked = request.path_params["run"], request.path_params["id"], request.query_params
    try:
        found = pictures_named(run)
        if not is_id(wanted, len(found.images)):
            return _missing("no such image")
        if "square" in asked:
            return _trained(found, int(wanted), None, HEADERS)
        return (_original if "full" in asked else _thumbnail)(found, int(wanted))
    except (SpiceError, OSError):
        return _missing("no such run")
    except (KeyError, ValueError):
        return _missing("the pixels of this run are missing or damaged")


def _thumbnail(found: Pictures, index: int) -> Response:
    body = found.bodies([index])[0]
    if body is None:
        return _trained(found, index, THUMBNAIL_SIDE, FRESH if found.pictured[index] else HEADERS)
    return Response(body, media_type="image/jpeg", headers=HEADERS)


def _original(found: Pictures, index: int) -> Response:
    """The original; the header says whether it has changed since the run was made, or is reduced."""
    if not found.pictured[index]:
        return _trained(found, index, None, HEADERS)
    try:
        original = found.read(index)
        shown = for_browser(original.content)
    except (SourceError, MemoryError):
        return _trained(found, index, None, FRESH)
    changed = found.changed(index, original.stamp)
    kind = "changed" if changed else "reduced" if shown.reduced else "original"
    return Response(shown.body, media_type=shown.media, headers={**(FRESH if changed else HEADERS), KIND: kind})


def _trained(found: Pictures, index: int, side: int | None, headers: dict[str, str]) -> Response:
    body = webp(found.images.pixels[index], side)
    return Response(body, media_type="image/webp", headers={**headers, KIND: "trained"})


# -- many images -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sheet:
    """How thumbnails lie on a sheet: cells of `width` × `height` pixels, and what each image has of its own."""

    width: int
    height: int
    sizes: list[tuple[int, int]]
    exact: bool

    @classmethod
    def of(cls, found: Pictures, extents: Sequence[tuple[int, int] | None], side: int) -> _Sheet:
        """`extents`: width and height of the originals, None for images that are shown as trained on."""
        height, width = found.images.size
        if max(height, width) <= PIXELATED and not any(extents):
            return cls(width, height, [(width, height)] * len(extents), exact=True)
        return cls(side, side, [fitted(one or (width, height), side) for one in extents], exact=False)


def sheet(request: Request) -> Response:
    """Thumbnails of the images asked for as one picture; 404 when one of them is not there."""
    run, asked = request.path_params["run"], request.query_params
    ids, side, whole = asked.get("ids", "").split("."), asked.get("side", str(SIDE)), asked.get("whole", "")
    if len(ids) > MOST_ON_A_SHEET or not re.fullmatch(r"\d{1,4}", side, re.ASCII) or not WHOLE.fullmatch(whole):
        return _missing("no such images")
    try:
        found = pictures_named(run)
        if not all(is_id(one, len(found.images)) for one in ids):
            return _missing("no such image")
        return _drawn(found, [int(one) for one in ids], _side(int(side)), whole)
    except (SpiceError, OSError):
        return _missing("no such run")
    except (KeyError, ValueError):
        return _missing("the pixels of this run are missing or damaged")


def _drawn(found: Pictures, ids: list[int], side: int, whole: str) -> Response:
    """The sheet as `sheet_of` described it, even if other originals can be had now than then."""
    bodies: list[bytes | None] = [None] * len(ids)
    wanted = [place for place in range(len(ids)) if not whole or int(whole, 16) >> len(ids) - 1 - place & 1]
    for place, body in zip(wanted, found.bodies([ids[place] for place in wanted]), strict=True):
        bodies[place] = body
    shown = set(wanted if whole else [place for place, body in enumerate(bodies) if body is not None])
    extents = [found.extent(ids[place], bodies[place]) if place in shown else None for place in range(len(ids))]
    laid = _Sheet.of(found, extents, side)
    if laid.exact:
        body = encoded(contact_sheet(found.images.pixels[ids], COLUMNS), exact=True)
        return Response(body, media_type="image/webp", headers=HEADERS)
    board = np.zeros((-(-len(ids) // COLUMNS) * side, COLUMNS * side, 3), np.uint8)
    for place, (index, body, size) in enumerate(zip(ids, bodies, laid.sizes, strict=True)):
        corner = place // COLUMNS * side, place % COLUMNS * side
        _paste(board, corner, side, cell(found.images.pixels[index], body, size))
    lost = any(bodies[place] is None and found.pictured[ids[place]] for place in range(len(ids)))
    headers = FRESH if lost else HEADERS
    return Response(jpeg(Image.fromarray(board), QUALITY, every_colour=True), media_type="image/jpeg", headers=headers)


def cell(pixels: np.ndarray, body: bytes | None, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 of `size` (width and height): a thumbnail, or what was trained on in its place."""
    if body is not None:
        with Image.open(io.BytesIO(body), formats=("JPEG",)) as file:
            file.draft(None, size)
            return np.asarray(_to(file.convert("RGB"), size))
    image = as_image(pixels).convert("RGB")
    share = min(1.0, size[0] / image.width, size[1] / image.height)
    part = max(1, round(image.width * share)), max(1, round(image.height * share))
    board = Image.new("RGB", size)
    board.paste(_to(image, part), ((size[0] - part[0]) // 2, (size[1] - part[1]) // 2))
    return np.asarray(board)


def _to(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.HAMMING, reducing_gap=2.0)


def _paste(board: np.ndarray, corner: tuple[int, int], side: int, cell: np.ndarray) -> None:
    """Puts a picture in its cell; its edges go on for a block, or JPEG would darken them."""
    (y, x), (height, width) = corner, cell.shape[:2]
    below, right = min(side, height + BLOCK) - height, min(side, width + BLOCK) - width
    board[y : y + height + below, x : x + width + right] = np.pad(cell, ((0, below), (0, right), (0, 0)), "edge")


def _side(asked: int) -> int:
    """The side of a cell: as asked for, within limits, in whole blocks of a JPEG."""
    return -(-min(max(asked, LEAST_SIDE), THUMBNAIL_SIDE) // BLOCK) * BLOCK
