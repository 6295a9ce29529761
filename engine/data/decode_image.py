"""Decodes one image file of any mode to 8-bit grey or RGB; broken files raise with a reason."""

from __future__ import annotations

import io
import math
import os
import stat
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from engine.errors import SourceError

IMAGE_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
# Pillow looks at the content, not at the ending. Without this list it would pass an EPS file named
# .png to Ghostscript, which executes it.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")

_TOO_LARGE = "more pixels than is safe to decode"
# Larger image files are decompression bombs.
MOST_BYTES = 2**28
_ORIENTATION = 0x0112
# Where Pillow finds the orientation of files other than TIFF.
_EXIF = frozenset({"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"})
# The errors that Pillow raises for invalid files, depending on their bytes.
_UNREADABLE = (
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


def decode(data: str | bytes, size: int) -> tuple[Image.Image, tuple[int, int]]:
    """Decodes an image from a path or from the content of a file.

    A large JPEG is read at a fraction of its resolution, which is many times faster; the result still
    has at least `size` pixels a side, unless the file has fewer. Callers silence Pillow's warnings: a
    filter set here would affect all decoding threads.

    Returns:
        The image, upright, in mode "L" or "RGB", with transparency laid on white; and the width and
        height in the file.

    Raises:
        SourceError: with the reason, if the image cannot be read.
    """
    content = content_of(data)[0] if isinstance(data, str) else data
    if not content:
        raise SourceError("the file is empty")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as file:
            width, height = file.size
            if width * height > (Image.MAX_IMAGE_PIXELS or math.inf):
                raise SourceError(_TOO_LARGE)
            if min(width, height) > 2 * size:
                file.draft(None, (2 * size, 2 * size))
            file.load()
            if file.format != "TIFF" and _EXIF.isdisjoint(file.info):
                return plain(file), (width, height)
            turned = file.getexif().get(_ORIENTATION, 1) >= 5
            ImageOps.exif_transpose(file, in_place=True)
            return plain(file), (height, width) if turned else (width, height)
    except UnidentifiedImageError:
        raise SourceError("not an image") from None
    except Image.DecompressionBombError:
        raise SourceError(_TOO_LARGE) from None
    except _UNREADABLE as error:
        raise SourceError(_reason(error)) from None


def content_of(path: str) -> tuple[bytes, tuple[int, int]]:
    """The content of a file, and its length and modification time (ns) when it was opened.

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
            if about.st_size > MOST_BYTES:
                raise SourceError(f"holds {about.st_size / 1e6:,.0f} MB, too much for an image")
            return file.readall(), (about.st_size, about.st_mtime_ns)
    except OSError as error:
        raise SourceError(_reason(error)) from None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def plain(image: Image.Image) -> Image.Image:
    """`image` in mode "L" or "RGB": 16 bits scaled to 8, transparency laid on white."""
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep(np.asarray(image))
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _from_deep(values: np.ndarray) -> Image.Image:
    """Converts 16-bit (0–65535) or float (0–1) grey to 8 bits; if values lie outside, the range is
    stretched to fit. NaN and infinity count as 0.
    """
    top = 65535.0 if np.issubdtype(values.dtype, np.integer) else 1.0
    values = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
    if values.min() < 0 or values.max() > top:
        values = values - values.min()
        top = float(values.max()) or 1.0
    return Image.fromarray(np.round(values * (255 / top)).astype(np.uint8))


def fit(image: Image.Image, size: int) -> Image.Image:
    """Crops `image` to its central square and scales it to `size` × `size` pixels."""
    if image.size == (size, size):
        return image
    return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
