"""Splits: every class in its shares, and no duplicate on both sides."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.exports.labelled import Labelled
from engine.exports.splits import duplicate_groups, split
from engine.runs.create import create_run
from engine.sources.open_source import open_source
from tests.exports.conftest import DoExport
from tests.tiny_runs import tiny_config


def names(count: int) -> list[str]:
    return [f"{number}.png" for number in range(count)]


def test_each_class_is_dealt_out_in_the_shares_by_itself() -> None:
    codes = np.repeat([0, 1, 2], [100, 50, 10])
    parts = split(codes, np.arange(160), names(160), (80, 10, 10))
    counts = [np.bincount(parts[codes == code], minlength=3).tolist() for code in range(3)]
    assert counts == [[80, 10, 10], [40, 5, 5], [8, 1, 1]]


def test_a_group_stays_together_and_counts_as_what_most_of_it_is() -> None:
    codes = np.array([0] * 50 + [1] * 50)
    groups = np.arange(100)
    groups[45:52] = 45  # five of class 0 and two of class 1
    parts = split(codes, groups, names(100), (50, 50))
    assert len(set(parts[45:52])) == 1
    mostly = np.where(np.isin(np.arange(100), [50, 51]), 0, codes)
    assert np.bincount(parts[mostly == 0]).tolist() == [26, 26]
    assert np.bincount(parts[mostly == 1]).tolist() == [24, 24]


@settings(deadline=None)  # the machine may be busy
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 15)), min_size=1, max_size=60),
    st.sampled_from([(80, 20), (70, 20, 10)]),
)
def test_no_group_is_ever_divided_and_nothing_depends_on_the_order(
    images: list[tuple[int, int]], shares: tuple[int, ...]
) -> None:
    codes, groups = (np.array(one) for one in zip(*images, strict=True))
    parts = split(codes, groups, names(len(images)), shares)
    for one in np.unique(groups):
        assert len(set(parts[groups == one])) == 1
    order = np.random.default_rng(0).permutation(len(images))
    again = split(codes[order], groups[order], [names(len(images))[place] for place in order], shares)
    if len(np.unique(groups)) == len(images):
        assert np.array_equal(again, parts[order])


def test_the_table_says_on_which_side_an_image_is(export: DoExport, tmp_path: Path) -> None:
    export("csv", "labels.csv", split="50,50")
    table = pd.read_csv(tmp_path / "labels.csv")
    counts = table.groupby(["class_name", "split"]).size()
    assert counts.index.get_level_values("split").unique().tolist() == ["test", "train"]
    assert abs(counts[:, "train"] - counts[:, "test"]).max() <= 1


def test_the_groups_are_those_of_the_health_report(tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(12):
        small = Image.fromarray(chance.integers(0, 255, (6, 6, 3), np.uint8))
        small.resize((96, 96), Image.Resampling.BICUBIC).save(photos / f"{number:02d}.png")
    shutil.copyfile(photos / "00.png", photos / "copy.png")
    with Image.open(photos / "01.png") as one:
        one.save(photos / "near.jpg", quality=80)
    folder = create_run(tmp_path / "run", open_source(f"folder:{photos}"), tiny_config())
    images = folder.images()
    found = Labelled(
        folder, images, folder.card().origin, "heads", np.arange(14), pd.DataFrame(), (0,), ("a",), np.zeros(1, int)
    )
    groups = duplicate_groups(found, progress=lambda *_: None, stop=lambda: False)
    place = {name: number for number, name in enumerate(images.ids)}
    assert groups[place["copy.png"]] == groups[place["00.png"]]
    assert groups[place["near.jpg"]] == groups[place["01.png"]]
    assert len(set(groups.tolist())) == 12
