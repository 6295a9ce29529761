"""The cache of decoded images: one memory-mapped uint8 store a source and size."""

from __future__ import annotations

import os
from pathlib import Path

CACHE = "SPICE_EXPLORER_CACHE"


def cache() -> Path:
    """Where what can be made again is kept: $SPICE_EXPLORER_CACHE, or ~/.cache/spice-explorer."""
    return Path(os.environ.get(CACHE) or Path.home() / ".cache" / "spice-explorer").absolute()
