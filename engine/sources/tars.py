"""Images in a tar, plain or compressed, or in the tar shards of WebDataset."""

from __future__ import annotations

import bz2
import glob
import gzip
import io
import lzma
import os
import re
import shutil
import tarfile
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from engine.data.columns import shown, truth_of
from engine.data.listing import Listing, Reader
from engine.data.skipped import Skipped
from engine.data.truth import Truth, class_truth
from engine.errors import SourceError, sized
from engine.formats.bounds import (
    HEADER_BYTES,
    IMAGE_BYTES,
    SIDECAR_BYTES,
    SPARE_DISK,
    TAR,
    ZERO_BYTES,
    Lookout,
    check_growth,
)
from engine.formats.images import HEAD_BYTES, ending_of
from engine.formats.samples import SIDECARS, Samples
from engine.formats.stamps import file_stamp, stamp_of
from engine.leftovers import let_go, temporary_folder
from engine.sources.archives import DAMAGED, Members, hidden, member_name, plain_name
from engine.sources.folders import existing_file, readable, truth_beside
from engine.sources.metadata import Metadata, class_of_rows, is_metadata, metadata_of

if TYPE_CHECKING:
    import pandas as pd

# The longest first.
TAR_ENDINGS = (".tar.bz2", ".tar.gz", ".tar.xz", ".tbz2", ".tgz", ".tbz", ".txz", ".tar")
_ZERO_BLOCK = bytes(tarfile.BLOCKSIZE)
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

    In WebDataset, files with the same stem are a sample: `.cls` contains the class of its image, `.json` other values.
    """

    side: int | None = 32

    def __init__(self, text: str, path: str, *, labels: bool = False) -> None:
        named, self.labels = shards(path), labels
        self.paths = [one for one in named if one.exists()]
        self.absent = [one for one in named if not one.exists()]
        self.text, self.declared = readable(text), text.startswith("webdataset:")
        self.place = f"tar:{readable(os.path.abspath(os.path.expanduser(path)))}"
        self._unpacked: Path | None = None
        self._plain: tuple[Path, ...] = ()

    def stamp(self) -> str:
        return f"{file_stamp(self.paths)} {'as samples' if self.declared else ''}"

    def reader(self) -> Reader:
        return TarReader(self._uncompressed())

    def listing(self) -> Listing:
        found, samples = Members(), Samples(self.declared)
        for shard, (path, below) in enumerate(zip(self.paths, prefixes(self.paths), strict=True)):
            self._list(shard, path, below, found, samples)
        for name, image in samples.further(found.names).items():
            found.leave_out(name, f"a further picture of the sample whose image is {image}")
        names, keys, stamps = found.sorted(self.text.partition(":")[2] or self.text)
        said = metadata_of(found.tables.__getitem__, sorted(found.tables), names, labels=self.labels)
        rows = samples.rows(names)
        truth = self._truth(samples, rows, said, found, names, keys) if self.labels else None
        skipped = (*found.skipped, *said.odd)
        columns = (*shown(rows), *said.columns)
        return Listing(names, stamps, keys, skipped, truth, columns, (*self._absent(), *samples.notes(), *said.notes))

    def _absent(self) -> tuple[str, ...]:
        if not self.absent:
            return ()
        return (f"{len(self.absent):,} of the tar files are not there, the first {readable(str(self.absent[0]))}",)

    def _list(self, shard: int, path: Path, below: str, found: Members, samples: Samples) -> None:
        """Takes the members of one tar; raises SourceError if it is the first and has none that is whole."""
        plain, changed, lookout = self._uncompressed()[shard], stamp_of(path.stat())[1], Lookout(path)
        try:
            # Zeros and damaged headers are passed over, to the next member that is whole.
            with (
                plain.open("rb") as file,
                tarfile.open(fileobj=_Headers(file), mode="r:", ignore_zeros=True) as archive,
            ):
                end = 0
                for one in _members(archive):
                    lookout.see(len(found.names))
                    if one.offset > end and not _zeros(plain, end, one.offset):
                        found.skip(path.name, f"the archive is damaged before {readable(one.name)}")
                    # A tar has no checksums, and its times are often 0: the archive's own stamp must do.
                    stamp = (one.size, hash((changed, one.offset_data)))
                    _take_member(plain, one, found, samples, below, shard, stamp)
                    end = one.offset_data + -(-one.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                if end == 0:
                    raise tarfile.ReadError("it has no members")
                length = plain.stat().st_size
                if not end <= length <= end + ZERO_BYTES or not _zeros(plain, end, length):
                    found.skip(path.name, "the archive is truncated or damaged at its end")
        except (*DAMAGED, OSError) as error:
            if not found.names:
                raise SourceError(f"{path} cannot be read as a tar archive: {error}") from None
            found.skip(path.name, f"the archive is truncated or damaged ({error})")

    def _truth(
        self,
        samples: Samples,
        rows: pd.DataFrame,
        said: Metadata,
        found: Members,
        names: tuple[str, ...],
        keys: Sequence[tuple[int, int, int]],
    ) -> Truth:
        """From .cls, .json, metadata, or folders."""
        classes = samples.classes_of(names)
        truth = truth_of(rows, "the .json files") if classes is None else class_truth(classes, "the .cls files")
        truth = truth or said.truth or class_of_rows(rows, names, "the .json files")
        odd = (*said.odd, *(one for one in found.skipped if ending_of(one.name) in SIDECARS))
        return truth or self._folder_truth(odd, names, keys)

    def _folder_truth(
        self, odd: tuple[Skipped, ...], names: Sequence[str], keys: Sequence[tuple[int, int, int]]
    ) -> Truth:
        """From the folders inside the tars; shards are no classes, but a tar of bare images may be one."""
        below = prefixes(self.paths)
        inside = [name[len(below[shard]) :] for name, (shard, _, _) in zip(names, keys, strict=True)]
        bare = all("/" not in name for name in inside)
        if bare and not self.declared:
            return truth_beside(odd, self.text, names, "the names of the tar files")
        return truth_beside(odd, self.text, inside)

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
            self._unpacked, held = temporary_folder("spice-tar-")
            weakref.finalize(self, let_go, self._unpacked, held)
        target = self._unpacked / f"{len(os.listdir(self._unpacked))}.tar"
        try:
            with opener(path) as packed, target.open("wb") as out:
                _copy(packed, out, path)
        except BaseException:  # of what is refused, nothing is left to fill the disk
            target.unlink(missing_ok=True)
            raise
        return target


def _copy(packed: Any, out: IO[bytes], path: Path) -> None:
    """Unpacks; of a damaged archive, the readable part (the listing reports the damage).

    Raises:
        SourceError: as soon as it grows beyond `TAR`, or the disk is too full.
    """
    written, length, free = 0, path.stat().st_size, shutil.disk_usage(out.name).free
    while True:
        try:
            block = packed.read1(2**18)  # what comes before damage is not lost with it
        except (*DAMAGED, OSError):
            return
        if not block:
            return
        written += len(block)
        check_growth(path, length, written, TAR)
        if written > free - SPARE_DISK:
            raise SourceError(
                f"{path} cannot be unpacked: only {free / 1e6:,.0f} MB are free in "
                f"{tempfile.gettempdir()}; free some, or set TMPDIR to a folder with more"
            )
        out.write(block)


class _Headers(io.BufferedIOBase):
    """A tar as Python's own module reads its headers: none is longer, and no gap of zeros, than in an honest one."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._zeros = file, 0

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {sized(size or 0)}, allowed are {sized(HEADER_BYTES)}")
        block = self._file.read(size)
        self._zeros = self._zeros + size if block == _ZERO_BLOCK else 0
        if self._zeros > ZERO_BYTES:
            raise tarfile.ReadError(f"more than {sized(ZERO_BYTES)} of zeros")
        return block

    def seek(self, place: int, whence: int = os.SEEK_SET, /) -> int:
        return self._file.seek(place, whence)

    def tell(self) -> int:
        return self._file.tell()


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members one after another; Python's own loop would keep them all, a kilobyte each."""
    kept: list[tarfile.TarInfo] = vars(archive)["members"]
    while (one := archive.next()) is not None:
        yield one
        kept.clear()


def _zeros(path: Path, start: int, end: int) -> bool:
    """Whether a part of a file is nothing but zeros."""
    with path.open("rb") as file:
        file.seek(start)
        while start < end:
            block = file.read(min(2**20, end - start))
            if not block or block.strip(b"\0"):
                return not block
            start += len(block)
    return True


def _take_member(
    plain: Path, one: tarfile.TarInfo, found: Members, samples: Samples, below: str, shard: int, stamp: tuple[int, int]
) -> None:
    if one.isdir() or hidden(one.name):
        return
    try:
        ending = ending_of(one.name)
        if one.isreg() and ending in SIDECARS:
            member = below + plain_name(one.name)
            samples.add(member)
            if ending == ".txt":
                samples.unread += 1
            else:
                samples.take(member, ending, _content(plain, one, SIDECAR_BYTES))
            return
        name = member_name(one.name, lambda: _head(plain, one))
        if name is None:
            return
        if not one.isreg():
            raise SourceError("a link or a device, not an image")
        if one.issparse() or one.size > IMAGE_BYTES:
            raise SourceError(f"holds {sized(one.size)}, too much for an image")
        if is_metadata(name.rpartition("/")[2]):
            found.tables[below + name] = _content(plain, one, IMAGE_BYTES)
        else:
            found.take(below + name, (shard, one.offset_data, one.size), stamp)
    except SourceError as error:
        found.skip(below + one.name, str(error))


def _content(plain: Path, one: tarfile.TarInfo, most: int) -> bytes:
    if one.size > most:
        raise SourceError(f"holds {sized(one.size)}, too much for a {ending_of(one.name)} file")
    return _part(plain, one, one.size)


def _head(plain: Path, one: tarfile.TarInfo) -> bytes:
    return _part(plain, one, min(one.size, HEAD_BYTES)) if one.isreg() else b""


def _part(plain: Path, one: tarfile.TarInfo, length: int) -> bytes:
    with plain.open("rb") as file:
        file.seek(one.offset_data)
        return file.read(length)


def shards(text: str) -> list[Path]:
    """The tar files that "a.tar", "folder/", "some-*.tar" or "some-{000..012}.tar" names; raises SourceError."""
    path = Path(os.path.expanduser(text))
    if path.is_dir():
        found = sorted(one for one in path.iterdir() if tarfile_like(one))
        if not found:
            raise SourceError(f"{text} contains no tar files: expected WebDataset shards, NAME.tar")
        return found
    if not path.exists() and re.search(r"[*?{]", text):
        found = [one for each in _braces(str(path)) for one in _matching(each)]
        if not any(one.exists() for one in found):
            raise SourceError(f"there are no files {text}: check the pattern")
        return list(dict.fromkeys(found))
    return [existing_file(text, "a tar archive")]


def _matching(pattern: str) -> list[Path]:
    """The files that match; a name without a * stands for itself, whether or not it is there."""
    return list(map(Path, sorted(glob.glob(pattern)))) if re.search(r"[*?[]", pattern) else [Path(pattern)]


def prefixes(paths: Sequence[Path]) -> list[str]:
    """What is put before the names in each of several shards: its folder as far as they differ, and its whole stem.

    >>> prefixes([Path("a/set.v1-0.tar"), Path("b/set.v1-0.tar")]), prefixes([Path("a.tar")])
    (['a/set.v1-0/', 'b/set.v1-0/'], [''])
    """
    if len(paths) == 1:
        return [""]
    common = os.path.commonpath([os.path.abspath(path.parent) for path in paths])
    whole = [os.path.relpath(os.path.abspath(path), common).replace(os.sep, "/") for path in paths]
    stems = [name[: -len(ending)] for name in whole for ending in TAR_ENDINGS if name.lower().endswith(ending)]
    return [f"{readable(name)}/" for name in (stems if len(set(stems)) == len(paths) else whole)]


def tarfile_like(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(TAR_ENDINGS)


def _braces(text: str) -> Iterator[str]:
    """Expands "a-{08..10}" to "a-08", "a-09", "a-10"."""
    match = re.search(r"\{(\d+)\.\.(\d+)\}", text)
    if match is None:
        yield text
        return
    first, last = match.groups()
    for number in range(int(first), min(int(last), int(first) + 100_000) + 1):
        yield from _braces(text[: match.start()] + f"{number:0{len(first)}d}" + text[match.end() :])
