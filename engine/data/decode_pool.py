"""Decodes batches of encoded images into a `PixelFile`, in threads or, for many images, in processes.

Decoding a small image is mostly Python code, which only one thread of a process can run at a time. The
processes are started with a command of their own: multiprocessing would run the calling program, perhaps
a web server, again in each of them.
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np

from engine.data.decode_image import FRAMES, RANGE, content_of, decode, fit, upright
from engine.data.listing import Reader
from engine.data.origin import Fit
from engine.data.pixel_file import PixelFile
from engine.data.thumbnail_store import ThumbnailStore
from engine.data.thumbnails import has_own_profile, pictured, thumbnail
from engine.errors import SourceError
from engine.formats.depth import USUAL_DEPTHS, Depth, Kind, Range

if TYPE_CHECKING:
    from PIL import Image

# From so many images on, starting processes pays.
MANY = 2_000
# Listing fewer images takes less time than this.
SOON_SECONDS = 0.1
# The niceness of decoding processes: training and the app have priority.
NICE = 5


@dataclass(frozen=True, eq=False)
class Batch:
    """The result of decoding m images.

    Attributes:
        places: (m,), indices into the listing.
        good, coloured: (m,) bool.
        extents: (m, 2) int32, width and height before cropping and scaling.
        reasons: place → why it could not be decoded, for those that are not good.
        changed: places of files that were modified after they were listed.
        frames: place → how many pages or frames are in the file, where there are several.
        ranges: place → the range of its values, if they have more than 8 bits or are all 0 or 1.
    """

    places: np.ndarray
    good: np.ndarray
    coloured: np.ndarray
    extents: np.ndarray
    reasons: dict[int, str]
    changed: list[int]
    frames: dict[int, int]
    ranges: dict[int, Range]


class Decode(Protocol):
    def __call__(self, places: np.ndarray, keys: list[Any], names: list[str], stamps: np.ndarray) -> Batch: ...


class Decoder:
    """Decodes batches into the file at `pixels`, as squares of `size` pixels, and keeps thumbnails of the
    images that are larger."""

    def __init__(
        self,
        reader: Reader,
        pixels: Path,
        size: int,
        how: Fit,
        thumbnails: ThumbnailStore | None,
        depths: Mapping[Kind, Depth] = USUAL_DEPTHS,
    ) -> None:
        self.reader, self.size, self.how, self.thumbnails, self.depths = reader, size, how, thumbnails, depths
        self.file = PixelFile(pixels, (3, size, size))

    def __call__(self, places: np.ndarray, keys: list[Any], names: list[str], stamps: np.ndarray) -> Batch:
        block = np.zeros((len(places), self.size, self.size, 3), np.uint8)
        small: dict[int, bytes] = {}
        store = self.thumbnails
        wanted = np.zeros(len(places), bool) if store is None else store.wanted(names, stamps)
        if self.depths is not USUAL_DEPTHS and store is not None:
            wanted[:] = True  # those that are kept were made before the depth was known
        good, extents = np.zeros(len(places), bool), np.zeros((len(places), 2), np.int32)
        reasons: dict[int, str] = {}
        changed = []
        frames: dict[int, int] = {}
        ranges: dict[int, Range] = {}
        for row, place in enumerate(places.tolist()):
            try:
                data = self.reader(keys[row])
                if isinstance(data, str):
                    data, stamp = content_of(data)
                    if stamp != tuple(stamps[row]):
                        changed.append(place)
                        wanted[row] = False
                image, extents[row] = decode(data, self.size, self.depths)
                square = np.asarray(fit(image, self.size, self.how))
                block[row] = square if square.ndim == 3 else square[..., None]
                good[row] = True
                if FRAMES in image.info:
                    frames[place] = image.info[FRAMES]
                if image.info.get(RANGE) is not None:
                    ranges[place] = image.info[RANGE]
                if wanted[row] and pictured(extents[row][None], (self.size, self.size)):
                    small |= _thumbnail(row, image, data)
            except (SourceError, MemoryError) as error:
                reasons[place] = str(error) or "more pixels than there is memory for"
        pixels = np.ascontiguousarray(block.transpose(0, 3, 1, 2))
        self.file.write(places[good], pixels[good])
        if store is not None:
            store.add([names[row] for row in small], stamps[list(small)], list(small.values()))
        return Batch(places, good, coloured(pixels), extents, reasons, changed, frames, ranges)


def _thumbnail(row: int, image: Image.Image, data: bytes) -> dict[int, bytes]:
    """The thumbnail of `image`, which was decoded from `data`, by `row`; nothing when it cannot be made."""
    try:
        return {row: thumbnail(upright(data, 1)[0] if has_own_profile(image) else image)}
    except (SourceError, MemoryError, OSError, ValueError):
        return {}


def coloured(block: np.ndarray) -> np.ndarray:
    """(m,) bool: which of the images (m, C, H, W) are not grey."""
    return (block != block[:, :1]).any(axis=(1, 2, 3))


class Decoders:
    """Decoding threads, each with its own process if there are many images.

    Use it in a `with` block, which ends them.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.pool = ThreadPoolExecutor(workers, "spice-decode")
        self._processes = _Processes()
        self._expecting = threading.Timer(SOON_SECONDS, self._processes.start, (workers,))
        self._ends = ExitStack()

    def __enter__(self) -> Decoders:
        self._ends.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # a file that cannot be decoded is listed instead
        self._ends.callback(self._processes.close)
        self._ends.callback(self.pool.shutdown, cancel_futures=True)
        self._ends.callback(self._expect_no_more)
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def expect(self) -> None:
        """Call before listing: if that takes long, there are many images, and the processes start
        meanwhile."""
        self._expecting.start()

    def _expect_no_more(self) -> None:
        self._expecting.cancel()
        if self._expecting.is_alive():  # it is starting processes: wait, so that all of them are ended
            self._expecting.join()

    def release(self) -> None:
        """Tells the processes that no more images follow, so that they end meanwhile."""
        self._processes.release()

    def of(
        self, reader: Reader, pixels: Path, size: int, how: Fit, thumbnails: ThumbnailStore | None, *, images: int
    ) -> Decode:
        """The work of a thread of `pool` on one batch."""
        self._expecting.cancel()
        if images < MANY:
            return Decoder(reader, pixels, size, how, thumbnails)
        self._processes.decoder = reader, pixels, size, how, thumbnails
        return self._processes


class _Processes:
    """One process per calling thread."""

    def __init__(self) -> None:
        self.decoder: tuple[Any, ...] = ()
        self._own = threading.local()
        self._all: list[subprocess.Popen[bytes]] = []
        self._spare: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()

    def __call__(self, places: np.ndarray, keys: list[Any], names: list[str], stamps: np.ndarray) -> Batch:
        try:
            if not hasattr(self._own, "process"):
                self._own.process = self._taken()
                self._say(self.decoder)
            self._say((places, keys, names, stamps))
            answer = pickle.load(self._own.process.stdout)
        except (BrokenPipeError, EOFError, pickle.UnpicklingError):
            raise SourceError(
                "a process that decodes images was killed, perhaps because memory ran out: "
                "close other programs, or choose a smaller size"
            ) from None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def start(self, count: int) -> None:
        """Starts `count` processes ahead of time."""
        for _ in range(count):
            self._spare.put(self._started())

    def _taken(self) -> subprocess.Popen[bytes]:
        try:
            return self._spare.get_nowait()
        except queue.Empty:
            return self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        root = str(Path(__file__).parents[2])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        process = subprocess.Popen(
            [sys.executable, "-c", "from engine.data.decode_pool import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        self._all.append(process)
        return process

    def _say(self, what: Any) -> None:
        pipe = self._own.process.stdin
        pickle.dump(what, pipe, pickle.HIGHEST_PROTOCOL)
        pipe.flush()

    def release(self) -> None:
        """Ends each process by closing its input."""
        for process in self._all:
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.close()

    def close(self) -> None:
        """Ends the processes and waits for them."""
        self.release()
        for process in self._all:
            assert process.stdout is not None
            process.stdout.close()
            process.wait()


def serve() -> None:
    """The main loop of a decoding process: reads batches from stdin until it is closed, and answers on stdout."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is handled by the parent process
    if hasattr(os, "nice"):
        os.nice(NICE)
    warnings.simplefilter("ignore")
    logging.getLogger("engine").addHandler(logging.NullHandler())  # what there is to say is said by the parent
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not get into the answers
    with suppress(EOFError, BrokenPipeError):
        decoder = Decoder(*pickle.load(asked))
        while True:
            _answer(decoder, pickle.load(asked), answers)


def _answer(decoder: Decoder, batch: Any, answers: IO[bytes]) -> None:
    try:
        answer: Batch | OSError = decoder(*batch)
    except OSError as error:  # a full disk
        answer = error
    pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
    answers.flush()
