"""The benchmark of kills and damage: nothing goes wrong in a few trials, and what goes wrong would be noticed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.chaos import WRONGS, Trials, _damage
from benchmarks.chaos_runs import Ended, unlike

ROOT = Path(__file__).parents[1]
# In a process of its own: torch cannot go on in a fork of one that has trained.
FEW = """
import json, logging
from benchmarks.chaos import trials
logging.getLogger("engine").addHandler(logging.NullHandler())
print(json.dumps([[one.kind, one.tried, one.wrong] for one in trials(3, 16, 2, 11)]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")
def test_a_few_kills_damaged_files_and_full_disks() -> None:
    done = subprocess.run([sys.executable, "-c", FEW], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {kind: tried for kind, tried, _ in found if kind not in ("cut", "removed", "flipped")} == {
        "killed": 3,
        "nearly full disk": 2,
        "hostile input": 11,
    }
    assert sum(tried for kind, tried, _ in found if kind in ("cut", "removed", "flipped")) == 16
    assert [wrong for _, _, wrong in found] == [{one: [] for one in WRONGS}] * 6


def test_what_is_shown_and_not_as_it_was_is_noticed() -> None:
    whole = {"labels": np.arange(3), "scores": {"acc": 0.5, "nmi": 0.25}, "rows": {1: ("a",)}}
    assert unlike(whole, whole) == []
    assert unlike(whole, {"labels": None, "scores": {"acc": 0.5}}) == []
    assert unlike(whole, {"labels": np.array([0, 1, 1]), "scores": {"acc": 0.6}, "rows": {1: ("b",)}}) == [
        "labels",
        "scores acc",
        "rows 1",
    ]


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("images are damaged: put back a copy", None),
        ("weights.pt is damaged: delete it", "advice that loses data"),
        ("Traceback (most recent call last):\n ...\nKeyError: 'x'", "tracebacks"),
        ("unexpected KeyError: 'x' (this is a bug: please report it)", "tracebacks"),
    ],
)
def test_bad_advice_and_traces_are_counted(said: str, wrong: str | None) -> None:
    told = Trials("cut")
    told.judge("labels.npy", Ended(said=[said]))
    assert {one: len(told.wrong[one]) for one in WRONGS} == {one: int(one == wrong) for one in WRONGS}


def test_a_file_is_damaged_in_one_way(tmp_path: Path) -> None:
    before, chance, file = bytes(range(200)), random.Random(0), tmp_path / "file"
    for kind in ("cut", "flipped", "removed"):
        file.write_bytes(before)
        _damage(file, kind, chance)
        after = file.read_bytes() if file.exists() else None
        if kind == "removed":
            assert after is None
        elif kind == "cut":
            assert after is not None
            assert before.startswith(after)
            assert len(after) < 200
        else:
            assert after is not None
            assert sum(bin(a ^ b).count("1") for a, b in zip(before, after, strict=True)) == 1
