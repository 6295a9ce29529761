"""NumPy's files, read in any thread and written without loss.

NumPy reads an array's header by way of `ast.literal_eval`, which in Python 3.11 fails now and then where another thread
does the same ("AST constructor recursion depth mismatch"): Streamlit parses a page while a run reads its features. Here
the headers that NumPy writes are read without it.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, Literal

import numpy as np

MAGIC = b"\x93NUMPY"
# By version of the format: how many bytes say how long the header is.
LENGTH = {b"\x01\x00": 2, b"\x02\x00": 4, b"\x03\x00": 4}
HEADER = re.compile(
    r"\{'descr': '(?P<kind>[^'\\]+)', 'fortran_order': (?P<fortran>True|False), 'shape': \((?P<shape>[\d, ]*)\), \} *\n"
)

Header = tuple[tuple[int, ...], bool, "np.dtype[Any]"]


def save(file: IO[bytes], array: np.ndarray) -> None:
    """Writes `array`, and raises OSError where the disk is full.

    To a file itself NumPy writes by way of C, and nothing is said of the last bytes that C still holds when it closes.
    """
    np.save(SimpleNamespace(write=file.write), array, allow_pickle=False)


def mapped(path: Path, mode: Literal["r", "c", "r+"] = "c") -> np.ndarray:
    """The array in `path`, mapped into memory: "c" copies on write, "r+" writes to the file.

    Raises:
        OSError: when the file cannot be opened.
        ValueError: when it is no array, is shorter than its header says, or has Python objects.
    """
    with path.open("rb") as file:
        header = header_of(file)
        start = file.tell()
        size = file.seek(0, io.SEEK_END)
    if header is None:
        return np.load(path, mmap_mode=mode, allow_pickle=False)
    shape, fortran, kind = header
    needed = start + kind.itemsize * int(np.prod(shape, dtype=np.int64))
    if size < needed:
        raise ValueError(f"it has {size:,} bytes of {needed:,}")
    return np.memmap(path, kind, mode, start, shape, "F" if fortran else "C")


def packed_texts(texts: Sequence[str]) -> np.ndarray:
    """(B,) uint8: the texts as JSON. An array of texts would have room for the longest in each place: one name of a
    thousand letters would make a hundred thousand names 400 MB.

    >>> packed_texts(["a", "b"]).tobytes()
    b'["a", "b"]'
    """
    return np.frombuffer(json.dumps(list(texts), ensure_ascii=False).encode("utf-8", "surrogatepass"), np.uint8)


def texts_of(array: np.ndarray) -> tuple[str, ...]:
    """The texts in an array of `packed_texts`, or in one of texts, as earlier versions wrote them.

    Raises:
        ValueError: when it holds no texts.
    """
    if array.dtype.kind == "U":
        return tuple(array.tolist())
    texts = json.loads(array.tobytes().decode("utf-8", "surrogatepass")) if array.dtype == np.uint8 else None
    if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
        raise ValueError(f"it has {array.dtype} of shape {array.shape}: expected texts")
    return tuple(texts)


def unpacked(file: IO[bytes]) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name, in memory.

    Raises:
        ValueError: when a member is no array, or has Python objects.
        zipfile.BadZipFile: when it is no archive, or damaged.
    """
    with zipfile.ZipFile(file) as archive:
        return {name.removesuffix(".npy"): _read(io.BytesIO(archive.read(name))) for name in archive.namelist()}


def header_of(file: IO[bytes]) -> Header | None:
    """Shape, order and kind of the array that begins where `file` stands, which then stands at its values; None, and
    it stands where it was, of a header that only NumPy itself can read."""
    start = file.tell()
    found = _header(file)
    if found is None:
        file.seek(start)
    return found


def _header(file: IO[bytes]) -> Header | None:
    if file.read(len(MAGIC)) != MAGIC:
        return None
    width = LENGTH.get(file.read(2))
    if width is None:
        return None
    text = file.read(int.from_bytes(file.read(width), "little"))
    found = HEADER.fullmatch(text.decode("latin1"))
    if found is None:
        return None
    shape = tuple(int(one) for one in found["shape"].replace(" ", "").split(",") if one)
    kind = np.dtype(found["kind"])
    return None if kind.hasobject else (shape, found["fortran"] == "True", kind)


def _read(file: IO[bytes]) -> np.ndarray:
    header = header_of(file)
    if header is None:
        return np.load(file, allow_pickle=False)
    shape, fortran, kind = header
    return np.frombuffer(file.read(), kind).reshape(shape, order="F" if fortran else "C").copy()
