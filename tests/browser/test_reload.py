"""What a reload of a page keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser


def test_a_reload_of_dataset_keeps_the_opened_source(page: Page, tmp_path: Path) -> None:
    for number in range(3):
        Image.new("L", (40, 40), 80 * number).save(tmp_path / f"{number}.png")
    page.locator("h1", has_text="Dataset").wait_for()
    field = page.get_by_label("Folder or file", exact=True)
    field.fill(f"'{tmp_path}'")
    field.press("Enter")
    found = page.locator("[data-testid=stMetric]").filter(has_text="Images")
    expect(found).to_contain_text("3", timeout=60_000)
    page.reload()
    expect(found).to_contain_text("3", timeout=60_000)
