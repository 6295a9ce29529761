"""The settings of a run, next to the paper's."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any

from engine.config import RunConfig
from engine.terms import SETTING_GROUPS, plain


@dataclass(frozen=True)
class Value:
    """One setting: its value, and the paper's ("" where the paper has none), as people write them."""

    name: str
    meaning: str
    value: str
    paper: str

    @property
    def differs(self) -> bool:
        return bool(self.paper) and self.value != self.paper


@dataclass(frozen=True)
class Group:
    title: str
    values: tuple[Value, ...]


def groups_of(config: RunConfig) -> tuple[Group, ...]:
    """Every setting but K, seed and preset, by group."""
    return tuple(Group(title, _values(config, name)) for name, title in SETTING_GROUPS)


def _values(config: RunConfig, name: str) -> tuple[Value, ...]:
    part: Any = config
    for step in name.split("."):
        part = getattr(part, step)
    return tuple(
        Value(
            entry.name.replace("_", " "),
            str(entry.metadata.get("meaning", "")),
            _written(getattr(part, entry.name)),
            "" if entry.metadata.get("paper") is None else _written(entry.metadata["paper"]),
        )
        for entry in fields(part)
    )


def _written(value: Any) -> str:
    if value is None:
        return "automatic"
    return without_folders(value) if isinstance(value, str) else plain(value)


def without_folders(text: str) -> str:
    """The text without the folders of a path in it: whom a report is sent to need not know them.

    >>> without_folders("weights:timm/vit:/home/ann/vit.pt"), without_folders("timm/vit")
    ('weights:timm/vit:vit.pt', 'timm/vit')
    """
    return re.sub(r"(^|:)(?:~|[A-Za-z]:)?[/\\].*[/\\]", r"\1", text)
