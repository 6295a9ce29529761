"""The curate component's routes on the server: a decision does not redraw a page.

/spice/curate/RUN/images.bin          the class (u2) of each image, then its state (u1) and provenance (u1)
/spice/curate/RUN/queue/NAME.bin      ids (u4) in the order of a queue of `decisions.queue`
/spice/curate/RUN/since?row=R&reviewer=NAME       what has changed since the row R
/spice/curate/RUN/suggested?ids=1,2,3 what the answers so far suggest for these images
/spice/curate/RUN/act                 POST: decisions, committed one by one before the answer is sent
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from engine.curate.curation import Curation, State
from engine.curate.decisions import plain_name
from engine.errors import LogBusyError, SpiceError
from engine.runs.folder import RunFolder
from spice_explorer.addresses import address_of
from spice_explorer.browsers import cookie_of
from spice_explorer.queries import decisions, runs
from spice_explorer.web.decision_request import (
    MOST_NUMBER,
    DecisionRequest,
    MalformedError,
    Op,
    TooLongError,
    body_of,
    parsed,
)

FRESH = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
MOST_SUGGESTED = 200
# In a state's byte: two reviewers gave different answers.
DISPUTED = 128
MOST_DISPUTES = 50
UNDOABLE = {
    "accept": "accept",
    "reject": "reject",
    "relabel": "relabel",
    "exclude": "leave out",
    "rename": "rename",
    "recolour": "colour",
    "merge": "merge",
    "split": "split",
    "new class": "new class",
    "note": "note",
}


def routes() -> list[Route]:
    start = "/spice/curate/{run}"
    return [
        Route(f"{start}/images.bin", images, methods=["GET"]),
        Route(f"{start}/queue/{{name}}.bin", queue, methods=["GET"]),
        Route(f"{start}/since", since, methods=["GET"]),
        Route(f"{start}/suggested", suggested, methods=["GET"]),
        Route(f"{start}/act", act, methods=["POST"]),
    ]


def address(run: RunFolder) -> str:
    """Where the component finds the run."""
    return address_of("curate", run.name)


def queue_address(run: RunFolder, name: str) -> str:
    return f"{address(run)}/queue/{name}.bin"


def reviewer(typed: str) -> str:
    """A reviewer's name as it is kept; raises DecisionError."""
    return plain_name(typed, "the reviewer")


def _run(request: Request) -> RunFolder:
    return runs.folder_of(request.path_params["run"])


# -- reading -----------------------------------------------------------------------------------


def images(request: Request) -> Response:
    """Classes and states of all images; the header says which row is the last that counts."""
    try:
        run = _run(request)
        said = decisions.needed_model(run)
        with decisions.reading(run) as now:
            own, state, row = now.classes_of(said.labels), _states(now), now.row
            provenance = now.provenance.tobytes()
    except (SpiceError, OSError) as error:
        return PlainTextResponse(str(error), 404, FRESH)
    body = own.astype("<u2").tobytes() + state.tobytes() + provenance
    headers = {**FRESH, "X-Spice-Row": str(row)}
    return Response(body, media_type="application/octet-stream", headers=headers)


def queue(request: Request) -> Response:
    try:
        ids = decisions.queue(_run(request), request.path_params["name"])
    except (SpiceError, OSError, LookupError, ValueError) as error:
        return PlainTextResponse(str(error), 404, FRESH)
    return Response(ids.astype("<u4").tobytes(), media_type="application/octet-stream", headers=FRESH)


def since(request: Request) -> Response:
    asked = request.query_params
    try:
        row = min(int(asked.get("row", "0")), MOST_NUMBER)  # no log has more rows
        return JSONResponse(told(_run(request), row, asked.get("reviewer", "")), headers=FRESH)
    except (SpiceError, OSError, ValueError) as error:
        return JSONResponse({"error": str(error)}, 404, FRESH)


def suggested(request: Request) -> Response:
    """The class that the answers suggest for each image asked about, and how sure that is; none before any are
    learned from."""
    try:
        run = _run(request)
        ids = _asked(request.query_params.get("ids", ""), run.card().images)
        last = decisions.newest_suggestions(run)
        if last is None or last.found is None:
            return JSONResponse({"learned": 0, "ids": [], "classes": [], "confidence": []}, headers=FRESH)
        with decisions.reading(run) as now:
            classes = now.home[last.found.labels[ids]].tolist()  # merged since, perhaps
        sure = last.found.confidence[ids].round(4).tolist()
    except (SpiceError, OSError, ValueError) as error:
        return JSONResponse({"error": str(error)}, 404, FRESH)
    answer = {"learned": last.answers.row, "ids": ids.tolist(), "classes": classes, "confidence": sure}
    return JSONResponse(answer, headers=FRESH)


def _asked(text: str, images: int) -> np.ndarray:
    """(m,) int64: images of a run of so many, as a URL names them; raises ValueError."""
    ids = [int(one) for one in text.split(",")]
    if len(ids) > MOST_SUGGESTED:
        raise ValueError(f"{len(ids):,} images at a time, expected at most {MOST_SUGGESTED}")
    if min(ids) < 0 or max(ids) >= images:
        raise ValueError(f"no such image: there are {images:,}, numbered from 0")
    return np.array(ids, np.int64)


def told(run: RunFolder, row: int, reviewer: str) -> dict[str, Any]:
    """The changes for a page that has seen everything up to `row`.

    The row of the answer is what the page has seen from then on: whatever was decided up to there must
    be in it, or a contrary decision would count as one that knew.
    """
    said = decisions.needed_model(run)
    with decisions.reading(run) as now:
        answer = _told(now, said.labels, row, reviewer)
    learning = decisions.follow_answers(run, answer["row"])
    last = decisions.newest_suggestions(run)
    return {**answer, "learned": last.answers.row if last else 0, "learning": learning}


def _told(now: Curation, labels: np.ndarray, row: int, reviewer: str) -> dict[str, Any]:
    changed = now.changed_since(row)
    own = now.home[np.where(now.moved[changed], now.given[changed], labels[changed])]
    counts = np.bincount(now.state, minlength=len(State))
    return {
        "row": now.row,
        "changed": {
            "ids": changed.tolist(),
            "classes": own.tolist(),
            "states": _states(now)[changed].tolist(),
            "provenances": now.provenance[changed].tolist(),
        },
        "classes": [vars(one) for one in decisions.shown(now)],
        "undo": _what(now, now.undoable(reviewer)),
        "redo": _what(now, now.redoable(reviewer)),
        "disputes": _disputes(now),
        "counts": {
            "decided": int(counts[State.DECIDED]),
            "rejected": int(counts[State.REJECTED]),
            "excluded": int(counts[State.EXCLUDED]),
        },
    }


def _states(now: Curation) -> np.ndarray:
    return now.state | np.where(now.disputed, DISPUTED, 0).astype(np.uint8)


def _what(now: Curation, row: int | None) -> str | None:
    """An action in words: "relabel, 12 images"."""
    if row is None:
        return None
    count = len(now.images_of(row))
    images = f", {count:,} {'image' if count == 1 else 'images'}" if count else ""
    return UNDOABLE[now.action(row)] + images


def _disputes(now: Curation) -> list[dict[str, Any]]:
    return [
        {
            "id": image,
            "answers": [
                {"reviewer": one.reviewer, "state": int(one.state), "class": int(now.home[one.class_])}
                for one in now.answers(image)[:2]
            ],
        }
        for image in np.flatnonzero(now.disputed)[:MOST_DISPUTES].tolist()
    ]


# -- deciding ----------------------------------------------------------------------------------


async def act(request: Request) -> Response:
    """Commits the requests one by one; each has its own result. The browser keeps the name of who decided."""
    trouble = _suspicious(request)
    if trouble:
        return JSONResponse({"error": trouble}, 403, FRESH)
    try:
        content = await body_of(request)
    except TooLongError as error:
        return JSONResponse({"error": str(error)}, 413, FRESH)
    except ClientDisconnect:
        return JSONResponse({"error": "the request broke off"}, 400, FRESH)
    # In a thread: to parse some megabytes of JSON would hold up everybody else's requests.
    return await run_in_threadpool(_answered, request, content)


def _suspicious(request: Request) -> str:
    """Why a request cannot come from the app's own page, "" if it may: other sites' pages can make a
    browser send requests here, but not with this type, nor without saying where they come from."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        return "decisions are sent as application/json"
    origin = request.headers.get("origin")
    try:
        own = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    except ValueError:  # no address at all
        own = False
    return "" if own else "decisions are taken from the app's own pages only"


def _answered(request: Request, content: bytes) -> Response:
    try:
        asked = parsed(content)
        answer = _acted(_run(request), asked)
    except MalformedError as error:
        return JSONResponse({"error": f"this is no list of decisions ({error})"}, 400, FRESH)
    except (LogBusyError, OSError) as error:  # the browser keeps what it asked, and asks again
        return JSONResponse({"error": str(error)}, 503, FRESH)
    except SpiceError as error:
        return JSONResponse({"error": str(error)}, 409, FRESH)
    return JSONResponse(answer, headers={**FRESH, **_remembered(asked.reviewer)})


def _remembered(typed: str) -> dict[str, str]:
    """The header by which the browser keeps the reviewer's name, unless it cannot be one."""
    try:
        reviewer(typed)
    except SpiceError:
        return {}
    return {"Set-Cookie": cookie_of(typed)}


def _acted(run: RunFolder, asked: DecisionRequest) -> dict[str, Any]:
    results = [_result(run, asked, op) for op in asked.ops]
    return {**told(run, asked.seen, asked.reviewer), "results": results}


def _result(run: RunFolder, asked: DecisionRequest, op: Op) -> dict[str, Any]:
    try:
        return {"key": op.key, "row": decisions.commit(run, [asked.decision(op)])[0].row}
    except LogBusyError:
        raise
    except SpiceError as error:
        return {"key": op.key, "error": str(error)}
