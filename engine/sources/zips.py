"""Images in a zip."""

from __future__ import annotations

import mmap
import os
import stat
import struct
import threading
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from engine.data.listing import Listing, Reader
from engine.errors import SourceError, sized
from engine.formats import zip_members
from engine.formats.bounds import IMAGE_BYTES, ZIP, Lookout
from engine.formats.images import HEAD_BYTES
from engine.formats.stamps import file_stamp
from engine.sources.archives import DAMAGED, Members, member_name
from engine.sources.folders import existing_file, readable, truth_beside
from engine.sources.metadata import is_metadata, metadata_of

# The flag of a member whose name is in UTF-8.
UTF8 = 0x800
READ = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA})
METHODS = {9: "Deflate64, as Windows does with large files", 93: "Zstandard", 95: "XZ", 98: "PPMd", 99: "encryption"}
# The header before each member.
_HEADER = struct.Struct("<4sHHHHHLLLHH")


class ZipReader:
    """Reads members of a zip by their number; each process opens the file once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._guard = threading.Lock()
        self._file: zipfile.ZipFile | None = None

    def __getstate__(self) -> Path:
        return self.path

    def __setstate__(self, path: Path) -> None:
        self.__init__(path)  # type: ignore[misc]

    def __call__(self, key: int | Piece) -> bytes:
        try:
            if isinstance(key, Piece):
                return key.read(self.path)
            with self._guard:
                if self._file is None:
                    self._file = zipfile.ZipFile(self.path)
            with zip_members.opened(self._file, self._file.infolist()[key]) as member:
                return member.read(IMAGE_BYTES)
        except (*DAMAGED, NotImplementedError, RuntimeError, OSError) as error:
            raise SourceError(f"damaged in the archive ({error})") from None


class ZipSource:
    """The image files in a zip."""

    side: int | None = 32

    def __init__(self, text: str, path: str, *, labels: bool = False) -> None:
        self.path, self.labels = existing_file(path, "a zip archive"), labels
        self.text, self.place = readable(text), f"zip:{readable(os.path.abspath(self.path))}"

    def stamp(self) -> str:
        return file_stamp([self.path])

    def reader(self) -> Reader:
        return ZipReader(self.path)

    def listing(self) -> Listing:
        found = Members()
        try:
            with zipfile.ZipFile(self.path) as archive:
                members, lookout = archive.infolist(), Lookout(self.path)
                _check_overlap(self.path, members)
                for number, one in enumerate(members):
                    _take_member(archive, number, one, found)
                    lookout.see(len(found.names))
        except (*DAMAGED, OSError) as error:
            if not recover(self.path, found):
                raise SourceError(f"{self.path} cannot be read as a zip archive: {error}") from None
        names, keys, stamps = found.sorted(self.path)
        said = metadata_of(found.tables.__getitem__, sorted(found.tables), names, labels=self.labels)
        truth = said.truth
        if self.labels and truth is None:
            truth = truth_beside(said.odd, self.path, names)
        skipped = (*found.skipped, *said.odd)
        return Listing(names, stamps, keys, skipped, truth, said.columns, said.notes)


def in_utf8(name: str, flags: int) -> str:
    """A member's name: macOS and others write UTF-8 without the flag for it, which is then read as code page 437.

    >>> in_utf8("K├ñse/1.png", 0), in_utf8("Käse/1.png", UTF8), in_utf8("Käse/1.png", 0)
    ('Käse/1.png', 'Käse/1.png', 'Käse/1.png')
    """
    if flags & UTF8 or name.isascii():
        return name
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name


def _check_overlap(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Raises SourceError for members that share their bytes: such an archive unpacks to more than an honest one can."""
    there = path.stat().st_size
    # A single one that is larger than the archive is damaged, and costs itself.
    packed = sum(one.compress_size for one in members if one.compress_size <= there)
    if packed > there:
        raise SourceError(
            f"{path} has {sized(there)}, but its members {sized(packed)} together, so that they overlap: it is made to "
            "unpack without end, or damaged; pack the images again"
        )


def _take_member(archive: zipfile.ZipFile, number: int, one: zipfile.ZipInfo, found: Members) -> None:
    try:
        path = in_utf8(one.filename, one.flag_bits)
        name = None if one.is_dir() else member_name(path, lambda: _read(archive, one, HEAD_BYTES))
        if name is None:
            return
        _check_zipped(one)
        if is_metadata(name.rpartition("/")[2]):
            found.tables[name] = _read(archive, one, IMAGE_BYTES)
        else:
            found.take(name, number, (one.file_size, one.CRC))
    except SourceError as error:
        found.skip(one.filename, str(error))


def _read(archive: zipfile.ZipFile, one: zipfile.ZipInfo, length: int) -> bytes:
    try:
        with zip_members.opened(archive, one) as member:
            return member.read(length)
    except (*DAMAGED, NotImplementedError, RuntimeError, OSError) as error:
        raise SourceError(f"damaged in the archive ({error})") from None


def _check_zipped(one: zipfile.ZipInfo) -> None:
    if one.flag_bits & 1:
        raise SourceError("encrypted: unpack the archive with its password")
    if one.compress_type not in READ:
        method = METHODS.get(one.compress_type, f"method {one.compress_type}")
        raise SourceError(f"compressed with {method}, which is not read: unpack the archive and open the folder")
    if stat.S_ISLNK(one.external_attr >> 16):
        raise SourceError("a link, not an image")
    if one.file_size > min(IMAGE_BYTES, ZIP.most(one.compress_size)):
        raise SourceError(f"would unpack to {one.file_size / 1e6:,.0f} MB, too much for an image")


# -- without a directory ------------------------------------------------------------------------


@dataclass(frozen=True)
class Piece:
    """A member of a zip whose directory is missing: where its content is, and how it is compressed."""

    start: int
    length: int
    method: int

    def read(self, path: Path) -> bytes:
        with path.open("rb") as file:
            file.seek(self.start)
            content = file.read(self.length)
        if self.method == zipfile.ZIP_STORED:
            return content
        if self.method != zipfile.ZIP_DEFLATED:
            raise SourceError("the directory of the archive is missing, without which it cannot be unpacked")
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, IMAGE_BYTES)


def recover(path: Path, found: Members) -> bool:
    """Takes the whole members of a zip that was cut off before its directory; returns whether there is one.

    Members that were written without their length are taken if they are compressed, whose end can be told.
    """
    length, whole, lookout = path.stat().st_size, 0, Lookout(path)
    if length < _HEADER.size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        place = 0
        while content[place : place + 4] == b"PK\3\4" and place + _HEADER.size <= length:
            _, _, flags, method, _, _, crc, packed, size, named, more = _HEADER.unpack_from(content, place)
            start = place + _HEADER.size + named + more
            raw = content[place + _HEADER.size : start - more]
            name = in_utf8(raw.decode("utf-8" if flags & UTF8 else "cp437", "backslashreplace"), flags)
            end, crc, size, place = _end(content, start, flags, method, (packed, crc, size))
            if end < 0:
                found.skip(name, "cut off with the end of the archive")
                break
            whole += 1
            lookout.see(len(found.names))
            _take_piece(path, name, Piece(start, end - start, method), (crc, size, flags), found)
    if whole:
        found.skip(path.name, f"the archive is cut off: its first {whole:,} members are read")
    return whole > 0


def _end(
    content: mmap.mmap, start: int, flags: int, method: int, said: tuple[int, int, int]
) -> tuple[int, int, int, int]:
    """Where the content of a member ends (-1 if it is cut off), its checksum and size, and where the next begins."""
    packed, crc, size = said
    if not flags & 8:
        return (start + packed if start + packed <= len(content) else -1), crc, size, start + packed
    if method != zipfile.ZIP_DEFLATED:
        return -1, 0, 0, 0
    machine, place, unpacked, total = zlib.decompressobj(-zlib.MAX_WBITS), start, 0, 0
    try:
        while not machine.eof and place < len(content) and total <= IMAGE_BYTES:
            block = machine.decompress(content[place : place + 2**16])
            unpacked, total, place = zlib.crc32(block, unpacked), total + len(block), place + 2**16
    except zlib.error:
        return -1, 0, 0, 0
    if not machine.eof:
        return -1, 0, 0, 0
    end = min(place, len(content)) - len(machine.unused_data)
    follows = content.find(b"PK\3\4", end, end + 28)  # after the checksum and the lengths
    return end, unpacked, total, follows if follows >= 0 else len(content)


def _take_piece(path: Path, filename: str, piece: Piece, said: tuple[int, int, int], found: Members) -> None:
    crc, size, flags = said
    one = zipfile.ZipInfo(filename)
    one.file_size, one.compress_size, one.compress_type, one.flag_bits = size, piece.length, piece.method, flags

    def read() -> bytes:
        _check_zipped(one)
        return piece.read(path)

    try:
        name = None if filename.endswith("/") else member_name(filename, lambda: read()[:HEAD_BYTES])
        if name is None:
            return
        content = read()
        if zlib.crc32(content) != crc:
            raise SourceError("damaged in the archive (wrong checksum)")
        if is_metadata(name.rpartition("/")[2]):
            found.tables[name] = content
        else:
            found.take(name, piece, (size, crc))
    except SourceError as error:
        found.skip(filename, str(error))
    except (zlib.error, OSError) as error:
        found.skip(filename, f"damaged in the archive ({error})")
