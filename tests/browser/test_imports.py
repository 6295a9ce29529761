"""Importing images in the real app: a folder decoded by processes, and a file dropped onto the page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from engine.data.decode_pool import MANY
from tests.browser.conftest import serving, until_drawn

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for all tests of this file, each of which opens other images."""
    with serving(tmp_path_factory.mktemp("server")) as where:
        yield where


def fact(page: Page, label: str, value: str) -> None:
    """Waits until the page shows `value` under `label`."""
    box = page.get_by_test_id("stMetric").filter(has_text=label)
    expect(box.get_by_test_id("stMetricValue")).to_have_text(value, timeout=60_000)


def test_a_large_folder_with_broken_files_is_opened(page: Page, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(np.full((20, 30, 3), (200, 60, 40), np.uint8)).save(folder / "0.png")
    for number in range(1, MANY + 5):
        os.link(folder / "0.png", folder / f"{number}.png")
    (folder / "page.png").write_text("<html>")
    page.get_by_text("Your images").click()
    page.get_by_label("Folder or file").fill(str(folder))
    page.get_by_label("Folder or file").press("Enter")
    page.get_by_role("button", name="Open", exact=True).click()
    fact(page, "Images", f"{MANY + 5:,}")
    fact(page, "Size", "32 × 32")
    page.get_by_role("link", name="Train", exact=True).click()
    page.get_by_text(f"{MANY + 5:,} images").first.wait_for(timeout=60_000)


def drop(page: Page, file: Path) -> None:
    """Gives the page a file, as one that is dropped onto it."""
    page.get_by_text("Your images").click()
    page.get_by_text("Or drop a file here").click()
    until_drawn(page)
    with page.expect_file_chooser() as chooser:
        page.get_by_test_id("stFileUploaderDropzone").locator("button").click()
    chooser.value.set_files(file)


def test_a_file_is_dropped_onto_the_page(page: Page, photos: Path, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "mine"), "zip", photos)
    drop(page, tmp_path / "mine.zip")
    page.get_by_role("button", name="Open this file").wait_for()
    page.get_by_text("Use the classes that come with the images").click()
    page.get_by_role("button", name="Open this file").click()
    fact(page, "Images", "40")
    fact(page, "Classes in the truth", "2")


def test_a_dropped_table_asks_for_the_folder_of_its_paths(page: Page, photos: Path, tmp_path: Path) -> None:
    names = sorted(one.relative_to(photos).as_posix() for one in photos.rglob("*.png"))
    (tmp_path / "list.TSV").write_text("path\tn\n" + "".join(f"{name}\t1\n" for name in names))
    drop(page, tmp_path / "list.TSV")
    field = page.get_by_label("Folder that the paths in the table start from", exact=True)
    field.fill(str(photos))
    field.press("Enter")
    page.get_by_role("button", name="Open this file").click()
    fact(page, "Images", "40")


def test_what_is_not_there_is_a_sentence(page: Page) -> None:
    page.get_by_text("Your images").click()
    page.get_by_label("Folder or file").fill("~/no such folder")
    page.get_by_label("Folder or file").press("Enter")
    page.get_by_role("button", name="Open", exact=True).click()
    page.get_by_text("There is no folder or file ~/no such folder: check the path").wait_for()
