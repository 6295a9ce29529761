"""Decodes one image file of any mode to 8-bit grey or RGB; broken files raise with a reason."""

from __future__ import annotations

import importlib
import io
import math
import os
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import cast

import numpy as np
from PIL import Image, ImageFile, ImageOps, ImageStat, UnidentifiedImageError

from engine.data.origin import Fit
from engine.errors import SourceError
from engine.formats.bounds import IMAGE_BYTES
from engine.formats.depth import USUAL_DEPTHS, Depth, Kind, Range, depth_for, depths_of, range_of
from engine.formats.essentials import essentials
from engine.formats.images import HEAD_BYTES, sniffed, why_unreadable
from engine.formats.stamps import stamp_of

# Pillow looks at the content, not at the ending. Without this list it would pass an EPS file named
# .png to Ghostscript, which executes it. Importing the plug-ins makes them known to Pillow.
_PLUGINS = ("Png", "Jpeg", "WebP", "Bmp", "Gif", "Tiff", "Avif", "Jpeg2K", "Ppm")


def _known() -> Iterator[str]:
    for name in _PLUGINS:
        with suppress(ImportError):  # Pillow reads AVIF since 11.3
            importlib.import_module(f"PIL.{name}ImagePlugin")
            yield {"Jpeg2K": "JPEG2000"}.get(name, name.upper())


FORMATS = tuple(_known())

# The longer side of a thumbnail in pixels; images are decoded at least so large where their file is.
THUMBNAIL_SIDE = 320

TOO_LARGE = "more pixels than is safe to decode"
ORIENTATION = 0x0112
# Formats that may hold several pictures, of which the first is used, and what their number is called in Image.info.
MANY_FRAMES = frozenset({"GIF", "TIFF", "PNG", "WEBP", "AVIF", "HEIF"})
FRAMES = "frames"
# What the `Range` of an image of more than 8 bits, or of bytes that are all 0 or 1, is called there.
RANGE = "range"
# What `decode` keeps of Image.info.
KEPT = frozenset({"icc_profile", FRAMES})
# Where Pillow finds the orientation of a file that is no TIFF.
_EXIF = frozenset({"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"})
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {_TURNS[number] for number in (5, 6, 7, 8)}
# The errors that Pillow raises for invalid files, depending on their bytes.
UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    LookupError,
    TypeError,
    OverflowError,
    AttributeError,
    struct.error,
    zlib.error,
)


def decode(
    data: str | bytes, size: int, depths: Mapping[Kind, Depth] | None = None
) -> tuple[Image.Image, tuple[int, int]]:
    """Decodes an image from a path or from the content of a file.

    It is at least `size` pixels wide and high if the file is, and large enough for a thumbnail: a large
    JPEG is read at a fraction of its resolution, which is many times faster. Pillow's warnings are the
    caller's to silence: a filter set here would be shared by all threads that decode.

    Args:
        depths: of the source, for values of more than 8 bits and masks; without them, an image of more than 8 bits
            has its own.

    Raises:
        SourceError: with the reason, if the image cannot be read.
    """
    image, extent = upright(data, size)
    try:
        flat = plain(image, depths)
    except UNREADABLE as error:
        raise SourceError(reason_of(error)) from None
    for about in KEPT & image.info.keys():
        flat.info[about] = image.info[about]
    return flat, extent


def upright(data: str | bytes, size: int) -> tuple[Image.Image, tuple[int, int]]:
    """The same in the file's own mode and colours; `size` 0 reads every pixel, of a JPEG that has more than
    is safe only half as many each way."""
    content = content_of(data)[0] if isinstance(data, str) else data
    if not content:
        raise SourceError("the file is empty")
    try:
        return _upright(content, size)
    except SourceError:
        for bare in essentials(content):
            with suppress(SourceError):
                return _upright(bare, size)
        raise


def _upright(content: bytes, size: int) -> tuple[Image.Image, tuple[int, int]]:
    try:
        with image_file(content) as file:
            width, height = file.size
            if size:
                _reduce(file, size)
            elif oversized(file):
                file.draft(None, (width // 2, height // 2))
            if oversized(file):
                raise SourceError(TOO_LARGE)
            count = frames(file, content) if file.format in MANY_FRAMES else 1
            file.load()
            turn = _TURNS.get(orientation(file))
            # Not by ImageOps.exif_transpose: it writes the EXIF again, which fails where a tag is broken.
            image = file if turn is None else file.transpose(turn)
            if count > 1:
                image.info[FRAMES] = count
            return image, (height, width) if turn in _SIDEWAYS else (width, height)
    except UnidentifiedImageError:
        raise SourceError(why_unreadable(content)) from None
    except Image.DecompressionBombError:
        raise SourceError(TOO_LARGE) from None
    except UNREADABLE as error:
        raise SourceError(reason_of(error)) from None


def frames(file: Image.Image, content: bytes) -> int:
    """How many pages or frames are in the file with this content, as far as they can be counted."""
    if file.format not in MANY_FRAMES:  # the second picture of a phone's JPEG is a preview, or is for the other eye
        return 1
    try:
        if file.format not in ("TIFF", "GIF"):
            return int(getattr(file, "n_frames", 1))
        with image_file(content) as again:  # a damaged page would harm the first one
            return int(getattr(again, "n_frames", 1))
    except UNREADABLE:
        return 1


def image_file(content: bytes) -> ImageFile.ImageFile:
    """The image in `content`, of which only the head is read; raises as Image.open does."""
    try:
        return _opened(content, FORMATS)
    except UNREADABLE:
        if sniffed(content[:HEAD_BYTES]) == "HEIC" and _has_heif():
            return _opened(content, ("HEIF",))
        for bare in essentials(content):
            with suppress(*UNREADABLE):
                return _opened(bare, FORMATS)
        raise


def _opened(content: bytes, formats: tuple[str, ...]) -> ImageFile.ImageFile:
    return Image.open(io.BytesIO(content), formats=formats)


@cache
def _has_heif() -> bool:
    """Whether pillow-heif is installed, which is not needed otherwise."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def oversized(file: Image.Image) -> bool:
    """Whether the image has more pixels than is safe to decode."""
    return math.prod(file.size) > (Image.MAX_IMAGE_PIXELS or math.inf)


def _reduce(file: Image.Image, size: int) -> None:
    """Has a JPEG read at a fraction of its resolution, as far as enough is left."""
    width, height = file.size
    scale = min(min(width, height) // (2 * size), max(width, height) // THUMBNAIL_SIDE)
    if scale > 1:
        file.draft(None, (width // scale, height // scale))


def orientation(file: Image.Image) -> int:
    """By its metadata, from 1, upright, to 8; 1 where it says nothing, or nothing that can be."""
    if file.format != "TIFF" and _EXIF.isdisjoint(file.info):
        return 1
    try:
        value = int(file.getexif().get(ORIENTATION, 1))
    except UNREADABLE:
        return 1
    return value if value in _TURNS else 1


def content_of(path: str) -> tuple[bytes, tuple[int, int]]:
    """The content of a file, and its stamp (`Listing.stamps`) when it was opened.

    Raises:
        SourceError: with the reason; also for pipes and devices.
    """
    try:
        # Opening a pipe would block until something writes to it.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(handle, "rb", buffering=0) as file:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode):
                raise SourceError("not a regular file")
            if about.st_size > IMAGE_BYTES:
                raise SourceError(f"holds {about.st_size / 1e6:,.0f} MB, too much for an image")
            return file.readall(), stamp_of(about)
    except OSError as error:
        raise SourceError(reason_of(error)) from None


def reason_of(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def plain(image: Image.Image, depths: Mapping[Kind, Depth] | None = None) -> Image.Image:
    """`image` in mode "L" or "RGB": 16 bits scaled to 8, transparency laid on white."""
    if image.mode.startswith("I") or image.mode == "F":
        return _of_deep(np.asarray(image), depths)
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    if image.mode == "L":
        return _of_bytes(image, depths or USUAL_DEPTHS)
    return image if image.mode == "RGB" else image.convert("L" if image.mode == "1" else "RGB")


def _of_deep(values: np.ndarray, depths: Mapping[Kind, Depth] | None) -> Image.Image:
    found = range_of(values)
    if depths is None and (found is None or found.kind == "floats"):
        flat = _from_deep(values)
    else:
        known = depths_of([found], 1) if depths is None and found is not None else depths or {}
        depth = USUAL_DEPTHS["whole"] if found is None else depth_for(found, known)
        flat = Image.fromarray(depth.applied(values))
    flat.info[RANGE] = found
    return flat


def _of_bytes(image: Image.Image, depths: Mapping[Kind, Depth]) -> Image.Image:
    """`image`, in mode "L": scaled if it is a mask of 0 and 1."""
    low, high = cast("tuple[int, int]", image.getextrema())  # of mode "L"
    if high > 1:
        return image
    found = Range(float(low), float(high), "bytes")
    depth = depth_for(found, depths)
    flat = image if depth == USUAL_DEPTHS["bytes"] else Image.fromarray(depth.applied(np.asarray(image)))
    flat.info[RANGE] = found
    return flat


def _from_deep(values: np.ndarray) -> Image.Image:
    """Converts float (0–1) grey to 8 bits; if values lie outside, the range is stretched to fit. NaN and infinity
    count as 0.
    """
    top = 1.0
    values = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
    if values.min() < 0 or values.max() > top:
        values = values - values.min()
        top = float(values.max()) or 1.0
    return Image.fromarray(np.round(values * (255 / top)).astype(np.uint8))


def fit(image: Image.Image, size: int, how: Fit = "crop") -> Image.Image:
    """`image`, in mode "L" or "RGB", as a square of `size` × `size` pixels."""
    if image.size == (size, size):
        return image
    if how == "squeeze":
        return image.resize((size, size), Image.Resampling.BICUBIC)
    if how == "pad":
        whole = image.resize(fitted(image.size, size, enlarge=True), Image.Resampling.BICUBIC)
        mean = tuple(round(value) for value in ImageStat.Stat(whole).mean)
        square = Image.new(image.mode, (size, size), mean)
        square.paste(whole, ((size - whole.width) // 2, (size - whole.height) // 2))
        return square
    return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)


def fitted(extent: tuple[int, int], side: int, *, enlarge: bool = False) -> tuple[int, int]:
    """Width and height of an image of that width and height within a square of `side` pixels.

    >>> fitted((900, 300), 160), fitted((90, 30), 160), fitted((1, 20_000), 160)
    ((160, 53), (90, 30), (1, 160))
    """
    share = side / max(extent)
    if share >= 1 and not enlarge:
        return extent
    width, height = (max(1, round(length * share)) for length in extent)
    return width, height
