"""The members of a zip as files that never take more memory than is asked of them.

Python's own module bounds what it unpacks at a time only for the usual method, deflate: by the others, four kilobytes
may become gigabytes at once.
"""

from __future__ import annotations

import bz2
import copy
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import IO, Any

# Compressed bytes that are read, and bytes that are unpacked, at a time.
PIECE = 2**16
# Of LZMA, in front of the stream: the version, and how long the properties are that follow.
_LZMA = struct.Struct("<2sHBI")
_LEAST_DICTIONARY = 2**12


_Decompressor = bz2.BZ2Decompressor | lzma.LZMADecompressor


def opened(archive: zipfile.ZipFile, about: zipfile.ZipInfo) -> IO[bytes]:
    """The member of `archive`, unpacked as it is read; at its end its checksum is compared.

    Raises:
        what zipfile raises for damaged and encrypted members.
    """
    begin = {zipfile.ZIP_BZIP2: _bzip2, zipfile.ZIP_LZMA: _lzma}.get(about.compress_type)
    if begin is None:
        return archive.open(about)
    packed = copy.copy(about)  # as if it were not compressed, so that its bytes come as they are
    packed.compress_type, packed.file_size = zipfile.ZIP_STORED, about.compress_size
    del packed.CRC  # that of the unpacked bytes
    return io.BufferedReader(_Unpacked(lambda: archive.open(packed), about, begin), PIECE)


class _Unpacked(io.RawIOBase):
    """The bytes of a member, a piece at a time, and no more of them than its entry announces."""

    def __init__(
        self, again: Callable[[], IO[bytes]], about: zipfile.ZipInfo, begin: Callable[..., _Decompressor]
    ) -> None:
        self._again, self._about, self._begin = again, about, begin
        self._start()

    def _start(self) -> None:
        self._packed = self._again()
        self._machine = self._begin(self._packed, self._about)
        self._left, self._checksum = self._about.file_size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._about.file_size - self._left

    def seek(self, place: int, whence: int = io.SEEK_SET, /) -> int:
        """Forwards by reading, backwards from the beginning: as zipfile does."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self._about.file_size}[whence]
        target = min(max(0, start + place), self._about.file_size)
        if target < self.tell():
            self._packed.close()
            self._start()
        while self.tell() < target and self._next(min(PIECE, target - self.tell())):
            continue
        return self.tell()

    def readinto(self, buffer: Any) -> int:
        data = self._next(min(len(buffer), PIECE, self._left))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._packed.close()
        super().close()

    def _next(self, most: int) -> bytes:
        data = b""
        while most and not data and not self._machine.eof:
            more = self._packed.read(PIECE) if self._machine.needs_input else b""
            if self._machine.needs_input and not more:
                raise EOFError("it ends before its last byte")
            data = self._machine.decompress(more, most)
        self._left -= len(data)
        self._checksum = zlib.crc32(data, self._checksum)
        if self._left == 0 and self._checksum != self._about.CRC:
            raise zipfile.BadZipFile(f"Bad CRC-32 for file {self._about.filename!r}")
        return data


def _bzip2(_packed: IO[bytes], _about: zipfile.ZipInfo) -> _Decompressor:
    return bz2.BZ2Decompressor()


def _lzma(packed: IO[bytes], about: zipfile.ZipInfo) -> _Decompressor:
    """A dictionary larger than what comes out would be memory for nothing."""
    _, length, properties, dictionary = _LZMA.unpack(packed.read(_LZMA.size).ljust(_LZMA.size, b"\0"))
    if length != 5 or properties >= 9 * 5 * 5:
        raise zipfile.BadZipFile(f"Bad LZMA properties for file {about.filename!r}")
    chain = {
        "id": lzma.FILTER_LZMA1,
        "lc": properties % 9,
        "lp": properties // 9 % 5,
        "pb": properties // 45,
        "dict_size": max(_LEAST_DICTIONARY, min(dictionary, about.file_size)),
    }
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[chain])
