"""A new user's way through the real app in a real browser: start, refresh, wait, export."""

from __future__ import annotations

import urllib.error
import urllib.request
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from engine.sources.open_source import open_source
from tests.browser.conftest import until_drawn

pytestmark = pytest.mark.browser

# Far more than an idle machine with two cores needs, because the machine may be busy.
TRAINING_MS = 420_000


def set_number(page: Page, group: str, label: str, value: str) -> None:
    """Opens a group of settings, changes one of them, and closes the group."""
    box = page.locator("[data-testid=stExpander]").filter(has_text=group)
    box.get_by_text(group).click()
    field = box.get_by_label(label, exact=True)
    field.fill(value)
    field.press("Enter")
    page.get_by_text(f"= {value}").wait_for()
    box.get_by_text(group).click()


def test_a_newcomer_gets_labels_from_the_digits(page: Page) -> None:
    page.locator("h1", has_text="Dataset").wait_for()
    page.get_by_role("link", name="Train", exact=True).click()
    page.get_by_role("button", name="Start training").wait_for()
    set_number(page, "Stage 1 · features", "epochs", "12")
    page.get_by_role("button", name="Start training").click()

    page.locator(".spice-step.active").wait_for(timeout=60_000)
    assert "run=digits-k10-seed0-1" in page.url
    page.reload()
    page.locator(".spice-step").first.wait_for(timeout=60_000)
    assert page.get_by_text("digits-k10-seed0-1 · ").first.is_visible()

    page.locator(".spice-state", has_text="digits-k10-seed0-1 · finished").wait_for(timeout=TRAINING_MS)
    assert page.locator(".spice-step.done").count() == 4

    page.get_by_role("link", name="Export").click()
    button = page.get_by_role("button", name="Download 1,797 rows as CSV")
    button.wait_for()
    with page.expect_download() as waiting:
        button.click()
    table = pd.read_csv(BytesIO(Path(waiting.value.path()).read_bytes()))
    assert list(table.columns[:5]) == ["id", "name", "label", "provenance", "confidence"]
    assert list(table.columns[5:]) == ["agreement", "reliable", "stage", "epoch"]
    assert set(table["provenance"]) == {"model"}
    assert len(table) == 1797
    assert table["label"].between(0, 9).all()
    assert (table["stage"] == "joint").all()
    assert table["reliable"].sum() > 100


def test_enter_in_the_field_opens_the_path_that_was_typed(page: Page, photos: Path) -> None:
    page.get_by_text("1. Open a folder").wait_for()
    page.get_by_label("Folder or file").fill(str(photos))
    page.get_by_label("Folder or file").press("Enter")
    images = page.get_by_test_id("stMetric").filter(has_text="Images")
    expect(images.get_by_test_id("stMetricValue")).to_have_text("40")
    expect(page.get_by_text("1. Open a folder")).to_have_count(0)


def test_on_a_phone_no_title_is_cut_and_nothing_is_wider_than_the_page(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for link in (None, "Train", "Learn"):
        if link:
            page.goto(f"{page.url.split('?')[0].rsplit('/', 1)[0]}/{link.lower()}")
        title = page.locator("h1", has_text=link or "Dataset")
        title.wait_for()
        until_drawn(page)
        box, bar = title.bounding_box(), page.get_by_test_id("stHeader").bounding_box()
        assert box is not None
        assert bar is not None
        assert box["y"] >= bar["y"] + bar["height"]
        assert page.get_by_test_id("stMain").evaluate("one => one.scrollWidth <= one.clientWidth")


def test_vectors_of_ones_own_are_typed_and_train_all_three_stages(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "vectors.npy"
    np.save(file, open_source("digits").images.pixels.reshape(1797, -1))
    page.get_by_role("link", name="Train", exact=True).click()
    page.get_by_role("button", name="Start training").wait_for()
    group = page.locator("[data-testid=stExpander]").filter(has_text="Stage 1 · features")
    group.get_by_text("Stage 1 · features").click()

    def type_source(text: str) -> None:
        field = group.get_by_role("combobox", name="source")
        field.fill(text)
        field.press("Enter")

    type_source("import:gone.npy")
    group.get_by_text("There is no file gone.npy").wait_for()
    expect(page.get_by_role("button", name="Start training")).to_be_disabled()
    type_source(f"import:{file}")
    group.get_by_text("Not used: external vectors are taken as they are").wait_for()
    page.get_by_role("button", name="Start training").click()
    page.locator(".spice-state", has_text="· finished").first.wait_for(timeout=TRAINING_MS)
    assert "done in" in page.locator(".spice-step").last.inner_text()


def test_a_strange_host_name_is_refused_on_every_route(address: str) -> None:
    for path in ("/", "/spice/sprites/any/0.json"):
        request = urllib.request.Request(address + path, headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(request, timeout=10)
