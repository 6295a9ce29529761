"""A synthetic run of photographs: originals of 12 megapixels, a few dozen of them under thousands of names.

They are not imported, which would take minutes: the pixels that are trained on are made from the few different
ones, and the run remembers names, stamps and origin of all, as after an import.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from benchmarks.made import made_run
from engine.data.decode_image import ORIENTATION, decode, fit
from engine.data.images import ImageSet
from engine.runs.folder import RunFolder
from engine.runs.maps import DEFAULT, artefact_of
from engine.sources.open_source import Opened, origin_of, source_of

SIZE = 4000, 3000
DIFFERENT = 60
SIDE = 32
CLUSTERS, FEATURES, NEIGHBORS = 2, 64, 50
# The shapes are drawn with fewer pixels each way by this factor, and enlarged: they are smooth.
COARSE = 10
SHAPES, BLUR = 24, 3
# Detail decides how large files and thumbnails are: so strong is each octave, from single pixels on.
GRAIN, OCTAVES, MIDDLE = 5, 9, 128
QUALITY = 90
CAMERA_TAG, UPRIGHT = 0x0110, 1
# The map is a grid, so that it is known which image is at a place.
COLUMNS = 100


def draw(folder: Path, count: int = DIFFERENT, size: tuple[int, int] = SIZE) -> list[Path]:
    """Draws so many different JPEGs of `size` (width and height) into the new `folder`."""
    folder.mkdir(parents=True)
    grain = _grain(size)
    files = [folder / f"{number:03d}.jpg" for number in range(count)]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(partial(_save, grain=grain), files, range(count)))
    return files


def _grain(size: tuple[int, int]) -> Image.Image:
    """Noise of all scales, as strong in each octave: so detail is distributed in photographs of natural scenes."""
    rng, (width, height) = np.random.default_rng(0), size
    total = np.full((height, width), MIDDLE, np.float32)
    for octave in range(OCTAVES):
        shape = -(-height // 2**octave), -(-width // 2**octave)
        noise = Image.fromarray(GRAIN * rng.standard_normal(shape, np.float32))
        total += np.asarray(noise.resize(size, Image.Resampling.BICUBIC))
    return Image.merge("RGB", [Image.fromarray(total.clip(0, 255).astype(np.uint8))] * 3)


def _save(file: Path, number: int, *, grain: Image.Image) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = UPRIGHT
    exif[CAMERA_TAG] = "Pinhole 12"
    photograph(number, grain).save(file, "JPEG", quality=QUALITY, exif=exif)


def photograph(number: int, grain: Image.Image) -> Image.Image:
    """Blurred shapes on a gradient, different for each number, with the `grain` moved, as large as that is."""
    rng = np.random.default_rng(number)
    width, height = (max(1, length // COARSE) for length in grain.size)
    corners = rng.integers(30, 226, (2, 2, 3), np.uint8)
    image = Image.fromarray(corners).resize((width, height), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    for _ in range(SHAPES):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        across, down = (int(rng.integers(2, max(3, length // 5))) for length in (width, height))
        colour = tuple(rng.integers(20, 236, 3).tolist())
        outline = pen.ellipse if rng.random() < 0.5 else pen.rectangle
        outline((x - across, y - down, x + across, y + down), fill=colour)
    smooth = image.filter(ImageFilter.GaussianBlur(BLUR)).resize(grain.size, Image.Resampling.BICUBIC)
    moved = ImageChops.offset(grain, *(int(rng.integers(length)) for length in grain.size))
    return ImageChops.add(smooth, moved, offset=-MIDDLE)


def link(files: Sequence[Path], folder: Path, count: int) -> None:
    """Links `files` under `count` names in the new `folder`, in turn."""
    folder.mkdir(parents=True)
    for number in range(count):
        os.link(files[number % len(files)], folder / name_of(number))


def name_of(number: int) -> str:
    return f"DSC{number:05d}.jpg"


def opened(folder: Path, files: Sequence[Path]) -> Opened:
    """The images of `folder`, which `link` has filled with `files`, as if they had been imported at 32 pixels."""
    text = f"folder:{folder}"
    source = source_of(text)
    listing = source.listing()
    squares, extents = zip(*map(_square, files), strict=True)
    rows = np.arange(len(listing.names)) % len(files)
    return Opened(
        ImageSet(np.stack(squares)[rows], listing.names, source.text),
        extents=np.array(extents, np.int32)[rows],
        origin=origin_of(text, source),
        stamps=listing.stamps,
    )


def _square(file: Path) -> tuple[np.ndarray, tuple[int, int]]:
    """(3, SIDE, SIDE) uint8, and width and height of the original."""
    image, extent = decode(str(file), SIDE)
    return np.asarray(fit(image, SIDE)).transpose(2, 0, 1), extent


def run_of_photographs(path: Path, photographs: Opened) -> RunFolder:
    """A finished synthetic run of these images at `path`, with the grid as its map."""
    count = len(photographs.images)
    run = made_run(
        path,
        images=count,
        clusters=CLUSTERS,
        features=FEATURES,
        neighbors=NEIGHBORS,
        frames=False,
        photographs=photographs,
    )
    run.save(artefact_of(run, DEFAULT), {"points": grid(count)})
    return run


def grid(count: int) -> np.ndarray:
    """(count, 2) float32: places on the map, COLUMNS in a row.

    >>> grid(102)[[0, 99, 101]].tolist()
    [[0.0, 0.0], [99.0, 0.0], [1.0, 1.0]]
    """
    rows, columns = np.divmod(np.arange(count), COLUMNS)
    return np.stack([columns, rows], 1).astype(np.float32)
