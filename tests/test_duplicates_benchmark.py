"""The benchmark of near duplicates counts correctly; what it measures is not tested."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import duplicates, pieces, report
from benchmarks.duplicates import CHANGES, SETS
from benchmarks.pieces import Options


def seed(wrong: int, right: int, made: int) -> dict[str, object]:
    kind = next(iter(CHANGES))
    counted = {"right": {**dict.fromkeys(CHANGES, 0), kind: right}, "wrong": [["a", "b"]] * wrong, "same": 1}
    return {
        "images": 9,
        "seconds": 1.5,
        "made": {kind: made},
        "found": {f"{one}": counted for one in duplicates.LIMITS},
    }


def test_precision_and_recall_are_of_pairs_and_of_each_seed() -> None:
    precision, recall = duplicates.precision_and_recall([seed(1, 3, 4), seed(0, 0, 4)], duplicates.USUAL)
    assert precision == [0.75, 0]
    assert recall == [0.75, 0]


def test_the_section_says_whether_the_worst_seed_meets_the_goal() -> None:
    good, bad = seed(0, 99, 100), seed(3, 99, 100)
    assert "each seed: met" in duplicates.section(SETS[0], [good, good])
    text = duplicates.section(SETS[0], [good, bad])
    assert "**missed**" in text
    assert "| cropped to 90 % of the sides | 200 | 198 | 0.990 |" in text
    assert "2 were found" in text


def test_photographs_and_their_copies_come_to_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((report, "RESULTS"), (pieces, "WORK")):
        monkeypatch.setattr(module, name, tmp_path / name)
    monkeypatch.setattr(duplicates, "EACH", 1)
    rng, folder = np.random.default_rng(0), tmp_path / "clothes" / "train"
    folder.mkdir(parents=True)
    for number in range(14):
        small = Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8))
        small.resize((210, 270), Image.Resampling.BICUBIC).save(folder / f"{number:02d}.jpg", quality=95)
    duplicates.measure(Options(device="cpu", seeds=1, clothes=tmp_path / "clothes", data=tmp_path / "none"))
    found = json.loads((tmp_path / "RESULTS" / "duplicates.json").read_text())["sets"]
    assert list(found) == ["clothes"]
    assert found["clothes"][0]["images"] == 14 + len(CHANGES)
    assert found["clothes"][0]["made"] == dict.fromkeys(CHANGES, 1)
    usual = found["clothes"][0]["found"][f"{duplicates.USUAL}"]
    assert usual["wrong"] == []
    assert sum(usual["right"].values()) >= len(CHANGES) - 1
    assert "## photographs of clothes" in (tmp_path / "RESULTS" / "duplicates.md").read_text()


def test_two_pictures_of_the_set_that_are_the_same_count_neither_way() -> None:
    names = ["637a56e4-x.jpg", "6075b4a5-y.jpg", "copy-00-637a56e4-x.jpg", "other.jpg"]
    pairs = list(itertools.pairwise(names))
    counted = duplicates.counted(SETS[0], pairs, {names[2]: (names[0], next(iter(CHANGES)))})
    assert counted["same"] == 2
    assert counted["wrong"] == [["copy-00-637a56e4-x.jpg", "other.jpg"]]
    assert sum(counted["right"].values()) == 0
