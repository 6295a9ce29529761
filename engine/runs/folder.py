"""The run folder: the only door between who trains and who looks.

    run.json          what was asked: source, settings, fingerprint of the images
    images/           pixels.npy (uint8, memory-mapped when read) and ids
    extra/            further images, for stage 1 alone
    truth/            true labels and class names, only where they exist
    encoder.pt        the trained encoder that stage 1 begins with, if it does
    imported/         vectors from elsewhere that are taken as the features
    events.jsonl      what happened, one line an event, only ever appended to
    features/ heads/ joint/ …   one folder an artefact: arrays and weights
    decided/          what a reviewer of the parent run decided, where this one is trained with it
    frames/STAGE-STEP/          what a stage believed on the way, for replays
    xray/STEP/                  what stage 3 saw of a few images on the way
    trials/                     what went wrong in short trainings beside the run, for the lesson
    columns/                    what a table of the user's says of the images
    maps/…                      two-dimensional maps of the features and of frames
    checkpoint-STAGE.pt         where an unfinished stage goes on
    lock              held by the process that trains

Every file or artefact folder is written under another name, flushed to the disk and renamed, so that
a reader never meets half of one. Nothing that is read can run code.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import AcquireReturnProxy, FileLock, Timeout

from engine.config import IMPORT, SCRATCH, RunConfig, from_dict, to_dict, with_setting
from engine.data.columns import ImageColumn
from engine.data.images import ImageSet
from engine.data.skipped import Skipped
from engine.data.truth import Truth
from engine.errors import RunError, first_sentence, out_of_memory
from engine.events import STAGES, Event, Record, Stage, from_json, to_json
from engine.sources.open_source import Opened
from engine.stages.decided_labels import FixedLabels

if TYPE_CHECKING:
    from engine.curate.guidance import Guidance

FORMAT = 1
# Another run's stage 1, for which this run has yet to make a clustering of its own.
INHERITED_FEATURES = "features-inherited"
# Vectors from elsewhere in the place of stage 1's.
IMPORTED = "imported"
LOCK_SECONDS, PROBE_SECONDS = 2.0, 0.1


@dataclass(frozen=True)
class RunCard:
    """What a run was asked to do and on which images.

    `parent` is the run that it goes on from, "" for none; `extra` counts the further images of stage 1;
    `excluded` are the images that a person left out of the source beforehand, with the reason.
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


class RunFolder:
    """One run on disk. Any number of readers; one writer, who holds `lock`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    # -- making and opening --------------------------------------------------------------------

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], opened: Opened, config: RunConfig, excluded: tuple[Skipped, ...] = ()
    ) -> RunFolder:
        """A new run folder, complete or not there at all.

        `excluded` are images of the source that a person left out, and that are not in `opened`.

        Raises:
            RunError: when something is there already, K or the further images do not fit the images,
                or it cannot be written.
            SpiceError: when what `features.source` names is not there or does not fit.
        """
        target = Path(path).absolute()
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise RunError(f"{target} exists and is not empty: resume the run in it, or choose another folder")
        check_clusters(config, len(opened.images), opened.images.source)
        _check_extra(opened)
        return cls._made(target, lambda draft: draft._write_inputs(opened, config, excluded))

    def branch(self, path: str | os.PathLike[str], config: RunConfig) -> RunFolder:
        """A new run that goes on from this one's stages 1 and 2 with other settings of what follows.

        Raises:
            RunError: when stage 2 is not done, `config` asks for other stages 1 and 2, or the new
                run cannot be written.
        """
        from engine.runs.inheritance import inherit

        target, own = _free(path), self.card()
        if not self.has("heads"):
            raise RunError(f"{self.path} has no stage 2 yet: nothing can go on from it")
        if replace(config, reliable=own.config.reliable, joint=own.config.joint) != own.config:
            raise RunError("only the settings of the reliable set and of stage 3 can differ here")
        return self._made(target, lambda draft: inherit(draft, self, config))

    def branch_decided(self, path: str | os.PathLike[str], config: RunConfig, guidance: Guidance) -> RunFolder:
        """A new run that goes on from this one's stage 1 with what a reviewer decided: images that
        were excluded are not in it, and stages 2 and 3 learn the labels that were decided.

        It has as many clusters as `guidance`, whatever `config` says.

        Raises:
            RunError: when stage 1 is not done, `guidance` is about other images, K does not fit,
                `config` asks for another stage 1, or the new run cannot be written.
        """
        from engine.runs.inheritance import inherit_decided

        target, own = _free(path), self.card()
        if not self.has("features"):
            raise RunError(f"{self.path} has no stage 1 yet: nothing can go on from it")
        if len(guidance.keep) != own.images:
            raise RunError(
                f"the decisions are about {len(guidance.keep):,} images, but {self.path} has "
                f"{own.images:,}: decide about the images of this run"
            )
        config = replace(config, clusters=guidance.clusters)
        later = {name: getattr(config, name) for name in ("clusters", "heads", "reliable", "joint")}
        if replace(own.config, **later) != config:
            raise RunError("only K and the settings of what follows stage 1 can differ here")
        check_clusters(config, int(guidance.keep.sum()), own.source)
        return self._made(target, lambda draft: inherit_decided(draft, self, config, guidance))

    @classmethod
    def _made(cls, target: Path, write: Callable[[RunFolder], None]) -> RunFolder:
        """The run folder at `target` as `write` fills it, complete or not there at all."""
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = cls(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
            try:
                draft.path.chmod(0o755)
                write(draft)
                if target.exists():
                    target.rmdir()
                draft.path.rename(target)
            except BaseException:
                shutil.rmtree(draft.path, ignore_errors=True)
                raise
        except OSError as error:
            raise RunError(
                f"a run cannot be written to {target} ({error.strerror or error}): free some space "
                "or choose another folder"
            ) from None
        return cls(target)

    def _write_inputs(self, opened: Opened, config: RunConfig, excluded: tuple[Skipped, ...]) -> None:
        from engine.runs.initial_weights import keep_beginning

        images = opened.images
        if config.features.source != SCRATCH:  # first, since it may not be there, or not fit
            keep_beginning(self.path, config.features.source, images)
        self._save_images("images", images)
        if opened.columns:
            self.save_columns(list(opened.columns))
        if opened.truth is not None:
            names = np.array(opened.truth.class_names)
            self.save("truth", {"labels": opened.truth.labels, "class_names": names})
        card = {
            "format": FORMAT,
            "source": images.source,
            "images": len(images),
            "fingerprint": images.fingerprint,
            "created": time.time(),
            "skipped": [[one.name, one.reason] for one in opened.skipped],
            "excluded": [[one.name, one.reason] for one in excluded],
            "config": to_dict(config),
        }
        imported = config.features.source.startswith(IMPORT)
        if opened.extra is not None and not imported:
            self._save_images("extra", opened.extra)
            card["extra"] = len(opened.extra)
        write_text(self.path / "run.json", json.dumps(card, indent=1))

    def _save_images(self, artefact: str, images: ImageSet) -> None:
        """Pixels that are in a file already are not written a second time."""
        ids = {"ids": np.array(images.ids)}
        if images.file is None:
            self.save(artefact, {**ids, "pixels": images.pixels})
        else:
            self.save(artefact, ids, linked={"pixels": images.file})

    @property
    def exists(self) -> bool:
        return (self.path / "run.json").is_file()

    def card(self) -> RunCard:
        """What the run was asked to do; raises RunError when this is no run folder."""
        file = self.path / "run.json"
        try:
            return _read_card(file, file.stat().st_mtime_ns)
        except FileNotFoundError:
            raise RunError(f"{self.path} holds no run: expected the file run.json in it") from None

    def config(self) -> RunConfig:
        """The settings to train with: a trained encoder is the run's own copy of it."""
        config, own = self.card().config, self.path / "encoder.pt"
        if not own.exists():
            return config
        return with_setting(config, "features.source", f"encoder:{own}")

    # -- images and truth ----------------------------------------------------------------------

    def images(self) -> ImageSet:
        """The run's images, memory-mapped copy-on-write."""
        arrays = self.load("images")
        return ImageSet(arrays["pixels"], tuple(arrays["ids"].tolist()), self.card().source)

    def extra(self) -> ImageSet | None:
        """Further images, from which stage 1 alone learns; memory-mapped copy-on-write."""
        if not self.has("extra"):
            return None
        arrays = self.load("extra")
        return ImageSet(arrays["pixels"], tuple(arrays["ids"].tolist()), self.card().source)

    def truth(self) -> Truth | None:
        if not self.has("truth"):
            return None
        arrays = self.load("truth")
        return Truth(np.asarray(arrays["labels"]), tuple(arrays["class_names"].tolist()))

    def fixed(self) -> FixedLabels:
        """What a reviewer decided before this run was trained, as far as it may learn it."""
        if not self.has("decided"):
            return FixedLabels.none(self.card().images)
        said = self.load("decided")
        taught, refused = np.array(said["taught"]), np.array(said["refused"])
        # The labels that are held back do not even leave the folder.
        return FixedLabels(np.where(taught | refused, said["labels"], 0), taught, refused)

    def save_columns(self, columns: Sequence[ImageColumn]) -> None:
        """Keeps what a table says of the images, in the place of earlier columns."""
        arrays: dict[str, np.ndarray] = {"titles": np.array([one.title for one in columns])}
        for number, one in enumerate(columns):
            arrays[f"values-{number}"] = one.values
            if one.names is not None:
                arrays[f"names-{number}"] = np.array(one.names)
        self.save("columns", arrays)

    def columns(self) -> list[ImageColumn]:
        if not self.has("columns"):
            return []
        arrays = self.load("columns")
        return [
            ImageColumn(
                title,
                arrays[f"values-{number}"],
                tuple(arrays[f"names-{number}"].tolist()) if f"names-{number}" in arrays else None,
            )
            for number, title in enumerate(arrays["titles"].tolist())
        ]

    # -- artefacts -----------------------------------------------------------------------------

    def has(self, artefact: str) -> bool:
        return (self.path / artefact).is_dir()

    @property
    def done(self) -> frozenset[Stage]:
        """The stages that are done."""
        return frozenset(stage for stage in STAGES if self.has(stage))

    def save(
        self,
        artefact: str,
        arrays: dict[str, np.ndarray],
        weights: dict[str, Any] | None = None,
        linked: dict[str, Path] | None = None,
    ) -> None:
        """Writes an artefact's arrays and, if any, weights (a state dict), all at once.

        `linked`: for further arrays, by name, the .npy file that holds the same, and never changes.
        """
        target = self.path / artefact
        target.parent.mkdir(exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=self.path))
        try:
            for name, array in arrays.items():
                with synced(draft / f"{name}.npy") as file:
                    _save_array(file, array)
            for name, file in (linked or {}).items():
                link_file(file, draft / f"{name}.npy")
            if weights is not None:
                _save_weights(draft / "weights.pt", weights)
            draft.chmod(0o755)
            shutil.rmtree(target, ignore_errors=True)
            draft.rename(target)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise

    def load(self, artefact: str) -> dict[str, np.ndarray]:
        """The arrays of an artefact by name, memory-mapped copy-on-write; raises RunError."""
        if not self.has(artefact):
            raise RunError(f"{self.path} has no {artefact} yet: train until it does")
        files = sorted((self.path / artefact).glob("*.npy"))
        return _Arrays(self.path / artefact, {file.stem: _load_array(file) for file in files})

    def remove(self, artefact: str) -> None:
        """Deletes an artefact, if it is there."""
        shutil.rmtree(self.path / artefact, ignore_errors=True)

    def weights(self, artefact: str) -> dict[str, Any]:
        """The state dict of an artefact, on the CPU: a module that loads it moves it to its device."""
        return _load_weights(self.path / artefact / "weights.pt")

    def modified(self, artefact: str) -> float | None:
        """When the artefact was written (seconds since 1970), None if it was not."""
        try:
            return (self.path / artefact).stat().st_mtime
        except FileNotFoundError:
            return None

    # -- events --------------------------------------------------------------------------------

    def append(self, event: Event) -> None:
        """Adds one event, stamped with the time."""
        line = json.dumps(to_json(Record(time.time(), event))) + "\n"
        path = self.path / "events.jsonl"
        size = path.stat().st_size if path.exists() else 0
        try:
            with path.open("ab") as file:
                file.write(line.encode())
        except OSError:  # of a full disk: half a line would spoil the next one
            with contextlib.suppress(OSError):
                os.truncate(path, size)
            raise

    def records(self, offset: int = 0) -> tuple[list[Record], int]:
        """Events from byte `offset` on, and the offset to go on from; half a line is left for later."""
        try:
            with (self.path / "events.jsonl").open("rb") as file:
                file.seek(offset)
                text = file.read()
        except FileNotFoundError:
            return [], 0
        end = text.rfind(b"\n") + 1
        lines = text[:end].splitlines()
        try:
            return [from_json(json.loads(line)) for line in lines if line.strip()], offset + end
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{self.path / 'events.jsonl'} is damaged ({error})") from None

    def mend_events(self) -> None:
        """Cuts off half a line that a killed writer left, so that the next event stands alone."""
        path = self.path / "events.jsonl"
        if path.exists():
            end = self.records()[1]
            if end != path.stat().st_size:
                os.truncate(path, end)

    # -- the writer ----------------------------------------------------------------------------

    def lock(self) -> AcquireReturnProxy:
        """Takes the run for writing, until the `with` block ends or `.lock.release()` is called.

        Raises:
            RunError: when another thread or process has it.
        """
        try:
            return FileLock(self.path / "lock", thread_local=False).acquire(timeout=LOCK_SECONDS)
        except Timeout:
            raise RunError(f"{self.path} is being trained already: stop that run first") from None

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
        if card["format"] != FORMAT:
            raise RunError(f"{file.parent} has run format {card['format']}, but this version reads {FORMAT}")
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
        )
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{file} is damaged ({error})") from None


def _free(path: str | os.PathLike[str]) -> Path:
    """The absolute path; raises RunError when something is there already."""
    target = Path(path).absolute()
    if target.exists():
        raise RunError(f"{target} exists: choose another folder")
    return target


def check_clusters(config: RunConfig, images: int, source: str) -> None:
    """Raises RunError when there are too many clusters, or too few, for so many images."""
    if not 2 <= config.clusters <= images:
        raise RunError(f"clusters is {config.clusters}, but {source} has {images} images: choose from 2 to {images}")
    if config.clusters > config.heads.images:
        raise RunError(
            f"clusters is {config.clusters}, but an E-step labels only {config.heads.images} images: raise heads.images"
        )


def _check_extra(opened: Opened) -> None:
    """Raises RunError when the further images are of another size or colour than the images."""
    images, extra = opened.images, opened.extra
    if extra is not None and extra.pixels.shape[1:] != images.pixels.shape[1:]:
        raise RunError(
            f"the further images are {extra.pixels.shape[1:]}, but those of {images.source} "
            f"{images.pixels.shape[1:]} (channels, height, width): open both in one size and colour"
        )


class _Arrays(dict[str, np.ndarray]):
    """An artefact's arrays by name; one that is gone from the disk is missed in words."""

    def __init__(self, path: Path, arrays: dict[str, np.ndarray]) -> None:
        super().__init__(arrays)
        self._path = path

    def __missing__(self, name: str) -> np.ndarray:
        raise RunError(f"{self._path / name}.npy is gone: delete its folder and resume the run to make it again")


@dataclass(frozen=True)
class FileCheckpoint:
    """A stage's state in one file; the old one stays until the new one is complete."""

    path: Path

    def load(self) -> dict[str, Any] | None:
        """The state, on the CPU: whatever loads it moves it to its own device."""
        return _load_weights(self.path) if self.path.exists() else None

    def save(self, state: dict[str, Any]) -> None:
        draft = self.path.with_suffix(".tmp")
        try:
            _save_weights(draft, state)
            draft.replace(self.path)
        finally:
            draft.unlink(missing_ok=True)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a whole text file, or leaves what was there."""
    draft = path.with_name(f".{path.name}.tmp")
    try:
        with synced(draft) as file:
            file.write(text.encode("utf-8"))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def synced(path: Path) -> Iterator[Any]:
    """A new file to write, flushed to the disk at the end."""
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _save_array(file: Any, array: np.ndarray) -> None:
    try:
        np.save(file, array, allow_pickle=False)
    except OSError as error:
        if error.errno is None:  # numpy counts the bytes and forgets the reason: ask the system again
            file.write(b"\0")
            file.flush()
        raise


def link_file(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """A second name for a file that nobody changes in its place, or a copy where there can be none."""
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without hard links
        shutil.copyfile(source, target)


def _load_array(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="c", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise RunError(f"{path} is damaged ({error}): delete its folder and resume the run to make it again") from None


def _save_weights(path: Path, state: dict[str, Any]) -> None:
    import torch

    content = io.BytesIO()  # written to a file itself, torch would hide a full disk behind its own error
    torch.save(state, content)
    with synced(path) as file:
        file.write(content.getbuffer())


def _load_weights(path: Path) -> dict[str, Any]:
    import torch

    try:
        # Never straight to a GPU: one that is full would make the file look damaged.
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        if out_of_memory(error):
            raise
        raise RunError(f"{path} is damaged ({first_sentence(error)}): delete it to do its stage again") from None
