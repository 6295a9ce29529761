"""`Step`: one step of a lesson, as a player draws it."""

from __future__ import annotations

from typing import Any

from engine.events import Stage
from engine.lesson.outline import TITLES
from engine.lesson.run_view import Material

Step = dict[str, Any]


def step_of(
    key: str,
    sentence: str,
    formula: str = "",
    source: str = "",
    *,
    needs: str = "",
    show: dict[str, Any] | None = None,
    play: dict[str, Any] | None = None,
    wrong: dict[str, Any] | None = None,
) -> Step:
    """The step called `key`; `needs` says why it has nothing to show."""
    return {
        "key": key,
        "title": TITLES[key],
        "sentence": sentence,
        "formula": formula,
        "source": source,
        "needs": needs,
        "show": show or {},
        "play": play,
        "wrong": wrong,
    }


def lacking(material: Material, stage: Stage, needs: str) -> str:
    """The message for a stage without frames: they are missing, or the stage has not started."""
    if stage in material.done:
        return "The frames of this stage are missing from the run's folder: train a new run to see it."
    return needs
