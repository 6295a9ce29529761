"""`lesson`: a run prepared for teaching, as one bundle of plain data that a player draws.

Every number comes from the run's folder through the stages' own functions, so the lesson shows the code that
trained. Building a bundle does not modify the run. Values that need ground truth are under a key "truth".
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import numpy as np

from engine.config import RunConfig, with_settings
from engine.errors import RunError
from engine.events import STAGES
from engine.lesson.bundle import Cast, finite, packed, sprite
from engine.lesson.chapters import chapters
from engine.lesson.run_view import Material
from engine.presets import preset
from engine.runs.folder import RunFolder
from engine.runs.history import frame_steps_of, load_frame, load_xrays
from engine.runs.maps import DEFAULT, has_maps, load_map, preview, preview_at
from engine.runs.snapshot import Snapshot, fold
from engine.space.projection import principal_map
from engine.stages.frames import Frame

FORMAT = 1
# Surest images of each cluster that a frame shows.
SUREST = 6


def prepared_config() -> RunConfig:
    """The settings of the digits run that a lesson makes for itself where there is none: the quick
    ones, with shorter stages 1 and 3, and the threshold of stage 3 as the formula has it."""
    changes = {"features.epochs": 40, "joint.steps": 200, "joint.adapt": "fixed"}
    return with_settings(preset("quick", clusters=10, channels=1), changes)


def lesson(folder: RunFolder) -> dict[str, Any]:
    """The bundle of a run, finished or not: JSON-able, with arrays and pictures as `bundle` packs
    them. A step whose stage is not done yet says under "needs" what to train.

    Raises:
        RunError: before stage 1 has left its first frame.
    """
    if not (frame_steps_of(folder) or folder.has("features")):
        raise RunError(f"{folder.path} has nothing to show yet: train until stage 1 has begun, then open the lesson")
    material = Material(folder)
    steps, xray, quiz = chapters(material), xrayed(material), quizzed(material)
    frames = _frames_with_prototypes(material)
    material.cast.fill(material.newest_labels, material.config.seed)
    ids = material.cast.ids
    mapped = has_maps(folder, frames=True)
    _place_frames(material, frames, ids, mapped)
    images = material.images
    return {
        "format": FORMAT,
        "run": folder.path.name,
        "title": PurePosixPath(material.card.source.replace("\\", "/")).name,
        "images": len(ids),
        "of": len(images),
        "clusters": material.config.clusters,
        "truth": material.truth is not None,
        "stages": {stage: stage in material.done for stage in STAGES},
        "map": "umap" if mapped else "pca",
        "ids": packed(ids, "i32"),
        "names": [PurePosixPath(images.ids[one]).name for one in ids],
        "note": note(material.cast),
        "sprite": sprite(images.pixels[ids]),
        "curves": curves(fold(folder.records()[0])),
        "frames": frames,
        "steps": steps,
        "quiz": quiz,
        "xray": xray,
    }


def note(cast: Cast) -> str:
    """The note on a lesson that shows only some of the images, or ""."""
    if cast.whole:
        return ""
    return (
        f"The lesson shows {len(cast.ids):,} of {cast.images:,} images: those that the steps speak of and, beside "
        "them, as large a share of every cluster. All numbers are of all images."
    )


def curves(snapshot: Snapshot) -> list[dict[str, Any]]:
    """The losses of each stage that has some, by name: lists of [step, value]."""
    found = []
    for stage in STAGES:
        losses: dict[str, list[list[float | None]]] = {}
        for step, values in snapshot.stages[stage].history:
            for name, value in values.items():
                losses.setdefault(name, []).append([step, finite(value)])
        if losses:
            found.append({"stage": stage, "losses": losses})
    return found


# -- frames ------------------------------------------------------------------------------------


def _frames_with_prototypes(material: Material) -> list[dict[str, Any]]:
    """Every frame's own numbers; its points and labels follow once the cast is complete."""
    # A branch does not record how long its stage 1 took; use its last frame instead.
    planned = {stage: view.steps for stage, view in material.snapshot.stages.items()}
    for stage, step in material.moments:
        planned[stage] = max(planned[stage], step)
    frames: list[dict[str, Any]] = []
    for stage, step in material.moments:
        frame = load_frame(material.folder, stage, step)
        head = material.head if stage == "heads" else 0
        sizes, surest = None, None
        if frame.labels is not None:
            sizes = np.bincount(frame.labels[head], minlength=material.config.clusters).tolist()
            surest = material.cast.rows(_surest(frame, head, material.config.clusters))
        frames.append({"stage": stage, "step": step, "of": planned[stage], "sizes": sizes, "prototypes": surest})
    return frames


def _surest(frame: Frame, head: int, clusters: int) -> list[np.ndarray]:
    """For each cluster its surest images in a frame, surest first: those that formed the prototype in
    stage 2, those it holds in stage 3."""
    if frame.confident is not None:
        return list(frame.confident[head][:, :SUREST])
    assert frame.labels is not None
    assert frame.confidence is not None
    order = np.argsort(-frame.confidence[head].astype(np.float32), kind="stable")
    labels = np.asarray(frame.labels[head])[order]
    return [order[labels == cluster][:SUREST] for cluster in range(clusters)]


def _place_frames(material: Material, frames: list[dict[str, Any]], ids: np.ndarray, mapped: bool) -> None:
    """Adds to each frame the points, labels and confidence of images `ids`."""
    if not frames:
        return
    places = _points(material, mapped, ids)
    for values, (stage, step), points in zip(frames, material.moments, places, strict=True):
        frame = load_frame(material.folder, stage, step)
        head = material.head if stage == "heads" else 0
        values["points"] = packed(points, "f32")
        values["labels"] = values["confidence"] = None
        if frame.labels is not None and frame.confidence is not None:
            values["labels"] = packed(frame.labels[head][ids], "u16")
            sure = frame.confidence[head][ids].astype(np.float32)
            values["confidence"] = packed((sure * 255).round(), "u8")


def _points(material: Material, mapped: bool, ids: np.ndarray) -> np.ndarray:
    """(F, n, 2) float32 in 0–1: where images stand in each frame, all on one scale."""
    folder = material.folder
    last = load_map(folder) if mapped else _principal(material)
    assert last is not None
    found = []
    for moment in material.moments:
        here = load_map(folder, DEFAULT, moment) if mapped else preview_at(folder, moment, last)
        assert here is not None
        found.append(np.asarray(here)[ids])
    points = np.stack(found).astype(np.float32)
    low, high = points.min((0, 1)), points.max((0, 1))
    return (points - (low + high) / 2) / max(float((high - low).max()), 1e-9) + np.float32(0.5)


def _principal(material: Material) -> np.ndarray:
    """(N, 2) float32: principal components of the newest features at length 1, as frames have them."""
    return preview(material.folder) if material.unit is None else principal_map(material.unit)


# -- X-ray and quiz ----------------------------------------------------------------------------


def xrayed(material: Material) -> dict[str, Any] | None:
    """Stage 3's records of a few images; None before the stage ends, or if it kept none."""
    found = load_xrays(material.folder)
    if not found or "joint" not in material.done:
        return None
    ids, looks = np.asarray(found[0].ids), len(found)
    probabilities = np.stack([one.probabilities for one in found], 1)

    def sheet(views: list[np.ndarray]) -> dict[str, Any]:
        by_image = np.stack(views, 1)
        return sprite(by_image.reshape(-1, *by_image.shape[2:]), columns=looks)

    return {
        "places": material.cast.places(ids),
        "steps": [one.step for one in found],
        "threshold": material.config.joint.threshold,
        "adapt": material.config.joint.adapt,
        "weak": sheet([one.weak for one in found]),
        "strong": sheet([one.strong for one in found]),
        "probabilities": packed(probabilities, "f32"),
        "loss": packed(np.stack([one.loss for one in found], 1), "f32"),
        "weights": packed(np.stack([one.weights for one in found], 1), "f32"),
        "passes": packed(np.stack([one.weights > 0 for one in found], 1), "u8"),
        "labels": packed(probabilities.argmax(2), "u16"),
    }


QUESTIONS = 12


def quizzed(material: Material) -> dict[str, Any] | None:
    """Twelve images of which some are rejected, with the reason of each; None where a question would
    have one answer only."""
    found = material.reliable
    if found is None:
        return None
    chance = np.random.default_rng(material.config.seed)
    accepted, rejected = (chance.permutation(np.flatnonzero(one)) for one in (found.mask, ~found.mask))
    if len(found.labels) < QUESTIONS or not len(accepted) or not len(rejected):
        return None
    no = min(len(rejected), max(QUESTIONS // 2, QUESTIONS - len(accepted)))
    ids = chance.permutation(np.concatenate([accepted[: QUESTIONS - no], rejected[:no]]))
    return {
        "places": material.cast.places(ids),
        "labels": found.labels[ids].tolist(),
        "rejected": (~found.mask[ids]).tolist(),
        "why": [material.reason(int(one)) for one in ids],
    }
