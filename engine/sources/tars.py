"""Images in a tar, plain or compressed, or in the tar shards of WebDataset."""

from __future__ import annotations

import bz2
import glob
import gzip
import json
import lzma
import os
import re
import shutil
import tarfile
import tempfile
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from engine.data.columns import shown, truth_of
from engine.data.decode_image import MOST_BYTES
from engine.data.listing import Listing, Reader
from engine.data.truth import Truth, class_truth
from engine.errors import SourceError
from engine.sources.archives import DAMAGED, Members, file_stamp, member_name, stem
from engine.sources.folders import existing_file, folder_truth, readable

if TYPE_CHECKING:
    import pandas as pd

# How many times its size a compressed tar may unpack to, and how many bytes in any case.
TAR_GROWTH, TAR_BYTES = 200, 2**30
# The disk space to leave free.
SPARE_BYTES = 2**26
SIDECAR_BYTES = 2**16
_COMPRESSED: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


@dataclass(frozen=True)
class TarReader:
    """Reads members of uncompressed tar files by their offset."""

    paths: tuple[Path, ...]

    def __call__(self, key: tuple[int, int, int]) -> bytes:
        shard, offset, length = key
        with open(self.paths[shard], "rb") as file:
            file.seek(offset)
            content = file.read(length)
        if len(content) != length:
            raise SourceError("the archive is truncated here")
        return content


class TarSource:
    """The image files in a tar, plain or compressed (gz, bz2, xz), or in the shards of WebDataset.

    In WebDataset, files with the same stem belong together: `.cls` contains the class of the image, `.json`
    its other values.
    """

    side: int | None = 32

    def __init__(self, text: str, path: str, *, labels: bool = False) -> None:
        self.paths, self.labels = shards(path), labels
        self.text = readable(text)
        self.place = f"tar:{readable(os.path.abspath(os.path.expanduser(path)))}"
        self._unpacked: Path | None = None
        self._plain: tuple[Path, ...] = ()

    def stamp(self) -> str:
        return file_stamp(self.paths)

    def reader(self) -> Reader:
        return TarReader(self._uncompressed())

    def listing(self) -> Listing:
        found, beside = Members(), _Sidecars()
        plain = self._uncompressed()
        for shard, path in enumerate(self.paths):
            below = f"{path.name.partition('.')[0]}/" if len(plain) > 1 else ""
            changed = path.stat().st_mtime_ns
            try:
                with tarfile.open(plain[shard], "r:") as archive:
                    for one in archive:
                        # A tar has no checksums, and its times are often 0: the archive's own time must do.
                        stamp = (one.size, changed ^ one.offset_data)
                        _take_member(archive, one, found, beside, below, shard, stamp)
            except (*DAMAGED, OSError) as error:
                if not found.names:
                    reason = f"{path} cannot be read as a tar archive: {error}"
                    raise SourceError(reason) from None
                found.skip(path.name, f"the archive is truncated or damaged ({error})")
        names, keys, stamps = found.sorted(self.paths[0])
        rows = beside.rows(names)
        truth = None
        if self.labels:
            truth = beside.truth(names) or truth_of(rows) or folder_truth(self.text, names)
        return Listing(names, stamps, keys, tuple(found.skipped), truth, tuple(shown(rows)))

    def _uncompressed(self) -> tuple[Path, ...]:
        """The archives as plain tar files; compressed ones are unpacked, and deleted with this object."""
        if not self._plain:
            self._plain = tuple(self._unpack(path) for path in self.paths)
        return self._plain

    def _unpack(self, path: Path) -> Path:
        with path.open("rb") as file:
            start = file.read(8)
        opener = next((one for mark, one in _COMPRESSED.items() if start.startswith(mark)), None)
        if opener is None:
            return path
        if self._unpacked is None:
            self._unpacked = Path(tempfile.mkdtemp(prefix="spice-tar-"))
            weakref.finalize(self, shutil.rmtree, self._unpacked, ignore_errors=True)
        target = self._unpacked / f"{len(os.listdir(self._unpacked))}.tar"
        most = max(TAR_BYTES, TAR_GROWTH * path.stat().st_size)
        with opener(path) as packed, target.open("wb") as out:
            _copy_at_most(packed, out, most, path)
        return target


def _copy_at_most(packed: IO[bytes], out: IO[bytes], most: int, path: Path) -> None:
    """Unpacks at most `most` bytes; of a damaged archive, the readable part (the listing reports the
    damage). Raises SourceError if it is larger, or the disk is too full."""
    written, free = 0, shutil.disk_usage(out.name).free
    while True:
        try:
            block = packed.read(2**22)
        except (*DAMAGED, OSError):
            return
        if not block:
            return
        written += len(block)
        if written > most:
            raise SourceError(f"{path} unpacks to more than {most / 1e9:.0f} GB: unpack it to a folder and open that")
        if written > free - SPARE_BYTES:
            raise SourceError(
                f"{path} cannot be unpacked: only {free / 1e6:,.0f} MB are free in "
                f"{tempfile.gettempdir()}; free some, or set TMPDIR to a folder with more"
            )
        out.write(block)


def _take_member(
    archive: tarfile.TarFile,
    one: tarfile.TarInfo,
    found: Members,
    beside: _Sidecars,
    below: str,
    shard: int,
    stamp: tuple[int, int],
) -> None:
    if one.isdir():
        return
    try:
        ending = one.name.rpartition(".")[2]
        if one.isreg() and ending in ("cls", "json") and one.size <= SIDECAR_BYTES:
            content = archive.extractfile(one)
            beside.take(below + stem(one.name), ending, content.read() if content else b"")
            return
        name = member_name(one.name)
        if name is None:
            return
        if not one.isreg():
            raise SourceError("a link or a device, not an image")
        if one.issparse() or one.size > MOST_BYTES:
            raise SourceError(f"holds {one.size / 1e6:,.0f} MB, too much for an image")
        found.take(below + name, (shard, one.offset_data, one.size), stamp)
    except SourceError as error:
        found.skip(one.name, str(error))


@dataclass
class _Sidecars:
    """The files in WebDataset's shards that have the same stem as an image."""

    classes: dict[str, str] = field(default_factory=dict)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)

    def take(self, stem: str, ending: str, content: bytes) -> None:
        text = content.decode("utf-8", "replace").strip()
        if ending == "cls":
            self.classes[stem] = text
            return
        try:
            found = json.loads(text)
        except ValueError:
            return
        if isinstance(found, dict):
            plain = {k: v for k, v in found.items() if isinstance(v, (str, int, float, bool))}
            self.tables[stem] = plain

    def rows(self, names: tuple[str, ...]) -> pd.DataFrame:
        """The values from the .json files, one row per image."""
        import pandas as pd

        return pd.DataFrame([self.tables.get(os.path.splitext(name)[0], {}) for name in names])

    def truth(self, names: tuple[str, ...]) -> Truth | None:
        found = [self.classes.get(os.path.splitext(name)[0]) for name in names]
        if not self.classes:
            return None
        if None in found:
            first = names[found.index(None)]
            raise SourceError(
                f"labels were requested, but {found.count(None)} images have no class ({first} has no "
                f".cls beside it): open the images without labels"
            )
        return class_truth(found)


def shards(text: str) -> list[Path]:
    """The tar files that "a.tar", "folder/", "some-*.tar" or "some-{000..012}.tar" names; raises SourceError."""
    path = Path(os.path.expanduser(text))
    if path.is_dir():
        found = sorted(one for one in path.iterdir() if tarfile_like(one))
        if not found:
            raise SourceError(f"{text} contains no tar files: expected WebDataset shards, NAME.tar")
        return found
    if not path.exists() and re.search(r"[*{]", text):
        found = [one for each in _braces(str(path)) for one in map(Path, sorted(glob.glob(each)))]
        if not found:
            raise SourceError(f"there are no files {text}: check the pattern")
        return found
    return [existing_file(text, "a tar archive")]


def tarfile_like(path: Path) -> bool:
    return path.is_file() and path.name.endswith((".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2"))


def _braces(text: str) -> Iterator[str]:
    """Expands "a-{08..10}" to "a-08", "a-09", "a-10"."""
    match = re.search(r"\{(\d+)\.\.(\d+)\}", text)
    if match is None:
        yield text
        return
    first, last = match.groups()
    for number in range(int(first), min(int(last), int(first) + 100_000) + 1):
        yield from _braces(text[: match.start()] + f"{number:0{len(first)}d}" + text[match.end() :])
