"""Leaving images out before training, by clicks in a browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import serving

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for all tests of this file, each of which opens other images."""
    with serving(tmp_path_factory.mktemp("server")) as where:
        yield where


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


def open_folder(page: Page, folder: Path) -> None:
    page.get_by_text("Your images").click()
    page.get_by_label("Folder or file").fill(str(folder))
    page.get_by_label("Folder or file").press("Enter")
    page.get_by_role("button", name="Open", exact=True).click()


def choose(page: Page, title: str) -> None:
    page.get_by_test_id("stButtonGroup").get_by_text(title, exact=True).click()


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Ten photographs, and smaller, darker copies of two of them."""
    rng, folder = np.random.default_rng(0), tmp_path / "copied"
    folder.mkdir()
    for number in range(10):
        small = Image.fromarray(rng.integers(0, 256, (8, 10, 3), dtype=np.uint8))
        picture = small.resize((300, 240), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number}.png")
        if number < 2:
            picture.resize((200, 160)).point(lambda level: int(0.8 * level)).save(folder / f"copy-{number}.png")
    return folder


def test_a_group_is_opened_and_only_its_copy_is_left_out(page: Page, copied: Path) -> None:
    open_folder(page, copied)
    choose(page, "Near duplicates 4")
    slider = page.get_by_role("slider", name="How much copies may differ")
    expect(slider).to_have_value("0.8")
    every = page.get_by_role("button", name="Keep one of each, leave out 2")
    expect(every).to_have_attribute("kind", "secondary")

    page.locator("[class*='st-key-gallery-health'] .tile").nth(3).click()
    opened = page.get_by_role("button", name="Keep one of the group you opened, leave out 1")
    expect(opened).to_have_attribute("kind", "primary")
    expect(page.get_by_text("from the best of its group")).to_be_visible()
    shown = page.locator(".st-key-one-image")
    expect(shown.get_by_role("strong").filter(has_text="copy-1.png")).to_be_visible()
    expect(shown.get_by_test_id("stCaptionContainer").get_by_text("1.png", exact=True)).to_be_visible()
    opened.click()
    expect(page.get_by_text("Left out 1")).to_be_visible()

    slider.press("ArrowRight")
    expect(slider).to_have_value("0.85")
    expect(page.get_by_text("new photographs of the same thing")).to_be_visible()
    slider.press("ArrowRight")  # it keeps the focus
    expect(slider).to_have_value("0.9")
    page.get_by_role("button", name="Undo: near duplicate, 1 image").click()
    expect(page.get_by_text("Left out 1")).to_have_count(0)


def test_copies_and_dark_images_are_left_out_and_one_is_put_back(page: Page, spoilt: Path) -> None:
    open_folder(page, spoilt)
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
