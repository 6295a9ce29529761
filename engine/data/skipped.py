"""What could not be used, and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Skipped:
    """An image, or what should be one, that could not be used."""

    name: str
    reason: str
