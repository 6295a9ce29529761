"""Sources that announce, or unpack to, more than is there: refused in words, with little memory and disk.

And honest sources of any size, which are not.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from benchmarks.peak_memory import forgotten, peak
from engine.errors import SourceError
from engine.formats import bounds, zip_members
from engine.formats.bounds import IMAGE_MEMORY, Growth
from engine.formats.tables import read_table
from engine.sources import set_files
from engine.sources.folders import FolderSource
from engine.sources.tars import TarSource
from engine.sources.zips import ZipSource
from tests.encoded_images import Encoded
from tests.sources import bounded_child

MB = 2**20
GB = 10**9
Try = Callable[..., dict[str, Any]]


class Child:
    """A process that opens sources, and what is in its folder for temporary files."""

    def __init__(self, place: Path) -> None:
        self.temporary = place / "temporary"
        self.temporary.mkdir()
        environment = os.environ | {"TMPDIR": str(self.temporary), "SPICE_EXPLORER_CACHE": str(place / "cache")}
        command = [sys.executable, "-m", bounded_child.__name__]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)

    def __call__(self, path: Path, *, free: int | None = None) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"path": str(path), "free": free}), file=self._process.stdin, flush=True)
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        left = [one.name for one in self.temporary.rglob("*.tar")]
        assert left == [] or not found["error"], "what is refused leaves nothing on the disk"
        return found

    def close(self) -> None:
        self._process.communicate(timeout=60)


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    place = tmp_path_factory.mktemp("bounded")
    started = Child(place)
    # Libraries are imported by what is not measured.
    small = np.zeros((2, 4, 4), np.uint8)
    np.savez(place / "a.npz", images=small)
    parquet.write_table(pa.table({"path": ["a.png"]}), place / "a.parquet")
    (place / "a.csv").write_text("path\na.png\n")
    for name in ("a.npz", "a.parquet", "a.csv"):
        started(place / name)
    yield started
    started.close()


# -- archives ----------------------------------------------------------------------------------


def zeros(pack: Callable[[bytes], bytes], megabytes: int) -> bytes:
    """So many megabytes of zeros, packed: as a stream after another, which is quickly made."""
    return pack(bytes(64 * MB)) * (megabytes // 64)


@pytest.mark.parametrize(
    ("name", "pack", "megabytes"),
    [("a.tar.gz", gzip.compress, 3072), ("a.tar.bz2", bz2.compress, 6400), ("a.tar.xz", lzma.compress, 6400)],
)
def test_a_compressed_tar_is_unpacked_no_further_than_is_believed(
    child: Child, tmp_path: Path, name: str, pack: Callable[[bytes], bytes], megabytes: int
) -> None:
    path = tmp_path / name
    path.write_bytes(zeros(pack, megabytes))
    found = child(path)
    most = bounds.TAR.most(path.stat().st_size)
    assert most < bounded_child.MOST_FILE < megabytes * MB
    assert found["error"].startswith(f"{path} unpacks to more than {bounds.sized(most)}, the most that is believed of ")
    assert found["error"].endswith(": unpack it to a folder and open that, if you trust it")
    assert found["memory"] < 60 * MB


def member(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    about = tarfile.TarInfo(name)
    about.size, about.type = size, kind
    return about.tobuf(tarfile.GNU_FORMAT)


def tarred(file: IO[bytes], name: str, content: bytes) -> None:
    file.write(member(name, len(content)) + content + bytes(-len(content) % 512))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE])
def test_a_header_that_announces_gigabytes_is_not_read(
    child: Child, tmp_path: Path, encoded: Encoded, kind: bytes
) -> None:
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        tarred(file, "a.png", encoded(7))
        file.write(member("long", 6 * GB, kind))
        file.truncate(file.tell() + 6 * GB)  # holes, which take no disk
    found = child(path)
    assert found["names"] == ["a.png"]
    assert "(a header of 6.0 GB, allowed are 1.0 MB)" in found["skipped"]["a.tar"]
    assert found["memory"] < 60 * MB


def test_zeros_without_end_are_not_searched(child: Child, tmp_path: Path, encoded: Encoded) -> None:
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        tarred(file, "a.png", encoded(7))
        file.truncate(2**40)
    found = child(path)
    assert found["names"] == ["a.png"]
    assert "more than 134.2 MB of zeros" in found["skipped"]["a.tar"]
    assert found["memory"] < 60 * MB


def test_what_lies_beside_images_in_a_tar_is_small(child: Child, tmp_path: Path, encoded: Encoded) -> None:
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        tarred(file, "a.png", encoded(7))
        for name, size in (("a.json", 2 * GB), ("metadata.csv", 2 * GB), ("b.png", 2 * GB)):
            file.write(member(name, size))
            file.truncate(file.tell() + size)
            file.seek(0, os.SEEK_END)
    found = child(path)
    assert found["names"] == ["a.png"]
    assert set(found["skipped"]) == {"a.json", "metadata.csv", "b.png"}
    assert all("2.0 GB, too much for a" in one for one in found["skipped"].values())
    assert found["memory"] < 60 * MB


def test_samples_with_hardly_a_name_in_common_make_no_table(child: Child, tmp_path: Path, encoded: Encoded) -> None:
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        for number in range(3000):
            tarred(file, f"{number}.json", json.dumps({f"key {number}": 1}).encode())
            tarred(file, f"{number}.png", encoded(number % 250))
    found = child(path)
    assert found["error"].startswith("what the .json files say has 3,000 columns, allowed are 2,000: keep those that")
    assert found["memory"] < 100 * MB


def forged(path: Path, name: str, packed: bytes, method: int, size: int, crc: int) -> None:
    """A zip whose only other member is not what it says."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, packed)  # stored; both its entries are then changed
    content = bytearray(path.read_bytes())
    encoded_name = name.encode()
    local = content.rindex(b"PK\3\4", 0, content.index(encoded_name))
    struct.pack_into("<H", content, local + 8, method)
    struct.pack_into("<LLL", content, local + 14, crc, len(packed), size)
    entry = content.rindex(b"PK\1\2", 0, content.rindex(encoded_name))
    struct.pack_into("<H", content, entry + 10, method)
    struct.pack_into("<LLL", content, entry + 16, crc, len(packed), size)
    path.write_bytes(content)


def lzma_stream(data: bytes, dictionary: int) -> bytes:
    chain: list[dict[str, Any]] = [{"id": lzma.FILTER_LZMA1, "lc": 3, "lp": 0, "pb": 2, "dict_size": 2**16}]
    chain[0] |= {"mode": lzma.MODE_FAST, "mf": lzma.MF_HC3, "nice_len": 64, "depth": 1}
    packed = lzma.compress(data, lzma.FORMAT_RAW, filters=chain)
    return struct.pack("<2sHBI", b"\x09\x04", 5, 93, dictionary) + packed


@pytest.mark.parametrize("form", ["bz2", "lzma"])
def test_a_member_that_holds_more_than_it_says_takes_no_more_memory(
    child: Child, tmp_path: Path, encoded: Encoded, form: str
) -> None:
    """Python unpacks all that it has read of these, whatever is asked of it: here half a gigabyte."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ok.png", encoded(9))
    more = bytes(500 * MB)
    whole = bz2.compress(more) if form == "bz2" else lzma_stream(more, 2**16)
    method = zipfile.ZIP_BZIP2 if form == "bz2" else zipfile.ZIP_LZMA
    forged(path, "bomb.png", whole, method, size=10 * MB, crc=7)
    found = child(path)
    assert found["names"] == ["ok.png"]
    assert "Bad CRC-32" in found["skipped"]["bomb.png"]
    assert found["memory"] < 80 * MB


def test_a_dictionary_of_gigabytes_is_not_made(child: Child, tmp_path: Path, encoded: Encoded) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ok.png", encoded(9))
    picture = encoded(5, side=20)
    packed = lzma_stream(picture, 2**32 - 1)
    forged(path, "b.png", packed, zipfile.ZIP_LZMA, len(picture), zlib.crc32(picture))
    found = child(path)
    assert found["names"] == ["b.png", "ok.png"]
    assert found["memory"] < 60 * MB


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_grows_beyond_belief_is_skipped(
    child: Child, tmp_path: Path, encoded: Encoded, method: int
) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("bomb.png", bytes(100 * MB))
        archive.writestr("ok.png", encoded(9))
    found = child(path)
    assert found["names"] == ["ok.png"]
    assert found["skipped"] == {"bomb.png": "would unpack to 105 MB, too much for an image"}
    assert found["memory"] < 60 * MB


def test_members_that_overlap_are_no_archive(child: Child, tmp_path: Path) -> None:
    """As David Fifield's: 10,000 entries of one member, which unpack to 10,000 times as much."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0.png", np.random.default_rng(0).bytes(MB))
        (only,) = archive.filelist
        for number in range(1, 10_000):
            again = zipfile.ZipInfo(f"{number}.png")
            for field in ("compress_type", "compress_size", "file_size", "CRC", "header_offset", "external_attr"):
                setattr(again, field, getattr(only, field))
            archive.filelist.append(again)
            archive.NameToInfo[again.filename] = again
    path = tmp_path / "a.zip"
    path.write_bytes(out.getvalue())
    found = child(path)
    assert "but its members 10.5 GB together, so that they overlap" in found["error"]
    assert found["memory"] < 60 * MB


# -- arrays ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
@pytest.mark.parametrize("name", ["images", "names", "labels"])
def test_an_array_that_unpacks_to_a_gigabyte_is_not(child: Child, tmp_path: Path, method: int, name: str) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", method) as archive:
        if name != "images":
            with archive.open("images.npy", "w") as inside:
                np.save(inside, np.zeros((3, 4, 4), np.uint8))
        with archive.open(f"{name}.npy", "w", force_zip64=True) as inside:
            shape = (1_000_000, 20, 20) if name == "images" else (3, 100_000_000)
            header = io.BytesIO()
            about = {"descr": "|u1" if name == "images" else "|S1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(header, about)
            inside.write(header.getvalue())
            for _ in range(4 if name == "images" else 3):
                inside.write(bytes(100_000_000))
    found = child(path)
    if name == "images":
        assert f"{path}, array images, unpacks to more than" in found["error"]
        assert found["error"].endswith(": save it without compression, with numpy.savez, if you trust it")
    else:
        assert len(found["names"]) == 3
    assert found["memory"] < 80 * MB


def sparse(path: Path, shape: tuple[int, ...], kind: str = "|u1") -> Path:
    """An .npy file whose values are a hole, which takes no disk."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + int(np.prod(shape, dtype=object)) * np.dtype(kind).itemsize)
    return path


def test_a_billion_images_are_more_than_there_is_memory_for(child: Child, tmp_path: Path) -> None:
    found = child(sparse(tmp_path / "a.npy", (10**9, 1, 1)))
    assert "a.npy has 1,000,000,000 images, which need 1,000.0 GB of memory, but " in found["error"]
    assert found["error"].endswith(": open a part of it, or close other programs")
    assert found["memory"] < 60 * MB


def test_an_image_in_an_array_is_no_larger_than_in_a_file(child: Child, tmp_path: Path) -> None:
    found = child(sparse(tmp_path / "a.npy", (3, 100_000, 100_000)))
    assert "an image of it holds 10.0 GB, allowed are 268.4 MB; cut or scale them" in found["error"]
    assert found["memory"] < 60 * MB


def test_more_than_numpy_can_count_is_announced(child: Child, tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        about = {"descr": "|u1", "fortran_order": False, "shape": (2**40, 2**40, 2**40)}
        np.lib.format.write_array_header_1_0(file, about)
    assert "is truncated: it announces uint8 of shape" in child(tmp_path / "a.npy")["error"]


def test_a_gzipped_set_grows_no_further_than_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "images-idx3-ubyte.gz"
    lengths = np.array([2_000_000, 28, 28], ">u4").tobytes()
    path.write_bytes(gzip.compress(bytes((0, 0, 8, 3)) + lengths))
    cure = r"unpacks to more than 67\.1 MB.*: unpack it with gzip -dk, beside it"
    with pytest.raises(SourceError, match=cure), set_files._idx(path, 3):
        pass


# -- tables ------------------------------------------------------------------------------------


def csv_of(columns: int, rows: int) -> bytes:
    head = ",".join(["path", *(f"c{number}" for number in range(columns - 1))])
    return "\n".join([head, *(f"{row}.png" + ",abc" * (columns - 1) for row in range(rows))]).encode()


def json_lines(rows: Iterator[dict[str, Any]]) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


def test_a_table_with_too_many_columns_is_refused_at_once(child: Child, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(csv_of(20_000, 100))
    found = child(tmp_path / "a.csv")
    assert found["error"] == (
        "a.csv cannot be read as a table (it has 20,000 columns, allowed are 2,000: keep those that describe the "
        "images; vectors are read with features.source=import:FILE): expected CSV, JSON lines or Parquet"
    )
    assert found["memory"] < 80 * MB


def test_as_many_columns_as_are_allowed_are_read() -> None:
    assert read_table(csv_of(2_000, 3), "a.csv").shape == (3, 2_000)


def test_a_table_with_more_cells_than_memory_is_refused(child: Child, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"path,b\n" + b"a,\n" * 5_000_000)
    found = child(tmp_path / "a.csv", free=GB)
    assert "it has so many cells, which need 2.0 GB of memory, but 1.0 GB are free, of which 500.0 MB" in found["error"]
    assert found["memory"] < 80 * MB


def test_a_file_larger_than_memory_is_not_read(child: Child, tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("wb") as file:
        file.truncate(10**12)
    found = child(tmp_path / "a.csv")
    assert "a.csv has 1,000.0 GB of cells, which need 2,000.0 GB of memory" in found["error"]
    assert found["memory"] < 60 * MB


def test_rows_with_hardly_a_key_in_common_make_no_table(child: Child, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(json_lines({f"key {row % 1999}": row} for row in range(20_000)))
    found = child(tmp_path / "a.jsonl", free=100 * GB)
    assert "it has 20,000 rows with 1,999 different keys, which make 39,980,000 cells, allowed are" in found["error"]
    assert found["memory"] < 80 * MB
    (tmp_path / "b.jsonl").write_bytes(json_lines({f"key {row}": row} for row in range(20_000)))
    assert "it has 2,001 columns, allowed are 2,000" in child(tmp_path / "b.jsonl")["error"]


@pytest.mark.parametrize("name", ["a.jsonl", "metadata.jsonl", "a.tar"])
def test_nesting_is_a_fault_of_the_table(child: Child, tmp_path: Path, encoded: Encoded, name: str) -> None:
    deep = b'{"file_name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    if name == "a.tar":
        with (tmp_path / name).open("wb") as file:
            tarred(file, "a.png", encoded(7))
            tarred(file, "a.json", deep)
        assert child(tmp_path / name)["skipped"]["a.json"] == "is nested too deeply: expected values with names"
    else:
        (tmp_path / "a.png").write_bytes(encoded(7))
        (tmp_path / name).write_bytes(deep)
        found = child(tmp_path / name if name == "a.jsonl" else tmp_path)
        assert "line 1 is nested too deeply: expected values with names" in found["error"] + str(found["skipped"])


def repeated(value: Any, rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([value]))


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"path": repeated("x" * MB, 200_000)}, "unpacks to more than 67.1 MB"),
        ({"path": repeated("a.png", 10), "n": pa.nulls(10)}, ""),
        ({"path": pa.nulls(50_000_000, pa.int64())}, "unpacks to more than 67.1 MB"),
        ({"image": repeated(b"\x89PNG\r\n\x1a\n" + bytes(10 * MB), 10_000)}, "unpacks to more than 67.1 MB"),
        ({f"c{number}": pa.array([1]) for number in range(2_001)}, "it has 2,001 columns, allowed are 2,000"),
    ],
    ids=["a text that repeats", "honest", "nothing that repeats", "an image that repeats", "columns"],
)
def test_a_kilobyte_of_parquet_is_not_written_out_to_gigabytes(
    child: Child, tmp_path: Path, columns: dict[str, pa.Array], complaint: str
) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table(columns), path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 500_000
    found = child(path)
    assert complaint in found["error"]
    assert found["memory"] < 150 * MB


def test_a_parquet_file_that_is_as_large_as_what_it_holds_is_believed(child: Child, tmp_path: Path) -> None:
    """The cure that the refusal names."""
    texts = repeated("x" * 1_000, 100_000)
    for name, options in (
        ("small", {"compression": "zstd"}),
        ("plain", {"compression": "none", "use_dictionary": False}),
    ):
        parquet.write_table(pa.table({"path": texts}), tmp_path / f"{name}.parquet", store_schema=False, **options)
    assert "write it again without compression and dictionaries" in child(tmp_path / "small.parquet")["error"]
    assert "unpacks" not in child(tmp_path / "plain.parquet")["error"]


def test_a_row_group_that_is_kept_in_memory_has_to_fit(child: Child, tmp_path: Path, encoded: Encoded) -> None:
    picture = encoded((1, 2, 3), "BMP", side=700)
    images = pa.array([picture[:-1] + bytes([number]) for number in range(40)])
    parquet.write_table(pa.table({"image": images}), tmp_path / "a.parquet", compression="none")
    found = child(tmp_path / "a.parquet", free=150 * MB)
    assert "has images in one row group, which need 117." in found["error"]
    assert found["error"].endswith("save it with smaller ones (row_group_size)")
    parquet.write_table(pa.table({"image": images}), tmp_path / "b.parquet", compression="none", row_group_size=10)
    assert len(child(tmp_path / "b.parquet", free=150 * MB)["names"]) == 40


# -- folders -----------------------------------------------------------------------------------


def test_a_table_beside_images_is_a_file_of_some_size(child: Child, tmp_path: Path, encoded: Encoded) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(encoded(7))
    os.mkfifo(tmp_path / "a" / "metadata.csv")  # to open it would wait for ever
    with (tmp_path / "b" / "metadata.jsonl").open("wb") as file:
        file.truncate(100 * GB)
    found = child(tmp_path)
    assert found["names"] == ["a/a.png", "b/a.png"]
    assert found["skipped"] == {
        "a/metadata.csv": "not a regular file",
        "b/metadata.jsonl": "holds 100.0 GB, allowed are 268.4 MB: open it as a table instead",
    }
    assert found["memory"] < 60 * MB


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_a_list_that_would_fill_the_memory_is_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoded: Encoded, kind: str
) -> None:
    monkeypatch.setattr(bounds, "LOOK_EVERY", 10)
    monkeypatch.setattr(bounds, "free_memory", lambda: 2 * 25 * IMAGE_MEMORY)
    names, content = [f"{number}.png" for number in range(60)], encoded(3)
    if kind == "folder":
        for name in names:
            (tmp_path / name).write_bytes(content)
        source: Any = FolderSource("folder", str(tmp_path))
    elif kind == "zip":
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for name in names:
                archive.writestr(name, content)
        source = ZipSource("zip", str(tmp_path / "a.zip"))
    else:
        with (tmp_path / "a.tar").open("wb") as file:
            for name in names:
                tarred(file, name, content)
        source = TarSource("tar", str(tmp_path / "a.tar"))
    with pytest.raises(SourceError, match=r"has 30 images, which need .* of which 25\.0 kB may be taken: open a part"):
        source.listing()
    monkeypatch.setattr(bounds, "free_memory", lambda: None)
    assert len(source.listing().names) == 60


# -- what is honest ----------------------------------------------------------------------------


def headers(count: int) -> np.ndarray:
    """(count, 512) uint8: the headers of as many empty images, all at once: one by one they take their time."""
    about, digits = member("some class/image 000000.png", 0), slice(17, 23)
    found = np.tile(np.frombuffer(about, np.uint8), (count, 1))
    found[:, digits] += (np.arange(count)[:, None] // 10 ** np.arange(5, -1, -1) % 10).astype(np.uint8)
    total = 8 * ord(" ") + found.astype(np.int64).sum(1) - found[:, 148:156].astype(np.int64).sum(1)
    octal = np.array([f"{one:06o}".encode() for one in total.tolist()], "S6")
    found[:, 148:154] = octal.view(np.uint8).reshape(count, 6)
    return found


def test_fifty_thousand_images_are_listed_with_less_memory_than_is_reckoned(tmp_path: Path) -> None:
    count, path = 50_000, tmp_path / "a.tar"
    path.write_bytes(headers(count).tobytes() + bytes(10_240))
    before = forgotten()
    listing = TarSource("tar", str(path)).listing()
    assert len(listing.names) == count
    assert peak() - before < IMAGE_MEMORY * count


def test_a_tar_of_ten_gigabytes_is_listed(tmp_path: Path) -> None:
    path, each = tmp_path / "a.tar", 200 * MB
    with path.open("wb") as file:
        for number in range(52):
            file.write(member(f"{number}.tif", each))
            file.truncate(file.tell() + each)
            file.seek(0, os.SEEK_END)
        file.write(bytes(10_240))
    assert path.stat().st_size > 10 * GB
    listing = TarSource("tar", str(path)).listing()
    assert (len(listing.names), listing.skipped) == (52, ())
    assert listing.stamps[:, 0].tolist() == [each] * 52


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_are_read_as_they_were_written(child: Child, tmp_path: Path, encoded: Encoded, method: int) -> None:
    path, noise = tmp_path / "a.zip", np.random.default_rng(0).bytes(300_000)
    pictures = {f"{tone}.bmp": encoded(tone, "BMP", side=300) for tone in range(5)}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in {**pictures, "noise.bmp": noise}.items():
            archive.writestr(name, content)
    source = ZipSource("zip", str(path))
    listing = source.listing()
    read = dict(zip(listing.names, map(source.reader(), listing.keys), strict=True))
    assert read == {**pictures, "noise.bmp": noise}
    with zipfile.ZipFile(path) as archive, zip_members.opened(archive, archive.getinfo("noise.bmp")) as file:
        for place, whence, end in ((200_000, 0, 200_000), (50_000, 1, 250_000), (7, 0, 7), (-5, 2, 299_995)):
            assert file.seek(place, whence) == file.tell() == end
            assert file.read(100) == noise[end : end + 100]
            file.seek(end)
    assert child(path)["names"] == list(pictures)


def test_growth_is_by_what_is_there_and_something_in_any_case() -> None:
    growth = Growth(10, 1_000)
    bounds.check_growth("it", 50, 1_000, growth)
    bounds.check_growth("it", 200, 2_000, growth)
    with pytest.raises(SourceError, match=r"it unpacks to more than 2\.0 kB, the most that is believed of 200 bytes"):
        bounds.check_growth("it", 200, 2_001, growth)
