"""The benchmark of odd inputs: none is wrong, none ends in a trace, and both would be noticed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.inputs import judge
from benchmarks.made_inputs import IMAGES, Input, inputs, put, truth

INPUTS = inputs()
GOOD = Input("test", "good", lambda place: put(place, IMAGES), truth([*IMAGES], classes=False))


@pytest.mark.parametrize("one", INPUTS, ids=[f"{one.kind}: {one.name}" for one in INPUTS])
def test_no_input_is_wrong_or_ends_in_a_trace(one: Input, tmp_path: Path) -> None:
    found = judge(one, tmp_path)
    assert found.outcome == ("refused in words" if one.images is None else "right"), found.why


def fail(_place: Path) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("changes", "outcome", "why"),
    [
        ({}, "right", ""),
        ({"images": truth([*IMAGES][::-1], classes=False)}, "wrong", "other pixels"),
        ({"images": {**truth([*IMAGES]), "a.png": (20, "dog")}}, "wrong", "labels were requested"),
        ({"images": truth([*IMAGES][:2], classes=False)}, "wrong", "in place of"),
        ({"images": None}, "wrong", "should be refused"),
        ({"said": ("b.txt",)}, "wrong", "b.txt is passed over in silence"),
        ({"change": fail}, "trace", "ZeroDivisionError"),
        ({"make": lambda place: place / "none", "images": None}, "refused in words", "there is no folder"),
    ],
)
def test_what_is_not_right_is_noticed(changes: dict[str, object], outcome: str, why: str, tmp_path: Path) -> None:
    found = judge(replace(GOOD, **changes), tmp_path)  # type: ignore[arg-type]
    assert found.outcome == outcome
    assert why in found.why
