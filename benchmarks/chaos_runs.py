"""Tiny runs for `chaos`: how they are made, trained in processes of their own, and read as pages read them."""

from __future__ import annotations

import importlib
import os
import pickle
import resource
import select
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.tiny_run import TINY
from engine.config import RunConfig, with_settings
from engine.curate.decisions import Decision, values_of
from engine.curate.judging import Model
from engine.data.columns import ImageColumn
from engine.data.images import ImageSet
from engine.data.truth import Truth
from engine.errors import SpiceError, sentence_of
from engine.exports.label_table import export_table
from engine.jobs import Control
from engine.presets import preset
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.runs.history import frame_steps_of, load_history, load_xrays
from engine.runs.maps import DEFAULT, artefact_of, load_map
from engine.runs.results import decision_log, load_strict, observe, summary
from engine.runs.runner import choose_device, execute
from engine.runs.safeguards.cures import REMADE
from engine.runs.safeguards.damage import damage_of, is_whole
from engine.sources.open_source import Opened

IMAGES, CLUSTERS, DECISIONS = 60, 3, 40
Tell = Callable[[Any], None]
# What training and reading import when they first need it: once here, not in every process.
NEEDED = ("engine.runs.pipeline", "pandas", "scipy.optimize", "sklearn.cluster", "sklearn.metrics")


@dataclass
class Ended:
    """What a process told before its end, and the sentences that a person would have been shown."""

    told: list[Any] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    killed: bool = False


def new_run(place: Path) -> RunFolder:
    """A run on drawn bars, horizontal, vertical or none, that is not trained yet."""
    chance = np.random.default_rng(0)
    pixels, labels = chance.integers(0, 60, (IMAGES, 1, 8, 8), dtype=np.uint8), np.arange(IMAGES) % CLUSTERS
    pixels[labels == 1, 0, 3:5] = 255
    pixels[labels == 2, 0, :, 3:5] = 255
    images = ImageSet(pixels, tuple(f"bar-{index:02d}" for index in range(IMAGES)), "drawn")
    truth = Truth(labels.astype(np.int64), ("none", "flat", "tall"))
    column = ImageColumn("age", np.arange(IMAGES, dtype=np.float32))
    return create_run(place, Opened(images, truth, columns=(column,)), _config())


def _config() -> RunConfig:
    return with_settings(preset("quick", clusters=CLUSTERS, channels=1), TINY)


def finished_run(place: Path) -> RunFolder:
    """A trained run with a map and decisions."""
    for module in NEEDED:
        importlib.import_module(module)
    run = new_run(place)
    ended = resume(run)
    assert ended is not None
    assert observe(run).state == "finished", ended.said
    points = np.random.default_rng(0).normal(size=(IMAGES, 2)).astype(np.float32)
    run.save(artefact_of(run, DEFAULT), {"points": points}, of=("features",))
    decide(run, DECISIONS, lambda _row: None)
    return run


def decide(run: RunFolder, count: int, tell: Tell) -> None:
    """Makes decisions one by one, and tells the row of each that was committed."""
    model = Model(np.arange(IMAGES) % CLUSTERS, np.ones(IMAGES, np.float32), "joint")
    with closing(decision_log(run)) as log:
        for number in range(count):
            asked = Decision("relabel", "Ann", images=np.array([number % IMAGES]), class_=number % CLUSTERS)
            tell(log.commit([asked], model)[0][0].row)


def rows_of(run: RunFolder) -> dict[int, Any]:
    """The decisions of a run by row."""
    with closing(decision_log(run)) as log:
        return {one.row: values_of(one) for one in log.decisions()}


# -- processes -------------------------------------------------------------------------------------


def forked(act: Callable[[Tell], object], *, seconds: float | None = None, limit: int | None = None) -> Ended:
    """Does `act` in a process of its own, which is killed after some seconds, or whose files may not grow beyond
    `limit` bytes. Nothing may have been trained in this process: torch cannot go on in a fork of one that has."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        _child(act, writing, limit)
    os.close(writing)
    content, killed, end = bytearray(), False, None if seconds is None else time.monotonic() + seconds
    while True:
        left = None if end is None else max(0.0, end - time.monotonic())
        if not select.select([reading], [], [], left)[0]:
            os.kill(process, signal.SIGKILL)
            killed, end = True, None
        elif block := os.read(reading, 2**16):
            content += block
        else:
            break
    os.close(reading)
    os.waitpid(process, 0)
    return _ended(bytes(content), killed)


def _child(act: Callable[[Tell], object], writing: int, limit: int | None) -> None:
    """Never returns."""

    def tell(one: object, *, told: bool = True) -> None:
        content = pickle.dumps((told, one))
        os.write(writing, len(content).to_bytes(4, "big") + content)

    try:
        torch.set_num_threads(1)
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        act(tell)
    except (SpiceError, OSError) as error:
        tell(sentence_of(error, "it"), told=False)
    except BaseException:
        tell(traceback.format_exc(), told=False)
    finally:
        os._exit(0)


def _ended(content: bytes, killed: bool) -> Ended:
    found, place = Ended(killed=killed), 0
    while place + 4 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        part = content[place + 4 : place + 4 + length]
        if len(part) < length:
            break  # it was killed in the middle of telling
        told, one = pickle.loads(part)
        (found.told if told else found.said).append(one)
        place += 4 + length
    return found


def resume(run: RunFolder, *, seconds: float | None = None, limit: int | None = None) -> Ended | None:
    """Trains a run until it ends, and returns how; None when it was killed on the way."""

    def act(_tell: Tell) -> None:
        with run.lock():
            execute(run, choose_device("cpu"), Control())

    ended = forked(act, seconds=seconds, limit=limit)
    if ended.killed:
        return None
    try:
        ended.said += [message] if (message := observe(run).message) else []
    except (SpiceError, OSError) as error:
        ended.said.append(sentence_of(error, "it"))
    log = run.path / "error.log"
    if log.exists():
        ended.said.append(log.read_text())
        log.unlink()
    return ended


# -- reading ---------------------------------------------------------------------------------------


def results(run: RunFolder) -> dict[str, Any]:
    """What training has made, to be compared bit by bit."""
    found: dict[str, Any] = {one: {name: np.array(a) for name, a in run.load(one).items()} for one in REMADE}
    for stage in ("features", "heads", "joint"):
        found[f"{stage} weights"] = {name: value.numpy() for name, value in run.weights(stage).items()}
    return found


def look(run: RunFolder) -> Ended:
    """Reads all that pages show of a run, each part for itself, in this process."""
    shown: dict[str, Any] = {}
    found = Ended([shown], [told for one in ("images", "truth", "columns") if (told := damage_of(run, one))])
    for name, part in _PARTS.items():
        try:
            value = part(run)
            if value is not None:
                shown[name] = value
        except (SpiceError, OSError) as error:
            found.said.append(sentence_of(error, "it"))
        except Exception:
            found.said.append(traceback.format_exc())
    return found


def resumed(run: RunFolder) -> Ended:
    """Trains a run on, and reads all of it; what the run says of itself counts as said."""
    ended = resume(run) if run.exists else Ended()
    found = look(run)
    found.said += ended.said if ended is not None else []
    try:
        found.said += [f"{one.cause}: {one.cure}" for one in observe(run).alarms]
    except (SpiceError, OSError) as error:
        found.said.append(sentence_of(error, "it"))
    return found


def _numbers(run: RunFolder) -> Any:
    said = summary(run, observe(run))
    return {name: said.get(name) for name in ("source", "images", "clusters", "seed", "stages", "reliable", "truth")}


def _settings(run: RunFolder) -> Any:
    card = run.card()
    return {"settings": repr(card.config), "fingerprint": card.fingerprint, "images": card.images}


def _images(run: RunFolder) -> Any:
    found = run.images()
    return {"pixels": np.array(found.pixels), "ids": found.ids}


def _truth(run: RunFolder) -> Any:
    found = run.truth() if is_whole(run, "truth") else None
    return None if found is None else {"labels": np.array(found.labels), "names": found.class_names}


def _columns(run: RunFolder) -> Any:
    return {one.title: np.array(one.values) for one in run.columns()} if is_whole(run, "columns") else None


def _history(run: RunFolder) -> Any:
    found = load_history(run)
    steps = zip(found.stages, found.steps, strict=True)
    return {f"{stage} {step}": found.labels[row] for row, (stage, step) in enumerate(steps)}


def _table(run: RunFolder) -> Any:
    made = export_table(run, observe(run))
    return {name: made[name].to_numpy() for name in ("id", "label", "confidence", "agreement")}


_PARTS: dict[str, Callable[[RunFolder], Any]] = {
    "settings": _settings,
    "numbers": _numbers,
    "images": _images,
    "truth": _truth,
    "columns": _columns,
    "features": lambda run: np.array(run.load("features")["vectors"]),
    "neighbours": lambda run: np.array(run.load("neighbors")["ids"]),
    "heads": lambda run: np.array(run.load("heads")["head_labels"]),
    "labels": lambda run: np.array(load_strict(run, "joint").labels),
    "reliable": lambda run: np.array(load_strict(run, "joint").mask),
    "frames": lambda run: {f"{one}": True for one in frame_steps_of(run)},
    "history": _history,
    "x-ray": lambda run: {str(one.step): np.array(one.ids) for one in load_xrays(run)},
    "map": load_map,
    "weights": lambda run: {name: value.numpy() for name, value in run.weights("joint").items()},
    "table": _table,
    "decisions": rows_of,
}


def unlike(expected: Any, found: Any, name: str = "") -> list[str]:
    """What is shown, and is not what it was; what is not shown at all is not wrong."""
    if found is None:
        return []
    if isinstance(found, dict) and isinstance(expected, dict):
        inside = [unlike(expected.get(key), value, f"{name} {key}".strip()) for key, value in found.items()]
        return [one for part in inside for one in part]
    same = np.array_equal(expected, found) if isinstance(found, np.ndarray) else expected == found
    return [] if same else [name]
