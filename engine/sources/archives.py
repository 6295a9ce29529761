"""Shared by zip and tar: which members are images, and their names.

Members are never unpacked into a folder, so malicious paths are harmless; such images are skipped anyway.
"""

from __future__ import annotations

import lzma
import os
import tarfile
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from engine.data.decode_image import IMAGE_ENDINGS
from engine.data.skipped import Skipped
from engine.errors import SourceError
from engine.sources.folders import readable

ARCHIVE_ENDINGS = frozenset({".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst"})
# The errors raised for invalid archives, depending on their bytes.
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError)


def file_stamp(paths: list[Path]) -> str:
    """A text that changes when one of the files does."""
    abouts = [path.stat() for path in paths]
    return " ".join(f"{one.st_size}-{one.st_mtime_ns}" for one in abouts)


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(name.replace("\\", "/")).parts


def stem(name: str) -> str:
    """The id of a member without its ending. Files that belong together share it: "./a/one.cls" and
    a/one.jpg."""
    return readable(os.path.splitext("/".join(_parts(name)))[0])


def member_name(name: str) -> str | None:
    """The name of a member as an id; None for hidden files and files other than images.

    Raises:
        SourceError: with the reason, for an image with an unsafe path and for an archive in the archive.
    """
    parts = _parts(name)
    if any(part.startswith(".") and part != ".." for part in parts) or "__MACOSX" in parts:
        return None
    ending = os.path.splitext(name)[1].lower()
    if ending in ARCHIVE_ENDINGS:
        raise SourceError("an archive inside the archive: unpack it first")
    if ending not in IMAGE_ENDINGS:
        return None
    if ".." in parts or name.startswith(("/", "\\")) or ":" in parts[0]:
        raise SourceError("its path leads outside the archive")
    return readable("/".join(parts))


@dataclass
class Members:
    """Collects the images in an archive."""

    names: dict[str, Any] = field(default_factory=dict)
    stamps: list[tuple[int, int]] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def take(self, name: str, key: Any, stamp: tuple[int, int]) -> None:
        if name in self.names:
            self.skip(name, "another image has the same name")
        else:
            self.names[name] = key
            self.stamps.append(stamp)

    def skip(self, name: str, reason: str) -> None:
        self.skipped.append(Skipped(readable(name), reason))

    def sorted(self, where: Path) -> tuple[tuple[str, ...], list[Any], np.ndarray]:
        if not self.names:
            first = f"; the first it holds is {self.skipped[0].name}: {self.skipped[0].reason}" if self.skipped else ""
            raise SourceError(f"{where} contains no usable image files ({', '.join(sorted(IMAGE_ENDINGS))}){first}")
        names = list(self.names)
        order = sorted(range(len(names)), key=names.__getitem__)
        keys, stamps = list(self.names.values()), np.array(self.stamps, np.int64)
        return tuple(names[i] for i in order), [keys[i] for i in order], stamps[order]
