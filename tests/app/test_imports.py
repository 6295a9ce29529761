"""The Dataset page during imports, and files dropped onto it."""

from __future__ import annotations

import shutil
import threading
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from engine.data import decode_pool, import_images
from engine.data.image_store import cache
from engine.errors import SourceError
from engine.formats.bounds import SPARE_DISK
from engine.sources.import_job import Asked, the_importer
from spice_explorer import session
from spice_explorer.present import dataset as present
from spice_explorer.queries import imports
from tests.app.conftest import Visit, button, texts
from tests.app.test_pages import imported, metrics, open_folder

pytestmark = pytest.mark.usefixtures("workspace")


@pytest.fixture
def reached() -> threading.Event:
    """Set as soon as an image is being decoded."""
    return threading.Event()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch, reached: threading.Event) -> threading.Event:
    """Decoding waits until the event is set."""
    go, decode = threading.Event(), decode_pool.decode
    monkeypatch.setattr(import_images, "BATCH", 1)

    def wait(*arguments: Any) -> Any:
        reached.set()
        assert go.wait(20)
        return decode(*arguments)

    monkeypatch.setattr(decode_pool, "decode", wait)
    return go


def begun(at: AppTest, path: Path) -> AppTest:
    """The page after pressing "Open"."""
    at.session_state["source kind"] = "own"
    at.run()
    at.text_input(key="source path").set_value(str(path))
    return button(at, "Open").click().run()


def with_digits(at: AppTest) -> AppTest:
    at.session_state["source kind"] = "digits"
    return button(at.run(), "Use the digits").click().run()


def until(asked: Asked, state: str) -> None:
    """Waits until the import is in a state."""
    deadline = time.monotonic() + 20
    while (job := imports.look(asked)) is None or job.state != state:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def progress_text(at: AppTest) -> str:
    return " ".join(str(one.proto) for one in at.get("progress"))


def test_two_tabs_that_open_the_same_source_both_get_it(photos: Path, visit: Visit, held: threading.Event) -> None:
    first, second = begun(visit("dataset"), photos), begun(visit("dataset"), photos)
    held.set()
    assert metrics(imported(first))["Images"] == "40"
    button(second, "Pause").click().run()  # of an import that no longer exists
    assert not second.exception
    second = imported(second)
    assert "cancelled" not in texts(second)
    assert metrics(second)["Images"] == "40"


def test_another_source_takes_the_place_of_an_import(photos: Path, visit: Visit, held: threading.Event) -> None:
    at = begun(visit("dataset"), photos)
    asked = at.session_state["import"]
    at.segmented_control(key="source kind").set_value("shapes").run()
    button(at, "Use the shapes").click().run()
    assert "Cancel" not in [one.label for one in at.button]
    job = imports.look(asked)
    assert job is None or job.state in ("cancelling", "cancelled")
    held.set()
    assert metrics(at.run())["Images"] == "960"


def test_an_import_that_another_tab_waits_for_goes_on(
    photos: Path, visit: Visit, held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "visitor", lambda: "one")
    first = begun(visit("dataset"), photos)
    monkeypatch.setattr(session, "visitor", lambda: "another")
    second = begun(visit("dataset"), photos)
    second.segmented_control(key="source kind").set_value("digits").run()
    button(second, "Use the digits").click().run()
    held.set()
    monkeypatch.setattr(session, "visitor", lambda: "one")
    assert metrics(imported(first))["Images"] == "40"
    assert metrics(second.run())["Images"] == "1,797"


def test_an_error_goes_when_another_source_is_chosen(visit: Visit) -> None:
    at = imported(begun(visit("dataset"), Path("nowhere")))
    assert at.run().error
    at.segmented_control(key="source kind").set_value("digits").run()
    button(at, "Use the digits").click().run()
    assert not at.error


def test_an_import_that_waits_for_another_says_so(photos: Path, visit: Visit, held: threading.Event) -> None:
    other = Asked(str(photos), 32)
    the_importer().begin(other)
    until(other, "decoding")
    the_importer().pause(other)
    at = begun(visit("dataset"), photos)
    until(at.session_state["import"], "waiting")
    assert "Another import of these images is running or paused" in progress_text(at.run())
    held.set()
    the_importer().cancel(other)
    assert metrics(imported(at))["Images"] == "40"


@pytest.mark.usefixtures("finished")
def test_train_on_these_images_leads_to_a_new_run(visit: Visit) -> None:
    at = visit("dataset", run="demo")
    button(at, "Train on these images").click().run()
    assert at.segmented_control(key="train view").value == "new"
    assert button(at, "Start training")
    assert "**1,797 images**" in texts(at)


def test_the_name_of_a_source_is_shown_as_it_is(photos: Path, visit: Visit) -> None:
    named = photos.rename(photos.with_name("*my* photos_2"))
    at = imported(begun(visit("dataset"), named))
    assert at.subheader[0].value.endswith("\\*my\\* photos\\_2")


def test_an_import_is_shown_paused_and_continued(photos: Path, visit: Visit, held: threading.Event) -> None:
    at = with_digits(visit("dataset"))
    at.session_state["source kind"] = "own"
    at.run()
    at.text_input(key="source path").set_value(str(photos))
    button(at, "Open").click().run()
    assert metrics(at)["Images"] == "1,797"  # the digits stay until the images have loaded
    button(at, "Pause").click().run()
    assert any("Paused" in str(one.proto) for one in at.get("progress"))
    button(at, "Continue").click().run()
    held.set()
    at = imported(at)
    assert metrics(at)["Images"] == "40"
    assert not [one for one in at.button if one.label in ("Pause", "Continue")]


def test_a_cancelled_import_says_so_and_changes_nothing(
    photos: Path, visit: Visit, held: threading.Event, reached: threading.Event
) -> None:
    at = begun(with_digits(visit("dataset")), photos)
    assert reached.wait(20)  # a cancelled import that has not started decoding would end at once
    button(at, "Cancel").click().run()
    assert "Cancelling…" in progress_text(at)
    assert "Pause" not in [one.label for one in at.button]
    held.set()
    at = imported(at)
    assert "The import was cancelled" in texts(at)
    assert metrics(at)["Images"] == "1,797"
    assert not list((cache() / "images").rglob("pixels*.npy"))


def test_without_a_path_it_asks_for_one(visit: Visit) -> None:
    at = visit("dataset")
    at.session_state["source kind"] = "own"
    button(at.run(), "Open").click().run()
    assert at.warning[0].value == "Type the path of a folder or a file first."


def test_a_table_asks_for_the_folder_of_its_paths(photos: Path, tmp_path: Path, visit: Visit) -> None:
    table = tmp_path / "elsewhere" / "t.csv"
    table.parent.mkdir()
    names = sorted(one.relative_to(photos).as_posix() for one in photos.rglob("*.png"))
    table.write_text("file,age\n" + "".join(f"{name},{i}\n" for i, name in enumerate(names)))
    at = visit("dataset")
    at.session_state["source kind"] = "own"
    at.run()
    assert not [one for one in at.text_input if one.key == "source root"]
    at.text_input(key="source path").set_value(str(table))
    at = imported(button(at, "Open").click().run())
    assert at.error, "beside the table there are no such images"
    at.text_input(key="source root").set_value(str(photos))
    at = imported(button(at, "Open").click().run())
    assert metrics(at)["Images"] == "40"
    assert [one.title for one in at.session_state["opened"].columns] == ["age"]


def test_a_set_by_name_says_what_is_missing(tmp_path: Path, visit: Visit) -> None:
    at = visit("dataset")
    at.session_state["source kind"] = "set"
    at.run()
    at.selectbox(key="set name").set_value("imagenet10").run()
    assert "cannot be downloaded automatically" in texts(at)
    at.text_input(key="set path imagenet10").set_value(str(tmp_path))
    at = imported(button(at, "Open the set").click().run())
    assert "does not hold ImageNet" in at.error[0].value


def test_a_dropped_file_is_kept_under_a_plain_name(photos: Path, tmp_path: Path, visit: Visit) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for one in photos.rglob("*.png"):
            archive.write(one, one.relative_to(photos))
    content = memoryview((tmp_path / "a.zip").read_bytes())
    path = Path(imports.keep_upload("../../<b>my photos</b>.zip", content))
    assert path.parent.parent == cache() / "uploads"
    assert path.name == "b-.zip"
    assert path.read_bytes() == content
    assert imports.keep_upload("../../<b>my photos</b>.zip", content) == str(path)
    at = open_folder(visit("dataset"), path, labels=True)
    assert metrics(at)["Classes in the truth"] == "2"


def test_a_full_disk_keeps_no_half_of_a_dropped_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SourceError, match=r"a\.zip cannot be kept in .*: free some space"):
        imports.keep_upload("a.zip", memoryview(b"PK"))
    assert not list(cache().rglob("a.zip"))


def test_a_dropped_file_leaves_room_on_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: SimpleNamespace(free=SPARE_DISK + 1))
    with pytest.raises(SourceError, match=r"it has 2 bytes, and of 67\.1 MB that are free 67\.1 MB stay so; free some"):
        imports.keep_upload("a.zip", memoryview(b"PK"))
    assert not list(cache().rglob("a.zip"))
    assert Path(imports.keep_upload("b.zip", memoryview(b"P"))).read_bytes() == b"P"


@pytest.mark.parametrize(
    ("state", "done", "total", "expected"),
    [
        ("listing", 0, 0, (0.0, "Scanning the source…")),
        ("decoding", 250, 1000, (0.25, "Reading 250 of 1,000 new images")),
        ("paused", 250, 1000, (0.25, "Paused at 250 of 1,000 new images")),
        ("paused", 0, 0, (0.0, "Paused")),
    ],
)
def test_progress_in_words(state: str, done: int, total: int, expected: tuple[float, str]) -> None:
    assert present.import_progress(state, done, total) == expected
