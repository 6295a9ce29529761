"""The cache of thumbnails: shared by processes, within its limit, and of no importance when it is lost."""

from __future__ import annotations

import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from engine.data import thumbnail_store
from engine.data.thumbnail_store import ThumbnailStore, folder, limit, trim

LIMIT = "SPICE_EXPLORER_THUMBNAILS"


def body(fill: int, length: int = 1000) -> bytes:
    """What begins and ends as a JPEG does."""
    return b"\xff\xd8" + bytes([fill]) * (length - 4) + b"\xff\xd9"


def stamps(*values: int) -> np.ndarray:
    return np.array([(value, value) for value in values], np.int64)


def fill(place: str, count: int = 100, length: int = 10_000) -> Path:
    with ThumbnailStore(place) as store:
        names = [f"{number:03d}" for number in range(count)]
        store.add(names, stamps(*range(count)), [body(number % 256, length) for number in range(count)])
        return store.path


def test_what_is_kept_comes_back_in_the_order_of_the_question() -> None:
    with ThumbnailStore("folder:/a") as store:
        store.add(["x", "ü", "z"], stamps(1, 2, -1), [body(1), body(2), body(3)])
        assert store.bodies(["z", "none", "x", "x"], stamps(-1, 5, 1, 1)) == [body(3), None, body(1), body(1)]
        assert store.present(["ü", "none"], stamps(2, 2)).tolist() == [True, False]
        assert store.wanted(["ü", "none"], stamps(2, 2)).tolist() == [False, True]
    assert ThumbnailStore("folder:/a").bodies(["ü"], stamps(2)) == [body(2)]
    assert ThumbnailStore("folder:/b").bodies(["ü"], stamps(2)) == [None]


def test_another_stamp_is_another_image() -> None:
    with ThumbnailStore("folder:/a") as store:
        store.add(["x", "x"], np.array([(1, 2**62), (1, -(2**62))]), [body(1), body(2)])
        asked = np.array([(1, 2**62), (1, -(2**62)), (2, 2**62)])
        assert store.bodies(["x"] * 3, asked) == [body(1), body(2), None]


def test_many_names_are_asked_for_at_once() -> None:
    with ThumbnailStore("folder:/a") as store:
        names = [str(number) for number in range(1000)]
        store.add(names, stamps(*range(1000)), [body(number % 256, 50) for number in range(1000)])
        assert store.bodies(names, stamps(*range(1000))) == [body(number % 256, 50) for number in range(1000)]


def test_a_question_leaves_no_file() -> None:
    assert ThumbnailStore("folder:/a").bodies(["x"], stamps(1)) == [None]
    assert not folder().exists()


@pytest.mark.parametrize("damage", [b"", b"nothing that SQLite knows" * 400, "half", "middle"])
def test_a_damaged_file_is_made_again(damage: bytes | str) -> None:
    path = fill("folder:/a")
    whole = path.read_bytes()
    if damage == "half":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "middle":
        path.write_bytes(whole[:8192] + os.urandom(len(whole) - 8192))
    else:
        path.write_bytes(bytes(damage))  # type: ignore[arg-type]
    with ThumbnailStore("folder:/a") as store:
        store.bodies(["001"], stamps(1))
        store.add(["new"], stamps(7), [body(7)])
        store.add(["new"], stamps(7), [body(7)])
        assert store.bodies(["new"], stamps(7)) == [body(7)]


def test_half_a_thumbnail_is_none() -> None:
    path = fill("folder:/a", 1)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE thumbnails SET body = substr(body, 1, 500)")
    connection.commit()
    connection.close()
    assert ThumbnailStore("folder:/a").bodies(["000"], stamps(0)) == [None]


def test_the_folder_may_be_deleted_under_an_open_store() -> None:
    with ThumbnailStore("folder:/a") as store:
        store.add(["x"], stamps(1), [body(1)])
        shutil.rmtree(folder())
        assert store.bodies(["x"], stamps(1)) == [None]
        store.add(["y"], stamps(2), [body(2)])
        assert store.bodies(["x", "y"], stamps(1, 2)) == [None, body(2)]


def test_a_store_goes_to_other_processes_as_its_place() -> None:
    with ThumbnailStore("folder:/a") as store:
        store.add(["x"], stamps(1), [body(1)])
        again = pickle.loads(pickle.dumps(store))
        assert again.bodies(["x"], stamps(1)) == [body(1)]
        again.close()


def test_threads_and_processes_write_at_once() -> None:
    code = """
import sys, numpy as np
from engine.data.thumbnail_store import ThumbnailStore
with ThumbnailStore("folder:/a") as store:
    for number in range(20):
        name = f"{sys.argv[1]}-{number}"
        store.add([name], np.array([(number, 0)]), [b"\\xff\\xd8" + name.encode() + b"\\xff\\xd9"])
"""
    others = [subprocess.Popen([sys.executable, "-c", code, str(one)]) for one in range(3)]
    with ThumbnailStore("folder:/a") as store, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: store.add([f"t-{one}"], stamps(one), [body(one)]), range(40)))
        assert [other.wait(120) for other in others] == [0, 0, 0]
        assert store.bodies([f"t-{one}" for one in range(40)], stamps(*range(40))) == [body(one) for one in range(40)]
        for other in range(3):
            names = [f"{other}-{number}" for number in range(20)]
            found = store.bodies(names, np.array([(number, 0) for number in range(20)]))
            assert found == [b"\xff\xd8" + name.encode() + b"\xff\xd9" for name in names]


# -- the limit ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("said", "bytes_"), [("2", 2_000_000_000), ("0.5", 500_000_000), ("", 4 * 10**9)])
def test_the_limit_is_in_gigabytes(said: str, bytes_: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT, said)
    assert limit() == bytes_


@pytest.mark.parametrize("said", ["much", "inf", "nan"])
def test_what_is_no_number_is_no_limit_of_its_own(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT, said)
    assert limit() == 4 * 10**9


def test_the_sources_that_were_not_used_for_longest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [fill(f"folder:/{name}") for name in "abcd"]  # a megabyte each
    for age, path in zip((400, 3000, 200, 100), paths, strict=True):
        os.utime(path, (1e9 - age, 1e9 - age))
    ThumbnailStore("folder:/a").bodies(["001"], stamps(1))  # a look is a use
    monkeypatch.setenv(LIMIT, "0.0025")
    trim(paths[2])
    assert [path.exists() for path in paths] == [True, False, True, False]


def test_a_source_that_is_open_elsewhere_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [fill(f"folder:/{name}") for name in "ab"]
    monkeypatch.setenv(LIMIT, "0.0001")
    with ThumbnailStore("folder:/a") as store:
        assert store.present(["001"], stamps(1)).all()
        trim(paths[1])
        assert paths[0].exists()
        assert store.bodies(["001"], stamps(1)) == [body(1, 10_000)]
    trim(paths[1])
    assert [path.exists() for path in paths] == [False, True]


def test_writing_makes_room_among_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    first = fill("folder:/a")
    monkeypatch.setenv(LIMIT, "0.0015")
    second = fill("folder:/b")
    assert (first.exists(), second.exists()) == (False, True)


def test_within_a_source_the_oldest_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT, "0.001")
    with ThumbnailStore("folder:/a") as store:
        for number in range(300):
            store.add([str(number)], stamps(number), [body(number % 256, 10_000)])
        assert store.bodies(["0", "299"], stamps(0, 299)) == [None, body(299 % 256, 10_000)]
        assert store.path.stat().st_size <= 1_100_000
    assert thumbnail_store.folder() == store.path.parent


def test_without_room_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT, "0")
    with ThumbnailStore("folder:/a") as store:
        assert store.wanted(["x"], stamps(1)).tolist() == [False]
        store.add(["x"], stamps(1), [body(1)])
        assert store.bodies(["x"], stamps(1)) == [None]
    assert not folder().exists()
