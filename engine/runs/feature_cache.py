"""The cache of features: those of all images and of their views by a frozen network.

    features/KEY/about.json                    what KEY stands for
    features/KEY/vectors.npy                   (N, D) float32
    features/KEY/weak.npy strong.npy           (V, N, D) and (S, N, D) float16
    features/KEY.draft/                        the same while it is computed, and how far that is

Features are moved to their place when they are whole, and never changed: runs hold on to the files by hard links. All
of it can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from engine import checksums
from engine.data.image_store import cache
from engine.errors import RunError, Stopped, sized
from engine.runs.files import FileCheckpoint, load_array, load_weights, save_weights, write_text

# Raised when features come out differently, so that old ones are not used any more.
FORMAT = 1
ARRAYS = ("vectors", "weak", "strong")
WAIT_SECONDS = 0.2
# What shall be left on the disk.
SPARE_BYTES = 2**28


class RowFile:
    """The rows of an .npy file, written from any place on; what is written is safe after `sync`.

    They are written, not mapped: a full disk then raises an error instead of killing the process.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], kind: str) -> None:
        """Opens the file for an array of this shape; what it has already is kept."""
        self._kind = np.dtype(kind)
        self._length = shape[-1] * self._kind.itemsize
        made = path.exists()
        self._file = path.open("r+b" if made else "w+b")
        header = {"descr": kind, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._offset = self._file.tell()
        self._file.truncate(self._offset + int(np.prod(shape, dtype=np.int64)) * self._kind.itemsize)

    def write(self, first: int, rows: np.ndarray) -> None:
        """Row `first` and those after it, (M, D)."""
        self._file.seek(self._offset + first * self._length)
        self._file.write(np.ascontiguousarray(rows, self._kind).data)

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True)
class CachedFeatures:
    """The place in the cache of what `about` describes, plain values."""

    about: dict[str, Any]

    @property
    def folder(self) -> Path:
        text = json.dumps({"format": FORMAT, **self.about}, sort_keys=True)
        return cache() / "features" / hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def files(self) -> dict[str, Path]:
        """The arrays by name; those of views only if there are any."""
        return {name: self.folder / f"{name}.npy" for name in ARRAYS if (self.folder / f"{name}.npy").exists()}

    def mend(self) -> str:
        """Moves aside what is damaged, to be computed again; returns what that was, "" for nothing. Within `locked`."""
        trouble, place = _trouble(self.folder), self.folder
        if not trouble:
            place = self.folder.with_suffix(".draft")
            try:
                self.checkpoint.load()
            except RunError as error:
                trouble = str(error).partition(": resume")[0].replace(f"{place}{os.sep}", "")
        if trouble:
            aside = self.folder.with_suffix(".damaged")
            shutil.rmtree(aside, ignore_errors=True)
            place.rename(aside)
        return trouble

    @property
    def whole(self) -> bool:
        return (self.folder / "about.json").is_file()

    @contextmanager
    def locked(self, stop: Callable[[], bool]) -> Iterator[None]:
        """Only one run computes it; others wait, and can be stopped meanwhile. Raises Stopped."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder.with_suffix(".lock"), thread_local=False)
        while not lock.is_locked:
            try:
                lock.acquire(timeout=WAIT_SECONDS)
            except Timeout:
                if stop():
                    raise Stopped from None
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def draft(self, images: int, features: int, weak: int, strong: int) -> Iterator[tuple[RowFile, RowFile, RowFile]]:
        """The arrays to be filled, those of an interrupted run as they are; they are kept if all goes well, and
        stay a draft if not. Within `locked`.

        Raises:
            RunError: when the disk has no room for them.
        """
        draft = self.folder.with_suffix(".draft")
        shapes = ((images, features), (weak, images, features), (strong, images, features))
        if not draft.exists():
            _check_room(draft.parent, shapes)
            draft.mkdir()
        kinds = ("<f4", "<f2", "<f2")
        files = [
            RowFile(draft / f"{name}.npy", shape, kind) for name, shape, kind in zip(ARRAYS, shapes, kinds, strict=True)
        ]
        try:
            yield files[0], files[1], files[2]
            for file in files:
                file.sync()
        finally:
            for file in files:
                file.close()
        if not weak and not strong:
            for name in ARRAYS[1:]:
                (draft / f"{name}.npy").unlink()
        sums = checksums.of_files(draft.glob("*.npy"))
        write_text(draft / checksums.FILE, checksums.text_of(sums))
        write_text(draft / "about.json", json.dumps(self.about, indent=1))
        shutil.rmtree(self.folder, ignore_errors=True)
        draft.rename(self.folder)
        FileCheckpoint(self.folder / "checkpoint.pt").remove()

    @property
    def checkpoint(self) -> FileCheckpoint:
        """How far the draft is."""
        return FileCheckpoint(self.folder.with_suffix(".draft") / "checkpoint.pt")


def _trouble(folder: Path) -> str:
    """What is wrong with the arrays in a folder of the cache, "" for nothing, or if there is none."""
    try:
        sums = checksums.recorded(folder)
        for name, kept in (sums.files if sums is not None else {}).items():
            if checksums.sum_of(folder / name) != kept:
                return f"{name} is damaged (it is not as it was written)"
        for file in folder.glob("*.npy"):
            load_array(file)
    except (OSError, ValueError) as error:
        return f"the cache of features is damaged ({error})"
    return ""


def cached_weights(state: dict[str, Any]) -> tuple[str, Path]:
    """The checksum of a state dict, and a file of it in the cache that any number of runs can link to.

    Tensors may be on any device.
    """
    found = hashlib.blake2b(digest_size=16)
    kept = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    for name, value in kept.items():
        array = value.numpy()
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(array.reshape(-1).view(np.uint8).data)
    place = cache() / "encoders"
    place.mkdir(parents=True, exist_ok=True)
    file = place / f"{found.hexdigest()}.weights.pt"
    with FileLock(file.with_suffix(".lock")):
        if not _same_weights(file, kept):
            draft = file.with_suffix(".tmp")
            save_weights(draft, kept)
            draft.replace(file)
    return found.hexdigest(), file


def _same_weights(file: Path, kept: dict[str, Any]) -> bool:
    """Whether the file is there and has these weights: one that is damaged is written again."""
    try:
        return file.exists() and load_weights(file).keys() == kept.keys()
    except ValueError:
        return False


def _check_room(place: Path, shapes: tuple[tuple[int, ...], ...]) -> None:
    """Raises RunError when the disk has no room for the arrays."""
    needed = sum(int(np.prod(shape, dtype=np.int64)) * size for shape, size in zip(shapes, (4, 2, 2), strict=True))
    free = shutil.disk_usage(place).free
    if needed + SPARE_BYTES > free:
        raise RunError(
            f"the features of {shapes[0][0]:,} images and their views need {sized(needed + SPARE_BYTES)}, but only "
            f"{sized(free)} are free in {place}: choose fewer views, free some space, or name another "
            "place with SPICE_EXPLORER_CACHE"
        )
