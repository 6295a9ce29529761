"""Images that could not be used, with the reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Skipped:
    """A file that should be an image but could not be used."""

    name: str
    reason: str
