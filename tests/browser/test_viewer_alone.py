"""The viewer with awkward pictures and facts, in a real browser, without a server."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from spice_explorer.components.scripts import parts
from tests.browser.conftest import blank_page

pytestmark = pytest.mark.browser

DRIVER = """
const root = document.querySelector("#root");
window.draw = (data) => { component({ parentElement: root, data }); };
"""
FACTS = {"name": "strip.png", "folder": "", "trained": [32, 32], "note": "", "width": 1, "height": 20_000}


def uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    with blank_page(browser, 900, 700) as shown:
        yield shown


def drawn(page: Page, thumb: Image.Image, full: Image.Image, **facts: Any) -> None:
    text = parts("viewer")
    script = text["js"].replace("export default function", "function component")
    page.goto("about:blank")
    page.set_content(f"<style>{text['css']} #root {{ width: 400px; }}</style><div id='root'>{text['html']}</div>")
    page.add_script_tag(content=script + DRIVER, type="module")
    page.wait_for_function("Boolean(window.draw)")
    told = quote(json.dumps({**FACTS, **facts}))
    data = {
        "name": "x",
        "thumb": uri(thumb),
        "full": uri(full),
        "facts": f"data:application/json,{told}",
        "sharp": False,
    }
    page.evaluate(f"draw({json.dumps(data)})")


def test_a_strip_of_one_pixel_is_seen_and_can_be_enlarged(page: Page) -> None:
    drawn(page, Image.new("RGB", (1, 320)), Image.new("RGB", (1, 20_000)))
    page.locator(".enlarge").click()
    sheet, viewer = page.locator(".view-sheet"), page.locator("dialog .viewer")
    page.wait_for_function("document.querySelector('.viewer').dataset.kind !== 'thumbnail'")
    box, frame = sheet.bounding_box(), viewer.bounding_box()
    assert box is not None
    assert frame is not None
    assert (box["width"], box["height"]) == (2, pytest.approx(frame["height"], abs=1))
    for _ in range(40):
        page.keyboard.press("+")
    box = sheet.bounding_box()
    assert box is not None
    assert box["width"] == pytest.approx(16, abs=0.5)
    assert box["height"] == pytest.approx(16 * 20_000, rel=0.01)


@pytest.mark.parametrize(("frames", "words"), [(12, " · first of 12 frames used"), (1, "")])
def test_the_facts_say_how_many_frames_there_are(frames: int, words: str, page: Page) -> None:
    square = Image.new("RGB", (40, 40))
    drawn(page, square, square, width=40, height=40, form="GIF", frames=frames, bytes=1200)
    page.get_by_text(f"40 × 40 pixels · GIF{words} · 1.2 kB", exact=True).wait_for()
