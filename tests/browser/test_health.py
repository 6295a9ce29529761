"""Leaving images out before training, by clicks in a browser."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser


@pytest.fixture
def spoilt(photos: Path) -> Path:
    """40 drawn photographs, copies of two of them, and three dark ones."""
    for number in (1, 3):
        shutil.copy(photos / "bars" / f"{number:02d}.png", photos / f"copy-{number}.png")
    rng = np.random.default_rng(0)
    for number in range(3):
        night = rng.integers(0, 30 + number, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(night).save(photos / f"night-{number}.png")
    return photos


def choose(page: Page, title: str) -> None:
    page.get_by_test_id("stButtonGroup").get_by_text(title, exact=True).click()


def test_copies_and_dark_images_are_left_out_and_one_is_put_back(page: Page, spoilt: Path) -> None:
    page.get_by_text("Your images").click()
    page.get_by_label("Folder or file").fill(str(spoilt))
    page.get_by_label("Folder or file").press("Enter")
    page.get_by_role("button", name="Open", exact=True).click()
    choose(page, "Exact duplicates 4")
    page.get_by_text("Keep one of each, leave out 2").click()
    expect(page.get_by_text("Exact duplicates 4 ✓")).to_be_visible()

    choose(page, "Dark 3")
    tiles = page.locator("[class*='st-key-gallery-health'] .tile")
    expect(tiles).to_have_count(3)
    tiles.nth(0).click(modifiers=["Control"])
    tiles.nth(2).click(modifiers=["Control"])
    page.get_by_role("button", name="Leave out marked").click()
    expect(page.get_by_text("Left out 4")).to_be_visible()
    expect(page.locator(".tile.odd")).to_have_count(2)

    tiles.nth(0).click()
    page.get_by_role("button", name="Put back", exact=True).click()
    expect(page.get_by_text("Left out 3")).to_be_visible()
    expect(page.get_by_role("button", name="Leave out this image")).to_be_visible()

    page.get_by_text("Train on these images").click()
    expect(page.get_by_text("42 of 45 images")).to_be_visible()
