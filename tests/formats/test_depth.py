"""Values of more than 8 bits: one rule over the whole source, for files and arrays alike."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engine.data.thumbnail_store import ThumbnailStore
from engine.formats.depth import Depth, Kind, Range, depth_for, depths_of, range_of
from engine.sources.open_source import Opened, open_source

RAMP = np.linspace(0, 1, 64)[None] * np.ones((64, 1))
MASK = (RAMP > 0.5).astype(np.uint8)


def saved(place: Path, **images: np.ndarray) -> Path:
    place.mkdir(exist_ok=True)
    for name, values in images.items():
        Image.fromarray(values).save(place / f"{name}.tif")
    return place


def opened(place: Path) -> Opened:
    return open_source(str(place), size=64)


def pixels(place: Path) -> dict[str, np.ndarray]:
    found = opened(place)
    return dict(zip((name[:-4] for name in found.images.ids), found.images.pixels[:, 0].astype(int), strict=True))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_files_of_a_source_are_as_bright_as_its_bits_allow_and_as_an_array_would_be(bits: int, tmp_path: Path) -> None:
    top = 2**bits - 1
    bright, dark = (RAMP * top).astype(np.uint16), (RAMP * top / 4).astype(np.uint16)
    found = pixels(saved(tmp_path / "set", bright=bright, dark=dark))
    assert np.abs(found["bright"] - RAMP * 255).max() <= 1
    assert np.abs(found["dark"] - RAMP * 255 / 4).max() <= 1, "not stretched by itself"
    np.save(tmp_path / "a.npy", np.stack([bright, dark]))
    arrays = open_source(str(tmp_path / "a.npy")).images.pixels[:, 0]
    assert np.array_equal(arrays, np.stack([found["bright"], found["dark"]]))


def test_a_brighter_image_changes_those_that_were_there(tmp_path: Path) -> None:
    place = saved(tmp_path / "set", a=(RAMP * 4095).astype(np.uint16))
    assert pixels(place)["a"].max() == 255
    (first,) = opened(place).notes
    assert first == "1 images of whole numbers of more than 8 bits are taken as from 0 (black) to 4,095 (white)"
    found = pixels(saved(place, b=(RAMP * 16383).astype(np.uint16)))
    assert (found["a"].max(), found["b"].max()) == (64, 255)
    kept = opened(place)
    assert kept.origin is not None
    assert kept.stamps is not None
    with ThumbnailStore(kept.origin.place) as store:
        assert not store.path.exists(), "64 pixels are shown as they are"
    assert kept.notes[0].startswith("2 images of whole numbers")


@pytest.mark.parametrize("values", [(RAMP * 4095).astype(np.uint16), MASK], ids=["12 bits", "mask"])
def test_thumbnails_have_the_depth_of_the_source(values: np.ndarray, tmp_path: Path) -> None:
    found = open_source(str(saved(tmp_path / "set", a=np.tile(values, (4, 4)))), size=32)
    assert found.origin is not None
    assert found.stamps is not None
    with ThumbnailStore(found.origin.place) as store:
        (body,) = store.bodies(found.images.ids, found.stamps)
    assert body is not None
    assert np.asarray(Image.open(io.BytesIO(body))).max() > 245


@pytest.mark.parametrize("gap", [-9999, -32768, -3.4e38, np.nan, np.inf, -np.inf])
def test_values_that_stand_for_none_are_black_and_change_nothing_else(gap: float, tmp_path: Path) -> None:
    values = (RAMP * 200).astype(np.float32)
    values[:4] = gap
    found = pixels(saved(tmp_path / "set", a=values))["a"]
    assert (found[:4] == 0).all()
    assert np.abs(found[4:] - RAMP[4:] * 200).max() <= 1


def test_images_of_different_depths_in_one_folder_can_all_be_seen(tmp_path: Path) -> None:
    whole = {f"w{bits}": (RAMP * (2**bits - 1)).astype(np.uint16) for bits in (8, 10, 16)}
    floats = {"f1": RAMP.astype(np.float32), "f255": (RAMP * 255).astype(np.float32)}
    found = pixels(saved(tmp_path / "set", **whole, **floats, mask=(RAMP > 0.5).astype(np.int32)))
    for name, one in found.items():
        assert one.max() >= 254, name
        assert one.min() == 0, name


def test_masks_of_0_and_1_in_files_are_black_and_white_as_in_an_array(tmp_path: Path) -> None:
    place = saved(tmp_path / "set", a=MASK, b=1 - MASK, empty=0 * MASK)
    found = opened(place)
    assert np.array_equal(found.images.pixels[:, 0], 255 * np.stack([MASK, 1 - MASK, 0 * MASK]))
    assert found.notes == ("the images hold only 0 (black) and 1 (white)",)
    np.save(tmp_path / "a.npy", np.stack([MASK, 1 - MASK, 0 * MASK]))
    assert np.array_equal(open_source(str(tmp_path / "a.npy")).images.pixels, found.images.pixels)


def test_a_dark_picture_among_others_is_no_mask_and_one_more_image_tells(tmp_path: Path) -> None:
    place = saved(tmp_path / "set", dark=MASK)
    assert pixels(place)["dark"].max() == 255
    found = pixels(saved(place, usual=(RAMP * 255).astype(np.uint8)))
    assert (found["dark"].max(), found["usual"].max()) == (1, 255)
    assert opened(place).notes == ()


def test_an_image_without_any_value_is_black(tmp_path: Path) -> None:
    empty = np.full((64, 64), np.nan, np.float32)
    assert range_of(empty) is None
    assert pixels(saved(tmp_path / "set", a=empty, b=RAMP.astype(np.float32)))["a"].max() == 0


values = st.floats(-1e6, 1e6).map(lambda one: one if abs(one) > 1e-3 else 0.0)


@given(st.lists(st.tuples(values, values, st.sampled_from(["whole", "floats"])), min_size=1, max_size=6))
def test_every_depth_holds_all_values_of_its_images(found: list[tuple[float, float, Kind]]) -> None:
    ranges = [Range(min(a, b), max(a, b), kind) for a, b, kind in found]
    depths = depths_of(ranges, len(ranges))
    for one in ranges:
        depth = depth_for(one, depths)
        assert isinstance(depth, Depth)
        low, high = depth.applied(np.array([[one.low, one.high]]))[0].tolist()
        assert low <= high
        if one.high - one.low > 1 and one.low >= 0 and one.low not in (-9999.0,):
            assert high > 0
