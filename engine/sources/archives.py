"""Shared by zip and tar: which members are images, and their names.

Members are never unpacked into a folder, so malicious paths are harmless; such images are skipped anyway.
"""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from engine.data.skipped import Skipped
from engine.errors import SourceError
from engine.formats.images import USUAL_ENDINGS, ending_of, judged
from engine.formats.samples import NOT_OF_ITS_OWN, companions
from engine.sources.folders import first_of, readable
from engine.sources.metadata import is_metadata

ARCHIVE_ENDINGS = frozenset({".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst"})
TWICE = "the archive has this name again: the last one is used"
# The errors raised for invalid archives, depending on their bytes.
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError)


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(name.replace("\\", "/")).parts


def plain_name(name: str) -> str:
    """The name of a member as an id: "./a/one.cls" is a/one.cls."""
    return readable("/".join(_parts(name)))


def hidden(name: str) -> bool:
    """Whether a member is not meant for people, such as what macOS keeps beside each file."""
    parts = _parts(name)
    return not parts or any(part.startswith(".") and part != ".." for part in parts) or "__MACOSX" in parts


def member_name(name: str, head: Callable[[], bytes]) -> str | None:
    """The name of a member as an id; None for hidden files and files other than images and metadata.

    Args:
        head: reads the member's first bytes.

    Raises:
        SourceError: with the reason, for an image with an unsafe path or that is not read, and for an archive in
            the archive.
    """
    parts = _parts(name)
    if hidden(name):
        return None
    if ending_of(name) in ARCHIVE_ENDINGS:
        raise SourceError("an archive inside the archive: unpack it first")
    taken, why = judged(name, head)
    if why:
        raise SourceError(why)
    if not taken and not is_metadata(parts[-1]):
        return None
    if ".." in parts or name.startswith(("/", "\\")) or ":" in parts[0]:
        raise SourceError("its path leads outside the archive")
    return plain_name(name)


@dataclass
class Members:
    """Collects the images in an archive, and its tables.

    Of several members with one name, the last counts, as for tar and unzip: for images, classes and tables alike.
    """

    names: dict[str, tuple[Any, tuple[int, int]]] = field(default_factory=dict)
    tables: dict[str, bytes] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)

    def take(self, name: str, key: Any, stamp: tuple[int, int]) -> None:
        if name in self.names:
            self.skip(name, TWICE)
        self.names[name] = key, stamp

    def skip(self, name: str, reason: str) -> None:
        self.skipped.append(Skipped(readable(name), reason))

    def leave_out(self, name: str, reason: str) -> None:
        del self.names[name]
        self.skip(name, reason)

    def sorted(self, where: object) -> tuple[tuple[str, ...], list[Any], np.ndarray]:
        """Names, keys and stamps of the images, without `companions`; raises SourceError if there is none."""
        for name, image in companions(self.names).items():
            self.leave_out(name, NOT_OF_ITS_OWN.format(image=image))
        if not self.names:
            first = f"; the first it holds is {first_of(self.skipped)}" if self.skipped else ""
            raise SourceError(f"{where} contains no usable image files ({USUAL_ENDINGS}){first}")
        names = sorted(self.names)
        stamps = np.array([self.names[name][1] for name in names], np.int64)
        return tuple(names), [self.names[name][0] for name in names], stamps
