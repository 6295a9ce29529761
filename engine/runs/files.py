"""Files of a run folder. Each is written under a temporary name, flushed to disk and renamed, so that
readers never see a partial file. Reading a file never runs code."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import pickle
import secrets
import shutil
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine import npy
from engine.errors import RunError, first_sentence, out_of_memory
from engine.leftovers import DRAFT, holding

# What NumPy raises of a header that may say anything.
DAMAGED_HEADER = (EOFError, TypeError, LookupError, OverflowError, SyntaxError, MemoryError, tokenize.TokenError)


@dataclass(frozen=True)
class FileCheckpoint:
    """A stage's state in one file; the old one stays until the new one is complete."""

    path: Path

    def load(self) -> dict[str, Any] | None:
        """The state, on the CPU: whatever loads it moves it to its own device.

        Raises:
            RunError: when it is damaged.
        """
        try:
            return load_weights(self.path) if self.path.exists() else None
        except ValueError as error:
            raise RunError(
                f"{self.path} is damaged ({error}): resume the run, and it is moved aside and its stage begins again"
            ) from None

    def save(self, state: dict[str, Any]) -> None:
        draft = self.path.with_suffix(".tmp")
        try:
            save_weights(draft, state)
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
def draft_folder(target: Path) -> Iterator[Path]:
    """A new, hidden folder beside `target`, to be renamed once it is complete; open to those whom the umask lets. It
    is removed when the block fails, or by the next process if this one is killed."""
    draft = target.with_name(f".{target.name}{DRAFT}{secrets.token_hex(6)}")
    draft.mkdir()
    try:
        with holding(draft):
            yield draft
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


@contextlib.contextmanager
def synced(path: Path) -> Iterator[Any]:
    """A new file to write, from its beginning on; at the end it is on the disk, as long as what was written.

    Raises:
        OSError: where the disk is full, or has not taken everything.
    """
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
        written, found = file.tell(), os.fstat(file.fileno()).st_size
        if found != written:
            raise OSError(errno.EIO, f"only {found:,} of {written:,} bytes have arrived", str(path))


def link_file(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """A hard link to a file that is never modified in place, or a copy if links are not possible."""
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without hard links
        shutil.copyfile(source, target)


def load_array(path: Path) -> np.ndarray:
    """The array in a file, mapped copy-on-write; raises ValueError when it is damaged."""
    try:
        return npy.mapped(path)
    except DAMAGED_HEADER as error:
        raise ValueError(first_sentence(error)) from None


def save_weights(path: Path, state: dict[str, Any]) -> None:
    import torch

    content = io.BytesIO()  # written to a file itself, torch would hide a full disk behind its own error
    torch.save(state, content)
    with synced(path) as file:
        file.write(content.getbuffer())


def load_weights(path: Path) -> dict[str, Any]:
    """A state dict, on the CPU; raises ValueError when it is damaged."""
    import torch

    try:
        _check_members(path)
        # Never load straight to a GPU: if it is full, the file would look damaged.
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        if out_of_memory(error):
            raise
        raise ValueError(first_sentence(error)) from None


def _check_members(path: Path) -> None:
    """torch writes a zip with checksums, but leaves them out when it reads; raises ValueError when one is wrong."""
    try:
        with zipfile.ZipFile(path) as archive:
            wrong = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, LookupError) as error:
        raise ValueError(str(error)) from None
    if wrong is not None:
        raise ValueError(f"{wrong} has another checksum than when it was written")
