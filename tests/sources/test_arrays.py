from __future__ import annotations

import io
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.data import import_images
from engine.errors import SourceError
from engine.sources import arrays
from engine.sources.open_source import Opened, open_source

RGB = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)


def saved(path: Path, array: Any = None, **named: Any) -> Path:
    np.savez(path, **named) if named else np.save(path, array)
    return path


def opened(path: Path, **options: Any) -> Opened:
    return open_source(str(path), **options)


@pytest.mark.parametrize(
    ("array", "pixels"),
    [
        (RGB, RGB.transpose(0, 3, 1, 2)),
        (RGB.transpose(0, 3, 1, 2), RGB.transpose(0, 3, 1, 2)),
        (RGB[..., 0], RGB[..., 0][:, None]),
        (RGB[..., :1], RGB[..., 0][:, None]),
        (np.repeat(RGB[..., :1], 3, 3), RGB[..., 0][:, None]),
        (RGB / np.float32(255), RGB.transpose(0, 3, 1, 2)),
        (RGB.astype(np.float64), RGB.transpose(0, 3, 1, 2)),
        (RGB.astype(np.int64), RGB.transpose(0, 3, 1, 2)),
        (RGB.astype(np.uint16) * 257, RGB.transpose(0, 3, 1, 2)),
        (RGB > 60, 255 * (RGB > 60).transpose(0, 3, 1, 2).astype(np.uint8)),
    ],
    ids=["last", "second", "grey", "one", "grey in colour", "0-1", "0-255", "whole", "16 bit", "mask"],
)
def test_arrays_of_every_layout_and_range_come_out_as_bytes(
    array: np.ndarray, pixels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 1)  # one image at a time
    array = array * np.ones((), array.dtype) if array.dtype != bool else array
    if array.max() not in (1, True) and array.dtype == np.uint16:
        array.flat[-1] = 65_535
        pixels = pixels.copy()
        pixels[-1, -1, -1, -1] = 255
    found = opened(saved(tmp_path / "a.npy", np.ascontiguousarray(array)))
    assert found.images.pixels.dtype == np.uint8
    assert np.array_equal(found.images.pixels, pixels)
    assert found.images.ids == ("image-000000", "image-000001")
    assert found.extents is not None
    assert found.extents.tolist() == [[5, 4], [5, 4]]


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_whole_numbers_are_as_bright_as_their_bits_allow(bits: int, tmp_path: Path) -> None:
    top = 2**bits - 1
    array = np.array([0, top // 2, top], np.uint16).reshape(3, 1, 1)
    pixels = opened(saved(tmp_path / "a.npy", array)).images.pixels
    assert pixels.ravel().tolist() == [0, 127, 255]


@pytest.mark.parametrize(
    ("values", "pixels"),
    [
        ([0.0, 0.5, 1.0002], [0, 128, 255]),
        ([-0.3, 0.2, 1.25], [0, 51, 255]),
        ([-0.5, 1.0, 1.5], [0, 255, 255]),
        ([0.0, 1.0, 2.0], [0, 1, 2]),
    ],
)
def test_what_resizing_leads_beyond_0_and_1_is_clipped(values: list[float], pixels: list[int], tmp_path: Path) -> None:
    array = np.float32(values).reshape(3, 1, 1)
    assert opened(saved(tmp_path / "a.npy", array)).images.pixels.ravel().tolist() == pixels


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    array = np.zeros((1, 1, 2, 4), np.uint8)
    array[0, 0, 1] = (255, 0, 0, 255)
    pixels = opened(saved(tmp_path / "a.npy", array)).images.pixels
    assert pixels[0, :, 0].T.tolist() == [[255, 255, 255], [255, 0, 0]]


def test_an_npz_brings_names_and_classes(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", x=RGB, y=np.array([7, 3]), ids=np.array(["p", "q"]))
    found = opened(path, labels=True)
    assert found.images.ids == ("p", "q")
    assert found.truth is not None
    assert (found.truth.class_names, found.truth.labels.tolist()) == (("3", "7"), [1, 0])
    assert opened(path).truth is None
    assert np.array_equal(found.images.pixels, RGB.transpose(0, 3, 1, 2))


def test_a_size_makes_squares_of_the_middle(tmp_path: Path) -> None:
    array = np.zeros((1, 8, 16), np.uint8)
    array[:, :, 4:12] = 200
    pixels = opened(saved(tmp_path / "a.npy", array), size=4).images.pixels
    assert pixels.shape == (1, 1, 4, 4)
    assert (pixels == 200).all()


def test_what_grows_when_it_is_scaled_is_scaled_in_small_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    resized = import_images.resized
    monkeypatch.setattr(import_images, "BLOCK_BYTES", 4 * 3 * 32**2)
    monkeypatch.setattr(import_images, "resized", lambda block, *how: sizes.append(len(block)) or resized(block, *how))
    array = np.arange(10, dtype=np.uint8)[:, None, None] * np.ones((10, 2, 2), np.uint8)
    pixels = opened(saved(tmp_path / "a.npy", array), size=32).images.pixels
    assert sizes == [4, 4, 2]
    assert pixels[:, 0, 5, 5].tolist() == list(range(10))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([{}] * 3), "holds Python objects, which could run code: save plain numbers"),
        (np.zeros((3, 8)), r"has shape \(3, 8\): expected .*; for features use features.source"),
        (np.zeros((3, 8, 8, 5)), r"has shape \(3, 8, 8, 5\): expected 1, 3 or 4 channels"),
        (np.zeros((0, 8, 8)), r"has shape \(0, 8, 8\): expected"),
        (np.full((3, 2, 2), "x"), "holds <U1: expected whole numbers or floats"),
        (np.full((3, 2, 2), -0.5), "holds values from -0.5 to -0.5: expected 0 to 1, 0 to 255"),
        (np.array([-0.5, 0, 0.5]).reshape(3, 1, 1), "holds values from -0.5 to 0.5: expected"),
        (np.array([-0.6, 0, 1.2]).reshape(3, 1, 1), "holds values from -0.6 to 1.2: expected"),
        (np.array([-0.1, 0, 200]).reshape(3, 1, 1), "holds values from -0.1 to 200: expected"),
        (np.array([-1, 0, 200]).reshape(3, 1, 1), "holds values from -1 to 200: expected"),
        (np.full((3, 2, 2), 300.0), "holds values from 300 to 300: expected"),
        (np.full((3, 2, 2), 70_000), "holds values from 70000 to 70000: expected"),
        (np.array([0, np.nan, np.inf]).reshape(3, 1, 1), "NaN or infinite, the first in image 1"),
        (np.asfortranarray(np.zeros((3, 4, 5))), "stores its array in column order: save it"),
    ],
)
def test_arrays_that_hold_no_images_are_refused(array: np.ndarray, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(SourceError, match=message):
        opened(tmp_path / "a.npy")


class _Trap:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.target),)


def test_names_that_are_pickles_are_numbers_instead(tmp_path: Path) -> None:
    trap = np.array([_Trap(tmp_path / "trapped")] * 2)
    found = opened(saved(tmp_path / "a.npz", images=RGB, names=trap))
    assert not (tmp_path / "trapped").exists()
    assert found.images.ids == ("image-000000", "image-000001")
    assert "names are not used" in found.notes[0]
    assert "Python objects" in found.notes[0]


@pytest.mark.parametrize("member", ["images", "labels"])
def test_pickles_in_an_npz_are_never_run(member: str, tmp_path: Path) -> None:
    trap = np.array([_Trap(tmp_path / "trapped")] * 2)
    path = saved(tmp_path / "a.npz", **{"images": RGB, "labels": np.zeros(2), member: trap})
    with pytest.raises(SourceError, match="holds Python objects, which could run code"):
        opened(path, labels=True)
    assert not (tmp_path / "trapped").exists()


def test_labels_of_another_number_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", images=RGB, labels=np.zeros(3))
    with pytest.raises(SourceError, match=r"has 2 images but labels of shape \(3,\): expected one each"):
        opened(path, labels=True)
    with pytest.raises(SourceError, match=r"labels were requested, but .* has none"):
        opened(saved(tmp_path / "b.npz", images=RGB, names=np.array(["a", "b"])), labels=True)


def test_an_npz_without_an_array_of_images_lists_what_it_has(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", left=RGB, right=RGB, y=np.zeros(2))
    with pytest.raises(SourceError, match="holds the arrays left, right, y: expected one named"):
        opened(path)
    assert len(opened(saved(tmp_path / "b.npz", only=RGB, y=np.zeros(2))).images) == 2


def test_an_array_that_announces_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    whole = saved(tmp_path / "a.npy", RGB).read_bytes()
    (tmp_path / "a.npy").write_bytes(whole[:-1])
    with pytest.raises(SourceError, match=r"is truncated: it announces uint8 of shape \(2, 4, 5, 3\)"):
        opened(tmp_path / "a.npy")
    huge = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": (10**15, 8, 8)}
    np.lib.format.write_array_header_1_0(huge, about)  # type: ignore[arg-type]
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("images.npy", huge.getvalue())
    with pytest.raises(SourceError, match="is truncated: it announces"):
        opened(tmp_path / "b.npz")


@pytest.mark.parametrize("place", [100, 1000, 5000, 9000])
def test_a_damaged_npz_is_refused(place: int, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 16, 16), dtype=np.uint8)
    np.savez_compressed(tmp_path / "a.npz", images=noise)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[place : place + 40] = b"\xff" * 40
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.npz is damaged: "):
        opened(tmp_path / "a.npz")


@pytest.mark.parametrize("shape", [(-1, 4, 5, 3), (2, -4, -5, 3)])
def test_an_array_of_less_than_nothing_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        about = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, about)  # type: ignore[arg-type]
        file.write(RGB.tobytes())
    with pytest.raises(SourceError, match=rf"has shape {re.escape(str(shape))}: expected"):
        opened(tmp_path / "a.npy")


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"PK\x03\x04", b"<html>"])
def test_what_is_no_array_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=rf"{name} (is not a NumPy array|cannot be read as an .npz)"):
        opened(tmp_path / name)
