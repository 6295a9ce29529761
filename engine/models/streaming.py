"""Labels any number of images in constant memory: decoding runs ahead in threads while the model computes."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from engine.data.decode_image import decode, fit
from engine.data.import_images import resized
from engine.data.listing import Reader
from engine.data.thumbnails import as_image
from engine.errors import RunError, SourceError
from engine.models.about import About
from engine.models.model import Answers, Model

# A batch has at most so many pixels and images, and at least so many images: larger ones leave a CPU's caches.
BATCH_PIXELS, MOST_IMAGES, LEAST_IMAGES = 2**18, 256, 8
# Images that a thread decodes at a time, and such pieces that may wait for the model, for each thread.
TOGETHER, AHEAD = 16, 4
# A batch that is not full is answered when so long nothing more has come, as from a program that waits for answers.
PATIENCE = 0.05


@dataclass(frozen=True, eq=False)
class Piece:
    """Some images.

    Attributes:
        names: of all of them, in their order.
        pixels: (m, C, H, W) uint8, of those that could be read.
        reasons: place → why it could not be read, for the others.
    """

    names: tuple[str, ...]
    pixels: np.ndarray
    reasons: dict[int, str]


@dataclass(frozen=True, eq=False)
class Told:
    """What is told of a batch of images `names`: answers of those that could be read, in their order, and the reasons
    of the others by their place."""

    names: tuple[str, ...]
    answers: Answers
    reasons: dict[int, str]


def of_files(
    model: Model, files: Iterable[tuple[str, Any]], reader: Reader, *, together: int = TOGETHER
) -> Iterator[Told]:
    """Labels image files, given by name and the reader's key; an unreadable one is told with the reason.

    `together`: how many are decoded by one thread at a time; 1 answers each as soon as it can.

    Raises:
        RunError: when the model takes images that are not square.
    """
    check_square(model.about)
    return _batches(model, _decoded(model.about, files, reader, together))


def check_square(about: About) -> None:
    """Raises RunError when the model takes images that are not square."""
    if about.height != about.width:
        raise RunError(
            f"{about.run} was trained on images of {about.width}×{about.height}, but files become squares: give an "
            "array of images of that size"
        )


def of_blocks(model: Model, names: Iterable[str], blocks: Iterable[np.ndarray]) -> Iterator[Told]:
    """Labels arrays of images (m, C, H, W) uint8; those of another size are scaled, if the model takes squares.

    Raises:
        RunError: for images of another size, when it does not.
    """
    about, left = model.about, iter(names)
    size = batch_size(about)
    for block in blocks:
        for start in range(0, len(block), size):
            pixels = suited(block[start : start + size], about)
            told = tuple(islice(left, len(pixels)))
            yield Told(told, model.answer(pixels), {})


def batch_size(about: About) -> int:
    return max(LEAST_IMAGES, min(MOST_IMAGES, BATCH_PIXELS // (about.height * about.width)))


def suited(block: np.ndarray, about: About) -> np.ndarray:
    """Images (m, C, H, W) uint8 as the model takes them; raises RunError when they cannot be."""
    size = about.height, about.width
    if block.shape[2:] != size:
        if about.height != about.width:
            height, width = block.shape[2:]
            raise RunError(
                f"the images are {width}×{height}, but {about.run} was trained on images of "
                f"{about.width}×{about.height}: give images of that size"
            )
        block = resized(block, about.height, about.fit)
    if block.shape[1] == about.channels:
        return np.ascontiguousarray(block)
    if about.channels == 3:
        return np.repeat(block, 3, axis=1)
    width = block.shape[3]
    below = as_image(block.transpose(1, 0, 2, 3).reshape(3, -1, width))  # one image below the other
    return np.asarray(below.convert("L")).reshape(-1, 1, *block.shape[2:])


def square_of(data: str | bytes, about: About) -> np.ndarray:
    """(C, H, W) uint8: an image file, by path or content, as the model takes it; raises SourceError."""
    image, _ = decode(data, about.height, about.depth_rule)
    square = fit(image, about.height, about.fit)
    if about.channels == 1:
        return np.asarray(square if square.mode == "L" else square.convert("L"))[None]
    pixels = np.asarray(square if square.mode == "RGB" else square.convert("RGB"))
    return pixels.transpose(2, 0, 1)


# -- decoding ahead ------------------------------------------------------------------------------


def _decoded(
    about: About, files: Iterable[tuple[str, Any]], reader: Reader, together: int
) -> Iterator[Future[Piece] | None]:
    """The pieces that are being decoded, in their order; None when nothing has come for a while."""
    workers = os.cpu_count() or 1
    waiting: queue.Queue[Future[Piece] | BaseException | None] = queue.Queue(AHEAD * workers)
    stopped = threading.Event()

    def put(what: Future[Piece] | BaseException | None) -> None:
        placed = False
        while not placed and not stopped.is_set():
            with suppress(queue.Full):
                waiting.put(what, timeout=1)
                placed = True

    def hand_out() -> None:
        try:
            rest = iter(files)
            while not stopped.is_set() and (some := list(islice(rest, together))):
                put(pool.submit(_piece, about, some, reader))
            put(None)
        except BaseException as error:  # it is raised where the pieces are asked for
            put(error)

    with ThreadPoolExecutor(workers, "spice-decode") as pool:
        threading.Thread(target=hand_out, name="spice-hand-out", daemon=True).start()
        try:
            while True:
                try:
                    found = waiting.get(timeout=PATIENCE)
                except queue.Empty:
                    yield None
                    continue
                if found is None:
                    return
                if isinstance(found, BaseException):
                    raise found
                yield found
        finally:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _piece(about: About, files: list[tuple[str, Any]], reader: Reader) -> Piece:
    pixels = np.empty((len(files), about.channels, about.height, about.width), np.uint8)
    reasons: dict[int, str] = {}
    good = 0
    for place, (_, key) in enumerate(files):
        try:
            pixels[good] = square_of(reader(key), about)
            good += 1
        except (SourceError, MemoryError) as error:
            reasons[place] = str(error) or "more pixels than there is memory for"
    return Piece(tuple(name for name, _ in files), pixels[:good], reasons)


def _batches(model: Model, pieces: Iterator[Future[Piece] | None]) -> Iterator[Told]:
    """Answers pieces together, as soon as they are enough or nothing more comes."""
    size, held = batch_size(model.about), list[Piece]()
    for future in pieces:
        if held and (future is None or not wait_for([future], PATIENCE).done):
            yield _told(model, held)
            held = []
        if future is not None:
            held.append(future.result())
        if sum(len(one.names) for one in held) >= size:
            yield _told(model, held)
            held = []
    if held:
        yield _told(model, held)


def _told(model: Model, pieces: list[Piece]) -> Told:
    names: list[str] = []
    reasons: dict[int, str] = {}
    for piece in pieces:
        reasons |= {len(names) + place: why for place, why in piece.reasons.items()}
        names += piece.names
    pixels = np.concatenate([piece.pixels for piece in pieces])
    return Told(tuple(names), model.answer(pixels), reasons)
