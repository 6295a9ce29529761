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
# Pillow goes by a file's content, not by its ending: without this list it would hand an EPS file
# that calls itself .png to Ghostscript, which runs what is in it.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")

_TOO_LARGE = "more pixels than is safe to decode"
# Larger image files are decompression bombs.
MOST_BYTES = 2**28
_ORIENTATION = 0x0112
# Where Pillow finds the orientation of a file that is no TIFF.
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
    """The image in a file (its path), or in its content, upright, in mode "L" or "RGB", with
    transparency on white; and its width and height there.

    It is at least `size` pixels wide and high if the file is: a large JPEG is read at a fraction of
    its resolution, which is many times faster. Pillow's warnings are the caller's to silence: a
    filter set here would be shared by all threads that decode.

    Raises:
        SourceError: with the reason, when it cannot be read.
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
    """The content of a file, and its length and time (ns) when it was opened.

    Raises:
        SourceError: with the reason, for a pipe or a device too.
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
    """Grey of 16 bits (0–65535) or floats (0–1) to 8 bits; values outside are stretched to fit.

    What is not a finite number counts as 0.
    """
    top = 65535.0 if np.issubdtype(values.dtype, np.integer) else 1.0
    values = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
    if values.min() < 0 or values.max() > top:
        values = values - values.min()
        top = float(values.max()) or 1.0
    return Image.fromarray(np.round(values * (255 / top)).astype(np.uint8))


def fit(image: Image.Image, size: int) -> Image.Image:
    """The central square of `image`, scaled to `size` × `size` pixels."""
    if image.size == (size, size):
        return image
    return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
