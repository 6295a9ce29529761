"""The run folder: the only interface between training and its readers.

    run.json          the request: source, settings, fingerprint of the images
    images/           pixels.npy (uint8, memory-mapped when read) and ids
    extra/            extra images, for stages 1 and 3
    sums.json         checksums of the files above and below it that are written once; each artefact has its own
    originals/        size and stamp of each original, where the images were made from larger ones
    truth/            true labels and class names, only where they exist
    encoder.pt encoder.json     the trained encoder that stage 1 starts from, if any, and its card
    imported/         external vectors that are used as the features
    events.jsonl      one line per event, append-only
    features/ heads/ joint/ …   one folder per artefact: arrays and weights
    decided/          decisions from the parent run, if this run is trained with them
    frames/STAGE-STEP/          intermediate results of a stage, for replays
    xray/STEP/                  intermediate results of stage 3 for a few images
    trials/                     failure examples for the lesson
    sample/                     what the model makes of a sample of its images, for the thresholds of *unknown*
    columns/                    the user's columns: values for the images from a table
    maps/…                      two-dimensional maps of the features and of frames
    damaged/                    what was found damaged and could be made again
    checkpoint-STAGE.pt         where an unfinished stage resumes
    lock              held by the process that trains

Every file or artefact folder is written under a temporary name, flushed to disk and renamed, so that
readers never see a partial one. Reading a file never runs code, and writes nothing.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from filelock import AcquireReturnProxy, FileLock, Timeout

from engine import checksums, npy
from engine.checksums import LARGE_BYTES, Sums
from engine.config import RunConfig, from_dict, with_setting
from engine.data.columns import ImageColumn
from engine.data.images import ImageSet
from engine.data.origin import Origin
from engine.data.skipped import Skipped
from engine.data.truth import Truth
from engine.errors import RunError, SourceError
from engine.events import STAGES, Event, Record, Stage
from engine.runs.files import (
    FileCheckpoint,
    draft_folder,
    link_file,
    load_array,
    load_weights,
    save_weights,
    synced,
    write_text,
)
from engine.runs.safeguards.cures import cure_of
from engine.runs.safeguards.event_log import EventLog
from engine.stages.decided_labels import FixedLabels

FORMAT = 2
# Format 1 has the names of the images and those in the user's columns as arrays of texts.
READ = (1, 2)
# Another run's stage 1, for which this run has yet to make a clustering of its own.
INHERITED_FEATURES = "features-inherited"
# Vectors from elsewhere in the place of stage 1's.
IMPORTED = "imported"
# Why a run that `lacks_adapter` does not go on, and what to do.
WITHOUT_ADAPTER = "an earlier version trained it on external vectors, without the adapter that stage 3 trains"
NEW_RUN = "start a new run on the same vectors"
DAMAGED = "damaged"
PIXELS = "pixels.npy"
LOCK_SECONDS, PROBE_SECONDS = 2.0, 0.1


@dataclass(frozen=True)
class RunCard:
    """A run's settings and images.

    `parent` is the run it starts from, "" for none; `extra` counts the extra images;
    `excluded` are the images that a person excluded from the source beforehand, with the reason;
    `origin` is where the originals are, None where nobody knows; `depths` with which low and scale values of more than
    8 bits became pixels, by their `Kind`, {} where there were none or the run is older than that.
    """

    source: str
    images: int
    fingerprint: str
    config: RunConfig
    created: float
    skipped: tuple[Skipped, ...] = ()
    parent: str = ""
    extra: int = 0
    excluded: tuple[Skipped, ...] = ()
    origin: Origin | None = None
    depths: dict[str, tuple[float, float]] = field(default_factory=dict)


class RunFolder:
    """One run on disk. Any number of readers; a single writer, which holds `lock`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @property
    def name(self) -> str:
        return self.path.name

    def save_images(self, artefact: str, images: ImageSet) -> None:
        """Pixels that are in a file already are not written a second time.

        Run and cache share that file. It can be neither a copy, which takes as long and as much room as the images,
        nor one that only the run may change; so nobody may write to it (`ImageStore.replace`), it is mapped
        copy-on-write, and before training it has to have the fingerprint that the run was made with.
        """
        ids, known = {"ids": npy.packed_texts(images.ids)}, images.fingerprint
        if images.file is None:
            self.save(artefact, {**ids, "pixels": images.pixels}, images=known)
        else:
            self.save(artefact, ids, linked={"pixels": images.file}, images=known)

    @property
    def exists(self) -> bool:
        return (self.path / "run.json").is_file()

    def card(self) -> RunCard:
        """The run's settings and images; raises RunError if this is not a run folder."""
        file = self.path / "run.json"
        try:
            return _read_card(file, file.stat().st_mtime_ns)
        except FileNotFoundError:
            raise RunError(f"{self.path} contains no run: expected the file run.json in it") from None

    def config(self) -> RunConfig:
        """The settings to train with: a trained encoder is the run's own copy of it."""
        config, own = self.card().config, self.path / "encoder.pt"
        if not own.exists():
            return config
        return with_setting(config, "features.source", f"encoder:{own}")

    def encoder_card(self) -> dict[str, Any] | None:
        """What is known of the trained encoder that stage 1 starts from: its network, and under "origin" what
        that was trained on. None if it starts from random weights or vectors, or the run is older than cards.
        """
        try:
            return dict(json.loads((self.path / "encoder.json").read_text("utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            cure = "put back a copy of it; it only says what the encoder was trained on"
            raise RunError(f"{self.path / 'encoder.json'} is damaged ({error}): {cure}") from None

    # -- images and truth ----------------------------------------------------------------------

    def images(self) -> ImageSet:
        """The run's images, memory-mapped copy-on-write."""
        return self._image_set("images")

    def extra(self) -> ImageSet | None:
        """Extra images that only stage 1 learns from; memory-mapped copy-on-write."""
        return self._image_set("extra") if self.has("extra") else None

    def _image_set(self, artefact: str) -> ImageSet:
        arrays = self.load(artefact)
        try:
            return ImageSet(arrays["pixels"], npy.texts_of(arrays["ids"]), self.card().source)
        except (ValueError, SourceError) as error:
            raise self.damage(artefact, "ids.npy", f"is damaged ({error})") from None

    def originals(self) -> tuple[np.ndarray, np.ndarray] | None:
        """(N, 2) int64 stamps, as `Listing` has them, and (N, 2) int32 widths and heights of the originals;
        None in a run that does not know them, or only by time and size, which do not tell enough."""
        if not self.has("originals"):
            return None
        arrays = self.load("originals")
        return (np.asarray(arrays["marks"]), np.asarray(arrays["extents"])) if "marks" in arrays else None

    def truth(self) -> Truth | None:
        if not self.has("truth"):
            return None
        arrays = self.load("truth")
        return Truth(np.asarray(arrays["labels"]), tuple(arrays["class_names"].tolist()))

    def fixed(self) -> FixedLabels:
        """The decisions made before this run was trained, except those held back."""
        if not self.has("decided"):
            return FixedLabels.none(self.card().images)
        said = self.load("decided")
        taught, refused = np.array(said["taught"]), np.array(said["refused"])
        # The labels that are held back do not even leave the folder.
        return FixedLabels(np.where(taught | refused, said["labels"], 0), taught, refused)

    def seen(self) -> np.ndarray:
        """(N,) bool: images whose label training had to follow because a person had looked at them; an earlier
        version did not record which these are."""
        taught = self.fixed().mask
        said = self.load("decided") if self.has("decided") else {}
        return taught & np.asarray(said["seen"]) if "seen" in said else np.zeros_like(taught)

    def save_columns(self, columns: Sequence[ImageColumn]) -> None:
        """Stores the user's columns from a table, replacing earlier ones."""
        arrays: dict[str, np.ndarray] = {"titles": np.array([one.title for one in columns])}
        for number, one in enumerate(columns):
            arrays[f"values-{number}"] = one.values
            if one.names is not None:
                arrays[f"names-{number}"] = npy.packed_texts(one.names)
        self.save("columns", arrays, of=("images",))

    def columns(self) -> list[ImageColumn]:
        if not self.has("columns"):
            return []
        arrays = self.load("columns")
        return [
            ImageColumn(
                title,
                arrays[f"values-{number}"],
                npy.texts_of(arrays[f"names-{number}"]) if f"names-{number}" in arrays else None,
            )
            for number, title in enumerate(arrays["titles"].tolist())
        ]

    # -- artefacts -----------------------------------------------------------------------------

    def has(self, artefact: str) -> bool:
        return (self.path / artefact).is_dir()

    @property
    def lacks_adapter(self) -> bool:
        """Whether its features are external vectors as they are, as an earlier version took them, without the adapter
        that stage 3 trains: such a run can be shown, but not trained on."""
        own = self.path / "features"
        made = [own / "clean.npy", own / "weights.pt"]
        return self.has(IMPORTED) and own.is_dir() and not any(file.exists() for file in made)

    @property
    def done(self) -> frozenset[Stage]:
        """The stages that are done."""
        return frozenset(stage for stage in STAGES if self.has(stage))

    def save(
        self,
        artefact: str,
        arrays: dict[str, np.ndarray],
        weights: dict[str, Any] | Path | None = None,
        linked: dict[str, Path] | None = None,
        *,
        images: str = "",
        of: Sequence[str] = (),
    ) -> None:
        """Writes an artefact's arrays and, if any, weights (a state dict, or a file of one), all at once, with the
        checksums of all.

        Args:
            linked: additional arrays, by name, as .npy files with the same contents that never change.
            images: the fingerprint of its images, if its pixels are some; they have no other checksum.
            of: the artefacts that it was made of.
        """
        target = self.path / artefact
        target.parent.mkdir(exist_ok=True)
        with draft_folder(self.path / target.name) as draft:
            for name, array in arrays.items():
                with synced(draft / f"{name}.npy") as file:
                    npy.save(file, array)
            for name, file in (linked or {}).items():
                link_file(file, draft / f"{name}.npy")
            if isinstance(weights, Path):
                link_file(weights, draft / "weights.pt")
            elif weights is not None:
                save_weights(draft / "weights.pt", weights)
            kept = [file for file in draft.iterdir() if not (images and file.name == PIXELS)]
            sums = checksums.of_files(kept, images=images, of=self.made_of(*of))
            write_text(draft / checksums.FILE, checksums.text_of(sums))
            shutil.rmtree(target, ignore_errors=True)
            draft.rename(target)

    def load(self, artefact: str) -> dict[str, np.ndarray]:
        """The arrays of an artefact by name, memory-mapped copy-on-write; raises RunError."""
        if not self.has(artefact):
            raise RunError(f"{self.path} has no {artefact} yet: train until it exists")
        place, sums = self.path / artefact, self.sums(artefact)
        # Other systems leave files of their own, such as ._labels.npy.
        files = sorted(file for file in place.glob("*.npy") if not file.name.startswith("."))
        if sums is not None:
            files = [file for file in files if file.name in sums.files or (sums.images and file.name == PIXELS)]
            self._check(artefact, sums, [file for file in files if file.stat().st_size <= LARGE_BYTES])
        return _Arrays(self, artefact, {file.stem: self._array(artefact, file) for file in files})

    def _array(self, artefact: str, file: Path) -> np.ndarray:
        try:
            return load_array(file)
        except ValueError as error:
            raise self.damage(artefact, file.name, f"is damaged ({error})") from None

    def sums(self, artefact: str = "") -> Sums | None:
        """What was recorded of the files of an artefact (or, without one, of the run's own), None where that was not
        yet done, or the record is damaged."""
        try:
            return checksums.recorded(self.path / artefact)
        except ValueError:
            return None

    def made_of(self, *artefacts: str) -> dict[str, str]:
        """The checksums of artefacts as they are recorded now, of those that have any."""
        found = {name: self.sums(name) for name in artefacts if self.has(name)}
        return {name: sums.whole for name, sums in found.items() if sums is not None}

    def _check(self, artefact: str, sums: Sums, files: Sequence[Path]) -> None:
        """Raises RunError when one of these files is not as it was written, or an array is missing."""
        arrays = {name for name in sums.files if name.endswith(".npy")} | ({PIXELS} if sums.images else set())
        for name in sorted(arrays):
            if not (self.path / artefact / name).exists():
                raise self.damage(artefact, name, "is missing")
        for file in files:
            if file.name in sums.files and checksums.sum_of(file) != sums.files[file.name]:
                raise self.damage(artefact, file.name, "is damaged (it is not as it was written)")

    def damage(self, artefact: str, file: str, found: str) -> RunError:
        """What is wrong with a file of an artefact, and what to do, which never loses what cannot be made again."""
        return RunError(f"{self.path / artefact / file} {found}: {cure_of(artefact)}")

    def set_aside(self, artefact: str) -> Path:
        """Moves what is damaged to a place of its own, where nothing reads it; returns that."""
        place = self.path / DAMAGED
        place.mkdir(exist_ok=True)
        target, number = place / artefact.replace("/", "-"), 1
        while target.exists():
            number += 1
            target = place / f"{artefact.replace('/', '-')}-{number}"
        (self.path / artefact).rename(target)
        return target

    def remove(self, artefact: str) -> None:
        """Deletes an artefact, if it is there."""
        shutil.rmtree(self.path / artefact, ignore_errors=True)

    def weights(self, artefact: str) -> dict[str, Any]:
        """The state dict of an artefact, on the CPU: a module that loads it moves it to its device."""
        file, sums = self.path / artefact / "weights.pt", self.sums(artefact)
        if sums is not None and file.exists():
            self._check(artefact, sums, [file])
        try:
            return load_weights(file)
        except FileNotFoundError:
            raise self.damage(artefact, file.name, "is missing") from None
        except ValueError as error:
            raise self.damage(artefact, file.name, f"is damaged ({error})") from None

    def modified(self, artefact: str) -> float | None:
        """When the artefact was written (seconds since 1970), None if it was not."""
        try:
            return (self.path / artefact).stat().st_mtime
        except FileNotFoundError:
            return None

    # -- events --------------------------------------------------------------------------------

    @property
    def _events(self) -> EventLog:
        return EventLog(self.path / "events.jsonl")

    def append(self, event: Event) -> None:
        """Adds one event, stamped with the time."""
        self._events.append(event)

    def records(self, offset: int = 0) -> tuple[list[Record], int]:
        """Events from byte `offset` on, and the offset to continue from; half a line is left for later."""
        return self._events.records(offset)

    def mend_events(self) -> None:
        """Removes a partial last line left by a killed writer, so that the next event gets its own line."""
        self._events.mend()

    # -- the writer ----------------------------------------------------------------------------

    def lock(self) -> AcquireReturnProxy:
        """Takes the run for writing, until the `with` block ends or `.lock.release()` is called.

        Raises:
            RunError: when another thread or process has it.
        """
        try:
            return FileLock(self.path / "lock", thread_local=False).acquire(timeout=LOCK_SECONDS)
        except Timeout:
            raise RunError(f"{self.path} is already being trained: stop that run first") from None

    @property
    def is_locked(self) -> bool:
        """True while some thread or process trains this run (or has it in its queue)."""
        if not (self.path / "lock").exists():
            return False
        try:
            # Long enough to outlast another reader that asks the same.
            with FileLock(self.path / "lock", thread_local=False).acquire(timeout=PROBE_SECONDS):
                return False
        except Timeout:
            return True
        except OSError:
            return False

    def checkpoint(self, stage: Stage) -> FileCheckpoint:
        return FileCheckpoint(self.path / f"checkpoint-{stage}.pt")


@lru_cache(maxsize=256)
def _read_card(file: Path, _modified: int) -> RunCard:
    try:
        card = json.loads(file.read_text("utf-8"))
        if card["format"] not in READ:
            raise RunError(f"{file.parent} has run format {card['format']}, but this version reads up to {FORMAT}")
        skipped = tuple(Skipped(*pair) for pair in card["skipped"])
        excluded = tuple(Skipped(*pair) for pair in card.get("excluded", []))
        return RunCard(
            card["source"],
            card["images"],
            card["fingerprint"],
            from_dict(card["config"]),
            card["created"],
            skipped,
            card.get("parent", ""),
            card.get("extra", 0),
            excluded,
            Origin(**card["origin"]) if "origin" in card else None,
            {name: (float(low), float(scale)) for name, (low, scale) in card.get("depths", {}).items()},
        )
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{file} is damaged ({error})") from None


class _Arrays(dict[str, np.ndarray]):
    """An artefact's arrays by name; a missing file raises a `RunError` that names it."""

    def __init__(self, folder: RunFolder, artefact: str, arrays: dict[str, np.ndarray]) -> None:
        super().__init__(arrays)
        self._folder, self._artefact = folder, artefact

    def __missing__(self, name: str) -> np.ndarray:
        raise self._folder.damage(self._artefact, f"{name}.npy", "is missing")
