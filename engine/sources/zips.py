"""Images in a zip."""

from __future__ import annotations

import os
import stat
import threading
import zipfile
from pathlib import Path

from engine.data.decode_image import MOST_BYTES
from engine.data.listing import Listing, Reader
from engine.errors import SourceError
from engine.sources.archives import DAMAGED, Members, file_stamp, member_name
from engine.sources.folders import existing_file, folder_truth, readable

# A member that grows more than this when unpacked is a decompression bomb, unless it is small.
MOST_GROWTH, SMALL_BYTES = 200, 2**24


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

    def __call__(self, key: int) -> bytes:
        try:
            with self._guard:
                if self._file is None:
                    self._file = zipfile.ZipFile(self.path)
            with self._file.open(self._file.infolist()[key]) as member:
                return member.read(MOST_BYTES)
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
                members = archive.infolist()
        except (*DAMAGED, OSError) as error:
            raise SourceError(f"{self.path} cannot be read as a zip archive: {error}") from None
        for number, one in enumerate(members):
            try:
                name = None if one.is_dir() else member_name(one.filename)
                if name is not None:
                    _check_zipped(one)
                    found.take(name, number, (one.file_size, one.CRC))
            except SourceError as error:
                found.skip(one.filename, str(error))
        names, keys, stamps = found.sorted(self.path)
        truth = folder_truth(self.path, names) if self.labels else None
        return Listing(names, stamps, keys, tuple(found.skipped), truth)


def _check_zipped(one: zipfile.ZipInfo) -> None:
    if one.flag_bits & 1:
        raise SourceError("encrypted: unpack the archive with its password")
    if stat.S_ISLNK(one.external_attr >> 16):
        raise SourceError("a link, not an image")
    grown = one.file_size > MOST_GROWTH * max(1, one.compress_size)
    if one.file_size > MOST_BYTES or (grown and one.file_size > SMALL_BYTES):
        raise SourceError(f"would unpack to {one.file_size / 1e6:,.0f} MB, too much for an image")
