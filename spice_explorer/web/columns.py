"""Arrays that the map and the reliability chart fetch directly, as plain bytes: one value, or two
coordinates, per image.

/spice/columns/RUN/COLUMN.bin?v=VERSION

COLUMN is one of
    label.STAGE, confidence.STAGE, agreement.STAGE   of labels that have been judged
    agreed.STAGE.COUNT      how many of the COUNT nearest neighbours have an image's label
    label.STAGE.STEP        intermediate labels of a stage
    place.LAYOUT, place.LAYOUT.STAGE.STEP   LAYOUT is `pca`, or UMAP's settings as `15-0.1`
    truth, changed, flips, reviewed, provenance, class, imported.NUMBER, ids, none (zeros)

If the map draws a sample, only `agreed` covers all images. A different version has a different address, so
browsers may cache arrays forever.
"""

from __future__ import annotations

import re
from typing import cast, get_args

import numpy as np
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from engine.errors import SpiceError
from engine.events import Stage
from engine.runs.folder import RunFolder
from spice_explorer.addresses import address_of
from spice_explorer.present import maps as present
from spice_explorer.queries import artefacts, decisions, maps, runs

SAFE = {"X-Content-Type-Options": "nosniff"}
HEADERS = {**SAFE, "Cache-Control": "private, max-age=604800, immutable"}
_STAGES = "|".join(get_args(Stage))
_PLACE = re.compile(rf"place\.(pca|\d+-[\d.]+)(?:\.({_STAGES})\.(\d+))?")
_JUDGED = re.compile(rf"(label|confidence|agreement)\.({_STAGES})")
_AGREED = re.compile(r"agreed\.(heads|joint)\.([1-9]\d{0,4})")
_BELIEVED = re.compile(rf"label\.({_STAGES})\.(\d+)")
_IMPORTED = re.compile(r"imported\.(\d+)")
# What decisions change.
DECIDED = ("reviewed", "provenance", "class")
_MADE_OF = ("features", "neighbors", "heads", "reliable-heads", "reliable-joint", "columns")


# -- addresses ---------------------------------------------------------------------------------


class Addresses:
    """The addresses of a run's current columns."""

    def __init__(self, run: RunFolder) -> None:
        self._start = address_of("columns", run.name)
        self._times = {one: run.modified(one) or 0.0 for one in _MADE_OF}
        self._run = run
        self.made, self._moments = int(1000 * runs.made(run)), len(maps.moments(run))

    def at(self, column: str, kind: str) -> dict[str, str]:
        """The address of a column and its type: u1, u2, u4 or f4."""
        return present.address(f"{self._start}/{column}.bin?v={self._version(column)}", kind)

    def _version(self, column: str) -> str:
        """Changes with the column's inputs: an unchanged column need not be sent again."""
        parts: list[str] = []
        if column.startswith("place"):
            parts = ["features"]
        elif column.startswith("imported"):
            parts = ["columns"]
        elif column in DECIDED:
            return f"{self.made:x}-{decisions.curation(self._run).row}"
        elif column not in ("ids", "none"):
            parts = ["features", "neighbors", "heads", "reliable-heads", "reliable-joint"]
        times = [int(1000 * self._times[part]) for part in parts]
        # Until stage 1 is done, the latest frame is used as the features; afterwards frames are history.
        grows = column == "flips" or (column.startswith("place") and not self._times["features"])
        stamp = (self.made, *times, self._moments if grows else 0)
        return f"{hash(stamp) % 2**40:x}"


# -- what is behind them -----------------------------------------------------------------------


def route() -> Route:
    return Route("/spice/columns/{run}/{column}.bin", serve, methods=["GET"])


def serve(request: Request) -> Response:
    """The column's bytes, little-endian; 404 with a message if it does not exist (yet, or any more)."""
    try:
        values = column(runs.folder_of(request.path_params["run"]), request.path_params["column"])
    except (SpiceError, OSError, LookupError, ValueError) as error:
        return PlainTextResponse(str(error), 404, {**SAFE, "Cache-Control": "no-store"})
    return Response(values.tobytes(), media_type="application/octet-stream", headers=HEADERS)


def column(run: RunFolder, name: str) -> np.ndarray:
    """(n,) or (n, 2) values of the drawn images, or of all (`agreed`).

    Raises:
        LookupError: when there is no column of that name.
        RunError: when the run has not got that far.
    """
    if found := _AGREED.fullmatch(name):
        return _agreed(run, cast(Stage, found[1]), int(found[2]))
    ids = maps.drawn(run)
    values = _read(run, name)
    return np.ascontiguousarray(values if ids is None else values[ids])


def _read(run: RunFolder, name: str) -> np.ndarray:
    if found := _PLACE.fullmatch(name):
        layout, stage, step = found.groups()
        moment = None if stage is None else (cast(Stage, stage), int(step))
        if moment and moment not in maps.moments(run):
            raise LookupError(f"no moment {name}")
        return maps.places(run, layout, moment)
    if found := _JUDGED.fullmatch(name):
        return _judged(run, found[1], cast(Stage, found[2]))
    if found := _BELIEVED.fullmatch(name):
        return maps.labels_at(run, (cast(Stage, found[1]), int(found[2])))
    if found := _IMPORTED.fullmatch(name):
        return maps.imported(run)[int(found[1])].values
    return _plain(run, name)


def _judged(run: RunFolder, what: str, stage: Stage) -> np.ndarray:
    if stage == "features" and what == "label":
        return artefacts.stage_one_labels(run).astype("<u2")
    verdict = artefacts.reliable(run, stage)
    if what == "label":
        return verdict.labels.astype("<u2")
    sure, agreed = _backed(run, verdict.labels, verdict.confidence, verdict.agreement, 1)
    return (sure if what == "confidence" else agreed).astype("<f4")


def _backed(
    run: RunFolder, labels: np.ndarray, confidence: np.ndarray, agreement: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Confidence and agreement as the browser shall judge by them: a label that the run was given by
    a person who looked at the image passes every threshold, one that was refused passes none."""
    seen = artefacts.seen(run)
    sure = np.where(seen, 1, np.where(run.fixed().refuses(labels), 0, confidence))
    return sure, np.where(seen, most, agreement)


def _agreed(run: RunFolder, stage: Stage, count: int) -> np.ndarray:
    kept = artefacts.arrays(run, "neighbors")["ids"].shape[1]
    if count > kept:
        raise LookupError(f"{count} neighbours are asked about, but {run.name} has kept {kept}")
    labels = artefacts.reliable(run, stage).labels
    agreed = np.round(artefacts.agreement(run, stage, count) * count)
    return _backed(run, labels, agreed, agreed, count)[1].astype("<u2")


def _plain(run: RunFolder, name: str) -> np.ndarray:
    images = run.card().images
    if name == "ids":
        return np.arange(images, dtype="<u4")
    if name == "none":
        return np.zeros(images, np.uint8)
    if name == "flips":
        return artefacts.history(run).flips
    if name == "changed":
        return artefacts.changed(run)
    if name == "reviewed":
        return decisions.curation(run).state
    if name == "provenance":
        return decisions.curation(run).provenance
    if name == "class":
        numbers = [one.number for one in decisions.classes(run)]
        return np.searchsorted(numbers, decisions.classes_of(run)).astype("<u2")
    truth = artefacts.matched_truth(run) if name == "truth" else None
    if truth is None:
        raise LookupError(f"{run.name} has no column {name}")
    return truth[0].astype("<u2")
