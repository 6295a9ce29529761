"""The report in a browser: opened from the disk, with the network cut off."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from engine.lesson.bundle import unpacked
from engine.report.report import write_report
from engine.runs.folder import RunFolder
from tests.browser.conftest import PATIENCE
from tests.report.made import decide, made
from tests.report.made import said as contents

pytestmark = pytest.mark.browser

NAME = "threes&<i>others</i>" + 38 * "x"  # no space at which a line could end
Show = Callable[..., Page]
WIDER = """() => [...document.querySelectorAll('body *')]
  .filter(one => !one.closest('.wide') && one.getBoundingClientRect().right > innerWidth + 1)
  .map(one => `${one.tagName}.${one.className}`)"""
# How many colours the picture in the card has, and its size.
PICTURE = """canvas => {
  const { width, height } = canvas;
  const bytes = canvas.getContext('2d').getImageData(0, 0, width, height).data;
  return [width, height, new Set(new Uint32Array(bytes.buffer)).size];
}"""


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Path]:
    place = tmp_path_factory.mktemp("reported")
    run = made(place / "mine")
    decide(run, "rename", class_=3, text=NAME)
    write_report(run, place / "report.html")
    return run, place / "report.html"


@pytest.fixture
def show(browser: Browser, reported: tuple[RunFolder, Path]) -> Iterator[Show]:
    """Opens the report; afterwards, nothing was asked of any network, and nothing was wrong."""
    wrong: list[str] = []
    with ExitStack() as contexts:

        def open_file(**about: Any) -> Page:
            page = contexts.enter_context(browser.new_context(offline=True, **about)).new_page()
            page.set_default_timeout(PATIENCE)
            page.on(
                "request",
                lambda one: wrong.append(one.url) if not one.url.startswith(("file:", "data:", "blob:")) else None,
            )
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("console", lambda message: wrong.append(message.text))
            page.goto(reported[1].as_uri())
            return page

        yield open_file
    assert wrong == []


def where(page: Page, run: RunFolder, image: int) -> tuple[float, float]:
    """The pixels of the window at which the map has an image."""
    x, y = unpacked(contents(run).map["points"])[image] / 65535 - 0.5
    box = page.locator("#map .plane").bounding_box()
    assert box is not None
    side = min(box["width"], box["height"]) - 28
    return box["x"] + box["width"] / 2 + float(x) * side, box["y"] + box["height"] / 2 - float(y) * side


def outermost(run: RunFolder, cluster: int) -> int:
    """An image of a cluster with no other close to it on the map."""
    said = contents(run)
    points = unpacked(said.map["points"]).astype(float)
    apart = np.abs(points[:, None] - points[None]).max(2) + 1e9 * np.eye(len(points))
    mine = np.flatnonzero(unpacked(said.map["classes"]) == cluster)
    return int(mine[apart[mine].min(1).argmax()])


def test_pointing_at_an_image_shows_its_picture_and_its_class(show: Show, reported: tuple[RunFolder, Path]) -> None:
    run, _ = reported
    page = show(viewport={"width": 1280, "height": 900})
    page.locator("#map canvas").first.scroll_into_view_if_needed()
    image = outermost(run, 3)
    page.mouse.move(*where(page, run, image))
    card = page.locator(".card-at")
    expect(card).to_be_visible()
    expect(card.locator("b")).to_have_text(NAME)
    expect(card.locator("small")).to_have_text(run.images().names[image])
    verdict = contents(run).map["reasons"][unpacked(contents(run).map["verdicts"])[image]]["name"]
    expect(card.locator("span")).to_contain_text(verdict)
    expect(card.locator("canvas")).to_be_visible()
    width, height, colours = card.locator("canvas").evaluate(PICTURE)
    assert (width, height) == (8, 8)
    assert colours == len(np.unique(run.images().pixels[image]))
    page.mouse.move(2, 2)
    expect(card).to_be_hidden()
    page.get_by_role("button", name="Verdict").click()
    expect(page.locator(".keys button").first).to_have_text(
        re.compile(rf"reliable\s*{(contents(run).counts or (0,))[0]}")
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_wider_than_the_window(show: Show, scheme: str) -> None:
    page = show(viewport={"width": 360, "height": 740}, color_scheme=scheme, has_touch=True, is_mobile=True)
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    page.wait_for_timeout(200)
    assert page.evaluate(WIDER) == []
    assert page.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [360, 360]
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every(one => one < 60)")
    assert dark is (scheme == "dark")


def test_touching_an_image_shows_its_picture(show: Show, reported: tuple[RunFolder, Path]) -> None:
    run, _ = reported
    page = show(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page.locator("#map .plane").scroll_into_view_if_needed()
    image = outermost(run, 5)
    page.touchscreen.tap(*where(page, run, image))
    expect(page.locator(".card-at small")).to_have_text(run.images().names[image])
    box = page.locator(".card-at").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360


def test_on_paper_all_is_open_and_light_and_fits(show: Show) -> None:
    page = show(viewport={"width": 1280, "height": 900}, color_scheme="dark")
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": 690, "height": 1000})
    page.wait_for_timeout(200)
    assert page.locator("details:not([open])").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") == 690
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    expect(page.locator(".tools")).to_be_hidden()
