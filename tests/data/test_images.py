from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.data.images import ImageSet
from engine.errors import SourceError

PIXELS = np.arange(3 * 1 * 2 * 2, dtype=np.uint8).reshape(3, 1, 2, 2)
IDS = ("a.png", "sub/b.png", "c.png")


def with_pixel(value: int) -> np.ndarray:
    changed = PIXELS.copy()
    changed[2, 0, 1, 1] = value
    return changed


@pytest.mark.parametrize(
    ("pixels", "found"),
    [
        (PIXELS.astype(np.float32), r"float32 of shape \(3, 1, 2, 2\): expected uint8"),
        (PIXELS[:, 0], r"uint8 of shape \(3, 2, 2\): expected uint8 of shape \(N, 1 or 3, H, W\)"),
        (np.zeros((3, 2, 4, 4), np.uint8), r"shape \(3, 2, 4, 4\)"),
    ],
)
def test_pixels_of_another_kind_are_refused(pixels: np.ndarray, found: str) -> None:
    with pytest.raises(SourceError, match=found):
        ImageSet(pixels, IDS, "drawn")


@pytest.mark.parametrize("ids", [("a", "b", "a"), ("a", "b")])
def test_every_image_needs_an_id_of_its_own(ids: tuple[str, ...]) -> None:
    with pytest.raises(SourceError, match="2 distinct ids for 3 images: expected one each"):
        ImageSet(PIXELS, ids, "drawn")


def test_no_images_are_refused() -> None:
    with pytest.raises(SourceError, match="drawn contains no images"):
        ImageSet(np.zeros((0, 1, 2, 2), np.uint8), (), "drawn")


def test_names_are_the_last_part_of_the_ids() -> None:
    assert ImageSet(PIXELS, IDS, "drawn").names == ["a.png", "b.png", "c.png"]


@pytest.mark.parametrize(
    ("pixels", "ids"),
    [
        (with_pixel(12), IDS),
        (PIXELS, ("a.png", "sub/b.png", "d.png")),
        (PIXELS[[1, 0, 2]], IDS),
        (PIXELS[[1, 0, 2]], ("sub/b.png", "a.png", "c.png")),
        (PIXELS.reshape(3, 1, 1, 4), IDS),
        (PIXELS[:2], IDS[:2]),
    ],
    ids=["one pixel", "one id", "pixels swapped", "images swapped", "shape", "one less"],
)
def test_fingerprint_changes_with(pixels: np.ndarray, ids: tuple[str, ...]) -> None:
    same = ImageSet(PIXELS, IDS, "drawn").fingerprint
    assert ImageSet(pixels, ids, "drawn").fingerprint != same


def test_fingerprint_tells_a_line_break_inside_an_id_from_one_between_ids() -> None:
    one = ImageSet(PIXELS[:2], ("a\nb", "c"), "drawn")
    other = ImageSet(PIXELS[:2], ("a", "b\nc"), "drawn")
    assert one.fingerprint != other.fingerprint


def test_fingerprint_is_that_of_the_contents_wherever_they_lie(tmp_path: Path) -> None:
    np.save(tmp_path / "pixels.npy", PIXELS)
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    turned = np.asfortranarray(PIXELS)
    found = {ImageSet(pixels, IDS, "x").fingerprint for pixels in (PIXELS, mapped, turned)}
    assert found == {ImageSet(with_pixel(11), IDS, "drawn").fingerprint}
    assert len(found.pop()) == 32
