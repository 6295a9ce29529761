"""The store of decoded images: reused, extended, replaced as a whole; stopped and interrupted imports."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.data import decode_pool, import_images
from engine.data.image_store import cache
from engine.data.images import ImageSet
from engine.data.pixel_file import PixelFile
from engine.errors import SourceError, Stopped
from engine.sources.open_source import Opened, open_source
from tests.encoded_images import Encoded


@pytest.fixture
def folder(tmp_path: Path, encoded: Encoded) -> Path:
    """Images 10.png … 50.png, each named after its tone."""
    place = tmp_path / "pictures"
    place.mkdir()
    for tone in range(10, 60, 10):
        (place / f"{tone}.png").write_bytes(encoded(tone))
    return place


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the decoded files."""
    seen: list[str] = []
    content_of = decode_pool.content_of

    def note(path: str) -> Any:
        seen.append(Path(path).name)
        return content_of(path)

    monkeypatch.setattr(decode_pool, "content_of", note)
    return seen


def opened(place: Path, **options: Any) -> Opened:
    return open_source(f"folder:{place}", size=options.pop("size", 4), **options)


def tones(found: Opened) -> list[int]:
    return found.images.pixels[:, 0, 0, 0].tolist()


def test_what_was_opened_once_is_not_decoded_again(folder: Path, decoded: list[str]) -> None:
    first = opened(folder)
    assert len(decoded) == 5
    again = opened(folder)
    assert len(decoded) == 5
    assert again.images.fingerprint == first.images.fingerprint
    assert tones(again) == tones(first) == [10, 20, 30, 40, 50]


def test_the_kept_fingerprint_is_that_of_the_images(folder: Path) -> None:
    (folder / "30.png").write_bytes(b"")
    images = opened(folder).images
    assert images.known_fingerprint
    assert images.fingerprint == ImageSet(np.array(images.pixels), images.ids, "x").fingerprint


def test_another_size_is_another_store(folder: Path, decoded: list[str]) -> None:
    assert opened(folder, size=4).images.size == (4, 4)
    assert opened(folder, size=6).images.size == (6, 6)
    assert len(decoded) == 10
    opened(folder, size=4)
    assert len(decoded) == 10


def test_only_new_and_changed_files_are_decoded(folder: Path, decoded: list[str], encoded: Encoded) -> None:
    (folder / "45.png").write_bytes(b"no image")
    before = opened(folder)
    decoded.clear()
    (folder / "15.png").write_bytes(encoded(15))
    (folder / "20.png").write_bytes(encoded(25))
    os.utime(folder / "20.png", ns=(1, 1))
    (folder / "40.png").unlink()
    after = opened(folder)
    assert sorted(decoded) == ["15.png", "20.png"]
    assert after.images.ids == ("10.png", "15.png", "20.png", "30.png", "50.png")
    assert tones(after) == [10, 15, 25, 30, 50]
    assert [one.name for one in after.skipped] == ["45.png"]
    assert after.extents is not None
    assert after.extents.tolist() == [[8, 8]] * 5
    assert tones(before) == [10, 20, 30, 40, 50]  # an open store stays usable


def test_a_coloured_image_among_grey_ones_changes_the_channels_of_all(
    folder: Path, decoded: list[str], encoded: Encoded
) -> None:
    assert opened(folder).images.channels == 1
    (folder / "red.png").write_bytes(encoded((200, 0, 0)))
    decoded.clear()
    found = opened(folder)
    assert decoded == ["red.png"]
    assert found.images.pixels[:, :, 0, 0].tolist() == [[10] * 3, [20] * 3, [30] * 3, [40] * 3, [50] * 3, [200, 0, 0]]
    (folder / "red.png").unlink()
    assert opened(folder).images.channels == 1
    assert tones(opened(folder)) == [10, 20, 30, 40, 50]


def test_labels_can_be_asked_for_afterwards(folder: Path, decoded: list[str], encoded: Encoded) -> None:
    for kind in "ab":
        (folder / kind).mkdir()
        (folder / kind / "1.png").write_bytes(encoded(77))
    for file in folder.glob("*.png"):
        file.unlink()
    assert opened(folder).truth is None
    truth = opened(folder, labels=True).truth
    assert truth is not None
    assert truth.class_names == ("a", "b")
    assert opened(folder).truth is None
    assert len(decoded) == 2


def test_a_file_that_changes_while_it_is_read_is_read_again_the_next_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch, encoded: Encoded
) -> None:
    content_of = decode_pool.content_of

    def meddle(path: str) -> Any:
        if path.endswith("30.png"):
            Path(path).write_bytes(encoded(99))
        found = content_of(path)
        if path.endswith("30.png"):
            Path(path).write_bytes(encoded(33, side=9))
        return found

    monkeypatch.setattr(decode_pool, "content_of", meddle)
    assert tones(opened(folder)) == [10, 20, 99, 40, 50]
    monkeypatch.setattr(decode_pool, "content_of", content_of)
    assert tones(opened(folder)) == [10, 20, 33, 40, 50]


def test_a_file_that_vanishes_during_the_import_is_listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content_of = decode_pool.content_of

    def vanish(path: str) -> Any:
        if path.endswith("20.png"):
            Path(path).unlink()
        return content_of(path)

    monkeypatch.setattr(decode_pool, "content_of", vanish)
    found = opened(folder)
    assert tones(found) == [10, 30, 40, 50]
    assert [(one.name, one.reason) for one in found.skipped] == [("20.png", "No such file or directory")]


def test_a_cancelled_import_leaves_nothing_and_harms_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, encoded: Encoded
) -> None:
    opened(folder)
    kept = {path: path.stat().st_mtime_ns for path in cache().rglob("*.np*")}
    (folder / "60.png").write_bytes(encoded(60))
    monkeypatch.setattr(import_images, "BATCH", 1)
    with pytest.raises(Stopped):
        opened(folder, stop=lambda: True)
    assert {path: path.stat().st_mtime_ns for path in cache().rglob("*.np*")} == kept
    assert not list(cache().rglob("*.draft"))
    assert tones(opened(folder)) == [10, 20, 30, 40, 50, 60]


def test_an_import_that_was_killed_leaves_a_draft_that_is_cleared_away(folder: Path) -> None:
    opened(folder)
    (store,) = (path for path in (cache() / "images").iterdir() if path.is_dir())
    draft = store.with_suffix(".draft")
    draft.mkdir()
    (draft / "pixels.npy").write_bytes(b"half")
    (store / "index.json").write_text("{")
    assert tones(opened(folder)) == [10, 20, 30, 40, 50]
    assert not draft.exists()


@pytest.mark.parametrize("damage", ["index.json", "index.npz", "pixels-*.npy"])
def test_a_damaged_store_is_made_anew(damage: str, folder: Path, decoded: list[str]) -> None:
    opened(folder)
    (found,) = cache().rglob(damage)
    found.write_bytes(found.read_bytes()[:40])
    assert tones(opened(folder)) == [10, 20, 30, 40, 50]
    assert len(decoded) == 10


def test_two_importers_of_one_folder_decode_it_once(folder: Path, decoded: list[str]) -> None:
    found: list[Opened] = []
    threads = [threading.Thread(target=lambda: found.append(opened(folder))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [tones(one) for one in found] == [[10, 20, 30, 40, 50]] * 3
    assert len(decoded) == 5


def test_who_waits_for_another_importer_can_give_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    going, go = threading.Event(), threading.Event()

    def slow(*_: object) -> Any:
        going.set()
        go.wait(10)
        raise SourceError("too slow")

    monkeypatch.setattr(decode_pool, "decode", slow)

    def first() -> None:
        with pytest.raises(SourceError, match=r"none of the 5 images .* the first is 10\.png: too slow"):
            opened(folder)

    thread = threading.Thread(target=first)
    thread.start()
    assert going.wait(10)
    with pytest.raises(Stopped):
        opened(folder, stop=lambda: True)
    go.set()
    thread.join()


def test_who_waits_for_another_importer_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, going, go = decode_pool.decode, threading.Event(), threading.Event()

    def held(*arguments: Any) -> Any:
        going.set()
        assert go.wait(10)
        return decode(*arguments)

    monkeypatch.setattr(decode_pool, "decode", held)
    thread = threading.Thread(target=opened, args=(folder,))
    thread.start()
    assert going.wait(10)
    told: list[bool] = []

    def waiting(waits: bool) -> None:
        told.append(waits)
        go.set()

    assert tones(opened(folder, waiting=waiting)) == [10, 20, 30, 40, 50]
    thread.join()
    assert told == [True, False]
    assert tones(opened(folder, waiting=waiting)) == [10, 20, 30, 40, 50]
    assert told == [True, False]


def test_a_batch_is_of_few_large_files_or_many_small_ones() -> None:
    large = import_images.BATCH_FILE_BYTES
    sizes = np.array([10, large, 2 * large, 1, 1, 1, large - 1, 1, 1])
    parts = import_images.in_batches(np.arange(100, 109), sizes, 2)
    assert [part.tolist() for part in parts] == [[100], [101], [102], [103, 104], [105, 106], [107, 108]]
    thumbnails = np.full(600, large // import_images.BATCH)
    parts = import_images.in_batches(np.arange(600), thumbnails, import_images.BATCH)
    assert [len(part) for part in parts] == [256, 256, 88]


@pytest.mark.parametrize(("most", "counts"), [(2**22, [0, 5]), (1, [0, 1, 2, 3, 4, 5])])
def test_progress_is_told_from_the_start_and_after_each_batch(
    most: int, counts: list[int], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_images, "BATCH_FILE_BYTES", most)
    told: list[tuple[int, int]] = []
    opened(folder, progress=lambda *numbers: told.append(numbers))
    assert told == [(count, 5) for count in counts]


def test_progress_of_an_array_is_told_from_the_start(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((6, 4, 4), np.uint8))
    told: list[tuple[int, int]] = []
    open_source(str(tmp_path / "a.npy"), progress=lambda *numbers: told.append(numbers))
    assert told == [(0, 6), (6, 6)]


def test_large_imports_are_decoded_by_processes_with_the_same_result(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "35.png").write_bytes(b"broken")
    by_threads = opened(folder)
    monkeypatch.setenv("SPICE_EXPLORER_CACHE", str(folder.parent / "other"))
    monkeypatch.setattr(decode_pool, "MANY", 1)
    monkeypatch.setattr(import_images, "BATCH", 2)
    by_processes = opened(folder)
    assert by_processes.images.fingerprint == by_threads.images.fingerprint
    assert by_processes.skipped == by_threads.skipped


def test_a_decoder_that_dies_is_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_pool, "MANY", 1)
    monkeypatch.setattr(decode_pool.sys, "executable", shutil.which("false"))
    with pytest.raises(SourceError, match="a process that decodes images was killed"):
        opened(folder)
    assert not list(cache().rglob("*.draft"))


def test_a_full_disk_is_told_by_the_process_that_meets_it() -> None:
    answers = io.BytesIO()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    decode_pool._answer(full, (), answers)  # type: ignore[arg-type]
    answer = pickle.loads(answers.getvalue())
    assert (type(answer), answer.errno) == (OSError, 28)


def test_a_cache_that_cannot_be_written_is_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PixelFile, "write", full)
    with pytest.raises(SourceError, match=r"cannot be kept in .* \(No space left on device\): free"):
        opened(folder)
    assert not list(cache().rglob("*.draft"))


def test_a_pause_holds_the_import_until_it_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_images, "BATCH", 1)
    go = threading.Event()
    found: list[Opened] = []
    thread = threading.Thread(target=lambda: found.append(opened(folder, stop=lambda: not go.wait(10))))
    thread.start()
    time.sleep(0.05)
    assert not found
    go.set()
    thread.join()
    assert tones(found[0]) == [10, 20, 30, 40, 50]
