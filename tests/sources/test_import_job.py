"""Imports in the background: their states and controls."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.__main__ import main
from engine.data import decode_pool, import_images
from engine.sources import open_source
from engine.sources.import_job import Asked, Importer, ImportJob


@pytest.fixture
def importer() -> Importer:
    return Importer()


class Gate(threading.Event):
    """Decoding waits until it is set; `reached` is set when an image waits."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()

    def pass_through(self) -> bool:
        self.reached.set()
        return self.wait(120)


@pytest.fixture
def go(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate, decode = Gate(), decode_pool.decode
    monkeypatch.setattr(decode_pool, "decode", lambda *each: decode(*each) if gate.pass_through() else None)
    yield gate
    gate.set()


def until(importer: Importer, asked: Asked, state: str) -> None:
    """Waits until the import is in a state."""
    deadline = time.monotonic() + 120
    while (job := importer.look(asked)) is None or job.state != state:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def ended(importer: Importer, asked: Asked) -> ImportJob:
    """The import after it has ended."""
    deadline = time.monotonic() + 120
    while (job := importer.look(asked)) is not None and job.underway:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert job is not None
    return job


def test_an_import_ends_with_what_was_opened(importer: Importer, photos: Path) -> None:
    asked = Asked(str(photos), 8, labels=True)
    assert importer.look(asked) is None
    importer.begin(asked)
    job = ended(importer, asked)
    assert (job.state, job.done, job.total) == ("done", 40, 40)
    assert job.opened is not None
    assert job.opened.images.size == (8, 8)
    assert job.opened.truth is not None
    importer.forget(asked)
    assert importer.look(asked) is None


def test_what_cannot_be_opened_fails_with_a_sentence(importer: Importer, tmp_path: Path) -> None:
    asked = Asked(str(tmp_path / "nowhere"))
    importer.begin(asked)
    job = ended(importer, asked)
    assert (job.state, job.opened) == ("failed", None)
    assert job.message.startswith("there is no folder or file")


def test_the_unexpected_is_said_too(importer: Importer, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(open_source, "open_source", broken)
    asked = Asked(str(photos))
    importer.begin(asked)
    message = "unexpected ZeroDivisionError: division by zero (this is a bug: please report it)"
    assert ended(importer, asked).message == message


def test_an_import_is_paused_continued_and_cancelled(
    importer: Importer, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_images, "BATCH", 1)
    decode, held, go = decode_pool.decode, threading.Event(), threading.Event()

    def slowly(*arguments: object) -> object:
        held.set()
        assert go.wait(10)
        return decode(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(decode_pool, "decode", slowly)
    asked = Asked(str(photos))
    importer.begin(asked)
    assert held.wait(10)
    importer.pause(asked)
    paused = importer.look(asked)
    assert paused is not None
    assert (paused.state, paused.underway) == ("paused", True)
    go.set()
    time.sleep(0.1)  # work in progress finishes, and no more starts
    halted = importer.look(asked)
    assert halted is not None
    assert (halted.state, halted.done < 40) == ("paused", True)
    importer.resume(asked)
    assert ended(importer, asked).state == "done"

    again = Asked(str(photos), 6)
    go.clear()
    importer.begin(again)
    importer.cancel(again)
    go.set()
    assert ended(importer, again).state == "cancelled"


def test_a_paused_import_can_be_cancelled(importer: Importer, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_images, "BATCH", 1)
    asked = Asked(str(photos))
    importer.begin(asked)
    importer.pause(asked)
    importer.cancel(asked)
    assert ended(importer, asked).state in ("cancelled", "done")


def test_the_same_source_asked_for_twice_is_opened_once(
    importer: Importer, photos: Path, go: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    plain = open_source.open_source

    def count(*arguments: object, **options: object) -> object:
        opened.append(arguments)
        return plain(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(open_source, "open_source", count)
    asked, again = Asked(str(photos)), Asked(f"{photos}/")
    importer.begin(asked)
    importer.begin(asked)
    importer.begin(again)
    go.set()
    assert ended(importer, again).state == "done"
    assert len(opened) == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("~/photos", "{home}/photos/", True),
        ("photos", "./photos", True),
        ("zip:~/a.zip", "zip:{home}/a.zip", True),
        ("cifar10:data/", "cifar10:data", True),
        ("digits", "./digits", False),
        ("cifar10", "./cifar10", False),
        ("folder:photos", "zip:photos", False),
        ("a:b", "a:./b", False),
    ],
)
def test_a_source_is_known_however_it_is_spelled(one: str, other: str, same: bool) -> None:
    home = Path("~").expanduser()
    assert (Asked(one) == Asked(other.format(home=home))) is same
    assert Asked(one, 8) != Asked(one)


def test_what_was_cancelled_can_be_opened_anew_at_once(importer: Importer, photos: Path, go: Gate) -> None:
    asked = Asked(str(photos), 8)
    importer.begin(asked)
    until(importer, asked, "decoding")
    assert go.reached.wait(120)
    importer.cancel(asked)
    importer.pause(asked)
    cancelling = importer.look(asked)
    assert cancelling is not None
    assert (cancelling.state, cancelling.underway) == ("cancelling", True)
    importer.begin(asked)
    until(importer, asked, "waiting")
    go.set()
    job = ended(importer, asked)
    assert (job.state, job.done) == ("done", 40)


def test_an_import_says_that_it_waits_for_another_of_the_same_images(
    importer: Importer, photos: Path, go: Gate
) -> None:
    first, second = Asked(str(photos)), Asked(str(photos), 32, labels=True)
    importer.begin(first)
    until(importer, first, "decoding")
    assert go.reached.wait(120)
    importer.pause(first)
    importer.begin(second)
    until(importer, second, "waiting")
    go.set()
    importer.resume(first)
    assert ended(importer, first).state == ended(importer, second).state == "done"


def test_the_command_line_says_once_that_it_waits(
    importer: Importer, photos: Path, go: Gate, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = Asked(str(photos))
    importer.begin(asked)
    until(importer, asked, "decoding")
    assert go.reached.wait(120)
    release = threading.Timer(1.0, go.set)  # several rounds of waiting
    release.start()
    assert main(["import", str(photos)]) == 0
    assert capsys.readouterr().err.count("another import of these images is running") == 1


def test_steering_what_is_not_there_does_nothing(importer: Importer, photos: Path) -> None:
    asked = Asked(str(photos))
    for steer in (importer.pause, importer.resume, importer.cancel, importer.forget):
        steer(asked)
    assert importer.look(asked) is None
