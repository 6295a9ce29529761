"""The lesson file: page, player and bundle in one HTML file that works offline in any browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from engine.errors import RunError
from engine.lesson.build import lesson
from engine.lesson.scripts import joined
from engine.runs.folder import RunFolder

# The page, the style and the scripts.
ASSETS = Path(__file__).parents[2] / "assets" / "lesson"
MARKERS = ("/*PLAYER.CSS*/", "/*PLAYER.JS*/", "/*BUNDLE*/")
# What would end a script or style, or begin a comment that hides its end, wherever it stands.
_ENDS = re.compile(r"<(?=/?(?:script|style)|!--)", re.IGNORECASE)


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
    css, js = (_ENDS.sub("\\\\x3c", one) for one in parts)
    content = dict(zip(MARKERS, (css, js, data_of(bundle)), strict=True))
    # In one pass, so that markers inside inserted text are not replaced.
    return re.sub("|".join(map(re.escape, MARKERS)), lambda marker: content[marker[0]], found)


def data_of(bundle: dict[str, Any]) -> str:
    """A bundle as JSON that is safe inside a script element."""
    text = json.dumps(bundle, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _read(name: str) -> str:
    return (ASSETS / name).read_text("utf-8")
