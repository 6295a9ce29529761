"""One image file to 8-bit grey or RGB, whatever its mode; broken files by reason."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from engine.errors import SourceError

IMAGE_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


def decode(path: Path, size: int) -> Image.Image:
    """The image at `path`, upright, in mode "L" (grey) or "RGB"; transparency becomes white.

    It is at least `size` pixels wide and high if the file is: a large JPEG is read at a fraction of
    its resolution, which is many times faster.

    Raises:
        SourceError: with the reason, when it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                file.draft(None, (2 * size, 2 * size))
                file.load()
                return plain(ImageOps.exif_transpose(file))
    except UnidentifiedImageError:
        size = path.stat().st_size
        raise SourceError("the file is empty" if size == 0 else "not an image") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise SourceError("more pixels than is safe to decode") from None
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise SourceError(str(error) or type(error).__name__) from None


def plain(image: Image.Image) -> Image.Image:
    """`image` in mode "L" or "RGB": 16 bits scaled to 8, transparency laid on white."""
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep(np.asarray(image))
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        grey = image.convert("RGB")
        image = Image.alpha_composite(white, image).convert("RGB")
        return image.convert("L") if _is_grey(grey) else image
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _is_grey(image: Image.Image) -> bool:
    red, green, blue = image.split()
    return red.tobytes() == green.tobytes() == blue.tobytes()


def _from_deep(values: np.ndarray) -> Image.Image:
    """Grey of 16 bits (0–65535) or floats (0–1) to 8 bits; values outside are stretched to fit."""
    top = 65535.0 if np.issubdtype(values.dtype, np.integer) else 1.0
    values = np.nan_to_num(values.astype(np.float64))
    if values.min() < 0 or values.max() > top:
        values = values - values.min()
        top = float(values.max())
    return Image.fromarray(np.round(values * (255 / top)).astype(np.uint8))


def fit(image: Image.Image, size: int) -> Image.Image:
    """The middle square of `image`, scaled to `size` × `size` pixels."""
    return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
