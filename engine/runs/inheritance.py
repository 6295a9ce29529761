"""Copies the artefacts that a branch inherits from its parent run.

Files are hard-linked if the disk supports it, since none is ever modified in place.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from engine.config import RunConfig, to_dict
from engine.curate.guidance import Guidance
from engine.data.columns import of_images
from engine.data.images import ImageSet
from engine.events import STAGES, Record, Scored, Stage, TruthScored, line_of
from engine.runs.feature_cache import RowFile
from engine.runs.files import link_file, write_text
from engine.runs.folder import IMPORTED, INHERITED_FEATURES, RunFolder

BEGINNING = ("extra", "encoder.pt", "encoder.json")
STAGE_ONE = (*BEGINNING, IMPORTED, "neighbors", "frames", "maps")
# The features of views, and how many of them are copied at once.
VIEWS, BLOCK = ("clean", "weak", "strong"), 2**14
INPUTS = ("images", "truth", "columns")
# What is only known of images that came from elsewhere.
ORIGINALS = "originals"
STAGES_ONE_AND_TWO = (*INPUTS, ORIGINALS, *STAGE_ONE, "features", "heads", "decided")


def inherit(draft: RunFolder, parent: RunFolder, config: RunConfig, *, other_heads: bool = False) -> None:
    """Fills `draft` with everything of `parent` up to stage 2, or up to stage 1 if it has `other_heads`."""
    _link_all(draft, parent, tuple(name for name in STAGES_ONE_AND_TWO if not (other_heads and name == "heads")))
    trained: tuple[Stage, ...] = ("heads", "joint") if other_heads else ("joint",)
    _forget(draft, *trained)
    _begin(draft, parent, config, _events(parent, *(stage for stage in STAGES if stage not in trained)))


def inherit_decided(draft: RunFolder, parent: RunFolder, config: RunConfig, guidance: Guidance) -> None:
    """Fills `draft` with stage 1 of `parent` for the images that stay, and with the decisions.

    Stage 1's clustering and scores, and anything computed from all images together, are copied only if
    they would be the same; otherwise training recomputes them.
    """
    whole = bool(guidance.keep.all())
    dated = parent.lacks_adapter
    same = whole and config.clusters == parent.card().config.clusters and not dated
    card: dict[str, Any] = {}
    if whole:
        _link_all(draft, parent, (*INPUTS, ORIGINALS, *((IMPORTED,) if dated else STAGE_ONE)))
        _forget(draft, "heads", "joint")
    else:
        _link_all(draft, parent, BEGINNING)
        kept = _take_inputs(draft, parent, guidance.keep)
        card = {"images": len(kept), "fingerprint": kept.fingerprint}
    if same:
        _link_all(draft, parent, ("features",))
    else:
        _take_features(draft, parent, guidance.keep)
    names = ("labels", "taught", "held", "seen", "refused", "model", "belief")
    draft.save("decided", {name: getattr(guidance, name) for name in names}, of=("images",))
    _begin(draft, parent, config, _events(parent, "features", scores=same), card)


def _link_all(draft: RunFolder, parent: RunFolder, names: tuple[str, ...]) -> None:
    for name in names:
        source = parent.path / name
        if source.is_dir():
            shutil.copytree(source, draft.path / name, copy_function=link_file)
        elif source.exists():
            link_file(source, draft.path / name)


def _forget(draft: RunFolder, *stages: Stage) -> None:
    """Leaves out the frames of stages that are trained again, and their maps."""
    for stage in stages:
        for pattern in (f"frames/{stage}-*", f"maps/*-{stage}-*"):
            for artefact in draft.path.glob(pattern):
                shutil.rmtree(artefact)


def _take_inputs(draft: RunFolder, parent: RunFolder, keep: np.ndarray) -> ImageSet:
    """Copies images, originals, truth and columns without the excluded images; returns those that stay."""
    images, truth = parent.images(), parent.truth()
    ids = np.array(images.ids)[keep]
    kept = ImageSet(images.pixels[keep], tuple(ids.tolist()), images.source)
    draft.save_images("images", kept)
    originals = parent.originals()
    if originals is not None:
        draft.save(ORIGINALS, {"marks": originals[0][keep], "extents": originals[1][keep]}, of=("images",))
    if truth is not None:
        names = np.array(truth.class_names)
        draft.save("truth", {"labels": truth.labels[keep], "class_names": names}, of=("images",))
    columns = of_images(parent.columns(), keep)
    if columns:
        draft.save_columns(columns)
    return kept


def _take_features(draft: RunFolder, parent: RunFolder, keep: np.ndarray) -> None:
    """Stage 1's vectors of the images that stay, and its encoder; external vectors are kept as they would be in a run
    of their own."""
    if draft.has(IMPORTED):
        return
    if parent.has(IMPORTED):
        draft.save(IMPORTED, {"vectors": parent.load(IMPORTED)["vectors"][keep]})
        return
    features = parent.load("features")
    vectors = features["vectors"][keep]
    views = {name: _kept_views(draft, parent, name, keep) for name in VIEWS if name in features}
    draft.save(INHERITED_FEATURES, {"vectors": vectors}, parent.path / "features/weights.pt", views)
    for file in views.values():
        if file.parent == draft.path:
            file.unlink()


def _kept_views(draft: RunFolder, parent: RunFolder, name: str, keep: np.ndarray) -> Path:
    """A file of the features of the views of the images that stay: the parent's own if all do."""
    own = parent.path / "features" / f"{name}.npy"
    if keep.all():
        return own
    views, ids = parent.load("features")[name], np.flatnonzero(keep)
    file = draft.path / f"{name}.npy"
    rows = RowFile(file, (*views.shape[:-2], len(ids), views.shape[-1]), views.dtype.str)
    for view, vectors in enumerate(views.reshape(-1, *views.shape[-2:])):
        for start in range(0, len(ids), BLOCK):
            rows.write(view * len(ids) + start, vectors[ids[start : start + BLOCK]])
    rows.sync()
    rows.close()
    return file


def _events(parent: RunFolder, *stages: Stage, scores: bool = True) -> list[Record]:
    """The events of these stages, with or without their scores."""
    of_stages = [one for one in parent.records()[0] if getattr(one.event, "stage", "") in stages]
    return [one for one in of_stages if scores or not isinstance(one.event, (Scored, TruthScored))]


def _begin(
    draft: RunFolder, parent: RunFolder, config: RunConfig, events: list[Record], changes: dict[str, Any] | None = None
) -> None:
    """The events so far, and the card, which makes a folder a run."""
    write_text(draft.path / "events.jsonl", "".join(line_of(one) + "\n" for one in events))
    card = json.loads((parent.path / "run.json").read_text("utf-8")) | (changes or {})
    card |= {"created": time.time(), "config": to_dict(config), "parent": parent.path.name}
    write_text(draft.path / "run.json", json.dumps(card, indent=1))
