"""NumPy's files as NumPy reads and writes them, without its parser of Python."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import numpy as np
import pytest

from engine import npy

ARRAYS = {
    "table": np.arange(12, dtype=np.float32).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(12).reshape(3, 4)),
    "half": np.ones((2, 3, 5), np.float16),
    "nothing": np.zeros((0, 7), np.uint8),
    "one": np.array(5.5),
    "truths": np.array([True, False]),
    "texts": np.array(["a", "Zürich", "日本"]),
    "big endian": np.arange(4, dtype=">i4"),
}


@pytest.fixture
def without_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """In Python 3.11 the parser fails in one thread when another uses it; here it always does."""

    def fails(_: object) -> None:
        raise SystemError("AST constructor recursion depth mismatch (before=88, after=84)")

    monkeypatch.setattr(ast, "literal_eval", fails)


@pytest.mark.usefixtures("without_parser")
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back_from_files_without_the_parser(tmp_path: Path, name: str) -> None:
    array, path = ARRAYS[name], tmp_path / "array.npy"
    with path.open("wb") as file:
        npy.save(file, array)
    np.save(tmp_path / "plain.npy", array)
    assert path.read_bytes() == (tmp_path / "plain.npy").read_bytes()
    found = npy.mapped(path)
    assert found.dtype == array.dtype
    assert found.flags.f_contiguous == array.flags.f_contiguous
    np.testing.assert_array_equal(found, array)


@pytest.mark.usefixtures("without_parser")
def test_archives_come_back_without_the_parser(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    np.savez(path, **ARRAYS)  # type: ignore[arg-type]
    with path.open("rb") as file:
        found = npy.unpacked(file)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_headers_that_only_numpy_can_read_are_left_to_it(tmp_path: Path) -> None:
    pairs = np.array([(1, 2.5), (3, 4.5)], [("id", "<i4"), ("value", "<f8")])
    np.save(tmp_path / "pairs.npy", pairs)
    np.testing.assert_array_equal(npy.mapped(tmp_path / "pairs.npy"), pairs)
    content = io.BytesIO((tmp_path / "pairs.npy").read_bytes())
    assert npy.header_of(content) is None
    assert content.tell() == 0


def test_python_objects_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{}, []], object), allow_pickle=True)
    np.savez(tmp_path / "objects.npz", values=np.array([{}, []], object), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        npy.mapped(tmp_path / "objects.npy")
    with (tmp_path / "objects.npz").open("rb") as file, pytest.raises(ValueError, match="allow_pickle"):
        npy.unpacked(file)


def test_what_is_written_to_a_mapped_file_stays_only_if_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "array.npy"
    np.save(path, np.zeros(3))
    npy.mapped(path)[0] = 1
    assert np.load(path).tolist() == [0, 0, 0]
    npy.mapped(path, "r+")[0] = 1
    assert np.load(path).tolist() == [1, 0, 0]
    with pytest.raises(ValueError, match="read-only"):
        npy.mapped(path, "r")[0] = 2


@pytest.mark.parametrize("kept", [0, 5, 9, 60, 128, 150])
def test_a_file_that_was_cut_off_is_no_array(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "array.npy"
    np.save(path, np.arange(5))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises((ValueError, EOFError)):
        npy.mapped(path)


ODD = ("", "x" * 1_000, "a\0b", "\udce9.png", "日本/Zürich.jpg", 'say "hi"', " two\nlines ")


def test_texts_take_the_room_that_they_need_and_come_back_as_they_were(tmp_path: Path) -> None:
    texts = (*ODD, *(f"image {number}" for number in range(1_000)))
    with (tmp_path / "texts.npy").open("wb") as file:
        npy.save(file, npy.packed_texts(texts))
    assert npy.texts_of(npy.mapped(tmp_path / "texts.npy")) == texts
    assert (tmp_path / "texts.npy").stat().st_size < 20_000  # with room for the longest in each place: 4 MB
    assert npy.texts_of(npy.packed_texts(())) == ()


def test_arrays_of_texts_by_earlier_versions_are_read() -> None:
    assert npy.texts_of(np.array(["a", "日本"])) == ("a", "日本")


@pytest.mark.parametrize("said", [b"[1, 2]", b'{"a": "b"}', b"[", b"\xff\xff", b""])
def test_what_holds_no_texts_is_a_value_error(said: bytes) -> None:
    with pytest.raises(ValueError, match=r"expected texts|Expecting value|decode"):
        npy.texts_of(np.frombuffer(said, np.uint8))


def test_numbers_are_no_texts() -> None:
    with pytest.raises(ValueError, match=r"it has float32 of shape \(2, 2\): expected texts"):
        npy.texts_of(np.zeros((2, 2), np.float32))
