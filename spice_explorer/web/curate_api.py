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
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from engine.curate.curation import Curation, State
from engine.curate.decisions import AUDIT, Decision, plain_name
from engine.curate.provenance import of_answer
from engine.errors import LogBusyError, SpiceError
from engine.runs.folder import RunFolder
from spice_explorer.addresses import address_of
from spice_explorer.browsers import cookie_of
from spice_explorer.queries import decisions, runs

FRESH = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
MOST_BYTES, MOST_OPS = 16 * 2**20, 500
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
        row = int(asked.get("row", "0"))
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
        asked = await request.json()
        answer = await run_in_threadpool(_acted, request, asked)
    except (LogBusyError, OSError) as error:  # the browser keeps what it asked, and asks again
        return JSONResponse({"error": str(error)}, 503, FRESH)
    except SpiceError as error:
        return JSONResponse({"error": str(error)}, 409, FRESH)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return JSONResponse({"error": f"this is no list of decisions ({error})"}, 400, FRESH)
    return JSONResponse(answer, headers={**FRESH, "Set-Cookie": cookie_of(str(asked["reviewer"]))})


def _suspicious(request: Request) -> str:
    """Why a request cannot come from the app's own page, "" if it may: other sites' pages can make a
    browser send requests here, but not with this type, nor without saying where they come from."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        return "decisions are sent as application/json"
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        return "decisions are taken from the app's own pages only"
    if int(request.headers.get("content-length") or 0) > MOST_BYTES:
        return f"more than {MOST_BYTES:,} bytes at a time"
    return ""


def _acted(request: Request, asked: dict[str, Any]) -> dict[str, Any]:
    if len(asked["ops"]) > MOST_OPS:
        raise ValueError(f"{len(asked['ops']):,} at a time, expected at most {MOST_OPS}")
    run, reviewer, seen = _run(request), str(asked["reviewer"]), int(asked["seen"])
    results = [_result(run, op, reviewer, str(asked["visit"]), seen) for op in asked["ops"]]
    return {**told(run, seen, reviewer), "results": results}


def _result(run: RunFolder, op: dict[str, Any], reviewer: str, visit: str, seen: int) -> dict[str, Any]:
    images = np.array(op.get("ids") or [], np.int64)
    wanted = Decision(
        op["action"],
        reviewer,
        visit=visit,
        seen=seen,
        key=str(op["key"]),
        images=images,
        class_=_number(op.get("class")),
        other=_number(op.get("other")),
        new=np.array(op["classes"], np.int64) if op.get("classes") else None,
        text=str(op.get("text") or ""),
        provenance=of_answer(len(images)),
        among=0 if op.get("mark") == AUDIT else None,
    )
    try:
        return {"key": op["key"], "row": decisions.commit(run, [wanted])[0].row}
    except LogBusyError:
        raise
    except SpiceError as error:
        return {"key": op["key"], "error": str(error)}


def _number(value: Any) -> int | None:
    return None if value is None else int(value)
