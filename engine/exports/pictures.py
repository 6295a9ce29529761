"""The pictures that go into an export: originals as they are, or the pixels that were trained on."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from engine.data.thumbnails import as_image
from engine.errors import RunError, SourceError
from engine.exports.labelled import Labelled
from engine.formats.images import ENDINGS, HEAD_BYTES, IMAGE_ENDINGS, ending_of, sniffed
from engine.sources.originals import Originals

# Originals or nothing; the pixels that were trained on; or these only for originals that are not there any more.
Which = Literal["originals", "pixels", "either"]
# How an original that is a file of its own comes into a folder.
How = Literal["copy", "hardlink", "symlink"]
HOW: tuple[How, ...] = get_args(How)
# Pictures that are taken out of an array at a time.
BLOCK = 256
CHOICE = "export the pixels that were trained on (--pictures pixels), or these where an original is gone (either)"


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        ending: of its format, such as ".jpg".
        original: whether it is the original.
        path: of an original that is a file of its own.
        content: of any other.
    """

    ending: str
    original: bool
    path: Path | None = None
    content: bytes = field(default=b"", repr=False)

    def read(self) -> bytes:
        return self.content if self.path is None else self.path.read_bytes()

    def put(self, target: Path, how: How) -> None:
        """Makes the file `target`; what is no file of its own is written.

        Raises:
            RunError: when the system does not link there.
            OSError: when it cannot be read or written.
        """
        if self.path is None:
            target.write_bytes(self.content)
        elif how == "copy":
            shutil.copyfile(self.path, target)
        else:
            try:
                (os.link if how == "hardlink" else os.symlink)(os.path.abspath(self.path), target)
            except OSError as error:
                raise RunError(
                    f"{self.path} cannot be linked from {target.parent} ({error.strerror or error}): choose --copy"
                ) from None


class Pictures:
    """The pictures of labelled images.

    Attributes:
        stand_ins: how many pixels were given for originals that are not there, so far.
    """

    def __init__(self, labelled: Labelled, which: Which) -> None:
        """Raises RunError when originals are asked for that are not there."""
        self._labelled, self._which = labelled, which
        self._originals: Originals | None = None
        self._lengths = lengths_of(labelled)
        self._other, self.stand_ins = 0, 0
        if which == "pixels" or labelled.origin is None:
            return
        try:
            self._originals = Originals(labelled.origin)
        except SourceError as error:
            if which == "originals":
                raise RunError(f"{error}; or {CHOICE}") from None

    @property
    def root(self) -> Path | None:
        """The folder in which each original is a file of its own."""
        return None if self._originals is None else self._originals.root

    def each(self) -> Iterator[Picture]:
        """The picture of each image, in the order of the table.

        Raises:
            RunError: when originals are asked for, and one is not there.
        """
        rows = self._labelled.rows
        for start in range(0, len(rows), BLOCK):
            yield from self._block(rows[start : start + BLOCK].tolist())

    def notes(self) -> list[str]:
        """What should be said of the pictures that were given, in sentences without a capital."""
        height, width = self._labelled.images.size
        pixels = f"the pixels that were trained on, {width} × {height}, as PNG"
        if self._labelled.origin is None and self._which != "pixels":
            return [f"{self._labelled.images.source} has no originals: pictures are {pixels}"]
        found = [f"{self.stand_ins:,} originals are gone: in their place are {pixels}"] if self.stand_ins else []
        if self._other:
            found.append(
                f"{self._other:,} originals have another size in bytes than when they were imported: their labels may "
                "be those of other pictures"
            )
        return found

    def _block(self, rows: list[int]) -> Iterator[Picture]:
        images, originals = self._labelled.images, self._originals
        if originals is None:
            self.stand_ins += len(rows) if self._labelled.origin is not None and self._which == "either" else 0
            yield from (_drawn(images.pixels[row], original=False) for row in rows)
        elif originals.arrays:
            try:
                found = originals.pixels([images.ids[row] for row in rows])
            except SourceError as error:
                found = [self._pixels(row, error) for row in rows]
            yield from (_drawn(one, original=True) for one in found)
        else:
            yield from (self._encoded(originals, row) for row in rows)

    def _encoded(self, originals: Originals, row: int) -> Picture:
        name = self._labelled.images.ids[row]
        try:
            if originals.root is None:
                content = originals.content(name)
                return Picture(_ending(name, content[:HEAD_BYTES]), True, None, content)
            path = originals.path(name)
            about = path.stat()
        except (SourceError, OSError) as error:
            return _drawn(self._pixels(row, error), original=False)
        self._other += self._lengths is not None and about.st_size != self._lengths[row]
        return Picture(_ending(name, path), True, path)

    def _pixels(self, row: int, error: Exception) -> np.ndarray:
        if self._which == "originals":
            raise RunError(f"{error}; or {CHOICE}") from None
        self.stand_ins += 1
        return self._labelled.images.pixels[row]


def lengths_of(labelled: Labelled) -> np.ndarray | None:
    """(N,) the lengths in bytes of the originals at their import, where these are known."""
    known = labelled.folder.originals()
    return None if known is None else known[0][:, 0]


def _drawn(pixels: np.ndarray, *, original: bool) -> Picture:
    out = io.BytesIO()
    as_image(pixels).save(out, "PNG", compress_level=1)
    return Picture(".png", original, None, out.getvalue())


def _ending(name: str, head: bytes | Path) -> str:
    """What the name ends in, if that is an image's ending; else that of its format."""
    ending = ending_of(name)
    if ending in IMAGE_ENDINGS:
        return os.path.splitext(name)[1]
    if isinstance(head, Path):
        with head.open("rb") as file:
            head = file.read(HEAD_BYTES)
    return ENDINGS.get(sniffed(head), (".img",))[0]
