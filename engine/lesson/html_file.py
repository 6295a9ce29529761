"""The lesson file: page, player and bundle in one HTML file that works offline in any browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.errors import RunError
from engine.lesson.build import lesson
from engine.lesson.scripts import joined
from engine.one_file import data_of, filled, inside
from engine.runs.folder import RunFolder

# The page, the style and the scripts.
ASSETS = Path(__file__).parents[2] / "assets" / "lesson"
MARKERS = ("/*PLAYER.CSS*/", "/*PLAYER.JS*/", "/*BUNDLE*/")


def replay(folder: RunFolder) -> str:
    """The lesson of a run as one HTML page; raises RunError before stage 1 is done."""
    folder.card()
    if not folder.has("features"):
        raise RunError(f"{folder.path} has no features yet: train until stage 1 is done")
    return page(lesson(folder))


def page(bundle: dict[str, Any]) -> str:
    """The page that shows a bundle; raises RunError where the player is not whole."""
    try:
        parts = [_read("player.css"), joined(ASSETS / "order.txt", "js")]
        found = _read("page.html")
    except OSError as error:
        raise RunError(
            f"{error.filename} cannot be read ({error.strerror}): the lesson's player is part of this "
            "project; restore the folder assets/lesson"
        ) from None
    content = dict(zip(MARKERS, (*map(inside, parts), data_of(bundle)), strict=True))
    return filled(found, content)


def _read(name: str) -> str:
    return (ASSETS / name).read_text("utf-8")
