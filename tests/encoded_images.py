"""Small images for every kind of source."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

Encoded = Callable[..., bytes]


@pytest.fixture
def encoded() -> Encoded:
    """encoded(70) is a grey PNG of one tone, encoded((255, 0, 0), "JPEG") a red JPEG."""

    def encode(colour: Any = 128, form: str = "PNG", side: int = 8) -> bytes:
        out = io.BytesIO()
        mode = "L" if isinstance(colour, int) else "RGB"
        Image.new(mode, (side, side), colour).save(out, form)
        return out.getvalue()

    return encode
