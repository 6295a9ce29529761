"""The settings of a run as form fields, from the engine's declarations."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from engine.config import IMPORT, SCRATCH, RunConfig, Settings, flat, with_setting
from engine.errors import SettingError
from engine.terms import SETTING_GROUPS, plain

if TYPE_CHECKING:
    from engine.data.images import ImageSet

Kind = Literal["choice", "switch", "whole", "number"]

DEVICES = {"auto": "auto (the fastest)", "cpu": "CPU", "cuda": "GPU (CUDA)", "mps": "GPU (Apple)"}


# The side in pixels at which networks that know photographs take them, and from which images count as such.
PHOTOGRAPH, LEAST_PHOTOGRAPH = 224, 64


def photographs(images: ImageSet) -> bool:
    """Whether a network that knows photographs can be expected to know these images."""
    return images.channels == 3 and min(images.size) >= LEAST_PHOTOGRAPH


def tiny(images: ImageSet, extents: np.ndarray | None) -> bool:
    """Whether most of these images were much larger before they were scaled, (N, 2) `extents`, and too small for
    such a network now."""
    if images.channels != 3 or extents is None or min(images.size) >= LEAST_PHOTOGRAPH:
        return False
    return bool(np.median(extents.min(1)) >= 2 * LEAST_PHOTOGRAPH)


def devices(gpus: int) -> dict[str, str]:
    """The devices to choose from, with titles, if there are `gpus` GPUs; a single GPU needs no number."""
    numbered = {f"cuda:{index}": f"GPU {index} (CUDA)" for index in range(gpus)} if gpus > 1 else {}
    return {**DEVICES, **numbered}


@dataclass(frozen=True)
class Field:
    """One setting in a form.

    Attributes:
        name: dotted, such as "heads.epochs".
        optional: true when it may be left empty.
        free: true when text other than the options may be typed.
    """

    name: str
    label: str
    kind: Kind
    value: Any
    help: str
    options: tuple[Any, ...] = ()
    step: float = 1
    optional: bool = False
    free: bool = False


@dataclass(frozen=True)
class Group:
    name: str
    title: str
    fields: tuple[Field, ...]


def groups(config: RunConfig, texts: Mapping[str, Sequence[str]]) -> tuple[Group, ...]:
    """Every setting but K, seed and preset, by group, with the values of `config`.

    `texts`: for each setting that is a text, by dotted name, what can be chosen here.
    """
    return tuple(Group(name, title, _fields(name, _part(config, name), texts)) for name, title in SETTING_GROUPS)


def _part(config: RunConfig, name: str) -> Settings:
    part: Any = config
    for step in name.split("."):
        part = getattr(part, step)
    return part


def _fields(group: str, part: Settings, texts: Mapping[str, Sequence[str]]) -> tuple[Field, ...]:
    kinds = typing.get_type_hints(type(part))
    return tuple(
        _field(f"{group}.{entry.name}", getattr(part, entry.name), kinds[entry.name], entry.metadata, texts)
        for entry in fields(part)
    )


def _field(name: str, value: Any, kind: Any, about: Mapping[str, Any], texts: Mapping[str, Sequence[str]]) -> Field:
    label = name.rsplit(".", 1)[-1].replace("_", " ")
    text = explanation(about)
    if typing.get_origin(kind) is Literal:
        return Field(name, label, "choice", value, text, typing.get_args(kind))
    if kind is str:
        # The current value stays an option, even if (say) the file it names no longer exists.
        options = tuple(dict.fromkeys([*texts.get(name, ()), value]))
        return Field(name, label, "choice", value, text, options, free=True)
    if kind is bool:
        return Field(name, label, "switch", value, text)
    optional = isinstance(kind, types.UnionType)
    whole = kind is int or (optional and int in typing.get_args(kind))
    step = 1 if whole else fine_step(value)
    return Field(name, label, "whole" if whole else "number", value, text, (), step, optional)


def advice(config: RunConfig) -> dict[str, str]:
    """By dotted name, what should be known of a setting beside the others."""
    source, epochs = config.features.source, config.features.epochs
    if source.startswith(IMPORT):
        return {"features.epochs": "Not used: external vectors are taken as they are"}
    if config.keeps_views:
        shared = "Not used: stage 3 shares the strong views that the frozen network saw in stage 2"
        return {f"views.joint.{entry.name}": shared for entry in fields(config.views.joint)}
    if source == SCRATCH or not epochs:
        return {}
    return {"features.epochs": f"{epochs:,} passes will change the trained network; choose 0 to keep it frozen"}


def explanation(about: Mapping[str, Any]) -> str:
    """Meaning, the paper's value and the allowed range, in one line."""
    meaning = str(about.get("meaning", ""))
    parts = [meaning[:1].upper() + meaning[1:]]
    if about.get("paper") is not None:
        parts.append(f"Paper: {plain(about['paper'])}")
    low, high = about.get("low"), about.get("high")
    if low is not None:
        parts.append(f"at least {plain(low)}" if high is None else f"{plain(low)} to {plain(high)}")
    return " · ".join(parts)


def fine_step(value: float) -> float:
    """A step about a tenth of `value`: 0.015 → 0.001, 0.0001 → 0.00001, 0 → 0.05."""
    return 0.05 if value <= 0 else 10.0 ** (math.floor(math.log10(value)) - 1)


def changed(config: RunConfig, values: dict[str, Any]) -> dict[str, Any]:
    """Those of `values` (by dotted name) that differ from `config`'s."""
    own = flat(config)
    return {name: value for name, value in values.items() if value != own[name]}


def apply(config: RunConfig, values: dict[str, Any]) -> tuple[RunConfig, dict[str, str]]:
    """`config` with `values`, and a sentence for each that is not allowed (it is left out).

    What is refused is tried again after the others: a value may be allowed only beside another
    (0 epochs beside a trained encoder), whichever of the two comes first.
    """
    left = changed(config, values)
    while True:
        config, wrong = _applied(config, left)
        if len(wrong) == len(left):
            return config, wrong
        left = {name: left[name] for name in wrong}


def _applied(config: RunConfig, values: dict[str, Any]) -> tuple[RunConfig, dict[str, str]]:
    wrong = {}
    for name, value in values.items():
        try:
            config = with_setting(config, name, value)
        except SettingError as error:
            wrong[name] = str(error)
    return config, wrong
