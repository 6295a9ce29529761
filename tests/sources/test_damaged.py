"""Of a damaged archive, every member that is whole is used, and what is not is said."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.errors import SourceError
from engine.sources.open_source import Opened, open_source
from tests.encoded_images import Encoded


def opened(source: object) -> Opened:
    return open_source(str(source), size=4)


def tones(found: Opened) -> dict[str, int]:
    return dict(zip(found.images.ids, found.images.pixels[:, 0, 0, 0].tolist(), strict=True))


def noise(encoded: Encoded, tone: int) -> bytes:
    """A PNG that does not shrink, with one tone where it is looked at."""
    return encoded(tone, "BMP", side=40)


def tar_bytes(encoded: Encoded, count: int = 5) -> tuple[bytes, list[int]]:
    """A tar of i.bmp in tone 10·i, and where each member begins."""
    out, starts = io.BytesIO(), []
    with tarfile.open(fileobj=out, mode="w") as archive:
        for number in range(count):
            content = noise(encoded, 10 * number)
            about = tarfile.TarInfo(f"{number}.bmp")
            about.size = len(content)
            starts.append(archive.offset)
            archive.addfile(about, io.BytesIO(content))
    return out.getvalue(), starts


@pytest.mark.parametrize("into", [5, 512, 700, 1200])
def test_a_tar_is_used_down_to_the_last_whole_member(into: int, tmp_path: Path, encoded: Encoded) -> None:
    content, starts = tar_bytes(encoded)
    (tmp_path / "a.tar").write_bytes(content[: starts[3] + into])
    found = opened(tmp_path / "a.tar")
    assert tones(found) == {"0.bmp": 0, "1.bmp": 10, "2.bmp": 20}
    assert "a.tar" in [one.name for one in found.skipped]


def test_a_damaged_header_costs_one_member(tmp_path: Path, encoded: Encoded) -> None:
    content, starts = tar_bytes(encoded)
    broken = bytearray(content)
    broken[starts[2] : starts[2] + 200] = b"\xaa" * 200
    (tmp_path / "a.tar").write_bytes(broken)
    found = opened(tmp_path / "a.tar")
    assert tones(found) == {"0.bmp": 0, "1.bmp": 10, "3.bmp": 30, "4.bmp": 40}
    assert {one.name: one.reason for one in found.skipped} == {"a.tar": "the archive is damaged before 3.bmp"}


def test_tars_put_one_behind_the_other_are_read_to_the_end(tmp_path: Path, encoded: Encoded) -> None:
    one, _ = tar_bytes(encoded, 2)
    other = io.BytesIO()
    with tarfile.open(fileobj=other, mode="w") as archive:
        about = tarfile.TarInfo("z.bmp")
        about.size = len(noise(encoded, 90))
        archive.addfile(about, io.BytesIO(noise(encoded, 90)))
    (tmp_path / "a.tar").write_bytes(one + other.getvalue())
    found = opened(tmp_path / "a.tar")
    assert tones(found) == {"0.bmp": 0, "1.bmp": 10, "z.bmp": 90}
    assert not found.skipped


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_of_a_compressed_tar_all_that_unpacks_is_used(
    pack: Callable[[bytes], bytes], tmp_path: Path, encoded: Encoded
) -> None:
    rng, out = np.random.default_rng(0), io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for number in range(40):
            content = noise(encoded, number) + rng.bytes(60_000)  # behind the picture
            about = tarfile.TarInfo(f"{number:02d}.bmp")
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    packed = pack(out.getvalue())
    (tmp_path / "a.tar.gz").write_bytes(packed[: len(packed) * 3 // 4])
    found = tones(opened(tmp_path / "a.tar.gz"))
    assert found == {f"{number:02d}.bmp": number for number in range(len(found))}
    assert len(found) >= (12 if pack is bz2.compress else 24)  # bz2 unpacks 900 kB at a time


def zip_bytes(encoded: Encoded, method: int, *, streamed: bool) -> tuple[bytes, list[int]]:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return not streamed

        def tell(self) -> int:
            if streamed:
                raise OSError
            return super().tell()

    out = Pipe()
    with zipfile.ZipFile(out, "w", method) as archive:
        for number in range(5):
            archive.writestr(f"ü{number}.bmp", noise(encoded, 10 * number))
        starts = [one.header_offset for one in archive.infolist()]
    return out.getvalue(), starts


@pytest.mark.parametrize(
    ("method", "streamed"), [(zipfile.ZIP_STORED, False), (zipfile.ZIP_DEFLATED, False), (8, True)]
)
def test_a_zip_without_its_directory_is_used_down_to_the_last_whole_member(
    method: int, streamed: bool, tmp_path: Path, encoded: Encoded
) -> None:
    content, starts = zip_bytes(encoded, method, streamed=streamed)
    (tmp_path / "a.zip").write_bytes(content[: starts[3] + 45])
    found = opened(tmp_path / "a.zip")
    assert tones(found) == {"ü0.bmp": 0, "ü1.bmp": 10, "ü2.bmp": 20}
    said = {one.name: one.reason for one in found.skipped}
    assert said["a.zip"] == "the archive is cut off: its first 3 members are read"
    assert said["ü3.bmp"] == "cut off with the end of the archive"


def test_a_member_of_such_a_zip_with_a_wrong_checksum_is_listed(tmp_path: Path, encoded: Encoded) -> None:
    content, starts = zip_bytes(encoded, zipfile.ZIP_STORED, streamed=False)
    broken = bytearray(content[: starts[3]])
    broken[starts[1] + 200] ^= 1
    (tmp_path / "a.zip").write_bytes(broken)
    found = opened(tmp_path / "a.zip")
    assert tones(found) == {"ü0.bmp": 0, "ü2.bmp": 20}
    assert {one.name: one.reason for one in found.skipped}["ü1.bmp"] == "damaged in the archive (wrong checksum)"


def test_deflate64_is_named(tmp_path: Path, encoded: Encoded) -> None:
    content = bytearray(zip_bytes(encoded, zipfile.ZIP_DEFLATED, streamed=False)[0])
    for mark, place in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        start = content.index(mark)
        content[start + place] = 9
    (tmp_path / "a.zip").write_bytes(content)
    found = opened(tmp_path / "a.zip")
    assert list(tones(found).values()) == [10, 20, 30, 40]
    (one,) = found.skipped
    assert one.reason.startswith(
        "compressed with Deflate64, as Windows does with large files, which is not read: unpack"
    )


@pytest.mark.parametrize("content", [b"PK\3\4" + bytes(60), b"PK\3\4" + b"\xff" * 60])
def test_what_only_begins_like_a_zip_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.zip c"):
        opened(tmp_path / "a.zip")


def test_an_npz_is_used_whatever_is_wrong_with_its_optional_arrays(tmp_path: Path) -> None:
    path, images = tmp_path / "a.npz", np.full((3, 4, 4), 7, np.uint8)
    np.savez(
        path, images=images, names=np.array(["a", "b", "c"]), paths=np.array([["x"]]), extra=np.array([{}], object)
    )
    content = bytearray(path.read_bytes())
    start = content.index(b"names.npy") + 40
    content[start : start + 20] = zlib.compress(b"damage")[:8] + bytes(12)
    path.write_bytes(content)
    found = opened(path)
    assert tones(found) == {"image-000000": 7, "image-000001": 7, "image-000002": 7}
    assert "its names are not used" in found.notes[0]
