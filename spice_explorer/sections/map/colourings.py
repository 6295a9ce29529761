"""The map's colour columns and replay frames, with their addresses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from engine.curate.provenance import NAMES
from engine.errors import DecisionError
from engine.events import Stage
from engine.runs.folder import RunFolder
from spice_explorer.palette import NOBODY, VERDICTS
from spice_explorer.present import maps as present
from spice_explorer.present.curation import STATES
from spice_explorer.queries import artefacts, decisions, maps
from spice_explorer.queries.runs import Run

# In the order of engine.curate.curation.State.
REVIEWED_COLOURS = (NOBODY, VERDICTS[0], VERDICTS[1], VERDICTS[3])
# In the order of engine.curate.provenance.Provenance.
PROVENANCE_COLOURS = (NOBODY, VERDICTS[2], VERDICTS[1], VERDICTS[0])
# `columns.Addresses.at`: a column's name and type → its address.
At = Callable[[str, str], dict[str, str]]


def stages(run: RunFolder, at: At) -> list[dict[str, Any]]:
    """The columns that can colour the map, with the labels of each stage, latest stage first."""
    judged, common = artefacts.judged_stages(run), _common(run, at)
    found = [_judged(run, stage, at) for stage in judged]
    if run.has("features"):
        names = decisions.cluster_names(run)
        label = at("label.features", "u2")
        cluster = present.category("cluster", "cluster", label, names).told()
        cluster["note"] = "k-means on the features, numbered to match the latest labels."
        found.append({"key": "features", "title": "stage 1", "columns": [cluster]})
    found = found or [{"key": "none", "title": "none yet", "columns": []}]
    classes = [one for one in common if one["key"] == "class"]  # which people have decided on: they come first
    for stage in found:
        stage["columns"] = [*classes, *stage["columns"], *(one for one in common if one["key"] != "class")]
    return found


def _judged(run: RunFolder, stage: Stage, at: At) -> dict[str, Any]:
    verdict, settings = artefacts.reliable(run, stage), run.card().config.reliable
    label, confidence, agreement = (
        at(f"{what}.{stage}", kind) for what, kind in (("label", "u2"), ("confidence", "f4"), ("agreement", "f4"))
    )
    names = decisions.cluster_names(run)
    return {
        "key": stage,
        "title": present.STAGES[stage],
        "columns": [
            present.category("cluster", "cluster", label, names).told(),
            present.verdict(label, confidence, agreement, verdict.thresholds, settings.agreement, settings.confidence),
            present.on_ramp("confidence", "confidence", "nines", confidence).told(),
            present.on_ramp(
                "agreement", "agreement", "share", agreement, "Share of the nearest neighbours with the same label."
            ).told(),
        ],
    }


def _common(run: RunFolder, at: At) -> list[dict[str, Any]]:
    """Columns that do not depend on the stage."""
    out = []
    if artefacts.judged_stages(run):
        out.append(present.changes(at("changed", "u1")))
    if len(artefacts.history(run).steps) > 1:
        most = int(artefacts.history(run).flips.max(initial=0))
        out.append(present.number("flips", "label changes", at("flips", "u1"), 0, most))
    out += _decided(run, at)
    found = artefacts.matched_truth(run)
    if found is not None:
        out.append(present.category("truth", "truth", at("truth", "u2"), found[1]))
    out += [_imported(run, at, number) for number in range(len(maps.imported(run)))]
    return [one.told() for one in out] or [_unknown(at)]


def _decided(run: RunFolder, at: At) -> list[present.Column]:
    """People's decisions and the resulting classes; empty until someone decides."""
    try:
        if not artefacts.judged_stages(run) or not decisions.curation(run).row:
            return []
        classes = decisions.classes(run)
    except DecisionError:  # said on the Curate page; the map is good without
        return []
    colours, names = zip(*((one.colour, one.name) for one in classes), strict=True)
    return [
        present.Column("reviewed", "reviewed", "category", at("reviewed", "u1"), REVIEWED_COLOURS, STATES),
        present.Column("provenance", "who said", "category", at("provenance", "u1"), PROVENANCE_COLOURS, NAMES),
        present.Column("class", "class", "category", at("class", "u2"), colours, names),
    ]


def _imported(run: RunFolder, at: At, number: int) -> present.Column:
    """A column of the user's own table."""
    column, key = maps.imported(run)[number], f"imported.{number}"
    if column.names is not None:
        return present.category(key, column.title, at(key, "u2"), column.names)
    known = column.values[np.isfinite(column.values)]  # earlier runs may have kept infinite ones
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    return present.number(key, column.title, at(key, "f4"), low, high)


def _unknown(at: At) -> dict[str, Any]:
    """The map's colour column while nothing is known about any image."""
    return present.category("none", "nothing yet", at("none", "u1"), ["image"]).told()


def moments(look: Run, layout: str, at: At) -> list[dict[str, Any]]:
    """The frames available to the replay."""
    told = artefacts.history(look.folder)
    labelled = set(zip(told.stages, told.steps, strict=True))
    epochs, out = look.card.config.features.epochs, []
    for stage, step in maps.moments(look.folder):
        label = at(f"label.{stage}.{step}", "u2")
        out.append(
            {
                "title": present.moment(stage, step, look.snapshot.stages[stage].steps, epochs),
                "place": at(f"place.{layout}.{stage}.{step}", "u2"),
                "label": label if (stage, step) in labelled else None,
            }
        )
    return out
