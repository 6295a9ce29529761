"""The nine steps of a lesson in order, importable without loading torch."""

from __future__ import annotations

from engine.events import Stage

# Key, title, and the stage that the step is about; the first needs nothing but images.
STEPS: tuple[tuple[str, str, Stage | None], ...] = (
    ("problem", "The problem", None),
    ("views", "Views", "features"),
    ("features", "Features", "features"),
    ("confident", "Confident images", "heads"),
    ("prototypes", "Prototypes", "heads"),
    ("nearest", "Nearest images get the label", "heads"),
    ("agreement", "Agreement with neighbours", "heads"),
    ("reliable", "The reliable set", "heads"),
    ("joint", "Joint training", "joint"),
)
TITLES = {key: title for key, title, _ in STEPS}
