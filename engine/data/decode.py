"""One image file to 8-bit grey or RGB, whatever its mode; broken files by reason."""

from __future__ import annotations

import io
import math
import os
import stat
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from engine.errors import SourceError

IMAGE_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
# Pillow goes by a file's content, not by its ending: without this list it would hand an EPS file
# that calls itself .png to Ghostscript, which runs what is in it.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")

_TOO_LARGE = "more pixels than is safe to decode"
_ORIENTATION = 0x0112
# What Pillow raises, depending on the bytes, of a file that is not what it should be.
_UNREADABLE = (
    OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, OverflowError,
    AttributeError, struct.error, zlib.error,
)  # fmt: skip


def decode(data: Path | bytes, size: int) -> tuple[Image.Image, tuple[int, int]]:
    """The image in a file, or in its content, upright, in mode "L" or "RGB", with transparency on
    white; and its width and height there.

    It is at least `size` pixels wide and high if the file is: a large JPEG is read at a fraction of
    its resolution, which is many times faster. Pillow's warnings are the caller's to silence: a
    filter set here would be shared by all threads that decode.

    Raises:
        SourceError: with the reason, when it cannot be read.
    """
    try:
        _check_content(data)
        with Image.open(
            io.BytesIO(data) if isinstance(data, bytes) else data, formats=FORMATS
        ) as file:
            if math.prod(file.size) > (Image.MAX_IMAGE_PIXELS or math.inf):
                raise SourceError(_TOO_LARGE)
            width, height = file.size
            file.draft(None, (2 * size, 2 * size))
            file.load()
            turned = file.getexif().get(_ORIENTATION, 1) >= 5
            image = plain(ImageOps.exif_transpose(file))
            return image, (height, width) if turned else (width, height)
    except UnidentifiedImageError:
        raise SourceError("not an image") from None
    except Image.DecompressionBombError:
        raise SourceError(_TOO_LARGE) from None
    except _UNREADABLE as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise SourceError(reason) from None


def _check_content(data: Path | bytes) -> None:
    if isinstance(data, bytes):
        length = len(data)
    else:
        about = os.stat(data)
        if not stat.S_ISREG(about.st_mode):  # a pipe would be waited for
            raise SourceError("not a regular file")
        length = about.st_size
    if not length:
        raise SourceError("the file is empty")


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
    """The middle square of `image`, scaled to `size` × `size` pixels."""
    return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
