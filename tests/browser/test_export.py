"""A run's images and labels, exported from the page for another tool."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Page, expect
from torchvision.datasets import ImageFolder

from tests.app.conftest import IMAGES
from tests.browser.conftest import until_drawn

pytestmark = pytest.mark.browser


@pytest.fixture
def finished(tmp_path: Path, trained: Path) -> None:
    """The run is there before the server."""
    shutil.copytree(trained, tmp_path / "runs" / "demo")


@pytest.mark.usefixtures("finished")
def test_class_folders_are_exported_and_downloaded(page: Page, tmp_path: Path) -> None:
    page.goto(f"{page.url.split('?')[0].rstrip('/')}/export?run=demo")
    export = page.locator(".st-key-export button")
    export.wait_for()
    until_drawn(page)
    out = tmp_path / "exports" / "demo-folders"
    expect(page.get_by_label("Folder to make")).to_have_value(str(out))
    export.click()
    expect(page.get_by_text(f"{IMAGES} labels, ")).to_be_visible()
    found = ImageFolder(str(out))
    assert len(found) == IMAGES
    until_drawn(page)
    with page.expect_download() as waiting:
        page.locator(".st-key-download_export button, .st-key-download-export button").click()
    with zipfile.ZipFile(io.BytesIO(Path(waiting.value.path()).read_bytes())) as archive:
        names = archive.namelist()
        table = pd.read_csv(archive.open("demo-folders/labels.csv"))
    assert len([name for name in names if name.endswith(".png")]) == IMAGES == len(table)
    assert set(table["provenance"]) == {"model"}
